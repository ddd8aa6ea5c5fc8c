"""Which bands a network needs: what is lost when one of them comes from another patch.

Permutation importance (Breiman 2001, Random Forests, section 10; Fisher, Rudin and Dominici 2019).
The band of every patch is taken from another patch of the test part, whole, so that each band looks
as it always does and only does not belong to the others.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.learn.inference.predictor import batched_probabilities
from pipeline.learn.network.classifier import PatchClassifier
from pipeline.learn.stats.accuracy import Scores

MOST_PATCHES = 1000
"""Of more, so many are taken, evenly over the part."""
_REPEATS = 3


@dataclass(frozen=True)
class BandImportance:
    """What is lost without a band."""

    band: str
    loss: float
    """Of balanced accuracy, mean over the repeats; below 0 where chance gains."""
    spread: float
    """Standard deviation over the repeats."""


def importance(
    classifier: PatchClassifier,
    patches: npt.NDArray[np.uint16],
    truth: npt.NDArray[np.integer],
    repeats: int = _REPEATS,
) -> list[BandImportance]:
    """Of every input band, in the order of the network.

    Bands that resemble each other stand in for each other: what each of them loses is then little,
    though without both much would be lost.

    Args:
        classifier: The model.
        patches: Harmonised DN, uint16 (N, C, P, P).
        truth: 0-based class of each patch, (N,).
        repeats: Permutations of each band.
    """
    random, classes = np.random.default_rng(0), len(classifier.meta.classes)

    def score(pixels: npt.NDArray[np.uint16]) -> float:
        called = batched_probabilities(classifier, [pixels]).argmax(axis=1)
        return Scores.of(truth, called, classes).balanced_accuracy

    whole, found = score(patches), []
    for place, band in enumerate(classifier.meta.bands):
        losses = []
        for _ in range(repeats):
            mixed = patches.copy()
            mixed[:, place] = patches[random.permutation(len(patches)), place]
            losses.append(whole - score(mixed))
        found.append(BandImportance(band, float(np.mean(losses)), float(np.std(losses))))
    return found
