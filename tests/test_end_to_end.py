"""`dvc repro` from pixels to maps on a crop of the demo scene, and what reruns when something changes.

Each test works in a copy of one project that ran once.
"""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pyogrio
import pytest
import rasterio

from tests.support.projects import CONF, ROOT, Project, scene_entry, stages_run, write_jp2
from tests.support.viewers import open_in_qgis, open_layers_in_qgis

pytestmark = pytest.mark.slow

REPRODUCIBLE = ("data/scenes", "data/patches", "data/split")


@pytest.fixture
def project(finished_project: Project, tmp_path: Path) -> Project:
    """A copy of the project whose outputs are those of the project."""
    return finished_project.copy(tmp_path / "copy")


def tags_of_runs(project: Project) -> list[dict[str, str]]:
    """The tags of each run in the project's own MLflow store, the oldest first."""
    with closing(sqlite3.connect(project.path / "mlflow.db")) as store:
        runs = store.execute("SELECT run_uuid FROM runs ORDER BY start_time").fetchall()
        rows = store.execute("SELECT run_uuid, key, value FROM tags").fetchall()
    return [{key: value for owner, key, value in rows if owner == run} for (run,) in runs]


def test_nothing_reruns_when_nothing_changed(project: Project) -> None:
    assert project.repro() == set()
    assert project.run("git", "status", "--porcelain") == ""


def test_the_same_input_gives_the_same_bytes(project: Project) -> None:
    """Whatever the number of workers and the order in which they end."""
    before = {folder: project.bytes_of(folder) for folder in (*REPRODUCIBLE, "data/maps")}
    assert all(before.values())
    project.conf("compute", CONF["compute"] + "workers: 3\nmemory_mb: 128\n")
    stages = {"fetch", "tile", "split"}
    assert project.repro("--force", "--single-item", *sorted(stages)) == stages
    assert project.repro("--force", "--single-item", "predict") == {"predict"}
    assert {folder: project.bytes_of(folder) for folder in before} == before


def test_no_output_knows_where_it_was_made(finished_project: Project) -> None:
    here = str(finished_project.path.parent).encode()
    for folder in (*REPRODUCIBLE, "data/maps", "models", "reports"):
        for name in finished_project.bytes_of(folder):
            path = finished_project.path / folder / name
            assert here not in path.read_bytes(), f"{folder}/{name}"


def test_threads_memory_and_devices_rerun_nothing(project: Project) -> None:
    project.conf("compute", "workers: 1\nmemory_mb: 256\ndevices: 1\naccelerator: auto\n")
    assert "up to date" in project.dvc("status")


def test_a_jp2_overwritten_under_its_name_reruns_tile(project: Project) -> None:
    path = next((project.path / "data/demo/scenes/east").glob("*_B04.jp2"))
    with rasterio.open(path) as source:
        pixels, profile = source.read(1), source.profile
    write_jp2(path, np.maximum(pixels, 1)[::-1], profile)
    assert project.repro("tile") == {"fetch", "tile"}


def test_a_changed_label_reruns_tile(project: Project) -> None:
    path = next((project.path / "data/demo/labels").glob("*.gpkg"))
    frame = pyogrio.read_dataframe(path)
    frame.loc[frame["fclass"] == "scrub", "fclass"] = "meadow"
    path.unlink()
    pyogrio.write_dataframe(frame, path)
    assert project.repro("tile") == {"tile"}


def test_other_bands_rerun_training_and_what_follows(project: Project) -> None:
    ran = project.dvc("exp", "run", "--set-param", "conf/train.yaml:bands=rgb")
    assert stages_run(ran) == {"train", "evaluate", "predict"}
    model = json.loads((project.path / "models" / "model.json").read_text())
    assert model["bands"] == ["B04", "B03", "B02"]
    shown = project.dvc("metrics", "diff", "--all")
    assert "test.balanced_accuracy" in shown
    assert "dirty" not in project.dvc("exp", "show", "--csv")


def test_a_scene_to_map_reruns_fetch_and_predict(project: Project) -> None:
    text = CONF["fetch"].replace("{scenes}", scene_entry("east"))
    more = f"map:\n{scene_entry('east')}\n{scene_entry('north')}\n"
    before = project.bytes_of("data/maps/east")
    project.conf("fetch", text.replace("map: train\n", more))
    assert project.repro() == {"fetch", "predict"}
    assert (project.path / "data/maps/north/north_classmap.tif").exists()
    assert project.bytes_of("data/maps/east") == before


def test_queued_experiments_that_run_at_once_land_in_the_main_store(project: Project) -> None:
    for seed in (1, 2):
        parameter = f"conf/train.yaml:seed={seed}"
        project.dvc("exp", "run", "--queue", "--name", f"seed-{seed}", "-S", parameter, "train")
    project.dvc("exp", "run", "--run-all", "--jobs", "2")
    names = [tags["dvc.experiment"] for tags in tags_of_runs(project) if "dvc.experiment" in tags]
    assert sorted(names) == ["seed-1", "seed-2"]
    assert list(project.path.rglob("mlflow.db")) == [project.path / "mlflow.db"]
    assert set(project.dvc("exp", "list", "--name-only").split()) == {"seed-1", "seed-2"}


