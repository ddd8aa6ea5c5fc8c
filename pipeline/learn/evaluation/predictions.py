"""Held-out ground, with what a model and its baselines predict for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from pipeline.config.compute import ComputeConf
from pipeline.config.evaluate import EvaluateConf
from pipeline.errors import MismatchError, SplitError
from pipeline.files import csv_text
from pipeline.learn.data.held_out import FILE as HELD_OUT
from pipeline.learn.data.held_out import HeldOut
from pipeline.learn.data.training_data import Fold, TrainingData, folds_of, pooled
from pipeline.learn.evaluation.baselines import baseline_predictions
from pipeline.learn.inference.predictor import batched_logits
from pipeline.learn.network.classifier import FOLDS, ModelMeta, PatchClassifier
from pipeline.learn.stats.accuracy import Scores
from pipeline.learn.stats.calibration import Calibration, Reliability, calibrate, cross_calibrated
from pipeline.learn.stats.intervals import Hits, Interval, balanced_accuracy
from pipeline.learn.stats.label_issues import LabelIssues, label_issues
from pipeline.learn.stats.score_intervals import ScoreIntervals
from pipeline.parallel import run_pieces, worker_count
from pipeline.split_folder import SplitFolder
from pipeline.store import PatchStore

NETWORK = "network"
"""Name of the network among the baselines."""
Labels = npt.NDArray[np.integer]


class Network(NamedTuple):
    """A network, and the patches that it is evaluated on."""

    classifier: PatchClassifier
    patches: npt.NDArray[np.intp]
    """Where they stand among the rows of the evaluation."""


@dataclass(frozen=True)
class Evaluation:
    """A model and its baselines on held-out ground: the cells of all folds, or the test part."""

    store: PatchStore
    split: SplitFolder
    classifier: PatchClassifier
    """The network that maps."""
    networks: Sequence[Network]
    """Those that made the predictions: of each fold, or the network that maps."""
    bands: list[int]
    """The model's bands as indices of the store's bands."""
    rows: npt.NDArray[np.intp]
    """The held-out patches as rows of the store."""
    fold: npt.NDArray[np.int64] | None
    """Of each, from 0; None without folds."""
    logits: npt.NDArray[np.float32]
    """(N, K), of the network, before calibration."""
    probabilities: npt.NDArray[np.float32]
    """(N, K), calibrated: of a fold by the held-out predictions of the others."""
    dissimilarity: npt.NDArray[np.float64]
    """Of each to the training data, 1 at the threshold; empty where it is not known."""
    predicted: dict[str, Labels]
    """0-based class of each as the network (`NETWORK`) and each baseline predict it."""
    on_share: Mapping[float, Labels] = field(default_factory=dict)
    """The same by networks that had a share of the training blocks."""

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
        """0-based class of each held-out patch."""
        return self.store.patches["label"][self.rows]

    @cached_property
    def scores(self) -> dict[str, Scores]:
        """Of the network and the baselines, by name."""
        count = len(self.titles)
        return {name: Scores.of(self.truth, labels, count) for name, labels in self.predicted.items()}

    @cached_property
    def reliability(self) -> dict[str, Reliability]:
        """Of the probabilities before and after calibration."""
        return {
            "before": Reliability.of(self.truth, Calibration().probabilities(self.logits)),
            "after": Reliability.of(self.truth, self.probabilities),
        }

    @cached_property
    def label_issues(self) -> LabelIssues:
        """The labels that the held-out predictions contradict."""
        numbers = self.store.patches["polygon"][self.rows]
        return label_issues(self.truth, self.probabilities, numbers)

    @property
    def calibration(self) -> dict[str, float]:
        """Calibration errors, the calibration of the network that maps and, where it is known, the
        share of held-out patches outside the area of applicability."""
        errors = {f"ece_{when}": one.error for when, one in self.reliability.items()}
        figures = errors | self.meta.calibrated_by._asdict()
        if not len(self.dissimilarity):
            return figures
        return figures | {"outside_area_of_applicability": float(np.mean(self.dissimilarity > 1))}

    def intervals(self, blocks: npt.NDArray[np.str_]) -> ScoreIntervals:
        """Confidence intervals of the scores, from the block of each held-out patch."""
        count = len(self.titles)
        hits = {
            name: Hits.of(self.truth, labels, blocks, count) for name, labels in self.predicted.items()
        }
        return ScoreIntervals.of({NETWORK: hits.pop(NETWORK)}, hits)

    def learning_curve(self, blocks: npt.NDArray[np.str_]) -> dict[float, Interval]:
        """Balanced accuracy by the share of the training blocks; empty where none was asked for."""
        if not self.on_share:
            return {}
        count = len(self.titles)
        shares = {**self.on_share, 1.0: self.predicted[NETWORK]}
        return {
            share: balanced_accuracy(Hits.of(self.truth, shares[share], blocks, count))
            for share in sorted(shares)
        }

    def table(self, blocks: npt.NDArray[np.str_]) -> str:
        """Block, true class and predicted class of each held-out patch, as CSV."""
        names = [info.name for info in self.meta.classes]
        rows = zip(blocks.tolist(), self.truth.tolist(), self.predicted[NETWORK].tolist(), strict=True)
        named = ((block, names[true], names[label]) for block, true, label in rows)
        return csv_text(("block", "truth", "predicted"), named)


def evaluate_model(
    conf: EvaluateConf, model: Path, store: Path, split: Path, compute: ComputeConf
) -> Evaluation:
    """The predictions of a model and of its baselines for held-out ground.

    With folds these are the ones that `train` kept, and baselines are fitted on each fold; else the
    model is run on the test part.

    Raises:
        LenscapeError: when an input is missing, or model, store and split do not belong together.
    """
    classifier, patches = PatchClassifier.load(model), PatchStore.open(store)
    parts, meta = SplitFolder.open(split, patches), classifier.meta
    bands = classifier.require_matches(patches.meta, str(store))
    # training patches of another split may be test patches here
    if meta.hashes.split != parts.sha256:
        raise MismatchError(
            f"the model was trained on the split {meta.hashes.split[:12]}, but {split} is "
            f"{parts.sha256[:12]}, so that its test patches may have trained the model; run `train` on "
            "this split or name the one that the model was trained on."
        )
    if parts.split.folds is None:
        return _of_test_part(conf, classifier, parts, patches, compute)
    names = [info.name for info in meta.classes]
    held_out = HeldOut.read(model / HELD_OUT, meta.held_out_sha256, names, meta.learning_curve)
    truth = patches.patches["label"][held_out.rows]
    folds = folds_of(patches, parts, tuple(meta.bands))
    calibrated = cross_calibrated(truth, held_out.logits, held_out.fold, calibrate)
    networks = [
        Network(
            PatchClassifier.load(model / FOLDS / str(fold.number + 1)),
            np.flatnonzero(held_out.fold == fold.number),
        )
        for fold in folds
    ]
    predicted: dict[str, Labels] = {NETWORK: held_out.logits.argmax(axis=1)}
    weights = [network.classifier.meta.class_weights for network in networks]
    predicted |= fold_baselines(conf.baselines, folds, weights, compute)
    return Evaluation(
        patches,
        parts,
        classifier,
        networks,
        bands,
        held_out.rows,
        held_out.fold,
        held_out.logits,
        Calibration().probabilities(calibrated),
        held_out.dissimilarity,
        predicted,
        held_out.on_share,
    )


def fold_baselines(
    names: Sequence[str],
    folds: Sequence[Fold],
    class_weights: Sequence[Sequence[float]],
    compute: ComputeConf,
) -> dict[str, Labels]:
    """The classes that the baselines, fitted on each fold, predict for the cells of all folds.

    Args:
        names: As of `baseline_predictions`.
        folds: Of the split.
        class_weights: Of the network of each fold.
        compute: As of `baseline_predictions`; its workers are the folds at a time.

    Returns:
        0-based classes, (N,), by name, the cells in the order of the store.
    """

    def fitted(fold: Fold) -> dict[str, Labels]:
        weights = class_weights[fold.number]
        return baseline_predictions(names, fold.data, weights, fold.tested, compute)

    # Lightning sets the state of random numbers of the whole process
    workers = 1 if "mlp" in names else worker_count(compute)
    with threadpool_limits(1, "blas"):
        each = list(run_pieces(fitted, folds, workers))
    return {name: pooled(folds, [one[name] for one in each]) for name in names}


def _of_test_part(
    conf: EvaluateConf,
    classifier: PatchClassifier,
    parts: SplitFolder,
    patches: PatchStore,
    compute: ComputeConf,
) -> Evaluation:
    rows, meta = parts.rows("test"), classifier.meta
    if not len(rows):
        raise SplitError(
            f"the test part of {parts.folder} is empty; give `test` more blocks and split again."
        )
    data = TrainingData.of_split(patches, parts, tuple(meta.bands))
    logits = batched_logits(classifier.uncalibrated(), data.pixels(rows))
    predicted: dict[str, Labels] = {NETWORK: logits.argmax(axis=1)}
    predicted |= baseline_predictions(conf.baselines, data, meta.class_weights, rows, compute)
    return Evaluation(
        patches,
        parts,
        classifier,
        [Network(classifier, np.arange(len(rows)))],
        data.band_indexes,
        rows,
        None,
        logits,
        meta.calibrated_by.probabilities(logits),
        classifier.dissimilarity(data.pixels(rows)),
        predicted,
    )
