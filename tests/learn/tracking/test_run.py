from __future__ import annotations

import shutil
import time
from pathlib import Path

import mlflow
import numpy as np
import pytest
from mlflow.entities import Run

from pipeline.errors import StoreError, TrackingError
from pipeline.files import sha256_of
from pipeline.learn.network.history import write_history
from pipeline.learn.tracking.run import RUN, open_run, resume, run_record, write_record
from pipeline.learn.tracking.tracker import Tracker
from tests.support.tracked import HISTORY, RECORD, make_models, mlflow_store, track


@pytest.fixture
def store(tmp_path):
    """An empty MLflow store in a folder."""
    with mlflow_store(tmp_path / "mlflow"):
        yield tmp_path / "mlflow"


@pytest.fixture
def models(tmp_path, store):
    """The folder of a model that is tracked in the store."""
    del store
    made = make_models(tmp_path / "models")
    track(made)
    return made


def client() -> mlflow.MlflowClient:
    return mlflow.MlflowClient()


def runs() -> list[Run]:
    """The runs of the experiment, the oldest first."""
    experiment = client().get_experiment_by_name("lenscape")
    return client().search_runs([experiment.experiment_id], order_by=["attributes.start_time"])


def artifacts(run_id: str, folder: str = "") -> set[str]:
    found: set[str] = set()
    for item in client().list_artifacts(run_id, folder):
        found |= artifacts(run_id, item.path) if item.is_dir else {item.path}
    return found


def curve(run_id: str, name: str) -> dict[int, float]:
    return {point.step: point.value for point in client().get_metric_history(run_id, name)}


EVERYTHING = {
    "layers.txt",
    "figures/curves.png",
    *(f"checkpoint/{name}" for name in ("weights.safetensors", "model.json", RUN, "history.csv")),
    "checkpoint/layers.txt",
}


def assert_holds_the_model(run: Run, models: Path) -> None:
    """Everything that `train` has to say is in a run."""
    assert run.info.status == "FINISHED"
    assert run.info.run_name == RECORD.name
    assert run.data.params == RECORD.params
    assert RECORD.tags.items() <= run.data.tags.items()
    assert run.data.tags["weights_sha256"] == sha256_of(models / "weights.safetensors")
    assert curve(run.info.run_id, "train/loss") == {row.epoch: row.train_loss for row in HISTORY}
    assert curve(run.info.run_id, "val/balanced_accuracy") == {1: 0.375, 2: 0.625}
    assert artifacts(run.info.run_id) == EVERYTHING
    seen = {
        item.tags[0].value: (item.dataset.name, item.dataset.digest)
        for item in run.inputs.dataset_inputs
        if item.tags[0].key == "mlflow.data.context"
    }
    assert seen == {part.context: (f"patches-{part.context}", part.digest) for part in RECORD.parts}
    assert len(run.outputs.model_outputs) == 1


def test_training_opens_a_run_and_keeps_the_model_in_it(models):
    (run,) = runs()
    assert_holds_the_model(run, models)
    assert run_record(models) == RECORD.model_copy(update={"run_id": run.info.run_id})


def test_later_stages_add_to_the_run(models):
    for accuracy in (0.5, 0.75):  # evaluated twice: the last word counts
        with resume(models) as run:
            run.metrics({"test/accuracy": accuracy})
            run.picture(b"\x89PNG", "figures/confusion.png")
            run.text("a,b\n", "maps/areas.csv")
            run.describe(f"accuracy {accuracy}")
            run.describe_version("card " * 2000, {"balanced_accuracy": str(accuracy)})
            assert run.data.tags["git.commit"] == "c" * 40
    (found,) = runs()
    assert found.info.run_id == run_record(models).run_id
    assert found.info.status == "FINISHED"
    assert found.data.metrics["test/accuracy"] == 0.75
    assert found.data.tags["mlflow.note.content"] == "accuracy 0.75"
    added = {"figures/confusion.png", "maps/areas.csv"}
    assert artifacts(found.info.run_id) == EVERYTHING | added
    (version,) = client().search_model_versions("name = 'lenscape'")
    assert version.tags["balanced_accuracy"] == "0.75"
    assert len(version.description) <= 5000
    assert version.description.endswith("(more in the run: model_card.md)")


def test_another_store_replays_the_run_once(models, tmp_path):
    known = run_record(models).run_id
    with mlflow_store(tmp_path / "clone"):
        for number in (1, 2):
            with resume(models) as run:
                run.metrics({"test/accuracy": number / 4})
        (replayed,) = runs()
        assert replayed.info.run_id != known
        assert replayed.data.tags["replayed_from"] == known
        assert replayed.data.metrics["test/accuracy"] == 0.5
        assert_holds_the_model(replayed, models)
        loaded = mlflow.pyfunc.load_model("models:/lenscape@champion")
        pixels = np.full((2, 3, 16, 16), 700, np.uint16)
        assert loaded.predict(pixels).shape == (2, 4)
    assert len(runs()) == 1  # the first store has no other
    assert run_record(models).run_id == known


def test_a_deleted_run_is_replayed(models):
    (first,) = runs()
    client().delete_run(first.info.run_id)
    with resume(models):
        pass
    (second,) = runs()
    assert second.data.tags["replayed_from"] == first.info.run_id


def test_a_replay_that_was_cut_short_is_completed(models, tmp_path):
    with mlflow_store(tmp_path / "clone"):
        (models / "history.csv").rename(tmp_path / "history.csv")
        with pytest.raises(StoreError, match=r"history\.csv does not exist"), resume(models):
            pass
        shutil.move(tmp_path / "history.csv", models / "history.csv")
        with resume(models):
            pass
        (whole,) = runs()
        assert_holds_the_model(whole, models)


