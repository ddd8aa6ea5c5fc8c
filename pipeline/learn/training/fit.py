"""A network with calibrated probabilities, which knows what its training data look like."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.config.compute import ComputeConf
from pipeline.config.train import TrainConf
from pipeline.learn.data.reader import PatchReader, Rows
from pipeline.learn.data.training_data import TrainingData, hold_out_blocks
from pipeline.learn.inference.predictor import Probabilities, batched_probabilities
from pipeline.learn.network.classifier import PatchClassifier
from pipeline.learn.network.history import Epoch
from pipeline.learn.stats.applicability import MOST_ROWS, Familiar, Features, patch_features
from pipeline.learn.stats.calibration import trusted_temperature
from pipeline.learn.training.trainer import FitResult, train_network

_SMALLEST = np.finfo(np.float32).tiny


@dataclass(frozen=True)
class Predictions:
    """Predictions of a network for patches that it was not trained on."""

    rows: Rows
    """Of the store."""
    probabilities: Probabilities
    """(N, K)."""


def fit(
    data: TrainingData,
    conf: TrainConf,
    compute: ComputeConf,
    on_epoch: Callable[[Epoch], None] | None = None,
    class_weights: list[float] | None = None,
) -> FitResult:
    """Train a network, keep the epoch that validates best (see `Choice`) and calibrate it.

    For the calibration, networks of the same conf are trained without some of the ground, too.

    Args:
        data: Training and validation patches; the test part is not among them.
        conf: Network, loss, augmentation and schedule.
        compute: Machine and precision.
        on_epoch: Called with each row of the history as it comes, in the first process only.
        class_weights: Of the loss; by the conf's exponent where absent.

    Raises:
        NetworkError: when the layers do not fit the patches.
        ConfigError: when the machine lacks the accelerator, or training diverges.
    """
    result = train_network(data, conf, compute, on_epoch, class_weights)
    held_out: list[Predictions] = []
    for held in hold_out_blocks(data, conf.calibration_folds, conf.seed):
        other = train_network(held.data, conf, compute, None, class_weights)
        held_out.append(predicted(other.classifier, held.data, held.rows))
    calibrate(result.classifier, data, held_out)
    return result


def calibrate(
    classifier: PatchClassifier, data: TrainingData, held_out: Sequence[Predictions] = ()
) -> None:
    """Set the temperature of a trained network and the distribution of its training features.

    Args:
        classifier: The network.
        data: What it was trained on; the validation part sets the threshold of the area of
            applicability and, with the held-out predictions, the temperature. The test part is not
            used.
        held_out: Predictions of networks of the same conf for training blocks left out of their
            training.
    """
    predictions = [predicted(classifier, data, data.validation), *held_out]
    rows = np.concatenate([one.rows for one in predictions])
    probabilities = np.concatenate([one.probabilities for one in predictions])
    logits = np.log(np.maximum(probabilities, _SMALLEST))
    blocks = data.blocks(rows)
    classifier.soften(trusted_temperature(data.store.patches["label"][rows], logits, blocks))
    count = len(np.unique(blocks))
    classifier.meta = classifier.meta.model_copy(update={"temperature_blocks": count})
    classifier.familiar = _familiar(classifier, data)


def predicted(classifier: PatchClassifier, data: TrainingData, rows: Rows) -> Predictions:
    """The predictions of a network for patches of its store."""
    pieces = PatchReader(data.store, data.band_indexes).pieces(rows)
    return Predictions(rows, batched_probabilities(classifier, pieces))


def _familiar(classifier: PatchClassifier, data: TrainingData) -> Familiar:
    rows = data.train
    if len(rows) > MOST_ROWS:
        rows = np.sort(np.random.default_rng(0).choice(rows, MOST_ROWS, replace=False))

    reader, cell_px = PatchReader(data.store, data.band_indexes), classifier.meta.geometry.cell_px

    def features(rows: Rows) -> Features:
        return patch_features(reader.pieces(rows), cell_px, classifier.fill_dn)

    labels: npt.NDArray[np.integer] = data.store.patches["label"][rows]
    return Familiar.of(features(rows), labels, features(data.validation))
