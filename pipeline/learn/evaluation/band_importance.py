"""Permutation importance of the bands: the loss when a band comes from another patch.

Breiman 2001, Random Forests, section 10; Fisher, Rudin and Dominici 2019. The band of every patch is
taken whole from another patch of the test part, so that each band keeps its distribution and only its
relation to the other bands is broken.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.learn.evaluation.predictions import Evaluation
from pipeline.learn.inference.predictor import batched_probabilities
from pipeline.learn.network.classifier import PatchClassifier
from pipeline.learn.stats.accuracy import Scores

MOST_PATCHES = 1000
"""Of more test patches, so many are taken, evenly over the part."""
_REPEATS = 3


class BandImportance(NamedTuple):
    """The loss without a band."""

    band: str
    loss: float
    """Of balanced accuracy, mean over the repeats; below 0 where chance gains."""
    spread: float
    """Standard deviation over the repeats."""


def band_importance(evaluation: Evaluation) -> list[BandImportance]:
    """Of every band, on the test part or on patches chosen evenly from it."""
    last = len(evaluation.rows) - 1
    chosen = np.unique(np.linspace(0, last, MOST_PATCHES).astype(np.intp))
    chunks = evaluation.store.chunks(evaluation.rows[chosen])
    patches = np.concatenate([chunk[:, evaluation.bands] for chunk in chunks])
    return permutation_importance(evaluation.classifier, patches, evaluation.truth[chosen])


def permutation_importance(
    classifier: PatchClassifier,
    patches: npt.NDArray[np.uint16],
    truth: npt.NDArray[np.integer],
) -> list[BandImportance]:
    """Of every input band, in the order of the network, on harmonised DN, uint16 (N, C, P, P).

    Correlated bands replace each other: the loss of each of them is then small, though without both
    it would be large.
    """
    random, bands = np.random.default_rng(0), classifier.meta.bands

    def variants() -> Iterator[npt.NDArray[np.uint16]]:
        yield patches
        for band in range(len(bands)):
            for _ in range(_REPEATS):
                permuted = patches.copy()
                permuted[:, band] = patches[random.permutation(len(patches)), band]
                yield permuted

    predicted = batched_probabilities(classifier, variants()).argmax(axis=1).reshape(-1, len(patches))
    classes = len(classifier.meta.classes)
    unchanged, *permuted = (Scores.of(truth, one, classes).balanced_accuracy for one in predicted)
    losses = unchanged - np.reshape(permuted, (len(bands), _REPEATS))
    return [
        BandImportance(band, float(np.mean(loss)), float(np.std(loss)))
        for band, loss in zip(bands, losses, strict=True)
    ]
