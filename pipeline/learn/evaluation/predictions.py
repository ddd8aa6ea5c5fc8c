"""The test part of a split, with what a model and its baselines predict for it."""

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
from pipeline.files import csv_text
from pipeline.learn.data.training_data import TrainingData
from pipeline.learn.evaluation.baselines import baseline_predictions
from pipeline.learn.inference.predictor import batched_probabilities
from pipeline.learn.network.classifier import ModelMeta, PatchClassifier
from pipeline.learn.stats.accuracy import Scores
from pipeline.learn.stats.calibration import Reliability, uncalibrated
from pipeline.learn.stats.intervals import Hits
from pipeline.learn.stats.score_intervals import ScoreIntervals
from pipeline.split_folder import SplitFolder
from pipeline.store import PatchStore

NETWORK = "network"
"""Name of the network among the baselines."""
Labels = npt.NDArray[np.integer]


@dataclass(frozen=True)
class Evaluation:
    """A model and its baselines on the test part."""

    store: PatchStore
    split: SplitFolder
    classifier: PatchClassifier
    bands: list[int]
    """The model's bands as indices of the store's bands."""
    rows: npt.NDArray[np.intp]
    """The test patches as rows of the store."""
    probabilities: npt.NDArray[np.float32]
    """(N, K), of the network, calibrated."""
    dissimilarity: npt.NDArray[np.float64]
    """Of each test patch to the training data, 1 at the threshold; empty where it is not known."""
    predicted: dict[str, Labels]
    """0-based class of each test patch as the network (`NETWORK`) and each baseline predict it."""

    @property
    def meta(self) -> ModelMeta:
        """The model's metadata."""
        return self.classifier.meta

    @property
    def titles(self) -> list[str]:
        """The titles of the classes."""
        return [info.title for info in self.meta.classes]

    @cached_property
    def truth(self) -> npt.NDArray[Any]:
        """0-based class of each test patch."""
        return self.store.patches["label"][self.rows]

    @cached_property
    def scores(self) -> dict[str, Scores]:
        """Of the network and the baselines, by name."""
        count = len(self.titles)
        return {name: Scores.of(self.truth, labels, count) for name, labels in self.predicted.items()}

    @cached_property
    def reliability(self) -> dict[str, Reliability]:
        """Of the probabilities before and after calibration."""
        before = uncalibrated(self.probabilities, self.meta.temperature)
        return {
            "before": Reliability.of(self.truth, before),
            "after": Reliability.of(self.truth, self.probabilities),
        }

    @property
    def calibration(self) -> dict[str, float]:
        """Calibration errors, temperature and, where it is known, the share of test patches outside
        the area of applicability."""
        errors = {f"ece_{when}": one.error for when, one in self.reliability.items()}
        figures = errors | {"temperature": self.meta.temperature}
        if not len(self.dissimilarity):
            return figures
        return figures | {"outside_area_of_applicability": float(np.mean(self.dissimilarity > 1))}

    def intervals(self, blocks: npt.NDArray[np.str_]) -> ScoreIntervals:
        """Confidence intervals of the scores, from the block of each test patch."""
        count = len(self.titles)
        hits = {
            name: Hits.of(self.truth, labels, blocks, count) for name, labels in self.predicted.items()
        }
        return ScoreIntervals.of({NETWORK: hits.pop(NETWORK)}, hits)

    def table(self, blocks: npt.NDArray[np.str_]) -> str:
        """Block, true class and predicted class of each test patch, as CSV."""
        names = [info.name for info in self.meta.classes]
        rows = zip(blocks.tolist(), self.truth.tolist(), self.predicted[NETWORK].tolist(), strict=True)
        named = ((block, names[true], names[label]) for block, true, label in rows)
        return csv_text(("block", "truth", "predicted"), named)


def evaluate_test_part(
    conf: EvaluateConf, model: Path, store: Path, split: Path, compute: ComputeConf
) -> Evaluation:
    """Run the model and fit and run the baselines on the test part.

    Raises:
        LenscapeError: when an input is missing, or model, store and split do not belong together.
    """
    classifier, patches = PatchClassifier.load(model), PatchStore.open(store)
    parts = SplitFolder.open(split, patches)
    bands = classifier.require_matches(patches.meta, str(store))
    rows = parts.rows("test")
    if not len(rows):
        raise SplitError(f"the test part of {split} is empty; give `test` more blocks and split again.")
    # training patches of another split may be test patches here
    if classifier.meta.hashes.split != parts.sha256:
        raise MismatchError(
            f"the model was trained on the split {classifier.meta.hashes.split[:12]}, but {split} is "
            f"{parts.sha256[:12]}, so that its test patches may have trained the model; run `train` on "
            "this split or name the one that the model was trained on."
        )
    data = TrainingData.of_split(patches, parts, tuple(classifier.meta.bands))
    probabilities = batched_probabilities(classifier, data.pixels(rows))
    weights = classifier.meta.class_weights or (1.0,) * len(classifier.meta.classes)
    predicted: dict[str, Labels] = {NETWORK: probabilities.argmax(axis=1)}
    predicted |= baseline_predictions(conf.baselines, data, weights, rows, compute)
    dissimilarity = classifier.dissimilarity(data.pixels(rows))
    return Evaluation(patches, parts, classifier, bands, rows, probabilities, dissimilarity, predicted)
