"""docs/howto/mosaic.md as it stands: two zones and baselines trained on, a third scene mapped."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import rasterio
from pyproj import Transformer

from pipeline.geo.raster.grid import PixelGrid
from pipeline.learn.network.classifier import ModelMeta
from pipeline.store import PatchStore
from tests.support.pages import HOWTO, follow
from tests.support.projects import Project
from tests.support.worlds import World, separable_world

pytestmark = pytest.mark.slow

EAST = PixelGrid(32633, 300_000.0, 5_800_020.0, 132, 120)
NORTH = PixelGrid(32633, 300_480.0, 5_800_620.0, 132, 120)
WEST = PixelGrid(32632, 699_960.0, 5_800_020.0, 132, 120)
GRIDS = {"east": EAST, "north": NORTH, "west": WEST}


def _put(project: Project, name: str, world: World, offset: int) -> None:
    """The bands of a world among the scenes of a project, stored with an offset."""
    folder = project.path / "data" / "own" / "scenes" / name
    folder.mkdir()
    for path in world.bands.iterdir():
        with rasterio.open(path) as source:
            profile, pixels = source.profile, source.read(1)
        with rasterio.open(folder / path.name, "w", **profile) as target:
            target.write(pixels - np.int32(offset), 1)


@pytest.fixture(scope="module")
def made(
    finished_project: Project, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Project, str, dict[str, World]]:
    folder = tmp_path_factory.mktemp("zones")
    project = finished_project.copy(folder, outputs=False)
    worlds = {name: separable_world(folder / name, grid, seed=3) for name, grid in GRIDS.items()}
    for name, world in worlds.items():
        _put(project, name, world, 0 if name == "west" else -1_000)
    labels = [gpd.read_file(worlds[name].labels).to_crs(4326) for name in ("west", "east")]
    frame = gpd.GeoDataFrame(pd.concat(labels), crs=4326)
    frame.to_file(project.path / "data" / "own" / "labels" / "landuse.gpkg")
    project.conf("train", "epochs: 12\nbatch_size: 32\nbands: all\nseed: 0\n")
    project.conf("split", "block_m: 240.0\nfolds: 2\n")
    return project, follow(HOWTO / "mosaic.md", project), worlds


def _classes(project: Project, name: str) -> tuple[np.ndarray, rasterio.DatasetReader]:
    path = project.path / "data" / "maps" / name / f"{name}_classmap.tif"
    with rasterio.open(path) as dataset:
        return dataset.read(1), dataset


@pytest.mark.parametrize("name", GRIDS)
def test_each_scene_is_mapped_on_its_own_grid(made, name: str) -> None:
    project, _, worlds = made
    classes, dataset = _classes(project, name)
    grid = GRIDS[name]
    assert dataset.crs.to_epsg() == grid.epsg
    assert not dataset.transform.c % 20
    assert not dataset.transform.f % 20
    right = total = 0
    for row, col in np.ndindex(classes.shape):
        # the truth of the scene pixel in the middle of the map pixel
        x, y = dataset.transform @ (col + 0.5, row + 0.5)
        i, j = int((grid.y0 - y) // 10), int((x - grid.x0) // 10)
        patch = worlds[name].truth[max(i - 4, 0) : i + 4, max(j - 4, 0) : j + 4]
        if 0 <= i < grid.height and 0 <= j < grid.width and len(np.unique(patch)) == 1:
            total += 1
            right += classes[row, col] == patch[0, 0] + 1
    assert total > 30
    assert right / total > 0.85, f"{right} of {total}"


def test_training_holds_both_zones_and_their_baselines(made) -> None:
    store = PatchStore.open(made[0].path / "data" / "patches")
    assert sorted(set(store.patches["epsg"].tolist())) == [32632, 32633]
    known = [
        ("east", "2023-06-18T10:21:01Z", "sentinel-2b", "L2A", "05.09"),
        ("west", "2021-06-03T10:21:01Z", "sentinel-2a", "L2A", "03.00"),
    ]
    meta = ModelMeta.model_validate_json((made[0].path / "models" / "model.json").read_text())
    for scenes in (store.meta.scenes, meta.scenes):
        found = [(s.id, s.datetime, s.platform, s.level, s.baseline) for s in scenes]
        assert sorted(found) == known
    assert set(store.patches["scene"].tolist()) == {"east", "west"}
    means = [store.pixels[store.patches["epsg"] == epsg].mean() for epsg in (32632, 32633)]
    assert means[0] == pytest.approx(means[1], rel=0.05), "an offset was not taken off"


def test_maps_of_a_zone_are_cells_of_one_mosaic(made) -> None:
    project, _, _ = made
    mosaic, dataset = _classes(project, "mosaic_EPSG32633")
    taken = np.zeros(mosaic.shape, dtype=bool)
    for name in ("east", "north"):
        classes, one = _classes(project, name)
        left, top = ~dataset.transform @ (one.transform.c, one.transform.f)
        assert (left, top) == (round(left), round(top))
        here = np.s_[int(top) : int(top) + one.height, int(left) : int(left) + one.width]
        taken[here] |= mosaic[here] == classes
    assert taken[mosaic > 0].all()
    with rasterio.open(project.path / "data/maps/mosaic/mosaic_classmap.vrt") as whole:
        assert whole.crs.to_epsg() == 3857
        for name, grid in GRIDS.items():
            middle = grid.x0 + 600, grid.y0 - 660
            place = Transformer.from_crs(grid.epsg, 3857, always_xy=True).transform(*middle)
            assert next(whole.sample([place]))[0] > 0, name


def test_who_reads_the_map_over_all_zones_changes_nothing(made) -> None:
    """GDAL would write statistics into its VRT."""
    project, _, _ = made
    # the conf of the page's last block is that of its absence, but DVC reads it as another
    assert project.repro() == {"predict"}
    for name in ("classmap", "confidence"):
        with rasterio.open(project.path / f"data/maps/mosaic/mosaic_{name}.vrt") as dataset:
            dataset.stats()
    assert "up to date" in project.dvc("status")
    words = ("-m", "pipeline.cli", "provenance", "data/maps/mosaic/mosaic_classmap.vrt")
    run = json.loads((project.path / "models" / "run.json").read_text())["run_id"]
    assert run in project.run("python", *words)


def test_another_season_is_said_and_stays_with_the_map(made) -> None:
    project, printed, _ = made
    note = (
        "2023-10-01 is 105 days of the year from 2023-06-18, the nearest that the model was trained on"
    )
    assert f"warning: north: {note}\n" in printed
    assert "warning: east" not in printed
    path = project.path / "data" / "maps" / "north"
    with rasterio.open(path / "north_classmap.tif") as dataset:
        assert dataset.tags()["LENSCAPE_NOTE"] == note
    assert json.loads((path / "north.json").read_text())["properties"]["lenscape:note"] == note
    with closing(sqlite3.connect(project.path / "mlflow.db")) as store:
        tags = dict(store.execute("SELECT key, value FROM tags WHERE key LIKE 'note.%'").fetchall())
    assert tags == {"note.north": note}
