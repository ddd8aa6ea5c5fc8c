from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.errors import TrackingError
from pipeline.learn.tracking import tracking_uri
from tests.support.tracked import mlflow_store


def git(folder: Path, *words: str) -> None:
    who = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    subprocess.run(["git", *who, *words], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A git repository as the working directory, with no word from DVC or MLflow."""
    for name in ("DVC_ROOT", "DVC_STAGE", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "checkout"
    folder.mkdir()
    git(folder, "init", "--quiet")
    (folder / "code.py").write_text("a = 1\n")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "--message", "first")
    monkeypatch.chdir(folder)
    return folder


def test_the_store_lies_in_the_checkout_from_anywhere_within(checkout, monkeypatch):
    assert tracking_uri.store_uri() == f"sqlite:///{checkout}/mlflow.db"
    (checkout / "deep" / "er").mkdir(parents=True)
    monkeypatch.chdir(checkout / "deep" / "er")
    assert tracking_uri.store_uri() == f"sqlite:///{checkout}/mlflow.db"


def test_another_worktree_uses_the_store_of_the_main_one(checkout, monkeypatch, tmp_path):
    git(checkout, "worktree", "add", "--quiet", str(tmp_path / "other"))
    monkeypatch.chdir(tmp_path / "other")
    assert tracking_uri.main_checkout() == checkout


def test_a_submodule_is_a_checkout_of_its_own(checkout, monkeypatch):
    git(checkout, "-c", "protocol.file.allow=always", "submodule", "add", str(checkout), "inner")
    monkeypatch.chdir(checkout / "inner")
    assert tracking_uri.main_checkout() == checkout / "inner"


def test_a_copy_that_dvc_made_uses_the_store_of_the_checkout_it_names(checkout, monkeypatch, tmp_path):
    copy = tmp_path / "copy"
    copy.mkdir()
    git(copy, "init", "--quiet")
    monkeypatch.chdir(copy)
    monkeypatch.setenv("DVC_ROOT", str(checkout))
    assert tracking_uri.store_uri() == f"sqlite:///{checkout}/mlflow.db"


@pytest.mark.usefixtures("checkout")
def test_outside_of_git_it_is_the_working_directory(monkeypatch, tmp_path):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    (tmp_path / "plain").mkdir()
    monkeypatch.chdir(tmp_path / "plain")
    assert tracking_uri.main_checkout() == tmp_path / "plain"
    assert tracking_uri.checkout_state() == {}


def test_the_environment_wins(checkout, monkeypatch):
    monkeypatch.setenv("DVC_ROOT", str(checkout))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5000")
    assert tracking_uri.store_uri() == "http://127.0.0.1:5000"


def test_artifacts_lie_beside_the_database_whatever_the_working_directory(tmp_path, monkeypatch):
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    with mlflow_store(tmp_path / "store"):
        found = tracking_uri.connect().get_experiment_by_name("lenscape")
        again = tracking_uri.connect().get_experiment_by_name("lenscape")
    assert found.artifact_location == (tmp_path / "store" / "mlartifacts").as_uri()
    assert again.experiment_id == found.experiment_id
    assert list((tmp_path / "work").iterdir()) == []


def test_a_server_that_is_not_there_is_one_sentence_soon(monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")
    with pytest.raises(TrackingError, match=rf"http://127.0.0.1:{port} cannot be used .*; correct"):
        tracking_uri.connect()


@pytest.mark.parametrize("uri", ["nonsense://x", "sqlite:////proc/nowhere/mlflow.db"])
def test_a_store_that_cannot_be_is_one_sentence(uri, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(TrackingError, match=r"cannot be used \([^\n]*\); correct") as error:
        tracking_uri.connect()
    assert "\n" not in str(error.value)


def test_the_state_of_the_code(checkout):
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], check=True, capture_output=True, text=True
    ).stdout.strip()
    assert tracking_uri.checkout_state() == {"git.commit": commit, "git.dirty": "false"}
    (checkout / "new.txt").write_text("not in git\n")
    assert tracking_uri.checkout_state()["git.dirty"] == "false"
    (checkout / "code.py").write_text("a = 2\n")
    assert tracking_uri.checkout_state()["git.dirty"] == "true"


LOCK = """
schema: '2.0'
stages:
  tile:
    outs:
    - {path: data/patches, md5: aaa.dir}
  split:
    outs:
    - {path: data/split, md5: bbb.dir}
    - {path: reports/audit.json, md5: ccc}
  train:
    outs:
    - {path: models, md5: of-the-last-time.dir}
"""


def test_the_state_of_the_data_is_what_dvc_knows_of_the_inputs(checkout, monkeypatch):
    (checkout / "dvc.lock").write_text("")
    (checkout / "reports").mkdir()
    (checkout / "reports" / "audit.json").write_text("{}")
    (checkout / "dvc.yaml").write_text("stages: {train: {deps: [data/patches, data/split, code.py]}}")
    git(checkout, "add", ".")
    git(checkout, "commit", "--quiet", "--message", "second")
    # `dvc repro` has come to the stage: the lock file and a report have changed on the way
    (checkout / "dvc.lock").write_text(LOCK)
    (checkout / "reports" / "audit.json").write_text("{1}")
    monkeypatch.setenv("DVC_STAGE", "train")
    found = tracking_uri.checkout_state()
    assert {key: value for key, value in found.items() if key != "git.commit"} == {
        "dvc.data/patches": "aaa.dir",
        "dvc.data/split": "bbb.dir",
        "git.dirty": "false",
    }
    monkeypatch.delenv("DVC_STAGE")  # by hand, on whatever folders
    assert not [key for key in tracking_uri.checkout_state() if key.startswith("dvc.")]


@pytest.mark.slow
def test_mlflow_sends_nothing_whatever_is_imported_first(monkeypatch):
    monkeypatch.delenv("MLFLOW_DISABLE_TELEMETRY", raising=False)
    code = (
        "import pipeline.learn.tracking.run; from mlflow.telemetry.client import get_telemetry_client; "
        "assert get_telemetry_client() is None"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_login_in_the_address_of_a_server_is_not_shown(monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "")  # so that it is undone
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://me:ge%40heim@mlflow.example.org:8443/base")
    assert tracking_uri.store_uri() == "https://mlflow.example.org:8443/base"
    assert (os.environ["MLFLOW_TRACKING_USERNAME"], os.environ["MLFLOW_TRACKING_PASSWORD"]) == (
        "me",
        "ge@heim",
    )


def test_a_password_of_a_database_is_not_shown(monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "nonsense://me:geheim@db/mlflow?password=auch")
    with pytest.raises(
        TrackingError, match=r"store nonsense://\*\*\*@db/mlflow\?password=\*\*\*"
    ) as error:
        tracking_uri.connect()
    assert "geheim" not in str(error.value)