def test_a_stage_that_fails_leaves_a_failed_run(models):
    with pytest.raises(StoreError), resume(models):
        raise StoreError("no such file")
    assert runs()[0].info.status == "FAILED"


@pytest.mark.usefixtures("store")
def test_a_run_that_some_shell_left_behind_is_not_continued(tmp_path, monkeypatch):
    models = make_models(tmp_path / "models")
    first = track(models)
    monkeypatch.setenv("MLFLOW_RUN_ID", first)
    assert track(make_models(tmp_path / "other", seed=1)) != first


@pytest.mark.usefixtures("store")
def test_the_machine_is_watched_meanwhile():
    deadline = time.monotonic() + 20
    with open_run(RECORD) as run:
        while time.monotonic() < deadline:
            seen = client().get_run(run.run_id).data.metrics
            if "system/system_memory_usage_percentage" in seen:
                break
            time.sleep(0.2)
    assert seen["system/system_memory_usage_percentage"] > 0


@pytest.mark.usefixtures("store")
def test_long_and_many_values_fit():
    many = {f"train.{n}": str(n) for n in range(250)}
    record = RECORD.model_copy(update={"params": many | {"tile.scenes": "s, " * 9000}})
    with open_run(record) as run:
        run.describe("word " * 5000)
    (found,) = runs()
    assert len(found.data.params) == 251
    assert found.data.params["tile.scenes"] == ("s, " * 9000)[:6000]


def add_folds(models):
    """The networks of two folds, as `train` leaves them in the folder of a model."""
    for number, rows in (("1", HISTORY), ("2", HISTORY[:1])):
        (models / "folds" / number).mkdir(parents=True)
        write_history(models / "folds" / number / "history.csv", rows)


@pytest.mark.usefixtures("store")
def test_folds_are_children_of_the_one_run_and_not_registered(tmp_path):
    models = make_models(tmp_path / "models")
    add_folds(models)
    run_id = track(models)
    children = {run.info.run_name: run for run in runs()}
    assert set(children) == {RECORD.name, "fold 1", "fold 2"}
    top = children.pop(RECORD.name)
    assert top.info.run_id == run_id
    assert "mlflow.parentRunId" not in top.data.tags
    for number, epochs in (("1", 2), ("2", 1)):
        child = children[f"fold {number}"]
        assert child.data.tags["mlflow.parentRunId"] == run_id
        assert child.data.params == RECORD.params | {"split.fold": number}
        assert child.info.status == "FINISHED"
        assert curve(child.info.run_id, "val/loss") == {
            row.epoch: row.validation_loss for row in HISTORY[:epochs]
        }
    assert len(client().search_registered_models()) == 1
    assert len(client().search_model_versions("name = 'lenscape'")) == 1
    with resume(models):
        pass
    assert len(runs()) == 3


@pytest.mark.usefixtures("store")
def test_a_fold_that_was_half_logged_is_completed_once(tmp_path, monkeypatch):
    models = make_models(tmp_path / "models")
    add_folds(models)
    original, left = Tracker.history, [2]  # that of the model, and of the first fold

    def failing(tracker, rows):
        if not left[0]:
            raise TrackingError("gone")
        left[0] -= 1
        original(tracker, rows)

    with monkeypatch.context() as patch:
        patch.setattr(Tracker, "history", failing)
        with pytest.raises(TrackingError):
            track(models)
    assert {run.info.run_name: run.info.status for run in runs()} == {
        RECORD.name: "FAILED",
        "fold 1": "FINISHED",
        "fold 2": "RUNNING",
    }
    with resume(models):
        pass
    found = {run.info.run_name: run for run in runs()}
    assert len(runs()) == 3
    assert {run.info.status for run in found.values()} == {"FINISHED"}
    assert curve(found["fold 2"].info.run_id, "train/loss") == {1: 1.5}
    with resume(models):
        pass
    assert len(runs()) == 3


def test_a_history_is_logged_once_whatever_the_run_has(models):
    run_id = run_record(models).run_id
    rows = [*HISTORY, HISTORY[1]._replace(epoch=3, validation_loss=None)]
    with resume(models) as run:
        run.history(rows)
        run.history(rows)
        assert run.epochs() == {1, 2, 3}
        assert run.epochs("val/loss") == {1, 2}
    points = client().get_metric_history(run_id, "train/loss")
    assert [(point.step, point.value) for point in points] == [(1, 1.5), (2, 1.0), (3, 1.0)]


def test_a_store_that_fails_on_the_way_is_one_sentence(models):
    with (
        pytest.raises(TrackingError, match=r"MLflow store sqlite.* failed .*; see to it and run again"),
        resume(models) as run,
    ):
        run.metrics({"not a name?": 1.0})


def test_a_model_that_is_not_whole_is_not_registered(tmp_path, store):
    del store
    models = make_models(tmp_path / "models")
    (models / "weights.safetensors").unlink()
    with pytest.raises(StoreError, match=r"weights\.safetensors does not exist"):
        track(models)
    assert client().search_registered_models() == []


def test_a_record_comes_back_as_it_was(tmp_path):
    known = RECORD.model_copy(update={"run_id": "f" * 32})
    write_record(tmp_path, known)
    assert run_record(tmp_path) == known


@pytest.mark.parametrize("text", ["", "{", '{"name": "a"}', '{"run": 1}'])
def test_a_broken_record_is_refused(tmp_path, text):
    (tmp_path / RUN).write_text(text)
    with pytest.raises(StoreError, match=r"run\.json is broken .* run `train` again"):
        run_record(tmp_path)


def test_a_missing_record_is_refused(tmp_path):
    with pytest.raises(StoreError, match=r"run\.json does not exist; run `train` first"):
        run_record(tmp_path)
