"""Makers of small collections in the form of EuroSAT: GeoTIFFs of 13 layers, a folder a class.

As in the real ones the pixels are not quite 10 m wide, each image has its own place, in several UTM
zones, and B8A is the last layer.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
from rasterio.transform import Affine

from pipeline.geo.sources.eurosat import BAND_ORDER, IMAGES_BY_CLASS, SIDE_PX

type Pixels = npt.NDArray[np.uint16]

ZONES = (32629, 32632, 32635)
WIDTH_M, HEIGHT_M = 9.995723884146328, 9.990989562044138
"""Of a pixel; those of a real image."""
SHAPE = (len(BAND_ORDER), SIDE_PX, SIDE_PX)


def write_image(path: Path, pixels: Pixels, epsg: int = 32632, **options: Any) -> Path:
    """An image with its top left corner at the place of `options["at"]`, (x, y) m."""
    path.parent.mkdir(parents=True, exist_ok=True)
    x, y = options.pop("at", (500_000.25, 5_000_000.5))
    place = {"crs": f"EPSG:{epsg}", "transform": Affine(WIDTH_M, 0, x, 0, -HEIGHT_M, y)}
    form = {"driver": "GTiff", "count": len(pixels), "interleave": "pixel", "dtype": pixels.dtype}
    size = {"height": pixels.shape[1], "width": pixels.shape[2]}
    with rasterio.open(path, "w", **(form | size | place | options)) as dataset:
        dataset.write(pixels)
    return path


def pixels_of(label: int, number: int) -> Pixels:
    """A spectrum of its own a class, a little noise, and a corner that tells one image from others."""
    rng = np.random.default_rng([label, number])
    level = 600 + 400 * np.random.default_rng(label).permutation(len(BAND_ORDER))
    pixels = level[:, None, None] + rng.normal(0, 60, SHAPE)
    return np.rint(pixels).astype(np.uint16)


def make_eurosat(
    folder: Path, per_class: int = 4, labels: Sequence[str] = tuple(IMAGES_BY_CLASS)
) -> Path:
    """A folder of images, every one kilometres from the next."""
    for label, name in enumerate(labels):
        for number in range(per_class):
            at = (420_000.7 + 7_000 * number, 5_000_000.3 + 9_000 * label)
            path = folder / name / f"{name}_{number + 1}.tif"
            write_image(path, pixels_of(label, number), ZONES[number % len(ZONES)], at=at)
    return folder


def zipped(folder: Path, path: Path, inside: str = "ds/images/tif") -> Path:
    """The images of a folder in a zip, some folders deep as in the published one."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.rglob("*.tif")):
            archive.write(file, f"{inside}/{file.relative_to(folder)}")
    return path


def write_lists(folder: Path, parts: Mapping[str, Sequence[str]], stem: str = "eurosat") -> None:
    """The three files of a list, naming JPEGs as the published ones do: `train`, `val`, `test`."""
    for part in ("train", "val", "test"):
        names = "".join(f"{name}.jpg\n" for name in parts.get(part, ()))
        (folder / f"{stem}-{part}.txt").write_text(names)


def turns(folder: Path, tested: int = 1, validated: int = 1) -> dict[str, list[str]]:
    """Of each class the last images test, those before them validate, and the others train."""
    parts: dict[str, list[str]] = {"train": [], "val": [], "test": []}
    for one in sorted(path for path in folder.iterdir() if path.is_dir()):
        count = len(list(one.glob("*.tif")))
        for number in range(1, count + 1):
            left = count - number
            part = "test" if left < tested else "val" if left < tested + validated else "train"
            parts[part].append(f"{one.name}_{number}")
    return parts
