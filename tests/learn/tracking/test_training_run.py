"""A store that fails costs no training, and what it missed is recorded later, once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import mlflow
import psutil
import pytest

from pipeline.commands import log
from pipeline.errors import TrackingError
from pipeline.learn.tracking import run as runs
from pipeline.learn.tracking.run import add, resume, run_record
from pipeline.learn.tracking.tracking_uri import connect
from pipeline.learn.tracking.training_run import TrainingRun
from tests.support.mlflow_servers import faulty, free_port, mlflow_server
from tests.support.tracked import HISTORY, RECORD, make_models, mlflow_store

ROOT = Path(__file__).parents[3]


@pytest.fixture
def store(tmp_path):
    """An empty MLflow store in a folder, and a checkout beside it."""
    with mlflow_store(tmp_path / "mlflow"), pytest.MonkeyPatch.context() as patch:
        patch.setenv("DVC_ROOT", str(tmp_path))
        patch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")
        yield tmp_path / "mlflow"


def train(models: Path, before=lambda _: None) -> None:
    """A training of two epochs; `before` is called at its moments."""
    with TrainingRun(RECORD, models.with_name("run_id")) as run:
        for row in HISTORY:
            before(row.epoch)
            run.epoch(row)
        before("keep")
        run.keep(make_models(models), {"kept_epoch": 2.0})


def assert_whole(models: Path) -> mlflow.entities.Run:
    """All of a model is in the one run that it has, and it is registered once; the run."""
    client = connect()
    experiment = client.get_experiment_by_name("lenscape")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    assert run.data.params == RECORD.params
    assert "weights_sha256" in run.data.tags
    assert run.data.metrics["kept_epoch"] == 2
    points = client.get_metric_history(run.info.run_id, "train/loss")
    assert [(point.step, point.value) for point in points] == [(1, 1.5), (2, 1.0)]
    assert len(run.inputs.dataset_inputs) == 3
    (version,) = client.search_model_versions("name = 'lenscape'")
    assert version.run_id == run.info.run_id
    assert client.get_registered_model("lenscape").aliases == {"champion": version.version}
    files = client.list_artifacts(run.info.run_id, "checkpoint")
    assert {"checkpoint/run.json", "checkpoint/weights.safetensors"} <= {file.path for file in files}
    assert run.info.run_id == run_record(models).run_id or "replayed_from" in run.data.tags
    return run


def out_of_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free_port()}")


def test_a_store_that_is_not_there_costs_no_training(store, tmp_path, monkeypatch, capsys):
    with monkeypatch.context() as patch:
        out_of_order(patch)
        train(tmp_path / "models")
        warnings = capsys.readouterr().err.splitlines()
        assert "cannot be used" in warnings[0]
        assert warnings[0].endswith("Training begins all the same.")
        assert warnings[1].endswith("the next stage or `lenscape log` does it.")
        assert len(warnings) == 2
        with pytest.raises(TrackingError, match="cannot be used"):
            log.run(tmp_path / "models")
    del store
    log.run(tmp_path / "models")
    assert "is complete" in capsys.readouterr().out
    assert_whole(tmp_path / "models")


def test_a_deleted_experiment_is_named_and_costs_no_training(store, tmp_path, capsys):
    client = connect()
    number = client.get_experiment_by_name("lenscape").experiment_id
    client.delete_experiment(number)
    del store
    train(tmp_path / "models")
    assert f"`mlflow experiments restore --experiment-id {number}`" in capsys.readouterr().err
    client.restore_experiment(number)
    with resume(tmp_path / "models"):
        pass
    assert_whole(tmp_path / "models")


def test_an_experiment_deleted_during_training_costs_nothing(store, tmp_path, capsys):
    client = connect()
    number = client.get_experiment_by_name("lenscape").experiment_id
    del store
    train(tmp_path / "models", lambda moment: moment == 2 and client.delete_experiment(number))
    assert len(capsys.readouterr().err.splitlines()) == 1
    client.restore_experiment(number)
    log.run(tmp_path / "models")
    assert_whole(tmp_path / "models")


def test_files_that_cannot_be_written_are_recorded_later(store, tmp_path, capsys):
    place = store / "mlartifacts"
    place.write_text("in the way")
    train(tmp_path / "models")
    (warning,) = capsys.readouterr().err.splitlines()
    assert warning.startswith("warning: the MLflow store sqlite")
    place.unlink()
    log.run(tmp_path / "models")
    assert_whole(tmp_path / "models")


def test_a_run_that_is_whole_is_left_alone(store, tmp_path):
    del store
    train(tmp_path / "models")
    before = assert_whole(tmp_path / "models")
    for _ in range(2):
        log.run(tmp_path / "models")
    assert assert_whole(tmp_path / "models").data.tags == before.data.tags


def test_what_a_stage_could_not_add_is_sent_by_the_next(store, tmp_path, monkeypatch, capsys):
    models = tmp_path / "models"
    train(models)

    def additions(run):
        run.metrics({"test/accuracy": 0.5})
        run.tags({"note.east": "a winter scene"})
        run.text("a,b\n", "maps/east/areas.csv")
        run.describe(f"of commit {run.current_tags()['git.commit']}")
        run.describe_version("card", {"accuracy": "0.5"})

    with monkeypatch.context() as patch:
        out_of_order(patch)
        add(models, "evaluate", additions)
        add(models, "evaluate", additions)  # again: in place of the first
    assert "What evaluate adds to the run of the model is kept" in capsys.readouterr().err
    add(models, "predict", lambda run: run.metrics({"outside": 0.25}))
    run = assert_whole(models)
    assert run.data.metrics["test/accuracy"] == 0.5
    assert run.data.metrics["outside"] == 0.25
    assert run.data.tags["note.east"] == "a winter scene"
    assert run.data.tags["mlflow.note.content"] == f"of commit {'c' * 40}"
    (file,) = connect().list_artifacts(run.info.run_id, "maps/east")
    assert file.path == "maps/east/areas.csv"
    (version,) = connect().search_model_versions("name = 'lenscape'")
    assert (version.description, version.tags["accuracy"]) == ("card", "0.5")
    assert list((tmp_path / "mlflow_unsent").rglob("*.*")) == []
    del store


def test_the_next_training_closes_runs_whose_process_is_gone(store, tmp_path):
    del store
    client = connect()
    number = client.get_experiment_by_name("lenscape").experiment_id
    here, host = psutil.Process(), os.uname().nodename
    tags = {
        "gone": f"{here.pid} 1000 {host}",
        "lives": f"{here.pid} {here.create_time():.0f} {host}",
        "elsewhere": f"{here.pid} 1000 another.host",
        "of an older version": None,
    }
    made = {
        name: client.create_run(number, tags={runs._PROCESS: tag} if tag else {}).info.run_id
        for name, tag in tags.items()
    }
    train(tmp_path / "models")
    status = {name: client.get_run(run_id).info.status for name, run_id in made.items()}
    assert status.pop("gone") == "KILLED"
    assert set(status.values()) == {"RUNNING"}


@pytest.mark.slow
def test_a_killed_training_is_closed(store, tmp_path):
    code = (
        "import os, signal\n"
        "from pathlib import Path\n"
        "from pipeline.learn.tracking.training_run import TrainingRun\n"
        "from tests.support.tracked import RECORD\n"
        f"TrainingRun(RECORD, Path({str(tmp_path / 'killed')!r})).__enter__()\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    client = connect()
    number = client.get_experiment_by_name("lenscape").experiment_id
    (killed,) = client.search_runs([number])
    assert killed.info.status == "RUNNING"
    train(tmp_path / "models")
    assert client.get_run(killed.info.run_id).info.status == "KILLED"
    del store


def test_a_training_that_was_cut_off_goes_on_in_its_run(store, tmp_path):
    del store
    client = connect()
    known = tmp_path / "run_id"

    def cut(moment):
        if moment == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "models", cut)
    assert client.get_run(known.read_text()).info.status == "FAILED"
    train(tmp_path / "models")
    # each epoch once
    assert assert_whole(tmp_path / "models").info.run_id == known.read_text()


def test_a_training_whose_run_was_deleted_meanwhile_gets_another(store, tmp_path):
    del store
    known = tmp_path / "run_id"
    with pytest.raises(KeyboardInterrupt), TrainingRun(RECORD, known):
        raise KeyboardInterrupt
    deleted = known.read_text()
    connect().delete_run(deleted)
    train(tmp_path / "models")
    assert assert_whole(tmp_path / "models").info.run_id == known.read_text() != deleted


@pytest.fixture(scope="module")
def served(tmp_path_factory, programs):
    """A real server with one before it that fails as it is told to."""
    with mlflow_server(tmp_path_factory.mktemp("server"), programs) as server, faulty(server) as faults:
        yield faults


@pytest.fixture
def faults(served, store, monkeypatch):
    """The same for one test: what others left in the store is gone."""
    del store
    monkeypatch.setenv("MLFLOW_TRACKING_URI", served.uri)
    served.path = "$^"
    client = connect()
    for run in client.search_runs([client.get_experiment_by_name("lenscape").experiment_id]):
        client.delete_run(run.info.run_id)
    if client.search_registered_models():
        client.delete_registered_model("lenscape")
    return served


@pytest.mark.slow
def test_a_server_without_logged_models_gets_the_rest(faults, tmp_path, capsys):
    faults.path, faults.status, faults.times = "logged-models", 404, 1_000_000
    train(tmp_path / "models")
    assert "the model is not registered in the MLflow store yet" in capsys.readouterr().err
    add(tmp_path / "models", "evaluate", lambda run: run.metrics({"test/accuracy": 0.5}))
    with pytest.raises(TrackingError, match="must be of MLflow 3"):
        log.run(tmp_path / "models")
    faults.path = "$^"
    log.run(tmp_path / "models")
    assert assert_whole(tmp_path / "models").data.metrics["test/accuracy"] == 0.5


@pytest.mark.slow
@pytest.mark.parametrize(
    "path",
    [
        "runs/log-batch",
        "runs/log-inputs",
        "runs/update",
        "mlflow-artifacts",
        "logged-models",
        "registered-models/create",
        "model-versions/create",
        "registered-models/alias",
    ],
)
def test_whatever_fails_for_a_moment_the_run_is_whole_in_the_end(faults, tmp_path, path):
    faults.path, faults.status, faults.times = path, 503, 3  # a request and its two retries
    train(tmp_path / "models")
    assert faults.times == 0
    log.run(tmp_path / "models")
    assert_whole(tmp_path / "models")


@pytest.mark.slow
def test_a_passing_error_is_no_answer_that_the_run_is_unknown(faults, tmp_path):
    models = tmp_path / "models"
    train(models)
    faults.path, faults.status, faults.times = "runs/get", 500, 1_000_000
    add(models, "predict", lambda run: run.metrics({"outside": 0.5}))
    faults.path = "$^"
    log.run(models)
    assert assert_whole(models).data.metrics["outside"] == 0.5


@pytest.mark.slow
def test_a_password_is_printed_by_nobody(faults, tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", faults.uri.replace("//", "//me:geheim@"))
    train(tmp_path / "models")
    faults.path, faults.status, faults.times = "runs/get", 500, 1_000_000
    add(tmp_path / "models", "predict", lambda run: run.metrics({"outside": 0.5}))
    printed = "".join(capfd.readouterr())
    assert "View run" in printed
    assert "is kept" in printed
    assert "geheim" not in printed


@pytest.mark.slow
@pytest.mark.parametrize("moment", [1, 2, "keep"])
@pytest.mark.parametrize("comes_back", [False, True])
def test_a_server_that_is_killed_in_training(
    tmp_path, store, programs, monkeypatch, moment, comes_back
):
    del store
    order = [1, 2, "keep"]
    with mlflow_server(tmp_path / "server", programs) as server:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)

        def before(now):
            if now == moment:
                server.kill()
            elif comes_back and order.index(now) == order.index(moment) + 1:
                server.start()

        train(tmp_path / "models", before)
        add(tmp_path / "models", "evaluate", lambda run: run.metrics({"test/accuracy": 0.5}))
        if server.process is None:
            server.start()
        log.run(tmp_path / "models")
        assert assert_whole(tmp_path / "models").data.metrics["test/accuracy"] == 0.5
