"""A scene whose pixels know where they are: B02 is 1 + row, B03 is 1 + column."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from rasterio.crs import CRS

from pipeline.config.sources import SceneConf
from pipeline.files import sha256_of
from pipeline.geo.scenes.catalog import scene_item, write_catalog
from pipeline.geo.scenes.scene import Scene, open_catalog
from pipeline.geo.scenes.stac import file_fields
from pipeline.geo.sources.folder import scene_files

# neither edge is a multiple of 80 m, the usual cell, and the far edges cut cells too
X0, Y0, HEIGHT, WIDTH = 300_030.0, 5_800_050.0, 203, 171

type NodataRect = tuple[int, int, int, int]
"""Row, column, height and width of what is nodata in both bands."""

NODATA: list[NodataRect] = [(100, 60, 7, 8), (30, 30, 40, 40)]
"""Ground that `make_scene` can leave without data."""


def make_bands(
    folder: Path,
    nodata: Iterable[NodataRect] = (),
    size: tuple[int, int] = (HEIGHT, WIDTH),
    lowest: int = 1,
) -> Path:
    """Write the two bands as GeoTIFFs, whose pixels count rows and columns from `lowest` on."""
    folder.mkdir(parents=True)
    places = {"B02": np.arange(size[0])[:, None], "B03": np.arange(size[1])[None]}
    for band, values in places.items():
        pixels = (lowest + np.broadcast_to(values, size)).astype(np.uint16)
        for row, col, height, width in nodata:
            pixels[row : row + height, col : col + width] = 0
        with rasterio.open(
            folder / f"{band}.tif", "w", driver="GTiff", dtype="uint16", count=1,
            height=size[0], width=size[1], crs=CRS.from_epsg(32633),
            transform=Affine(10, 0, X0, 0, -10, Y0),
        ) as dataset:  # fmt: skip
            dataset.write(pixels, 1)
    return folder


def make_catalog(folder: Path, bands: dict[str, Path], level: str = "L1C") -> list[Scene]:
    """A catalog in `folder` of scenes by id, from folders of bands, and its scenes."""
    items = []
    for scene, path in bands.items():
        conf = {
            "id": scene,
            "path": str(path),
            "datetime": "2021-05-06T10:21:01Z",
            "scale": 0.0001,
            "offset": 0.0,
            "level": level,
        }
        items.append(scene_item(scene_files(SceneConf.model_validate(conf))))
    write_catalog(folder, items, "map")
    return open_catalog(folder)


def make_scene(
    folder: Path, nodata: Iterable[NodataRect] = (), size: tuple[int, int] = (HEIGHT, WIDTH)
) -> Scene:
    """The scene `s.1` in a catalog of its own."""
    bands = make_bands(folder / "bands", nodata, size)
    return make_catalog(folder / "scenes", {"s.1": bands})[0]


def describe(item: Path, band: str, path: Path) -> None:
    """Let an Item know no better of a file that has changed, so that only reading tells."""
    content = json.loads(item.read_text())
    content["assets"][band] |= file_fields(sha256_of(path), path.stat().st_size)
    item.write_text(json.dumps(content))
