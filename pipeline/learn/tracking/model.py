"""The model in MLflow: an exported graph, loaded with torch and MLflow alone, and its registration."""

from __future__ import annotations

import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
from mlflow.exceptions import MlflowException
from mlflow.models import Model, ModelSignature
from mlflow.models.model import ModelInfo
from mlflow.types import Schema, TensorSpec
from torch import Tensor, nn

from pipeline.learn.network.classifier import ModelMeta, PatchClassifier

MODEL = "lenscape"
"""Name of the registered model."""
CHAMPION = "champion"
"""Alias of the version in use; the first one gets it, `lenscape promote` moves it."""
CHALLENGER = "challenger"
"""Alias of the newest version that is not in use."""
WEIGHTS_TAG = "weights_sha256"
"""The tag of runs and versions, and the key of the model's metadata, that names the weights."""


class _Probabilities(nn.Module):
    """What MLflow serves: raw harmonised patches in, probabilities out."""

    def __init__(self, classifier: PatchClassifier) -> None:
        super().__init__()
        self.classifier = classifier

    def forward(self, pixels: Tensor) -> Tensor:
        return self.classifier(pixels).softmax(dim=1)  # type: ignore[no-any-return]


class _TorchOnCpu:
    """MLflow's way to keep a torch model, but for one that stays on the CPU wherever it is loaded.

    An exported graph cannot move: where there is CUDA, MLflow would refuse to load it.
    """

    def save_model(
        self, path: str, mlflow_model: Model, validate_serving_input: bool, **options: Any
    ) -> None:
        del validate_serving_input  # for `Model.log`, which hands all its options on
        mlflow.pytorch.save_model(path=path, mlflow_model=mlflow_model, **options)
        mlflow_model.flavors["python_function"]["config"]["device"] = "cpu"
        mlflow_model.save(str(Path(path) / "MLmodel"))


def log_exported(classifier: PatchClassifier) -> ModelInfo:
    """Log a model to the active run of MLflow; its URI and name there.

    As a pyfunc it takes harmonised DN, uint16 (N, C, P, P), 0 for nodata, of any N, and gives
    probabilities, float32 (N, K).
    """
    meta = classifier.meta
    side = meta.geometry.patch_px
    shape = (len(meta.bands), side, side)
    # two patches, because torch.export takes a length of 1 for a constant
    example = np.tile(classifier.fill_dn[:, None, None], (2, 1, side, side))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch and MLflow about each other
        logged: ModelInfo = Model.log(
            None,
            _TorchOnCpu(),
            name="model",
            flavor_name="pytorch",
            pytorch_model=_Probabilities(classifier).eval(),
            serialization_format="pt2",
            signature=ModelSignature(
                # without names: a named input would have to come in a dictionary
                inputs=Schema([TensorSpec(np.dtype("uint16"), (-1, *shape))]),
                outputs=Schema([TensorSpec(np.dtype("float32"), (-1, len(meta.classes)))]),
            ),
            input_example=example,
            pip_requirements=_requirements(),
            metadata=_metadata(meta),
            # it would load the model and run it, and warn where that fails: a fifth of the time
            validate_serving_input=False,
        )
    return logged


def _requirements() -> list[str]:
    """What loading takes, at the versions that made it; torch without its local build name."""
    names = ("mlflow", "torch", "numpy")
    return [f"{name}=={version(name).partition('+')[0]}" for name in names]


def _metadata(meta: ModelMeta) -> dict[str, object]:
    return {
        "bands": meta.bands,
        "classes": [info.name for info in meta.classes],
        "titles": [info.title for info in meta.classes],
        "patch_px": meta.geometry.patch_px,
        "cell_px": meta.geometry.cell_px,
        "pixel_m": meta.geometry.pixel_m,
        "input": "uint16 (N, C, P, P): harmonised DN (reflectance x 10000), 0 where there is no value",
        "output": "float32 (N, K): probabilities of the classes for the cell in the patch's centre",
        WEIGHTS_TAG: meta.weights_sha256,
    }


def log_and_register(client: mlflow.MlflowClient, run_id: str, classifier: PatchClassifier) -> None:
    """Log a model to the active run and make it the next version of `lenscape`, once.

    The first version of all becomes the champion; a later one is the challenger.
    """
    versions = client.search_model_versions(f"run_id = '{run_id}'")
    number = max((int(one.version) for one in versions if one.name == MODEL), default=0)
    if not number:
        number = _register(client, run_id, log_exported(classifier), classifier.meta)
    aliases = client.get_registered_model(MODEL).aliases
    if CHAMPION not in aliases:
        client.set_registered_model_alias(MODEL, CHAMPION, str(number))
    elif number not in (int(aliases[CHAMPION]), int(aliases.get(CHALLENGER, 0))):
        client.set_registered_model_alias(MODEL, CHALLENGER, str(number))


def _register(client: mlflow.MlflowClient, run_id: str, logged: ModelInfo, meta: ModelMeta) -> int:
    """The number of the version that a logged model becomes."""
    try:
        client.create_registered_model(
            MODEL, description="Land-cover classes of Sentinel-2 patches, trained by lenscape."
        )
    except MlflowException:
        client.get_registered_model(MODEL)  # there already, or the registry is out of order
    made = client.create_model_version(
        MODEL,
        source=logged.model_uri,
        run_id=run_id,
        model_id=logged.model_id,
        tags={
            WEIGHTS_TAG: meta.weights_sha256,
            "bands": ", ".join(meta.bands),
            "classes": ", ".join(info.name for info in meta.classes),
            "data_sha256": meta.hashes.store,
            "split_sha256": meta.hashes.split,
            "preset": meta.preset,
        },
        description=_description(meta),
    )
    return int(made.version)


def _description(meta: ModelMeta) -> str:
    side = meta.geometry.patch_px
    return (
        f"{meta.preset}: uint16 patches (N, {len(meta.bands)}, {side}, {side}) of harmonised DN, bands "
        f"{', '.join(meta.bands)} -> probabilities of {', '.join(c.title for c in meta.classes)}. "
        f"{meta.credit}."
    )
