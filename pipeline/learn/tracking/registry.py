"""The registry: versions of the model `lenscape`, found by number or alias, pinned by their weights."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import mlflow
from mlflow.entities import Run, RunData
from mlflow.exceptions import MlflowException

from pipeline.config.predict import RegisteredModelConf
from pipeline.errors import MismatchError, TrackingError
from pipeline.learn.network.classifier import read_meta
from pipeline.learn.tracking import tracking_uri
from pipeline.learn.tracking.model import CHALLENGER, CHAMPION, MODEL, WEIGHTS_TAG

PREDICTIONS = "test/predictions.csv"
"""Artifact of a run: block, true class and predicted class of each held-out patch."""
CHECKPOINT = "checkpoint"
"""Folder of a run's artifacts with the files of `models/`, as `PatchClassifier.load` reads them."""
_NO_VERSION = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")
"""Answers that a version is not there, or that nothing can have this name."""


@dataclass(frozen=True)
class ModelVersion:
    """A version of the registered model, pinned by the hash of its weights."""

    uri: str
    """`models:/lenscape/3`."""
    weights_sha256: str
    run_id: str
    split: str = ""
    """Hash of the split that it was trained on and evaluated on, with its store."""


def version_of_run(run_id: str) -> ModelVersion | None:
    """The version that was registered from a run, the newest of several; None without one."""
    with tracking_uri.connected() as client:
        versions = client.search_model_versions(f"run_id = '{run_id}'")
    numbers = sorted(int(version.version) for version in versions if version.name == MODEL)
    return find_version(str(numbers[-1])) if numbers else None


def champion_version() -> ModelVersion | None:
    """The version that is in use; None while no model is registered."""
    with tracking_uri.connected() as client:
        try:
            aliases = client.get_registered_model(MODEL).aliases
        except MlflowException as error:
            if not tracking_uri.is_unknown(error):
                raise
            return None
    return find_version(CHAMPION) if CHAMPION in aliases else None


def find_version(name: str) -> ModelVersion:
    """A version by alias (`champion`), by number, or by `models:/<name>/<version>` or `..@<alias>`.

    Raises:
        TrackingError: when the registry has no such version, or it is not from lenscape.
    """
    model, _, wanted = name.removeprefix("models:/").replace("@", "/").rpartition("/")
    model = model or MODEL
    with tracking_uri.connected() as client:
        try:
            if wanted.isdigit():
                version = client.get_model_version(model, wanted)
            else:
                version = client.get_model_version_by_alias(model, wanted)
        except MlflowException as error:
            if error.error_code not in _NO_VERSION:
                raise
            raise TrackingError(
                f"the MLflow registry {tracking_uri.store_uri()} has no version {wanted!r} of the "
                f"model {model!r} ({tracking_uri.reason(error)}); its Models page lists those there "
                "are."
            ) from error
    uri = f"models:/{model}/{version.version}"
    if WEIGHTS_TAG not in version.tags or not version.run_id:
        raise TrackingError(
            f"{uri} in {tracking_uri.store_uri()} has no tag {WEIGHTS_TAG}, so that lenscape did not "
            "register it; name a version that `train` has made."
        )
    split = f"{version.tags.get('data_sha256', '')}:{version.tags.get('split_sha256', '')}"
    return ModelVersion(uri, version.tags[WEIGHTS_TAG], version.run_id, split)


def predictions_of(version: ModelVersion) -> str:
    """The predictions of a version for the held-out patches, as CSV.

    Raises:
        TrackingError: when `evaluate` has not evaluated it, or its files are gone.
    """
    with tracking_uri.connected() as client:
        if _has(client, version.run_id, PREDICTIONS):
            return mlflow.artifacts.load_text(f"runs:/{version.run_id}/{PREDICTIONS}")
    raise TrackingError(
        f"{version.uri} was not evaluated: its run {version.run_id} in {tracking_uri.store_uri()} "
        f"has no {PREDICTIONS}; run `evaluate` on it."
    )


def _has(client: mlflow.MlflowClient, run_id: str, path: str) -> bool:
    """Whether the artifacts of a run hold a file or a folder, by its path."""
    try:
        parent = path.rpartition("/")[0] or None
        return path in (item.path for item in client.list_artifacts(run_id, parent))
    except MlflowException as error:
        if not tracking_uri.is_unknown(error):
            raise
        return False


def run_data(version: ModelVersion) -> RunData:
    """The parameters and metrics of the run that a version was registered from."""
    with tracking_uri.connected() as client:
        return client.get_run(version.run_id).data


def promote(version: ModelVersion, reason: str) -> None:
    """Make a version the champion, with the reason as a tag; it is no challenger any more."""
    model, _, number = version.uri.removeprefix("models:/").rpartition("/")
    with tracking_uri.connected() as client:
        client.set_registered_model_alias(model, CHAMPION, number)
        client.set_model_version_tag(model, number, "promoted_because", reason)
        # a number or a text, as the store has it
        if str(client.get_registered_model(model).aliases.get(CHALLENGER)) == number:
            client.delete_registered_model_alias(model, CHALLENGER)


def registered_model_folder(pinned: RegisteredModelConf) -> Path:
    """A folder with a registered model, as `PatchClassifier.load` and `resume` read it.

    Where the artifacts lie on a disk, it is that place, which is not to be written to; those of a
    server are downloaded to a temporary folder.

    Raises:
        TrackingError: when the registry has no such version or its files are gone.
        MismatchError: when its weights are not those that were pinned.
    """
    version = find_version(pinned.uri)
    with tracking_uri.connected() as client:
        if not _has(client, version.run_id, CHECKPOINT):
            raise TrackingError(
                f"the files of {pinned.uri} (run {version.run_id}) are gone from the MLflow store "
                f"{tracking_uri.store_uri()}; restore its artifacts or pin another version."
            )
        folder = Path(client.download_artifacts(version.run_id, CHECKPOINT))
    weights_sha256 = read_meta(folder).weights_sha256
    if weights_sha256 != pinned.weights_sha256:
        raise MismatchError(
            f"{pinned.uri} has weights of the hash {weights_sha256[:12]}, the conf pins "
            f"{pinned.weights_sha256[:12]}; pin it again (lenscape pin {pinned.uri})."
        )
    return folder


def runs_of_weights(sha256: str) -> list[dict[str, str]]:
    """The runs whose model has these weights, the newest first, as names and values for a person."""
    with tracking_uri.connected() as client:
        experiments = [one.experiment_id for one in client.search_experiments()]
        query = f"tags.{WEIGHTS_TAG} = '{sha256}'"
        runs = client.search_runs(experiments, query, order_by=["attributes.start_time DESC"])
        return [_description(client, run) for run in runs]


def _description(client: mlflow.MlflowClient, run: Run) -> dict[str, str]:
    tags = run.data.tags
    versions = client.search_model_versions(f"run_id = '{run.info.run_id}'")
    started = datetime.fromtimestamp(run.info.start_time / 1000, UTC)
    commit = tags.get("git.commit") or "none: it began outside of git"
    rows = {
        "run": run.info.run_id,
        "name": run.info.run_name,
        "started": f"{started:%Y-%m-%d %H:%M:%S} UTC",
        "commit": commit + (", with changes" if tags.get("git.dirty") == "true" else ""),
        "registered": ", ".join(f"models:/{one.name}/{one.version}" for one in versions) or "no",
    }
    original = tags.get("replayed_from")
    return rows | ({"replayed from": original} if original else {})
