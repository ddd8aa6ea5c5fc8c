"""Where MLflow keeps its store, and which state of code and data a run belongs to."""

from __future__ import annotations

import errno
import logging
import os
import subprocess
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import mlflow
from mlflow.entities import Experiment, LifecycleStage
from mlflow.exceptions import MlflowException
from ruamel.yaml import YAML

from pipeline.errors import OutputError, TrackingError
from pipeline.learn.tracking.database import require_database, sqlite_file

EXPERIMENT = "lenscape"
DATABASE = "mlflow.db"
ARTIFACTS = "mlartifacts"
UNSENT = "mlflow_unsent"
_KIND = {"mlflow.experimentKind": "custom_model_development"}
"""The UI then opens its pages for training models, not those for language models."""
_UNKNOWN = "RESOURCE_DOES_NOT_EXIST"
_DISK_FULL = "disk is full"
_UNFINISHED = ("already exists", "not a database", "malformed", "Can't locate revision")
"""What sqlite and alembic say of a database that cannot be repaired."""


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
    """`MLFLOW_TRACKING_URI`, or sqlite at the absolute path of the main checkout.

    A login in the address of a server is handed to MLflow by the environment, so that no line that
    MLflow prints can show it.
    """
    uri = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{_database()}"
    parts = urlsplit(uri)
    if parts.scheme not in ("http", "https") or "@" not in parts.netloc:
        return uri
    login, _, host = parts.netloc.rpartition("@")
    name, _, password = login.partition(":")
    os.environ["MLFLOW_TRACKING_USERNAME"] = unquote(name)
    os.environ["MLFLOW_TRACKING_PASSWORD"] = unquote(password)
    return parts._replace(netloc=host).geturl()


def unsent_folder(run_id: str) -> Path:
    """Where stages keep what they could not add to a run."""
    return main_checkout() / UNSENT / run_id


def _database() -> Path:
    """The sqlite file: absolute, unless SQLAlchemy would decode its path or cut it at a `?`."""
    path = main_checkout() / DATABASE
    return path if set("%?").isdisjoint(str(path)) else Path(os.path.relpath(path))


def connect() -> mlflow.MlflowClient:
    """A client of the store, with the experiment there.

    Raises:
        TrackingError: when the store cannot be used, or the experiment is deleted.
    """
    # what fails is said in one sentence, by whoever called
    for name in ("mlflow", "alembic", "urllib3"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    uri = store_uri()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of MLflow's own tables, about SQLAlchemy
            if database := sqlite_file(uri):
                require_database(database, _artifacts(database))
            mlflow.set_tracking_uri(uri)
            mlflow.set_registry_uri(uri)
            client = mlflow.MlflowClient(uri, uri)
            experiment = client.get_experiment_by_name(EXPERIMENT)
            if experiment is None:
                _create_experiment(client, database)
            else:
                _require_active(experiment, uri)
            mlflow.set_experiment(EXPERIMENT)
    except Exception as error:
        if not (is_of_store(error) or isinstance(error, ValueError)):
            raise
        raise _failure(error, f"the MLflow store {uri} cannot be used") from error
    return client


@contextmanager
def connected() -> Iterator[mlflow.MlflowClient]:
    """A client of the store, and errors of it within the block as a `TrackingError`."""
    client = connect()
    with store_errors():
        yield client


@contextmanager
def store_errors() -> Iterator[None]:
    """Errors of the store within the block as a `TrackingError`."""
    try:
        yield
    except Exception as error:
        if not is_of_store(error):
            raise
        subject = f"the MLflow store {store_uri()} failed"
        raise _failure(error, subject, "see to it and run again") from error


def is_of_store(error: Exception) -> bool:
    """Whether an error is one of the store: of a disk, the network, MLflow, or a library under it.

    Databases and object stores raise their own, which MLflow lets through.
    """
    library = type(error).__module__.partition(".")[0]
    return isinstance(error, OSError | OutputError) or library not in ("builtins", "pipeline")


def is_unknown(error: MlflowException) -> bool:
    """Whether the answer is that there is no such run, model or version; anything else is a failure."""
    return bool(error.error_code == _UNKNOWN)


def reason(error: Exception) -> str:
    """What an error of MLflow says, on one line without its advice."""
    return str(error).strip().partition("\n")[0].rstrip(".")


def _failure(error: Exception, subject: str, remedy: str = "") -> TrackingError:
    """An error of the store in one sentence, with what helps against it."""
    why = reason(error)
    if _DISK_FULL in why or (isinstance(error, OSError) and error.errno == errno.ENOSPC):
        return TrackingError(f"{subject}: the disk is full ({why}); free some space where it lies.")
    database = sqlite_file(store_uri())
    if database is not None and any(words in why for words in _UNFINISHED):
        remedy = (
            f"it is not whole: move {database} away, and `lenscape log` records the model of models/ "
            "in a new one"
        )
    elif "out-of-date database schema" in why:
        remedy = "it is of another MLflow: keep a copy and run `mlflow db upgrade` with its address"
    remedy = remedy or "correct MLFLOW_TRACKING_URI, or start its server"
    return TrackingError(f"{subject} ({why}); {remedy}.")


def _require_active(experiment: Experiment, uri: str) -> None:
    if experiment.lifecycle_stage != LifecycleStage.ACTIVE:
        raise TrackingError(
            f"the experiment {EXPERIMENT!r} of the MLflow store {uri} is deleted; restore it with "
            f"`mlflow experiments restore --experiment-id {experiment.experiment_id}`, with "
            "MLFLOW_TRACKING_URI set to the store."
        )


def _create_experiment(client: mlflow.MlflowClient, database: Path | None) -> None:
    # a server knows its own place for files
    place = None if database is None else _artifacts(database)
    try:
        client.create_experiment(EXPERIMENT, artifact_location=place, tags=_KIND)
    except MlflowException:
        # two experiments of a queue may start at once: the other one made it
        if client.get_experiment_by_name(EXPERIMENT) is None:
            raise


def _artifacts(database: Path) -> str:
    """`mlartifacts/` beside an sqlite file, at its absolute path."""
    return (database.absolute().parent / ARTIFACTS).as_uri()


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
