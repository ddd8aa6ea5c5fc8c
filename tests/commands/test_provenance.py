from __future__ import annotations

import numpy as np
import pytest
import rasterio
from affine import Affine
from click.testing import CliRunner

from pipeline.cli import cli
from pipeline.commands.provenance import run
from pipeline.errors import SceneError, TrackingError
from pipeline.files import sha256_of
from pipeline.learn.tracking.run import resume, run_record
from tests.support.tracked import RECORD, make_models, mlflow_store, track


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """The folder of a registered model."""
    folder = tmp_path_factory.mktemp("provenance")
    with mlflow_store(folder):
        track(make_models(folder / "models"))
        yield folder / "models"


def make_map(path, **tags):
    profile = {"driver": "GTiff", "height": 4, "width": 4, "count": 1, "dtype": "uint8"}
    place = {"crs": "EPSG:32633", "transform": Affine(80, 0, 400_000, 0, -80, 5_800_000)}
    with rasterio.open(path, "w", **profile, **place) as target:
        target.write(np.ones((1, 4, 4), np.uint8))
        target.update_tags(**tags)
    return path


@pytest.fixture
def class_map(models, tmp_path):
    """A map that says which weights made it."""
    weights = sha256_of(models / "weights.safetensors")
    return make_map(tmp_path / "s1_classmap.tif", LENSCAPE_WEIGHTS_SHA256=weights)


def test_a_map_leads_to_its_run(models, class_map, capsys):
    run(class_map)
    out = capsys.readouterr().out
    found = dict(line.split(maxsplit=1) for line in out.splitlines()[2:])
    assert found["run"] == run_record(models).run_id
    assert found["name"] == RECORD.name
    assert found["started"].endswith("UTC")
    assert found["commit"] == f"{'c' * 40}, with changes"
    assert found["registered"] == "models:/lenscape/1"
    assert "replayed" not in out


def test_in_another_store_it_leads_to_the_replayed_run(models, class_map, tmp_path, capsys):
    with mlflow_store(tmp_path / "clone"):
        with resume(models):
            pass
        run(class_map)
    original = run_record(models).run_id
    assert f"replayed from {original}" in capsys.readouterr().out


def test_a_map_of_an_unknown_model_is_one_sentence(class_map, tmp_path):
    with (
        mlflow_store(tmp_path / "empty"),
        pytest.raises(
            TrackingError, match=r"has no run with the weights .*; point MLFLOW_TRACKING_URI"
        ),
    ):
        run(class_map)


@pytest.mark.usefixtures("models")
def test_a_raster_of_something_else_is_refused(tmp_path):
    path = make_map(tmp_path / "other.tif")
    with pytest.raises(SceneError, match=r"other\.tif has no tag LENSCAPE_WEIGHTS_SHA256"):
        run(path)


@pytest.mark.usefixtures("models")
def test_what_is_no_raster_is_refused(tmp_path):
    (tmp_path / "map.tif").write_text("nothing")
    for name in ("map.tif", "nowhere.tif"):
        with pytest.raises(SceneError, match=name):
            run(tmp_path / name)


@pytest.mark.usefixtures("models")
def test_the_former_name_still_works_hidden_and_says_the_new_one(class_map):
    answer = CliRunner().invoke(cli, ["whence", str(class_map)])
    new = CliRunner().invoke(cli, ["provenance", str(class_map)])
    assert (answer.exit_code, answer.stdout) == (0, new.stdout)
    assert new.stdout.startswith(f"{class_map}: weights ")
    assert "now called lenscape provenance" in answer.stderr
    assert new.stderr == ""
    assert "whence" not in CliRunner().invoke(cli, ["--help"]).output
