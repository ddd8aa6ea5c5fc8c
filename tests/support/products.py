"""SAFE products: the real metadata of three of them around small images whose pixels one can check."""

from __future__ import annotations

import re
import shutil
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from pipeline.bands import BANDS
from pipeline.geo.raster.grid import PixelGrid
from tests.support.worlds import GRID, native_grid, positions, write_raster

METADATA = Path(__file__).parent.parent / "data" / "safe"
L1C = "S2A_MSIL1C_20210908T042701_N0301_R133_T46RER_20210908T070248"
OLD_L2A = "S2A_MSIL2A_20190212T192651_N0212_R013_T07HFE_20201007T160857"
"""Baseline 02.12, no offset, GeoTIFFs."""
L2A = "S2A_MSIL2A_20230625T234621_N0509_R073_T01WCS_20230626T022157"
"""Baseline 05.09, offset -1000."""
_IMAGE = re.compile(r"<IMAGE_FILE>([^<]*_(B\d\d|B8A|SCL)(?:_(\d\d)m)?)</IMAGE_FILE>")

type Values = Callable[[str, PixelGrid], np.ndarray]


def make_product(
    folder: Path,
    name: str = L1C,
    values: Values | None = None,
    grid: PixelGrid = GRID,
    change: Mapping[str, str] | None = None,
) -> Path:
    """A folder `<name>.SAFE` with all images that its metadata name, on a small grid.

    Args:
        folder: Where it goes.
        name: Which of the three.
        values: DN of a band (`SCL` too) on its grid; by default pixels that know where they are.
        grid: Of 10 m.
        change: Texts of the metadata and what stands in their place.
    """
    values = values or (lambda band, native: positions(native) if band != "SCL" else clear(native))
    text = (METADATA / f"{name}.xml").read_text(encoding="utf-8")
    root = folder / f"{name}.SAFE"
    suffix = ".tif" if 'imageFormat="GeoTIFF"' in text else ".jp2"
    for image, band, side in _IMAGE.findall(text):
        pixel_m = int(side or BANDS[band].native_m)
        native = native_grid(grid, {10: "B02", 20: "B05", 60: "B09"}[pixel_m])
        write_raster(root / f"{image}{suffix}", values(band, native), native)
    for old, new in (change or {}).items():
        assert old in text
        text = text.replace(old, new)
    level = re.search(r"MSI(L1C|L2A)", name)
    assert level is not None
    (root / f"MTD_MSI{level[1]}.xml").write_text(text, encoding="utf-8")
    return root


def product_of(bands: Path, folder: Path) -> Path:
    """A folder `<name>.SAFE` of L1C with the JP2 files of a folder of one file a band."""
    text = (METADATA / f"{L1C}.xml").read_text(encoding="utf-8")
    root = folder / f"{L1C}.SAFE"
    for image, band, _ in _IMAGE.findall(text):
        (source,) = bands.glob(f"*_{band}.jp2")
        target = root / f"{image}.jp2"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
    (root / "MTD_MSIL1C.xml").write_text(text, encoding="utf-8")
    return root


def clear(native: PixelGrid) -> np.ndarray:
    """A scene classification of vegetation everywhere."""
    return np.full((native.height, native.width), 4, dtype=np.uint8)


def zipped(root: Path) -> Path:
    """The zip of a product, as it is downloaded."""
    path = root.with_suffix(".SAFE.zip")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(root.rglob("*")):
            if file.is_file():
                archive.write(file, file.relative_to(root.parent))
    return path
