"""Where MLflow keeps its store, and which state of the code a run belongs to."""

from __future__ import annotations

import logging
import os
import subprocess
from pathlib import Path

# read by MLflow when it is imported
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

import mlflow
from mlflow.exceptions import MlflowException

from pipeline.errors import TrackingError

EXPERIMENT = "lenscape"
DATABASE = "mlflow.db"
ARTIFACTS = "mlartifacts"


def main_checkout() -> Path:
    """The checkout that keeps the store.

    DVC runs queued experiments in temporary copies and names the main checkout in `DVC_ROOT`; of
    other worktrees git knows the main one. Outside of both it is the working directory.
    """
    if root := os.environ.get("DVC_ROOT"):
        return Path(root)
    git = _git("rev-parse", "--path-format=absolute", "--git-common-dir")
    return Path(git).parent if git else Path.cwd()


def store_uri() -> str:
    """`MLFLOW_TRACKING_URI`, or sqlite at the absolute path of the main checkout."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{main_checkout() / DATABASE}"


def connect() -> mlflow.MlflowClient:
    """A client of the store, with the experiment there.

    Raises:
        TrackingError: when the store cannot be reached.
    """
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)
    uri = store_uri()
    try:
        mlflow.set_tracking_uri(uri)
        mlflow.set_registry_uri(uri)
        client = mlflow.MlflowClient(uri, uri)
        if client.get_experiment_by_name(EXPERIMENT) is None:
            _create_experiment(client, uri)
        mlflow.set_experiment(EXPERIMENT)
    except (MlflowException, OSError) as error:
        reason = str(error).split("\n")[0]
        raise TrackingError(
            f"the MLflow store {uri} cannot be used ({reason}); correct MLFLOW_TRACKING_URI or start "
            "its server."
        ) from error
    return client


def _create_experiment(client: mlflow.MlflowClient, uri: str) -> None:
    try:
        client.create_experiment(EXPERIMENT, artifact_location=_artifacts(uri))
    except MlflowException:
        # two experiments of a queue may start at once: the other one made it
        if client.get_experiment_by_name(EXPERIMENT) is None:
            raise


def _artifacts(uri: str) -> str | None:
    """`mlartifacts/` beside an sqlite file, at its absolute path; a server knows its own place."""
    scheme, _, path = uri.partition(":///")
    return (Path(path).absolute().parent / ARTIFACTS).as_uri() if scheme == "sqlite" else None


def checkout_state() -> dict[str, str]:
    """Tags of the code: commit and whether files differ from it; none outside of git."""
    commit = _git("rev-parse", "HEAD")
    if not commit:
        return {}
    changed = bool(_git("status", "--porcelain", "--untracked-files=no"))
    return {"git.commit": commit, "git.dirty": str(changed).lower()}


def _git(*arguments: str) -> str:
    command = ["git", *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
