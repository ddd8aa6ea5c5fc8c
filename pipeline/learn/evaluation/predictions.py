"""The test part and what a model and its baselines say of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.config.compute import ComputeConf
from pipeline.config.evaluate import EvaluateConf
from pipeline.errors import MismatchError, SplitError
from pipeline.learn.data.datamodule import TrainingData
from pipeline.learn.evaluation.baseline_training import answers
from pipeline.learn.inference.predictor import batched_probabilities
from pipeline.learn.network.classifier import ModelMeta, PatchClassifier
from pipeline.learn.stats.accuracy import Scores
from pipeline.learn.stats.applicability import patch_features
from pipeline.learn.stats.calibration import Reliability, uncalibrated
from pipeline.learn.stats.intervals import Certainty, Hits
from pipeline.store import PatchStore, SplitFolder

NETWORK = "network"
Labels = npt.NDArray[np.integer]


@dataclass(frozen=True)
class Judged:
    """The test part and what was said of it."""

    store: PatchStore
    split: SplitFolder
    classifier: PatchClassifier
    places: list[int]
    """The model's bands as places in the store."""
    rows: npt.NDArray[np.intp]
    """The test patches as rows of the store."""
    probabilities: npt.NDArray[np.float32]
    """(N, K), of the network, calibrated."""
    dissimilarity: npt.NDArray[np.float64]
    """How unlike the training data each test patch is, 1 at the limit; none where it is not known."""
    said: dict[str, Labels]
    """0-based class that the network (`NETWORK`) and each baseline call each test patch, by name."""

    @property
    def meta(self) -> ModelMeta:
        """What the model is."""
        return self.classifier.meta

    @cached_property
    def scores(self) -> dict[str, Scores]:
        """The network's and the baselines', by name."""
        count = len(self.meta.classes)
        return {name: Scores.of(self.truth, called, count) for name, called in self.said.items()}

    @property
    def truth(self) -> npt.NDArray[Any]:
        """0-based class of each test patch."""
        return self.store.patches["label"][self.rows]

    @property
    def reliability(self) -> dict[str, Reliability]:
        """Of the probabilities as the network gave them, and as calibration left them."""
        before = uncalibrated(self.probabilities, self.meta.temperature)
        return {
            "before": Reliability.of(self.truth, before),
            "after": Reliability.of(self.truth, self.probabilities),
        }

    @property
    def trust(self) -> dict[str, float]:
        """How far the probabilities can be believed, and how much of the part is unlike training."""
        errors = {f"ece_{when}": one.error for when, one in self.reliability.items()}
        known = {"unlike_training": float(np.mean(self.dissimilarity > 1))}
        return (
            errors | {"temperature": self.meta.temperature} | (known if len(self.dissimilarity) else {})
        )

    def certainty(self, blocks: npt.NDArray[np.str_]) -> Certainty:
        """How sure the figures are, from the block of each test patch."""
        count = len(self.meta.classes)
        hits = {name: Hits.of(self.truth, called, blocks, count) for name, called in self.said.items()}
        return Certainty.of({NETWORK: hits.pop(NETWORK)}, hits)

    def calls(self, blocks: npt.NDArray[np.str_]) -> str:
        """Block, true class and the network's call of each test patch, as CSV."""
        names = [info.name for info in self.meta.classes]
        rows = zip(blocks.tolist(), self.truth.tolist(), self.said[NETWORK].tolist(), strict=True)
        lines = [f"{block},{names[true]},{names[called]}" for block, true, called in rows]
        return "\n".join(["block,truth,called", *lines]) + "\n"

    @property
    def titles(self) -> list[str]:
        """What people call the classes."""
        return [info.title for info in self.meta.classes]


def judge(conf: EvaluateConf, model: Path, store: Path, split: Path, compute: ComputeConf) -> Judged:
    """Run the model and fit and run the baselines on the test part.

    Raises:
        LenscapeError: when an input is missing, or model, store and split do not belong together.
    """
    classifier, patches = PatchClassifier.load(model), PatchStore.open(store)
    parted = SplitFolder.open(split, patches)
    places = classifier.require_matches(patches.meta, str(store))
    rows = parted.rows("test")
    if not len(rows):
        raise SplitError(f"the test part of {split} is empty; give `test` more blocks and split again.")
    _require_split(classifier.meta, parted)
    count = len(classifier.meta.classes)
    chunks = (chunk[:, places] for chunk in patches.chunks(rows))
    probabilities = batched_probabilities(classifier, chunks)
    said: dict[str, Labels] = {NETWORK: probabilities.argmax(axis=1)}
    data = TrainingData.of_split(patches, parted, tuple(classifier.meta.bands))
    weights = classifier.meta.class_weights or (1.0,) * count
    said |= answers(conf.baselines, data, weights, rows, compute)
    unlike = _dissimilarity(classifier, patches, places, rows)
    return Judged(patches, parted, classifier, places, rows, probabilities, unlike, said)


def _dissimilarity(
    classifier: PatchClassifier, store: PatchStore, places: list[int], rows: npt.NDArray[np.intp]
) -> npt.NDArray[np.float64]:
    if classifier.familiar is None:
        return np.empty(0)
    cell_px = classifier.meta.geometry.cell_px
    chunks = (chunk[:, places] for chunk in store.chunks(rows))
    return classifier.familiar.relative(patch_features(chunks, cell_px, classifier.fill_dn))


def _require_split(meta: ModelMeta, split: SplitFolder) -> None:
    """Refuse a model of another split, whose training patches may be test patches here."""
    if meta.hashes.split != split.sha256:
        raise MismatchError(
            f"the model was trained on the split {meta.hashes.split[:12]}, but {split.folder} is "
            f"{split.sha256[:12]}, so that its test patches may have trained the model; run `train` on "
            "this split or name the one that the model was trained on."
        )
