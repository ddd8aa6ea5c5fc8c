"""The bytes of a map over all zones."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import rasterio
from affine import Affine

from pipeline.geo.maps import class_map
from pipeline.geo.maps.raster_writer import MapGrid
from pipeline.geo.mosaics.files import Origins
from pipeline.geo.mosaics.target_grid import layout
from pipeline.geo.mosaics.vrt import Part, write_vrt
from tests.support.mapped import CLASSES

BERLIN = MapGrid(32633, Affine(80, 0, 380_000, 0, -80, 5_820_000), 100, 120)


def _write_map(path: Path, grid: MapGrid, value: int) -> None:
    with rasterio.open(
        path, "w", driver="GTiff", dtype="uint8", count=1, height=grid.rows, width=grid.cols,
        crs=f"EPSG:{grid.epsg}", transform=grid.transform, nodata=0,
    ) as file:  # fmt: skip
        file.write(np.full((grid.rows, grid.cols), value, dtype=np.uint8), 1)


def test_the_later_map_lies_on_top_and_names_may_hold_anything(tmp_path: Path) -> None:
    """Names of scenes come to stand in XML and in paths."""
    east = MapGrid(32633, BERLIN.transform @ Affine.translation(40, 0), 100, 120)
    maps = {"a & b": (BERLIN, 1), "<ö> 'c'": (east, 2)}
    for name, (grid, value) in maps.items():
        (tmp_path / name).mkdir()
        _write_map(tmp_path / name / f"{name}_classmap.tif", grid, value)
    parts = [Part(name, grid, Origins([])) for name, (grid, _) in maps.items()]
    placed = layout("EPSG:32633", [BERLIN, east], "here")
    (tmp_path / "whole").mkdir()
    tags = {"NOTE": 'a < b & "c"'}
    kind = replace(class_map.class_map_kind(CLASSES), names=["none", "x < y & z"])
    path = tmp_path / "whole" / "m.vrt"
    written = write_vrt(path, "classmap", parts, placed, (kind, tags))
    assert [file.name for file in written] == [f"{name}_classmap.vrt" for name in maps]
    with rasterio.open(path) as whole:
        cells = whole.read(1)
        assert whole.tags()["NOTE"] == tags["NOTE"]
    assert (cells[:, :40] == 1).all()
    assert (cells[:, 40:] == 2).all()
    assert cells.shape == (100, 160)
    names = [node.text for node in ElementTree.parse(path).iter("Category")]
    assert names == ["none", "x < y & z"]
