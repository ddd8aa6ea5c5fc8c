"""A trained model: raw harmonised patches in, logits out, with all that a map made by it must carry.

On disk it is a folder with `weights.safetensors` (network and normalisation; no code, no pickle) and
`model.json` (`ModelMeta`). Nothing else is needed to load it, whatever its bands and its network.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, cast

import numpy as np
import numpy.typing as npt
import safetensors.torch
import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from pipeline import __version__
from pipeline.config.opening import opening
from pipeline.config.record import Conf
from pipeline.config.train import NetworkConf
from pipeline.errors import MismatchError, StoreError
from pipeline.files import publish, sha256_of, write_json
from pipeline.learn.network.lenet import build
from pipeline.learn.network.recalibration import recalibrated
from pipeline.learn.stats.applicability import TrainingFeatures, patch_features
from pipeline.learn.stats.calibration import Calibration
from pipeline.store import read_record
from pipeline.store_meta import ClassInfo, Geometry, SceneInfo, Statistics, StoreMeta

MODEL_FORMAT = 1
WEIGHTS = "weights.safetensors"
META = "model.json"
FOLDS = "folds"
"""In a model's folder: a folder for the network of each fold, `1`, `2`, ...."""
_FEATURES = "familiar."
"""Begins the names of the tensors of `TrainingFeatures` in the file of weights."""


class Hashes(Conf):
    """What a model was made from, as SHA-256."""

    store: str
    """Identity of the store."""
    split: str
    """Identity of the split; empty for a fold that was never written."""
    conf: str
    """Hash of the conf of `train`."""


class ModelMeta(Conf):
    """`model.json`: what a model is, inherited from its store or stated by its conf."""

    format: int = MODEL_FORMAT
    lenscape: str = __version__
    """Version of lenscape that trained it."""
    preset: str
    """Name of the network, `own` where it is composed in the conf."""
    network: NetworkConf
    bands: list[str]
    """Input bands in the order of the C axis."""
    geometry: Geometry
    resampling: str
    """How bands of 20 and 60 m came to the grid of 10 m."""
    classes: list[ClassInfo]
    """In the order of the logits."""
    credit: str
    """Credit of the labels."""
    statistics: Statistics
    """Of the input bands in the training part, DN."""
    class_weights: list[float]
    """Of the loss, in the order of the classes; baselines are fitted with the same."""
    temperature: Annotated[float, Field(gt=0)] = 1.0
    """What the logits were divided by after training (see `Calibration`); the weights hold it."""
    slope: float = 1.0
    """Of the log odds of the predicted class in `Calibration`; the weights hold it."""
    bias: float = 0.0
    """Added to them; the weights hold it."""
    temperature_blocks: int = 0
    """Blocks of ground, not trained on, that the calibration was fitted on; 0 of older models."""
    kept_epoch: int = 0
    """The epoch whose weights these are, from 1; 0 of older models."""
    held_out_sha256: str = ""
    """Hash of `held_out.parquet`, the predictions of the fold networks; empty without folds."""
    learning_curve: tuple[float, ...] = ()
    """Shares of the training blocks that further networks of the folds had."""
    scenes: list[SceneInfo]
    """The scenes of the store."""
    region: Annotated[list[float], Field(min_length=4, max_length=4)] | None = None
    """West, south, east and north of the labelled ground, degrees; None of older models."""
    hashes: Hashes
    weights_sha256: str = ""
    """Hash of `weights.safetensors`; empty until the model is saved."""

    @property
    def calibrated_by(self) -> Calibration:
        """What was done to the logits after training."""
        return Calibration(self.temperature, self.slope, self.bias)

    @model_validator(mode="after")
    def _lengths_agree(self) -> ModelMeta:
        statistics = self.statistics
        if not len(self.bands) == len(statistics.mean) == len(statistics.std) > 0:
            raise ValueError("bands and statistics are not of one length")
        if not len(self.classes) == len(self.class_weights) > 0:
            raise ValueError("classes and class_weights are not of one length")
        return self


