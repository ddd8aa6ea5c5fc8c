"""From files of every kind to a map and a report by two commands, without an edited file.

`lenscape start`, then `dvc repro`, in a project like the one that a user cloned.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import rasterio
from rasterio.enums import Resampling
from rasterio.features import rasterize

from pipeline.bands import BANDS
from tests.support.eurosats import make_eurosat
from tests.support.products import product_of, zipped
from tests.support.projects import DEMO, HEIGHT, STAGES, WIDTH, Project, stages_run

pytestmark = pytest.mark.slow

POLYGONS = DEMO / "labels" / "osm_landuse.gpkg"
RADIOMETRY = ("--scale", "0.0001", "--offset", "0", "--level", "L1C")
FCLASS = ("--labels", str(POLYGONS), "--attribute", "fclass")

type Words = tuple[str, ...]


def _bands(project: Project) -> Path:
    """The folder of the bands of a part of the demo scene."""
    return project.path / "data" / "demo" / "scenes" / "east"


def _polygons(project: Project) -> gpd.GeoDataFrame:
    with rasterio.open(next(_bands(project).glob("*_B02.jp2"))) as band:
        return gpd.read_file(POLYGONS).to_crs(band.crs).clip(band.bounds, keep_geom_type=True)


def _folder(project: Project, folder: Path) -> Words:
    copied = folder / "S2A_20170216T102101"
    copied.symlink_to(_bands(project))  # lies elsewhere than what DVC watches
    return ("--scene", str(copied), *RADIOMETRY, *FCLASS)


def _stack(project: Project, folder: Path) -> Words:
    path = folder / "stack_20170216.tif"
    with rasterio.open(next(_bands(project).glob("*_B02.jp2"))) as band:
        place = {"crs": band.crs, "transform": band.transform, "count": len(BANDS), "dtype": "uint16"}
    with rasterio.open(path, "w", driver="GTiff", height=HEIGHT, width=WIDTH, **place) as stack:
        for number, name in enumerate(BANDS, start=1):
            with rasterio.open(next(_bands(project).glob(f"*_{name}.jp2"))) as band:
                pixels = band.read(1, out_shape=(HEIGHT, WIDTH), resampling=Resampling.nearest)
            stack.write(pixels, number)
            stack.set_band_description(number, name)
    return ("--scene", str(path), *RADIOMETRY, *FCLASS)


def _safe(project: Project, folder: Path) -> Words:
    return ("--scene", str(zipped(product_of(_bands(project), folder))), *FCLASS)


def _images(project: Project, folder: Path) -> Words:
    mapped = ("--map", str(_bands(project)), *RADIOMETRY)
    return ("--scene", str(make_eurosat(folder / "eurosat", 5)), *mapped)


def _points(project: Project, folder: Path, name: str = "points.gpkg") -> Words:
    polygons = _polygons(project)
    drawn = polygons.sample_points(4, rng=np.random.default_rng(0)).explode()
    seen = polygons["fclass"].loc[drawn.index].to_numpy()
    frame = gpd.GeoDataFrame({"seen": seen}, geometry=drawn.to_numpy(), crs=polygons.crs)
    frame = frame.to_crs(4326)
    if name.endswith(".csv"):
        places = {"longitude": frame.geometry.x, "latitude": frame.geometry.y}
        frame.drop(columns="geometry").assign(**places).to_csv(folder / name, index=False)
    else:
        frame.to_file(folder / name)
    return ("--scene", str(_bands(project)), *RADIOMETRY, "--labels", str(folder / name))


def _table(project: Project, folder: Path) -> Words:
    return _points(project, folder, "points.csv")


def _raster(project: Project, folder: Path) -> Words:
    polygons = _polygons(project)
    names = sorted(polygons["fclass"].unique())
    with rasterio.open(next(_bands(project).glob("*_B02.jp2"))) as band:
        place = {"crs": band.crs, "transform": band.transform, "count": 1, "dtype": "uint8"}
    pairs = zip(polygons.geometry, polygons["fclass"].map(names.index) + 1, strict=True)
    codes = rasterize(pairs, (HEIGHT, WIDTH), transform=place["transform"], dtype="uint8")
    form = {"driver": "GTiff", "height": HEIGHT, "width": WIDTH, "nodata": 0}
    with rasterio.open(folder / "cover.tif", "w", **(form | place)) as raster:
        raster.write(codes, 1)
    return ("--scene", str(_bands(project)), *RADIOMETRY, "--labels", str(folder / "cover.tif"))


@pytest.mark.parametrize("given", [_folder, _stack, _safe, _images, _points, _table, _raster])
def test_two_commands_lead_to_a_map_and_a_report(
    given: Callable[[Project, Path], Words], finished_project: Project, tmp_path: Path
) -> None:
    project = finished_project.copy(tmp_path, outputs=False)
    words = given(project, tmp_path)
    said = project.run(sys.executable, "-m", "pipeline.cli", "start", *words)
    assert "every class reaches each part" in said
    assert stages_run(project.dvc("repro")) == STAGES
    (class_map,) = (project.path / "data" / "maps").glob("*/*_classmap.tif")
    with rasterio.open(class_map) as dataset:
        assert dataset.read(1).max() >= 2
        assert dataset.bounds.right - dataset.bounds.left >= 10 * WIDTH
    assert (project.path / "data" / "maps" / "lenscape.qgs").is_file()
    assert (project.path / "reports" / "report.html").is_file()
    assert not project.run("git", "status", "--porcelain", "data"), "links are not for git"
