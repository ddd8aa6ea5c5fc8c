from __future__ import annotations

import shutil

import pytest

from pipeline.config.predict import RegisteredModelConf
from pipeline.errors import MismatchError, TrackingError
from pipeline.files import sha256_of
from pipeline.learn.network.classifier import PatchClassifier
from pipeline.learn.tracking.registry import (
    ModelVersion,
    champion_version,
    find_version,
    registered_model_folder,
    runs_of_weights,
)
from pipeline.learn.tracking.run import resume
from pipeline.learn.tracking.tracking_uri import connect
from tests.support.learners import model_meta
from tests.support.tracked import RECORD, make_models, mlflow_store, track


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A store to look at, with two versions of the model; the second one sees other bands."""
    folder = tmp_path_factory.mktemp("registry")
    with mlflow_store(folder / "mlflow"):
        track(make_models(folder / "first"))
        track(make_models(folder / "second", model_meta(bands=2), seed=1))
        yield folder


@pytest.fixture
def own_store(store, tmp_path):
    """The same to change."""
    for name in ("first", "second"):
        shutil.copytree(store / name, tmp_path / name)
    with mlflow_store(tmp_path / "mlflow", store / "mlflow"):
        yield tmp_path


def hash_of(folder):
    return sha256_of(folder / "weights.safetensors")


def test_versions_say_what_they_are(store):
    first, second = sorted(
        connect().search_model_versions("name = 'lenscape'"), key=lambda v: int(v.version)
    )
    assert (first.tags["bands"], second.tags["bands"]) == ("B01, B02, B03", "B01, B02")
    assert first.tags["classes"] == "c0, c1, c2, c3"
    assert first.tags["weights_sha256"] == hash_of(store / "first")
    assert first.tags["data_sha256"] == "1" * 64
    assert "uint16 patches (N, 3, 16, 16)" in first.description
    model = connect().get_registered_model("lenscape")
    assert "Land-cover classes" in model.description


def test_the_first_version_is_the_champion_until_a_person_moves_the_alias(own_store):
    assert find_version("champion").uri == "models:/lenscape/1"
    connect().set_registered_model_alias("lenscape", "champion", "2")
    track(make_models(own_store / "third", seed=2))
    assert find_version("champion").uri == "models:/lenscape/2"


@pytest.mark.parametrize(
    "name", ["champion", "1", "models:/lenscape/1", "models:/lenscape@champion", "lenscape@champion"]
)
def test_a_version_goes_by_many_names(store, name):
    found = find_version(name)
    run_id = connect().get_model_version("lenscape", "1").run_id
    assert found == ModelVersion(
        "models:/lenscape/1", hash_of(store / "first"), run_id, f"{'1' * 64}:{'2' * 64}"
    )


def test_there_is_no_champion_before_a_model_is_registered_nor_without_the_alias(own_store, tmp_path):
    del own_store
    assert champion_version().uri == "models:/lenscape/1"
    connect().delete_registered_model_alias("lenscape", "champion")
    assert champion_version() is None
    with mlflow_store(tmp_path / "empty"):
        assert champion_version() is None


@pytest.mark.parametrize("name", ["3", "0", "winner", "models:/other/1", "models:/", ""])
def test_a_version_that_is_not_there_is_one_sentence(store, name):
    del store
    with pytest.raises(TrackingError, match=r"registry sqlite.* has no version .*Models page"):
        find_version(name)


def test_a_model_that_somebody_else_registered_is_refused(own_store):
    client = connect()
    source = client.get_model_version("lenscape", "1").source
    client.create_registered_model("foreign")
    client.create_model_version("foreign", source)
    del own_store
    with pytest.raises(TrackingError, match=r"models:/foreign/1 .* has no tag weights_sha256"):
        find_version("models:/foreign/1")


def pinned(number, sha256):
    return RegisteredModelConf(uri=f"models:/lenscape/{number}", weights_sha256=sha256)


def test_a_registered_model_is_loaded_and_adds_to_its_own_run(own_store):
    shutil.rmtree(own_store / "second")  # what the registry has is enough
    version = find_version("2")
    folder = registered_model_folder(pinned(2, version.weights_sha256))
    assert PatchClassifier.load(folder).meta.bands == ["B01", "B02"]
    with resume(folder) as run:
        assert run.run_id == version.run_id


def test_another_hash_than_the_pinned_one_is_refused(store):
    with pytest.raises(MismatchError, match=r"models:/lenscape/2 has weights .* pin it again"):
        registered_model_folder(pinned(2, hash_of(store / "first")))


def test_a_version_whose_files_are_gone_is_refused(own_store):
    version = find_version("1")
    shutil.rmtree(own_store / "mlflow" / "mlartifacts" / version.run_id)
    with pytest.raises(TrackingError, match=r"files of models:/lenscape/1 .* are gone"):
        registered_model_folder(pinned(1, version.weights_sha256))


def test_runs_are_found_by_their_weights(store, tmp_path):
    sha256 = hash_of(store / "first")
    (run,) = runs_of_weights(sha256)
    assert run["name"] == RECORD.name
    assert run["commit"] == f"{'c' * 40}, with changes"
    assert run["registered"] == "models:/lenscape/1"
    assert "replayed from" not in run
    assert run["started"].endswith(" UTC")
    assert runs_of_weights("0" * 64) == []
    with mlflow_store(tmp_path / "clone"):
        with resume(store / "first"):
            pass
        (replayed,) = runs_of_weights(sha256)
        assert replayed["replayed from"] == run["run"]
