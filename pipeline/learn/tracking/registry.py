"""The model in MLflow: self-contained, without our code, versioned in the registry."""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import mlflow
import numpy as np
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.types import Schema, TensorSpec
from torch import Tensor, nn

from pipeline.config import RegisteredModelConf
from pipeline.errors import MismatchError, TrackingError
from pipeline.files import publish, remove, write_json
from pipeline.learn.classifier import META, WEIGHTS, ModelMeta, PatchClassifier
from pipeline.learn.tracking import where

MODEL = "lenscape"
"""Name of the registered model."""
CHAMPION = "champion"
"""Alias of the version in use."""
RUN = "run.json"
"""The file of a model's folder that names its run."""
CHECKPOINT = "checkpoint"
"""Folder of a run's artifacts that holds the model as `PatchClassifier.load` reads it."""
WEIGHTS_TAG = "weights_sha256"


@dataclass(frozen=True)
class ModelVersion:
    """A version of the registered model, pinned by the hash of its weights."""

    uri: str
    """`models:/lenscape/3`."""
    weights_sha256: str
    run_id: str


class _Probabilities(nn.Module):
    """What MLflow serves: raw harmonised patches in, probabilities out."""

    def __init__(self, classifier: PatchClassifier) -> None:
        super().__init__()
        self.classifier = classifier

    def forward(self, pixels: Tensor) -> Tensor:
        return self.classifier(pixels).softmax(dim=1)  # type: ignore[no-any-return]


def log_model(client: mlflow.MlflowClient, run_id: str, models: Path) -> None:
    """Log the model of a folder to the active run and register it as a new version.

    It is stored as an exported graph (torch.export), so that loading needs torch and MLflow but no
    code of ours: uint16 (N, C, P, P) harmonised DN, 0 a hole -> float32 (N, K) probabilities.
    The first version of all becomes the champion.
    """
    classifier = PatchClassifier.load(models)
    meta = classifier.meta
    for name in (WEIGHTS, META):
        client.log_artifact(run_id, str(models / name), CHECKPOINT)
    side = meta.geometry.patch_px
    example = np.full((2, len(meta.bands), side, side), 1000, dtype=np.uint16)
    signature = ModelSignature(
        inputs=Schema([TensorSpec(np.dtype("uint16"), (-1, *example.shape[1:]), "patches")]),
        outputs=Schema([TensorSpec(np.dtype("float32"), (-1, len(meta.classes)), "probabilities")]),
    )
    with _silence():
        logged = mlflow.pytorch.log_model(
            _Probabilities(classifier).eval(),
            name="model",
            signature=signature,
            input_example=example,
            serialization_format="pt2",
            pip_requirements=_requirements(),
            metadata=_metadata(meta),
            registered_model_name=MODEL,
        )
    number = logged.registered_model_version
    if number is None:
        raise TrackingError(f"MLflow did not register the model of run {run_id}; see its log.")
    client.update_registered_model(MODEL, "Land-cover classes of Sentinel-2 patches, by lenscape.")
    client.update_model_version(MODEL, str(number), _description(meta))
    tags = {
        WEIGHTS_TAG: meta.weights_sha256,
        "bands": ", ".join(meta.bands),
        "classes": ", ".join(c.name for c in meta.classes),
        "data_sha256": meta.hashes.store,
    }
    for key, value in tags.items():
        client.set_model_version_tag(MODEL, str(number), key, value)
    if CHAMPION not in client.get_registered_model(MODEL).aliases:
        client.set_registered_model_alias(MODEL, CHAMPION, str(number))


def _requirements() -> list[str]:
    """What loading takes, at the versions that made it; torch without its local build name."""
    names = ("mlflow", "torch", "numpy")
    return [f"{name}=={version(name).split('+')[0]}" for name in names]


