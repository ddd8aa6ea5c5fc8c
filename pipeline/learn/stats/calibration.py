"""Calibration of probabilities: of cells predicted with 80 %, 80 % should be right.

One temperature for all classes (Guo et al. 2017, On Calibration of Modern Neural Networks) makes a
network's probabilities less or more confident and never changes which class is the most probable. It
is chosen on held-out ground, and the output layer of the network is divided by it, so that every form
of the network gives calibrated probabilities and none has to know of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq

BINS = 15
"""Of the reliability diagram, as in Guo et al. 2017, but of equal counts."""
_SHARPEST, _SOFTEST = 0.05, 20.0
_USUAL_SPREAD = 0.2
"""Standard deviation of the logarithm of a temperature, from network to network, about."""
_LEAST = 1e-12

Probabilities = npt.NDArray[np.floating]
Labels = npt.NDArray[np.integer]


@dataclass(frozen=True)
class Reliability:
    """Confidence and accuracy of patches, in bins of equal counts by confidence."""

    confidence: npt.NDArray[np.float64]
    """Mean probability of the predicted class, by bin, rising."""
    accuracy: npt.NDArray[np.float64]
    """Share of right predictions, by bin."""
    count: npt.NDArray[np.int64]
    """Patches, by bin."""

    @classmethod
    def of(cls, truth: Labels, probabilities: Probabilities, bins: int = BINS) -> Reliability:
        """Of the 0-based classes (N,) of patches and their probabilities (N, K), in `bins` at most.

        Raises:
            ValueError: when there are no patches, or not as many of the one as of the other.
        """
        if len(truth) != len(probabilities) or not len(truth):
            raise ValueError(f"{len(truth)} true classes and {len(probabilities)} of probabilities")
        return cls.of_predictions(
            probabilities.argmax(axis=1) == truth, probabilities.max(axis=1), bins
        )

    @classmethod
    def of_predictions(
        cls, right: npt.NDArray[np.bool_], confidence: Probabilities, bins: int = BINS
    ) -> Reliability:
        """Of N predictions, whether each is right and with which confidence."""
        order = np.argsort(confidence, kind="stable")
        parts = np.array_split(order, min(bins, len(order)))
        return cls(
            np.array([confidence[part].mean(dtype=np.float64) for part in parts]),
            np.array([right[part].mean() for part in parts]),
            np.array([len(part) for part in parts], dtype=np.int64),
        )

    @property
    def error(self) -> float:
        """Expected calibration error: the mean distance of accuracy from confidence, by patches.

        Naeini et al. 2015, Obtaining Well Calibrated Probabilities Using Bayesian Binning.
        """
        distance = np.abs(self.accuracy - self.confidence)
        return float(np.average(distance, weights=self.count))


def consistent_temperature(truth: Labels, logits: npt.NDArray[np.floating]) -> float:
    """The temperature T at which the mean confidence of softmax(logits / T) is the accuracy.

    Of the 0-based classes (N,) of patches and their logits (N, K); logarithms of probabilities do too.

    Confidence is the probability of the predicted class. The accuracy is (right + 1) / (N + 2), so
    that a few patches, all of them right, do not make a network certain (Clarté et al. 2023,
    Expectation consistency for calibration of neural networks). Without patches it is 1.

    The temperature of the lowest log loss (Guo et al. 2017) follows the few predictions that are wrong
    and very confident, and leaves all others less confident than they are right.
    """
    if not len(truth):
        return 1.0
    values = logits.astype(np.float64)
    values -= values.max(axis=1, keepdims=True)
    accuracy = (np.sum(values.argmax(axis=1) == truth) + 1) / (len(truth) + 2)

    def overconfidence(log_temperature: float) -> float:
        # of the predicted class the numerator is exp(0)
        confidence = 1 / np.exp(values / np.exp(log_temperature)).sum(axis=1)
        return float(np.mean(confidence) - accuracy)

    sharpest, softest = np.log(_SHARPEST), np.log(_SOFTEST)
    if overconfidence(sharpest) <= 0:
        return _SHARPEST
    if overconfidence(softest) >= 0:
        return _SOFTEST
    return float(np.exp(brentq(overconfidence, sharpest, softest, xtol=1e-6)))


def shrunk_temperature(
    truth: Labels, logits: npt.NDArray[np.floating], blocks: npt.NDArray[np.integer]
) -> float:
    """The consistent temperature, shrunk towards 1 as far as the blocks (N,) disagree about it.

    A few blocks are a small sample of other ground, whose temperature is partly chance.
    The logarithm is multiplied by s^2 / (s^2 + v), where v is its variance by leaving out one block
    after the other (jackknife; Efron and Stein 1981) and s what temperatures of networks differ by.
    """
    names = np.unique(blocks)
    if len(names) < 2:
        return 1.0
    without = [
        np.log(consistent_temperature(truth[blocks != name], logits[blocks != name])) for name in names
    ]
    variance = (len(names) - 1) * float(np.var(without))
    kept = _USUAL_SPREAD**2 / (_USUAL_SPREAD**2 + variance)
    return float(np.exp(kept * np.log(consistent_temperature(truth, logits))))


def uncalibrated(probabilities: Probabilities, temperature: float) -> npt.NDArray[np.float64]:
    """Probabilities (N, K) of a network before its logits were divided by its temperature."""
    powers = temperature * np.log(np.maximum(probabilities.astype(np.float64), _LEAST))
    values = np.exp(powers - powers.max(axis=1, keepdims=True))
    result: npt.NDArray[np.float64] = values / values.sum(axis=1, keepdims=True)
    return result
