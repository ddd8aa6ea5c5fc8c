"""All baselines, asked in one way: those on band statistics, and the perceptron on the flattened patch.

All see what the network sees: its training patches, its bands and its class weights. The perceptron
chooses its epoch by the validation patches, as the network does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

import numpy as np
import numpy.typing as npt

from pipeline.config.compute import ComputeConf
from pipeline.config.evaluate import BaselineName
from pipeline.config.train import TrainConf
from pipeline.learn.data.datamodule import TrainingData
from pipeline.learn.data.reader import Rows
from pipeline.learn.evaluation.baselines import BASELINES, MOST_ROWS, band_statistics
from pipeline.learn.inference.predictor import batched_probabilities
from pipeline.learn.training.fit import fit

NAMES: tuple[str, ...] = get_args(BaselineName)
PERCEPTRON = TrainConf(network="mlp", epochs=30, patience=30, lr=1e-3, tolerance=0.05)
"""How the perceptron learns: as many epochs whatever the data, so that its time is bounded by them."""

Labels = npt.NDArray[np.int64]


def answers(
    names: Sequence[str],
    data: TrainingData,
    class_weights: Sequence[float],
    asked: Rows,
    compute: ComputeConf,
) -> dict[str, Labels]:
    """What each baseline of `names`, fitted on the training patches, calls the patches `asked`.

    Args:
        names: Of `NAMES`.
        data: The training and validation patches of the network, and its bands.
        class_weights: Of the network.
        asked: Rows of the store.
        compute: Machine and precision of the perceptron.

    Returns:
        0-based classes, (N,), by name.

    Raises:
        LenscapeError: as `fit` does.
    """
    said = {}
    if any(name in BASELINES for name in names):
        learnt, features = (
            band_statistics(data.store.chunks(rows), data.places) for rows in (data.train, asked)
        )
        labels = data.store.patches["label"][data.train]
    for name in names:
        if name in BASELINES:
            fitted = BASELINES[name](learnt, labels, class_weights)
            said[name] = np.asarray(fitted.predict(features), dtype=np.int64)
        else:
            said[name] = _perceptron(data, class_weights, asked, compute)
    return said


def learns_from(name: str, training: int) -> int:
    """Of so many training patches, those that a baseline, or a tree of the forest, learns from."""
    return min(training, MOST_ROWS) if name in ("svm", "random_forest") else training


def _perceptron(
    data: TrainingData, class_weights: Sequence[float], asked: Rows, compute: ComputeConf
) -> Labels:
    classifier = fit(data, PERCEPTRON, compute, class_weights=list(class_weights)).classifier
    chunks = (chunk[:, data.places] for chunk in data.store.chunks(asked))
    return batched_probabilities(classifier, chunks).argmax(axis=1)
