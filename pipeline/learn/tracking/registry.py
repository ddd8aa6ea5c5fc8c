"""The registry: versions of the model `lenscape`, found by number or alias, pinned by their weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import mlflow
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.models.model import ModelInfo

from pipeline.config.predict import RegisteredModelConf
from pipeline.errors import MismatchError, TrackingError
from pipeline.learn.network.classifier import ModelMeta
from pipeline.learn.tracking import tracking_uri
from pipeline.learn.tracking.model import WEIGHTS_TAG

MODEL = "lenscape"
"""Name of the registered model."""
CHAMPION = "champion"
"""Alias of the version in use; the first one gets it, `lenscape promote` moves it."""
CHALLENGER = "challenger"
"""Alias of the newest version that is not in use."""
_DESCRIPTION = 5000
"""Characters that MLflow keeps of the description of a version."""
CALLS = "test/calls.csv"
"""Artifact of a run: block, true class and the network's call of each test patch."""
CHECKPOINT = "checkpoint"
"""Folder of a run's artifacts with the files of `models/`, as `PatchClassifier.load` reads them."""


@dataclass(frozen=True)
class ModelVersion:
    """A version of the registered model, pinned by the hash of its weights."""

    uri: str
    """`models:/lenscape/3`."""
    weights_sha256: str
    run_id: str
    split: str = ""
    """Hash of the split that it was trained on and judged by, with its store."""


@dataclass(frozen=True)
class KnownRun:
    """A run, as a person looks for it."""

    run_id: str
    name: str
    started: datetime
    """UTC."""
    commit: str
    """Hash of the git commit; empty where the run began outside of git."""
    dirty: bool
    """Whether files differed from that commit."""
    versions: tuple[str, ...]
    """`models:/lenscape/3` for each version of the registry that comes from it."""
    replayed_from: str
    """Id of the run that it was logged again from, in another store; empty for an original."""


def register(client: mlflow.MlflowClient, run_id: str, logged: ModelInfo, meta: ModelMeta) -> None:
    """Make a logged model the next version of `lenscape`; the first of all becomes the champion."""
    try:
        client.create_registered_model(
            MODEL, description="Land-cover classes of Sentinel-2 patches, trained by lenscape."
        )
    except MlflowException:
        client.get_registered_model(MODEL)  # there already, or the registry is out of order
    tags = {
        WEIGHTS_TAG: meta.weights_sha256,
        "bands": ", ".join(meta.bands),
        "classes": ", ".join(info.name for info in meta.classes),
        "data_sha256": meta.hashes.store,
        "split_sha256": meta.hashes.split,
        "preset": meta.preset,
    }
    made = client.create_model_version(
        MODEL,
        source=logged.model_uri,
        run_id=run_id,
        model_id=logged.model_id,
        tags=tags,
        description=_description(meta),
    )
    first = CHAMPION not in client.get_registered_model(MODEL).aliases
    client.set_registered_model_alias(MODEL, CHAMPION if first else CHALLENGER, str(made.version))


def _description(meta: ModelMeta) -> str:
    side = meta.geometry.patch_px
    return (
        f"{meta.preset}: uint16 patches (N, {len(meta.bands)}, {side}, {side}) of harmonised DN, bands "
        f"{', '.join(meta.bands)} -> probabilities of {', '.join(c.title for c in meta.classes)}. "
        f"{meta.credit}."
    )


def tag_version(client: mlflow.MlflowClient, run_id: str, values: Mapping[str, str]) -> None:
    """Set tags of the version that was registered from a run."""
    for found in client.search_model_versions(f"run_id = '{run_id}'"):
        for key, value in values.items():
            client.set_model_version_tag(found.name, str(found.version), key, value)


def describe_version(client: mlflow.MlflowClient, run_id: str, markdown: str) -> None:
    """Set the description of the version that was registered from a run."""
    for found in client.search_model_versions(f"run_id = '{run_id}'"):
        client.update_model_version(found.name, str(found.version), _cut(markdown))


def _cut(markdown: str) -> str:
    """As much as MLflow takes; the whole lies in the run."""
    if len(markdown) <= _DESCRIPTION:
        return markdown
    return markdown[: _DESCRIPTION - 40].rpartition("\n")[0] + "\n\n(more in the run: model_card.md)"


def version_of_run(run_id: str) -> ModelVersion | None:
    """The version that was registered from a run, the newest of several; None without one."""
    client = tracking_uri.connect()
    with tracking_uri.heard():
        found = client.search_model_versions(f"run_id = '{run_id}'")
    numbers = sorted(int(version.version) for version in found if version.name == MODEL)
    return find_version(str(numbers[-1])) if numbers else None