class PatchClassifier(nn.Module):
    """Raw harmonised patches to logits; nodata pixels and normalisation are handled inside."""

    mean: Tensor
    std: Tensor
    hole: Tensor
    """DN that nodata pixels take; the name is that of the tensor in saved models."""
    calibration: Tensor
    """Slope and bias of `Calibration`; its temperature is in the output layer."""

    def __init__(self, meta: ModelMeta) -> None:
        """Build the network of `meta` with fresh weights.

        Raises:
            NetworkError: when its layers do not fit its patches.
        """
        super().__init__()
        self.meta = meta
        self.training_features: TrainingFeatures | None = None
        """The distribution of the training features; None of a model that was not trained by `fit`."""
        network = build(meta.network, len(meta.bands), meta.geometry.patch_px, len(meta.classes))
        # channels last in memory is half again as fast to train and twice as fast to predict
        self.network = network.to(memory_format=torch.channels_last)
        statistics = meta.statistics
        for name, values in (
            ("mean", statistics.mean),
            ("std", statistics.std),
            ("hole", np.rint(statistics.mean)),
        ):
            column = torch.tensor(np.asarray(values), dtype=torch.float32)[:, None, None]
            self.register_buffer(name, column)
        self.register_buffer("calibration", torch.tensor([meta.slope, meta.bias]))

    def filled(self, pixels: Tensor) -> Tensor:
        """DN (N, C, P, P) of any type as float32, nodata (0) at the training mean as a whole DN."""
        values = pixels.to(torch.float32)
        return torch.where(values == 0, self.hole, values)

    def forward(self, pixels: Tensor) -> Tensor:
        """Logits (N, K) of DN (N, C, P, P), uint16 or float, in which 0 is nodata."""
        return self.logits(self.filled(pixels))

    def logits(self, values: Tensor) -> Tensor:
        """Logits (N, K) of DN, float32 (N, C, P, P), without nodata: what `filled` gives."""
        values = (values - self.mean) / self.std
        logits: Tensor = self.network(values.contiguous(memory_format=torch.channels_last))
        return recalibrated(logits, self.slope_and_bias, dim=1)

    @property
    def slope_and_bias(self) -> tuple[float, float]:
        """Of the log odds of the predicted class (see `Calibration`)."""
        return self.meta.slope, self.meta.bias

    def apply_calibration(self, calibration: Calibration) -> None:
        """Calibrate a network that is not yet: all its forms follow."""
        output = cast(nn.Linear, self.network.output)
        with torch.no_grad():
            output.weight.div_(calibration.temperature)
            output.bias.div_(calibration.temperature)
            self.calibration.copy_(torch.tensor([calibration.slope, calibration.bias]))
        self.meta = self.meta.model_copy(update=calibration._asdict())

    def uncalibrated(self) -> PatchClassifier:
        """The network before its calibration."""
        before = copy.deepcopy(self)
        before.apply_calibration(Calibration(1 / self.meta.temperature))
        before.meta = self.meta.model_copy(update=Calibration()._asdict())
        return before

    @property
    def fill_dn(self) -> npt.NDArray[np.uint16]:
        """The DN that each input band takes in nodata pixels, uint16 (C,)."""
        return self.hole.flatten().cpu().numpy().astype(np.uint16)

    def dissimilarity(self, patches: Iterable[npt.NDArray[np.uint16]]) -> npt.NDArray[np.float64]:
        """How unlike the training data patches are, 1 at the threshold, (N,); empty where not known.

        They are harmonised DN, uint16 (n, C, P, P), and come in pieces.
        """
        if self.training_features is None:
            return np.empty(0)
        features = patch_features(patches, self.meta.geometry.cell_px, self.fill_dn)
        return self.training_features.relative(features)

    def save(self, folder: Path) -> ModelMeta:
        """Write weights and metadata into `folder`; the metadata returned hold the weights' hash."""
        state = self.state_dict()
        weights = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
        if self.training_features is not None:
            arrays = vars(self.training_features).items()
            weights |= {_FEATURES + name: torch.from_numpy(values) for name, values in arrays}
        with publish(folder / WEIGHTS) as partial:
            # bytes, not save_file, so that a full disk is an OSError that `publish` can name
            partial.write_bytes(safetensors.torch.save(weights))
        self.meta = self.meta.model_copy(update={"weights_sha256": sha256_of(folder / WEIGHTS)})
        write_json(folder / META, self.meta.model_dump(mode="json"))
        return self.meta

    @classmethod
    def load(cls, folder: Path) -> PatchClassifier:
        """The model in a folder, ready to predict, on the CPU.

        Raises:
            StoreError: when a file is missing, broken or of another format.
            MismatchError: when the weights are not those that `model.json` speaks of.
        """
        meta = read_meta(folder)
        path = folder / WEIGHTS
        if not path.is_file():
            raise StoreError(f"{path} does not exist; run `train` first.")
        if (digest := sha256_of(path)) != meta.weights_sha256:
            raise MismatchError(
                f"{path} has the hash {digest[:12]}, but {folder / META} speaks of "
                f"{meta.weights_sha256[:12]}: they are of two models, or one is damaged; "
                "restore both from one model or run `train` again."
            )
        refusal = f"{path} does not hold the weights of the network in {folder / META}"
        with opening(lambda why: StoreError(f"{refusal} ({why}); run `train` again.")):
            classifier = cls(meta)
            weights = safetensors.torch.load(path.read_bytes())
            others = [name for name in weights if name.startswith(_FEATURES)]
            arrays = {name.removeprefix(_FEATURES): weights.pop(name).numpy() for name in others}
            classifier.training_features = TrainingFeatures(**arrays) if arrays else None
            stated = classifier.calibration.clone()
            weights.setdefault("calibration", stated)  # older models have none
            classifier.load_state_dict(weights)
            if not torch.equal(classifier.calibration, stated):
                raise ValueError(f"slope and bias in {META} are not those of the weights")
        return classifier.eval()

    def require_matches(self, store: StoreMeta, where: str) -> list[int]:
        """Where the model's bands lie in a store of the same geometry and classes.

        Raises:
            MismatchError: when bands are missing, or geometry or classes differ; it names both sides.
        """
        bands = require_bands(self.meta.bands, store.bands, where)
        for key, described in (("geometry", _geometry), ("classes", _classes)):
            ours, theirs = described(self.meta), described(store)
            if ours != theirs:
                raise MismatchError(
                    f"the model has the {key} {ours}, but {where} has {theirs}; "
                    "run `train` on this store or name the store that the model was trained on."
                )
        return bands


def read_meta(folder: Path) -> ModelMeta:
    """The metadata of the model in a folder.

    Raises:
        StoreError: when `model.json` is missing, broken or of another format.
    """
    return read_record(folder / META, ModelMeta, "train", MODEL_FORMAT)


def require_bands(bands: list[str], available: list[str], where: str) -> list[int]:
    """Where a model's bands lie among those of a store or scene.

    Raises:
        MismatchError: when one is missing.
    """
    if missing := [band for band in bands if band not in available]:
        raise MismatchError(
            f"the model sees the bands {', '.join(bands)}, but {where} has {', '.join(available)}: "
            f"{', '.join(missing)} missing; use a model of other bands or data with these."
        )
    return [available.index(band) for band in bands]


def _geometry(meta: ModelMeta | StoreMeta) -> str:
    geometry = meta.geometry
    return f"patch_px {geometry.patch_px}, cell_px {geometry.cell_px}, pixel_m {geometry.pixel_m:g}"


def _classes(meta: ModelMeta | StoreMeta) -> str:
    return ", ".join(info.name for info in meta.classes)
