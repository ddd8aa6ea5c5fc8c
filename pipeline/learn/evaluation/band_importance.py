"""Permutation importance of the bands: the loss when a band comes from another patch.

Breiman 2001, Random Forests, section 10; Fisher, Rudin and Dominici 2019. The band of every patch is
taken whole from another held-out patch of the same network, so that each band keeps its distribution
and only its relation to the other bands is broken.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.learn.evaluation.predictions import Evaluation
from pipeline.learn.inference.predictor import batched_logits
from pipeline.learn.network.classifier import PatchClassifier
from pipeline.learn.stats.accuracy import Scores

MOST_PATCHES = 1000
"""Of more held-out patches, so many are taken, evenly over them."""
_REPEATS = 3


class BandImportance(NamedTuple):
    """The loss without a band."""

    band: str
    loss: float
    """Of balanced accuracy, mean over the repeats; below 0 where chance gains."""
    spread: float
    """Standard deviation over the repeats."""


def band_importance(evaluation: Evaluation) -> list[BandImportance]:
    """Of every band, on the held-out patches or on some chosen evenly from them, by their networks.

    Correlated bands replace each other: the loss of each of them is then small, though without both
    it would be large.
    """
    last = len(evaluation.rows) - 1
    chosen = np.unique(np.linspace(0, last, MOST_PATCHES).astype(np.intp))
    predicted, truth = [], []
    for classifier, positions in evaluation.networks:
        own = np.intersect1d(chosen, positions)
        chunks = evaluation.store.chunks(evaluation.rows[own])
        patches = np.concatenate([chunk[:, evaluation.bands] for chunk in chunks])
        predicted.append(permuted_predictions(classifier, patches))
        truth.append(evaluation.truth[own])
    bands = evaluation.meta.bands
    return losses(
        bands, np.concatenate(truth), np.concatenate(predicted, axis=1), len(evaluation.titles)
    )


def permuted_predictions(
    classifier: PatchClassifier, patches: npt.NDArray[np.uint16]
) -> npt.NDArray[np.integer]:
    """The classes (1 + C x repeats, N) of harmonised DN, uint16 (N, C, P, P), as they are and permuted.

    First come those of the patches as they are, then those with each band in turn from other patches.
    """
    random = np.random.default_rng(0)

    def variants() -> Iterator[npt.NDArray[np.uint16]]:
        yield patches
        for band in range(patches.shape[1]):
            for _ in range(_REPEATS):
                permuted = patches.copy()
                permuted[:, band] = patches[random.permutation(len(patches)), band]
                yield permuted

    classes: npt.NDArray[np.integer] = batched_logits(classifier, variants()).argmax(axis=1)
    return classes.reshape(-1, len(patches))


def losses(
    bands: Sequence[str],
    truth: npt.NDArray[np.integer],
    predicted: npt.NDArray[np.integer],
    classes: int,
) -> list[BandImportance]:
    """Of every band, from the classes of N patches and what `permuted_predictions` gives for them."""
    unchanged, *permuted = (Scores.of(truth, one, classes).balanced_accuracy for one in predicted)
    loss = unchanged - np.reshape(permuted, (len(bands), _REPEATS))
    return [
        BandImportance(band, float(np.mean(one)), float(np.std(one)))
        for band, one in zip(bands, loss, strict=True)
    ]
