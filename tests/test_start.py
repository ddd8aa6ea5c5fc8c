"""From files of every kind to a map and a report by two commands, without an edited file.

`lenscape start`, then `dvc repro`, in a project like the one that a user cloned. All stages take
half a minute, so that kinds which may stand beside each other share a project.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
import rasterio
from rasterio.enums import Resampling
from rasterio.features import rasterize

from pipeline.bands import BANDS
from tests.support.eurosats import make_eurosat
from tests.support.products import L1C, product_of, zipped
from tests.support.projects import (
    DEMO,
    HEIGHT,
    STAGES,
    UNRUN,
    WIDTH,
    Project,
    make_project,
    stages_run,
)

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
    return ("--scene", str(copied))


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
    return ("--scene", str(path))


def _safe(project: Project, folder: Path) -> Words:
    return ("--scene", str(zipped(product_of(_bands(project), folder))))


def _scenes(project: Project, folder: Path) -> Words:
    """Three kinds of scenes, of which only one states its radiometry, with polygons."""
    scenes = (words for make in (_folder, _stack, _safe) for words in make(project, folder))
    return (*scenes, *RADIOMETRY, *FCLASS)


def _images(project: Project, folder: Path) -> Words:
    mapped = ("--map", str(_bands(project)), *RADIOMETRY)
    return ("--scene", str(make_eurosat(folder / "eurosat", 5)), *mapped)


def _points(project: Project, folder: Path) -> Words:
    """Points in two files, a GeoPackage and a table."""
    polygons = _polygons(project)
    drawn = polygons.sample_points(4, rng=np.random.default_rng(0)).explode()
    seen = polygons["fclass"].loc[drawn.index].to_numpy()
    frame = gpd.GeoDataFrame({"seen": seen}, geometry=drawn.to_numpy(), crs=polygons.crs)
    frame = frame.to_crs(4326)
    frame[::2].to_file(folder / "points.gpkg")
    table = frame[1::2]
    places = {"longitude": table.geometry.x, "latitude": table.geometry.y}
    table.drop(columns="geometry").assign(**places).to_csv(folder / "table.csv", index=False)
    files = ("--labels", str(folder / "points.gpkg"), "--labels", str(folder / "table.csv"))
    return ("--scene", str(_bands(project)), *RADIOMETRY, *files)


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


CONF = {
    "train": "epochs: 1\nbatch_size: 256\nbands: all\nseed: 0\n",
    "evaluate": "gallery: 2\nbaselines: [majority]\n",
    "predict": "model: trained\nmosaic: none\n",
}
"""What a user may have written there to see a first map soon."""


@pytest.fixture(scope="module")
def cloned(tmp_path_factory: pytest.TempPathFactory, programs: Path) -> Project:
    project = replace(make_project(tmp_path_factory.mktemp("cloned")), programs=programs)
    for name, text in CONF.items():
        project.conf(name, text)
    project.commit("less to compute")
    project.run("git", "tag", UNRUN)
    return project


def _started(make: Callable[[Project, Path], Words], cloned: Project, folder: Path) -> Project:
    """A project after the two commands."""
    project = cloned.copy(folder, outputs=False)
    words = make(project, folder)
    said = project.run("python", "-m", "pipeline.cli", "start", *words)
    assert "every class" in said
    assert stages_run(project.dvc("repro")) == STAGES
    return project


def _require_map_and_report(project: Project, scene: str) -> None:
    (class_map,) = (project.path / "data" / "maps").glob(f"{scene}/*_classmap.tif")
    with rasterio.open(class_map) as dataset:
        assert dataset.read(1).max() >= 2
        assert dataset.bounds.right - dataset.bounds.left >= 10 * WIDTH
    assert (project.path / "data" / "maps" / "lenscape.qgs").is_file()
    assert (project.path / "reports" / "report.html").is_file()
    assert not project.run("git", "status", "--porcelain", "data"), "links are not for git"


@pytest.fixture(scope="module")
def of_scenes(cloned: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    return _started(_scenes, cloned, tmp_path_factory.mktemp("scenes"))


@pytest.mark.parametrize("scene", ["east", "stack_20170216", L1C])
def test_a_folder_a_stack_and_a_product_lead_to_a_map_and_a_report(
    of_scenes: Project, scene: str
) -> None:
    assert _scenes_of(of_scenes) == {"east", "stack_20170216", L1C}
    _require_map_and_report(of_scenes, scene)


@pytest.fixture(scope="module")
def of_points(cloned: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    return _started(_points, cloned, tmp_path_factory.mktemp("points"))


@pytest.mark.parametrize("file", ["points.gpkg", "table.csv"])
def test_points_lead_to_a_map_and_a_report(of_points: Project, file: str) -> None:
    (counts,) = (one for one in _meta(of_points)["counts"]["labels"] if one["file"] == file)
    assert counts["points"] - counts["outside"] - counts["duplicates"] > 50
    _require_map_and_report(of_points, "*")


@pytest.mark.parametrize("make", [_images, _raster])
def test_images_and_codes_lead_to_a_map_and_a_report(
    make: Callable[[Project, Path], Words], cloned: Project, tmp_path: Path
) -> None:
    _require_map_and_report(_started(make, cloned, tmp_path), "*")


def _meta(project: Project) -> dict[str, Any]:
    """What the patch store says of itself."""
    return json.loads((project.path / "data" / "patches" / "meta.json").read_text())  # type: ignore[no-any-return]


def _scenes_of(project: Project) -> set[str]:
    """The scenes that were trained on."""
    return {one["id"] for one in _meta(project)["scenes"]}
