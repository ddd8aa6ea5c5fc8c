"""Where MLflow keeps its store, and which state of code and data a run belongs to."""

from __future__ import annotations

import logging
import os
import subprocess
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mlflow
from mlflow.exceptions import MlflowException
from ruamel.yaml import YAML

from pipeline.errors import TrackingError

EXPERIMENT = "lenscape"
DATABASE = "mlflow.db"
ARTIFACTS = "mlartifacts"
_KIND = {"mlflow.experimentKind": "custom_model_development"}
"""The UI then opens its pages for training models, not those for language models."""
_RETRIES = "MLFLOW_HTTP_REQUEST_MAX_RETRIES"


def main_checkout() -> Path:
    """The checkout that keeps the store.

    DVC runs queued experiments in temporary copies and names the main checkout in `DVC_ROOT`; of
    other worktrees git knows the main one. Outside of both it is the working directory.
    """
    if root := os.environ.get("DVC_ROOT"):
        return Path(root)
    git = Path(_git("rev-parse", "--path-format=absolute", "--git-common-dir") or ".git")
    # of a submodule the common folder lies somewhere inside that of its parent
    return git.absolute().parent if git.name == ".git" else Path(_git("rev-parse", "--show-toplevel"))


def store_uri() -> str:
    """`MLFLOW_TRACKING_URI`, or sqlite at the absolute path of the main checkout."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{_database()}"


def _database() -> Path:
    """The sqlite file: absolute, unless SQLAlchemy would decode its path or cut it at a `?`."""
    path = main_checkout() / DATABASE
    return path if set("%?").isdisjoint(str(path)) else Path(os.path.relpath(path))


def connect() -> mlflow.MlflowClient:
    """A client of the store, with the experiment there.

    Raises:
        TrackingError: when the store cannot be reached.
    """
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)
    uri = store_uri()
    try:
        with _first_contact():
            mlflow.set_tracking_uri(uri)
            mlflow.set_registry_uri(uri)
            client = mlflow.MlflowClient(uri, uri)
            if client.get_experiment_by_name(EXPERIMENT) is None:
                _create_experiment(client, uri)
            mlflow.set_experiment(EXPERIMENT)
    except (MlflowException, OSError, ValueError) as error:
        raise TrackingError(
            f"the MLflow store {uri} cannot be used ({reason(error)}); correct MLFLOW_TRACKING_URI, "
            "or start its server."
        ) from error
    return client


@contextmanager
def connected() -> Iterator[mlflow.MlflowClient]:
    """A client of the store, and errors of MLflow within the block as a `TrackingError`."""
    client = connect()
    try:
        yield client
    except MlflowException as error:
        raise TrackingError(
            f"the MLflow store {store_uri()} failed ({reason(error)}); see to it and run again."
        ) from error


def reason(error: Exception) -> str:
    """What an error of MLflow says, on one line without its advice."""
    return str(error).strip().partition("\n")[0].rstrip(".")


@contextmanager
def _first_contact() -> Iterator[None]:
    """A server that is not there is known after one retry, not after minutes; no foreign warnings."""
    asked = os.environ.get(_RETRIES)
    os.environ.setdefault(_RETRIES, "1")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of MLflow's own tables, about SQLAlchemy
            yield
    finally:
        if asked is None:
            del os.environ[_RETRIES]


def _create_experiment(client: mlflow.MlflowClient, uri: str) -> None:
    try:
        client.create_experiment(EXPERIMENT, artifact_location=_artifacts(uri), tags=_KIND)
    except MlflowException:
        # two experiments of a queue may start at once: the other one made it
        if client.get_experiment_by_name(EXPERIMENT) is None:
            raise


def _artifacts(uri: str) -> str | None:
    """`mlartifacts/` beside an sqlite file, at its absolute path; a server knows its own place."""
    scheme, _, path = uri.partition(":///")
    return (Path(path).absolute().parent / ARTIFACTS).as_uri() if scheme == "sqlite" else None


def checkout_state() -> dict[str, str]:
    """Tags of the code and, within `dvc repro`, of the data that a stage begins with.

    `git.commit`; `git.dirty`, whether files differ from it (outputs of stages aside); and
    `dvc.<path>` with the hash that DVC knows each input of the stage by.
    """
    lock = _yaml(Path("dvc.lock"))
    outputs = {
        output["path"]: output["md5"]
        for stage in lock.get("stages", {}).values()
        for output in stage.get("outs", ())
        if "md5" in output
    }
    tags = {f"dvc.{path}": outputs[path] for path in _inputs() if path in outputs}
    if commit := _git("rev-parse", "HEAD"):
        ours = [f":(exclude){path}" for path in ("dvc.lock", *outputs)]
        changed = _git("status", "--porcelain", "--untracked-files=no", "--", ".", *ours)
        tags |= {"git.commit": commit, "git.dirty": str(bool(changed)).lower()}
    return tags


def _inputs() -> list[str]:
    """The dependencies of the stage that DVC runs, which it names in `DVC_STAGE`."""
    name = os.environ.get("DVC_STAGE", "").rpartition(":")[2]
    stage = _yaml(Path("dvc.yaml")).get("stages", {}).get(name, {}) if name else {}
    return [path for path in stage.get("deps", ()) if isinstance(path, str)]


def _yaml(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    return YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8")) or {}


def _git(*arguments: str) -> str:
    command = ["git", *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
