"""docs/howto/area.md as it stands: a part of the project's scene, of which a town is mapped."""

from __future__ import annotations

import re
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely

from pipeline.geo.raster.grid import PixelGrid
from pipeline.geo.scenes.scene import open_catalog
from pipeline.store import PatchStore
from tests.support.pages import HOWTO, follow
from tests.support.projects import HEIGHT, WIDTH, Project

pytestmark = pytest.mark.slow


def _file(path: Path, shape: shapely.Geometry) -> str:
    gpd.GeoDataFrame(geometry=[shape], crs=32633).to_crs(4326).to_file(path)
    return str(path)


def test_a_map_of_a_town_in_a_region(finished_project: Project, tmp_path: Path) -> None:
    project = finished_project.copy(tmp_path, outputs=False)
    (band,) = (project.path / "data" / "demo" / "scenes" / "east").glob("*_B02.jp2")
    with rasterio.open(band) as dataset:
        left, top = dataset.transform.c, dataset.transform.f
    scene = PixelGrid(32633, left, top, HEIGHT, WIDTH)
    _, bottom, right, _ = scene.bounds
    region = shapely.Polygon([(left, top), (right, top), (right, bottom + 700), (left, bottom)])
    town = shapely.Point(left + 2003, top - 1604).buffer(901, 8)
    test = shapely.box(left + 3000, top - 1500, left + 3600, top - 900)
    files = {"REGION": region, "TOWN": town, "TEST": test}
    paths = {name: _file(tmp_path / f"{name}.gpkg", shape) for name, shape in files.items()}
    printed = follow(HOWTO / "area.md", project, paths)
    assert int(re.search(r"(\d+) excluded", printed)[1]) > 0
    (fetched,) = open_catalog(project.path / "data" / "scenes" / "map")
    assert fetched.outline is not None
    assert fetched.outline.area == pytest.approx(region.area, rel=1e-4)
    patches = PatchStore.open(project.path / "data" / "patches").patches
    x, y = (np.asarray(patches[axis]) for axis in ("x", "y"))
    shown = shapely.box(x - 80, y - 80, x + 80, y + 80)
    assert shapely.area(shapely.intersection(shown, test)).max() < 16 * 50, "of half pixels"
    with rasterio.open(project.path / "data" / "maps" / "east" / "east_classmap.tif") as dataset:
        classes, transform = dataset.read(1), dataset.transform
        for edge, wanted in zip(dataset.bounds, town.bounds, strict=True):
            assert abs(edge - wanted) <= 20
    rows, cols = np.indices(classes.shape)
    inside = shapely.contains_xy(town, *(transform @ (cols + 0.5, rows + 0.5)))
    assert classes[inside].all()
    assert not classes[~inside].any()