def _metadata(meta: ModelMeta) -> dict[str, object]:
    return {
        "bands": meta.bands,
        "classes": [c.name for c in meta.classes],
        "patch_px": meta.geometry.patch_px,
        "cell_px": meta.geometry.cell_px,
        "pixel_m": meta.geometry.pixel_m,
        "input": "harmonised DN (reflectance x 10000), 0 where there is no valid value",
        WEIGHTS_TAG: meta.weights_sha256,
    }


def _description(meta: ModelMeta) -> str:
    side = meta.geometry.patch_px
    return (
        f"{meta.preset}: uint16 patches (N, {len(meta.bands)}, {side}, {side}) of harmonised DN, bands "
        f"{', '.join(meta.bands)} -> probabilities of {', '.join(c.title for c in meta.classes)}. "
        f"{meta.credit}."
    )


class _silence:  # noqa: N801
    """Exporting and logging a model without the advice of torch and MLflow, which is not ours."""

    _NAMES = ("mlflow", "torch.export", "torch._dynamo", "alembic")

    def __enter__(self) -> None:
        self.caught = warnings.catch_warnings()
        self.caught.__enter__()
        warnings.simplefilter("ignore")
        self.levels = {name: logging.getLogger(name).level for name in self._NAMES}
        for name in self._NAMES:
            logging.getLogger(name).setLevel(logging.ERROR)

    def __exit__(self, *error: object) -> None:
        self.caught.__exit__(None, None, None)
        for name, level in self.levels.items():
            logging.getLogger(name).setLevel(level)


def tag_version(client: mlflow.MlflowClient, run_id: str, values: Mapping[str, str]) -> None:
    """Set tags of the version that was registered from a run."""
    for found in client.search_model_versions(f"run_id = '{run_id}'"):
        for key, value in values.items():
            client.set_model_version_tag(found.name, found.version, key, value)


def find_version(name: str) -> ModelVersion:
    """A version by alias (`champion`), by number, or by `models:/<name>/<version or @alias>`.

    Raises:
        TrackingError: when the registry has no such version.
    """
    client = where.connect()
    model, _, wanted = name.removeprefix("models:/").replace("@", "/").rpartition("/")
    model, wanted = model.rstrip("/") or MODEL, wanted or name
    try:
        if wanted.isdigit():
            found = client.get_model_version(model, wanted)
        else:
            found = client.get_model_version_by_alias(model, wanted)
    except MlflowException as error:
        raise TrackingError(
            f"the MLflow registry {where.store_uri()} has no version {wanted!r} of {model!r}; "
            "see its Models page for those there are."
        ) from error
    sha256 = found.tags.get(WEIGHTS_TAG, "")
    return ModelVersion(f"models:/{model}/{found.version}", sha256, found.run_id or "")


def registered_model_folder(pinned: RegisteredModelConf) -> Path:
    """A folder with a registered model, as `PatchClassifier.load` and `resume` read it.

    It is kept by the hash of its weights beside the store's artifacts, and fetched once.

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
    folder = Path(tempfile.gettempdir()) / "lenscape" / pinned.weights_sha256
    client = where.connect()
    with publish(folder) as partial:
        partial.mkdir()
        try:
            path = client.download_artifacts(found.run_id, CHECKPOINT, str(partial))
        except (MlflowException, OSError) as error:
            raise TrackingError(
                f"the files of {pinned.uri} (run {found.run_id}) are gone from the MLflow store; "
                "restore mlartifacts/ or pin another version."
            ) from error
        for file in Path(path).iterdir():
            file.rename(partial / file.name)
        remove(Path(path))
        # what `resume` needs to add to the run that the version comes from
        write_json(partial / RUN, {"run_id": found.run_id, "name": MODEL, "params": {}, "tags": {}})
    return folder


def runs_of_weights(sha256: str) -> list[Run]:
    """The runs whose model has these weights, the newest first.

    Raises:
        TrackingError: when the store cannot be used.
    """
    client = where.connect()
    experiments = [e.experiment_id for e in client.search_experiments()]
    return list(client.search_runs(experiments, f"tags.{WEIGHTS_TAG} = '{sha256}'"))
