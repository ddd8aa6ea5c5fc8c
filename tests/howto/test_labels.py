"""docs/howto/polygons.md, points.md and label-rasters.md as they stand, on the project's own scene."""

from __future__ import annotations

import shutil
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import rasterio
from rasterio.features import rasterize

from tests.support.pages import HOWTO, follow
from tests.support.projects import DEMO, HEIGHT, WIDTH, Project

pytestmark = pytest.mark.slow

POLYGONS = DEMO / "labels" / "osm_landuse.gpkg"
CODES = {"farm": 40, "grass": 30, "meadow": 30, "forest": 10, "scrub": 20, "water": 80, "wetland": 90,
         "residential": 50}  # fmt: skip


def _ground(project: Project) -> tuple[gpd.GeoDataFrame, rasterio.Affine]:
    (band,) = (project.path / "data" / "demo" / "scenes" / "east").glob("*_B02.jp2")
    with rasterio.open(band) as dataset:
        polygons = gpd.read_file(POLYGONS).to_crs(dataset.crs)
        return polygons.clip(dataset.bounds, keep_geom_type=True), dataset.transform


def _points(project: Project, path: Path) -> Path:
    """A survey: points in each polygon of four of the classes, in degrees."""
    polygons, _ = _ground(project)
    polygons = polygons[polygons.fclass.isin(["farm", "meadow", "forest", "water"])]
    survey = polygons.sample_points(8, rng=np.random.default_rng(0)).explode(index_parts=False)
    seen = polygons.fclass.loc[survey.index].to_numpy()
    frame = gpd.GeoDataFrame({"seen": seen}, geometry=survey.to_numpy(), crs=polygons.crs)
    frame.to_crs(4326).to_file(path)
    return path


def _cover(project: Project, path: Path) -> Path:
    """The polygons as the codes of WorldCover, on its grid in degrees."""
    polygons, _ = _ground(project)
    degrees = polygons.to_crs(4326)
    west, south, east, north = degrees.total_bounds
    step = 1 / 12_000
    transform = rasterio.Affine(step, 0, west, 0, -step, north)
    shape = int((north - south) / step) + 1, int((east - west) / step) + 1
    pairs = zip(degrees.geometry, degrees.fclass.map(CODES), strict=True)
    codes = rasterize(pairs, shape, transform=transform, dtype="uint8")
    with rasterio.open(
        path, "w", driver="GTiff", height=shape[0], width=shape[1], count=1, dtype="uint8", nodata=0,
        crs="EPSG:4326", transform=transform, compress="deflate",
    ) as file:  # fmt: skip
        file.write(codes, 1)
    return path


def _given(_: Project, path: Path) -> Path:
    """The polygons as they are."""
    shutil.copyfile(POLYGONS, path)
    return path


PAGES = {
    "polygons": ("LABELS", _given, "l.gpkg", "repaired", "drawn in QGIS; © OpenStreetMap contributors"),
    "points": ("POINTS", _points, "p.gpkg", "duplicates", "Field survey"),
    "label-rasters": ("COVER", _cover, "c.tif", "pixels", "© ESA WorldCover project"),
}
"""The variable of the page, how its file is made and named, a count that is printed, and the credit."""


@pytest.mark.parametrize("page", PAGES)
def test_from_labels_to_a_map(page: str, finished_project: Project, tmp_path: Path) -> None:
    variable, made, name, counted, credit = PAGES[page]
    project = finished_project.copy(tmp_path, outputs=False)
    _, scene = _ground(project)
    printed = follow(HOWTO / f"{page}.md", project, {variable: str(made(project, tmp_path / name))})
    assert f" {counted}" in printed
    with rasterio.open(project.path / "data" / "maps" / "east" / "east_classmap.tif") as dataset:
        left, top = scene.c, scene.f
        assert dataset.bounds.left <= left
        assert dataset.bounds.top >= top
        assert dataset.bounds.right >= left + 10 * WIDTH
        assert dataset.bounds.bottom <= top - 10 * HEIGHT
        cells = dataset.read(1)
        assert set(np.unique(cells)) <= {1, 2, 3}
        assert credit in dataset.tags()["ATTRIBUTION"]