def champion_version() -> ModelVersion | None:
    """The version that is in use; None while no model is registered."""
    client = tracking_uri.connect()
    try:
        aliases = client.get_registered_model(MODEL).aliases
    except MlflowException:
        return None
    return find_version(CHAMPION) if CHAMPION in aliases else None


def find_version(name: str) -> ModelVersion:
    """A version by alias (`champion`), by number, or by `models:/<name>/<version>` or `..@<alias>`.

    Raises:
        TrackingError: when the registry has no such version, or it is not from lenscape.
    """
    client = tracking_uri.connect()
    model, _, wanted = name.removeprefix("models:/").replace("@", "/").rpartition("/")
    model = model or MODEL
    try:
        if wanted.isdigit():
            found = client.get_model_version(model, wanted)
        else:
            found = client.get_model_version_by_alias(model, wanted)
    except MlflowException as error:
        raise TrackingError(
            f"the MLflow registry {tracking_uri.store_uri()} has no version {wanted!r} of the model "
            f"{model!r} ({tracking_uri.reason(error)}); its Models page lists those there are."
        ) from error
    uri = f"models:/{model}/{found.version}"
    if WEIGHTS_TAG not in found.tags or not found.run_id:
        raise TrackingError(
            f"{uri} in {tracking_uri.store_uri()} has no tag {WEIGHTS_TAG}, so that lenscape did not "
            "register it; name a version that `train` has made."
        )
    split = f"{found.tags.get('data_sha256', '')}:{found.tags.get('split_sha256', '')}"
    return ModelVersion(uri, found.tags[WEIGHTS_TAG], found.run_id, split)


def judgement_of(version: ModelVersion) -> tuple[str, dict[str, float]]:
    """The calls of a version's test patches, as CSV, and the metrics of its run.

    Raises:
        TrackingError: when `evaluate` has not judged it, or its files are gone.
    """
    client = tracking_uri.connect()
    try:
        metrics: dict[str, float] = client.get_run(version.run_id).data.metrics
        with TemporaryDirectory() as folder:
            path = client.download_artifacts(version.run_id, CALLS, folder)
            return Path(path).read_text(encoding="utf-8"), metrics
    except (MlflowException, OSError) as error:
        raise TrackingError(
            f"{version.uri} was never judged: its run {version.run_id} in {tracking_uri.store_uri()} "
            f"has no {CALLS}; run `evaluate` on it."
        ) from error


def params_of(version: ModelVersion) -> dict[str, str]:
    """The parameters of the run that a version was registered from.

    Raises:
        TrackingError: when the store cannot be read.
    """
    client = tracking_uri.connect()
    with tracking_uri.heard():
        return dict(client.get_run(version.run_id).data.params)


def promote(version: ModelVersion, reason: str) -> None:
    """Make a version the champion, with the reason as a tag; it is no challenger any more.

    Raises:
        TrackingError: when the registry cannot be written.
    """
    client = tracking_uri.connect()
    model, _, number = version.uri.removeprefix("models:/").rpartition("/")
    with tracking_uri.heard():
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
    found = find_version(pinned.uri)
    if found.weights_sha256 != pinned.weights_sha256:
        raise MismatchError(
            f"{pinned.uri} has weights of the hash {found.weights_sha256[:12]}, the conf pins "
            f"{pinned.weights_sha256[:12]}; pin it again (lenscape pin {pinned.uri})."
        )
    try:
        return Path(tracking_uri.connect().download_artifacts(found.run_id, CHECKPOINT))
    except (MlflowException, OSError) as error:
        raise TrackingError(
            f"the files of {pinned.uri} (run {found.run_id}) are gone from the MLflow store "
            f"{tracking_uri.store_uri()}; restore its artifacts or pin another version."
        ) from error


def runs_of_weights(sha256: str) -> list[KnownRun]:
    """The runs whose model has these weights, the newest first.

    Raises:
        TrackingError: when the store cannot be used.
    """
    client = tracking_uri.connect()
    with tracking_uri.heard():
        experiments = [found.experiment_id for found in client.search_experiments()]
        query = f"tags.{WEIGHTS_TAG} = '{sha256}'"
        runs = client.search_runs(experiments, query, order_by=["attributes.start_time DESC"])
        return [_known(client, run) for run in runs]


def _known(client: mlflow.MlflowClient, run: Run) -> KnownRun:
    tags = run.data.tags
    versions = client.search_model_versions(f"run_id = '{run.info.run_id}'")
    return KnownRun(
        run_id=run.info.run_id,
        name=run.info.run_name,
        started=datetime.fromtimestamp(run.info.start_time / 1000, UTC),
        commit=tags.get("git.commit", ""),
        dirty=tags.get("git.dirty") == "true",
        versions=tuple(f"models:/{found.name}/{found.version}" for found in versions),
        replayed_from=tags.get("replayed_from", ""),
    )