def test_queued_experiments_run_on_scenes_of_ones_own(project: Project) -> None:
    """By the commands of the README."""
    demo, own = project.path / "data" / "demo", project.path / "data" / "own"
    shutil.copytree(demo / "scenes" / "east", own / "scenes" / "mine")
    shutil.copy(demo / "labels" / "osm_landuse.gpkg", own / "labels" / "mine.gpkg")
    scene = scene_entry("east").replace("data/demo/scenes/east", "data/own/scenes/mine")
    project.conf("fetch", CONF["fetch"].replace("{scenes}", scene))
    labels = "data/own/labels/mine.gpkg"
    project.conf("tile", CONF["tile"].replace("data/demo/labels/osm_landuse.gpkg", labels))
    project.commit("a scene of my own")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    queued, run = re.findall(
        r"^dvc (exp run --queue .*--copy.*)\n^dvc (exp run --run-all.*)$", readme, re.M
    )[0]
    words = queued.replace("SCENE", "mine").replace("LABELS.gpkg", "mine.gpkg").split()
    project.dvc(*words, "--name", "on-my-own", "train")
    project.dvc(*run.split())
    assert project.dvc("exp", "list", "--name-only").split() == ["on-my-own"]
    assert "on-my-own" in {tags.get("dvc.experiment") for tags in tags_of_runs(project)}


def test_the_demo_runs_without_git(project: Project) -> None:
    shutil.rmtree(project.path / ".git")
    shutil.copy(ROOT / "Makefile", project.path)
    shown = project.run("make", "--old-file", "setup", "demo")
    assert "Class map:  data/maps/east/east_classmap.tif" in shown
    assert stages_run(shown) == set()


def test_a_second_clone_replays_its_run(project: Project, tmp_path: Path) -> None:
    project.dvc("remote", "add", "--local", "store", str(tmp_path / "remote"))
    project.dvc("push", "--remote", "store")
    second = project.clone(tmp_path / "second")
    second.dvc("remote", "add", "--local", "--default", "store", str(tmp_path / "remote"))
    second.dvc("pull")
    assert second.repro() == set()
    assert not (second.path / "mlflow.db").exists()
    assert second.repro("--single-item", "--force", "predict") == {"predict"}
    tags, *folds = tags_of_runs(second)
    assert [fold["mlflow.runName"] for fold in folds] == ["fold 1", "fold 2"]
    record = json.loads((second.path / "models" / "run.json").read_text())
    assert tags["replayed_from"] == record["run_id"]
    assert second.run("git", "status", "--porcelain") == ""


def test_metrics_and_plots_are_shown(project: Project) -> None:
    shown = json.loads(project.dvc("metrics", "show", "--json"))[""]["data"]
    assert set(shown) == {"reports/metrics.json", "reports/audit.json"}
    assert 0 < shown["reports/metrics.json"]["data"]["test"]["balanced_accuracy"] <= 1
    plots = json.loads(project.dvc("plots", "show", "--json"))
    assert not plots.get("errors")
    (loss,), (confusion,) = (plots["data"][name] for name in ("loss", "confusion"))
    lines = {row["field"] for row in loss["content"]["data"]["values"]}
    assert lines == {"train_loss", "validation_loss"}
    assert loss["content"]["title"]["text"] == "Loss by epoch"
    assert confusion["content"]["title"]["text"] == "Confusion matrix on held-out ground"
    pairs = [(row["actual"], row["predicted"]) for row in confusion["content"]["data"]["values"]]
    matrix = json.loads((project.path / "reports" / "metrics.json").read_text())["test"]
    right = sum(actual == predicted for actual, predicted in pairs)
    assert (len(pairs), right / len(pairs)) == (
        matrix["patches"],
        pytest.approx(matrix["accuracy"], abs=1e-4),
    )


def test_qgis_shows_all_outputs_and_dvc_sees_no_change(project: Project, tmp_path: Path) -> None:
    maps = project.path / "data" / "maps" / "east"
    rasters = [maps / "east_classmap.tif", maps / "east_confidence.tif"]
    shown = open_in_qgis(rasters, tmp_path)
    classes = [["Open land", "#e6c35c"], ["Wald und Gebüsch", "#1f7a3d"], ["Wet", "#2f7fd6"]]
    assert shown[str(rasters[0])]["legend"] == classes
    # that of the crop
    expected = [335_280, 5_814_360, 340_080, 5_818_200]
    for path in rasters:
        assert (shown[str(path)]["crs"], shown[str(path)]["extent"]) == ("EPSG:32633", expected)
        assert Path(shown[str(path)]["png"]).stat().st_size > 1000
    layers = ["data/split/blocks.gpkg", "data/split/patches.gpkg", "reports/errors.gpkg"]
    seen = open_layers_in_qgis([project.path / name for name in layers], tmp_path)
    assert all(layer["crs"] == "EPSG:32633" and layer["features"] > 10 for layer in seen.values())
    assert "up to date" in project.dvc("status")
    assert project.run("git", "status", "--porcelain") == ""
