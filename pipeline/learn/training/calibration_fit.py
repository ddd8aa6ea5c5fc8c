"""What a network needs after training to be believed: calibrated, and aware of what it learnt from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.learn.data.datamodule import TrainingData
from pipeline.learn.data.reader import PatchReader, Rows
from pipeline.learn.inference.predictor import Probabilities, batched_probabilities
from pipeline.learn.network.classifier import PatchClassifier
from pipeline.learn.stats.applicability import MOST_ROWS, Familiar, Features, patch_features
from pipeline.learn.stats.calibration import trusted_temperature

_LEAST = np.finfo(np.float32).tiny


@dataclass(frozen=True)
class Heard:
    """What a network said of patches that did not train it."""

    rows: Rows
    """Of the store."""
    probabilities: Probabilities
    """(N, K)."""


def make_trustworthy(
    classifier: PatchClassifier, data: TrainingData, elsewhere: Sequence[Heard] = ()
) -> None:
    """Calibrate a trained network and tell it what its training data look like.

    Args:
        classifier: The network.
        data: What it learnt from; the validation part decides on the limit of dissimilarity and,
            with what was heard elsewhere, on the temperature. The test part is not seen.
        elsewhere: What networks of the same conf said of training blocks that they were not shown.
    """
    heard = [heard_of(classifier, data, data.validation), *elsewhere]
    rows = np.concatenate([one.rows for one in heard])
    logits = np.log(np.maximum(np.concatenate([one.probabilities for one in heard]), _LEAST))
    blocks = data.blocks(rows)
    classifier.soften(trusted_temperature(data.store.patches["label"][rows], logits, blocks))
    count = len(np.unique(blocks))
    classifier.meta = classifier.meta.model_copy(update={"temperature_blocks": count})
    classifier.familiar = _familiar(classifier, data)


def heard_of(classifier: PatchClassifier, data: TrainingData, rows: Rows) -> Heard:
    """What a network says of some patches."""
    pieces = PatchReader(data.store, data.places).pieces(rows)
    return Heard(rows, batched_probabilities(classifier, pieces))


def _familiar(classifier: PatchClassifier, data: TrainingData) -> Familiar:
    rows = data.train
    if len(rows) > MOST_ROWS:
        rows = np.sort(np.random.default_rng(0).choice(rows, MOST_ROWS, replace=False))

    reader, cell_px = PatchReader(data.store, data.places), classifier.meta.geometry.cell_px

    def described(some: Rows) -> Features:
        return patch_features(reader.pieces(some), cell_px, classifier.fill_dn)

    labels: npt.NDArray[np.integer] = data.store.patches["label"][rows]
    return Familiar.of(described(rows), labels, described(data.validation))
