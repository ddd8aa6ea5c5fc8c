"""Calibration of probabilities: of cells predicted with 80 %, 80 % should be right.

One temperature for all classes (Guo et al. 2017, On Calibration of Modern Neural Networks) makes a
network's probabilities less or more confident; a logistic regression of the log odds (Platt 1999) also
shifts them. Neither changes which class is the most probable. They are fitted on held-out ground and
become part of the network, so that every form of it gives calibrated probabilities.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import logsumexp, softmax

BINS = 15
"""Of the reliability diagram, as in Guo et al. 2017, but of equal counts."""
MOST_ROWS = 20_000
"""Of more patches, so many are fitted on, evenly over them."""
LEAST_LEAD = 1e-3
"""By so much the logit of the predicted class stays above all others."""
_SMALLEST = np.finfo(np.float64).tiny
_LOG_SCALES = (-3.0, 3.0)
"""Of temperatures and slopes: 0.05 to 20."""
_PRIOR = 1.0
"""Weight of no change, in patches."""
_PRECISE = {"xatol": 1e-5, "fatol": 1e-9}

Probabilities = npt.NDArray[np.floating]
Labels = npt.NDArray[np.integer]
Logits = npt.NDArray[np.floating]
Groups = npt.NDArray[np.integer]


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


class Calibration(NamedTuple):
    """Logits divided by the temperature; then the log odds x of the predicted class become
    slope * x + bias, and those of all other classes among each other stay.

    The log odds are those that the predicted class is right: its logit less the logarithm of the sum of
    the exponentials of all others. It stays the predicted class: its logit leads by `LEAST_LEAD`.
    """

    temperature: float = 1.0
    slope: float = 1.0
    bias: float = 0.0

    @property
    def name(self) -> str:
        """What it is, in words."""
        if self.slope != 1:
            return (
                f"logistic regression of the log odds (slope {self.slope:.2f}, bias {self.bias:+.2f})"
            )
        if self.bias:
            return f"temperature {self.temperature:.2f} with bias {self.bias:+.2f}"
        return "none" if self.temperature == 1 else f"temperature {self.temperature:.2f}"

    def logits(self, logits: Logits) -> Logits:
        """Calibrated logits of uncalibrated ones, float64 (N, K)."""
        scaled = logits.astype(np.float64) / self.temperature
        if scaled.shape[1] < 2 or (self.slope, self.bias) == (1, 0):
            return scaled
        rows, best = np.arange(len(scaled)), scaled.argmax(axis=1)
        others = scaled.copy()
        others[rows, best] = -np.inf
        rest, second = logsumexp(others, axis=1), others.max(axis=1)
        odds = self.slope * (scaled[rows, best] - rest) + self.bias
        scaled[rows, best] = np.maximum(odds + rest, second + LEAST_LEAD)
        return scaled

    def probabilities(self, logits: Logits) -> npt.NDArray[np.float32]:
        """Calibrated probabilities of uncalibrated logits, float32 (N, K)."""
        result: npt.NDArray[np.float32] = softmax(self.logits(logits), axis=1).astype(np.float32)
        return result


def calibrate(truth: Labels, logits: Logits, groups: Groups) -> Calibration:
    """The calibration of lowest log loss on groups that it was not fitted on.

    A temperature (Guo et al. 2017), a temperature with a bias, and a logistic regression (Platt 1999)
    are fitted; each group is predicted by those of the others. The log loss is that of the event that
    the predicted class is right, of which the confidence is the probability. With one group nothing can
    be compared, and the logits stay as they are.

    Args:
        truth: 0-based classes (N,) of patches that the network was not trained on.
        logits: Their uncalibrated logits (N, K).
        groups: The fold, or another group of ground, of each (N,).
    """
    if len(np.unique(groups)) < 2 or logits.shape[1] < 2:
        return Calibration()
    losses = {}
    for kind in _KINDS:
        fitted = cross_calibrated(truth, logits, groups, partial(_fitted, kind))
        losses[kind] = _log_loss(fitted.argmax(axis=1) == truth, fitted)
    return _fitted(min(losses, key=lambda kind: losses[kind]), truth, logits, groups)


def cross_calibrated(
    truth: Labels,
    logits: Logits,
    groups: Groups,
    fit: Callable[[Labels, Logits, Groups], Calibration],
) -> npt.NDArray[np.float64]:
    """Calibrated logits (N, K), those of each group by a calibration fitted on the others."""
    result = np.empty(logits.shape, dtype=np.float64)
    for group in np.unique(groups):
        own = groups == group
        result[own] = fit(truth[~own], logits[~own], groups[~own]).logits(logits[own])
    return result


_KINDS = ("temperature", "temperature with bias", "logistic")


def _fitted(kind: str, truth: Labels, logits: Logits, groups: Groups) -> Calibration:
    """The calibration of a kind of lowest log loss; the groups do not matter to it."""
    del groups
    rows = np.unique(np.linspace(0, len(truth) - 1, MOST_ROWS).astype(np.intp))
    truth, logits = truth[rows], logits[rows]
    right = logits.argmax(axis=1) == truth
    start = [0.0] if kind == "temperature" else [0.0, 0.0]

    def calibration(values: Sequence[float]) -> Calibration:
        scale = float(np.exp(np.clip(values[0], *_LOG_SCALES)))
        bias = float(values[1]) if len(values) > 1 else 0.0
        return Calibration(1.0, scale, bias) if kind == "logistic" else Calibration(scale, 1.0, bias)

    odds_before = log_odds(logits)

    def loss(values: Sequence[float]) -> float:
        one = calibration(values)
        odds = odds_before if one.temperature == 1 else log_odds(logits / one.temperature)
        odds = one.slope * odds + one.bias
        # a weak prior for no change, so that few patches, all of them right, do not make it certain
        prior = _PRIOR * float(np.square(values).sum()) / len(right)
        return float(np.mean(np.logaddexp(0, np.where(right, -odds, odds)))) + prior

    return calibration(minimize(loss, start, method="Nelder-Mead", options=_PRECISE).x.tolist())


def log_odds(logits: Logits) -> npt.NDArray[np.float64]:
    """Logarithm of the odds (N,) of the predicted class, by logits (N, K) of two classes or more."""
    below = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    np.put_along_axis(below, below.argmax(axis=1)[:, None], -np.inf, axis=1)
    odds: npt.NDArray[np.float64] = -np.log(np.maximum(np.exp(below).sum(axis=1), _SMALLEST))
    return odds


def _log_loss(right: npt.NDArray[np.bool_], logits: Logits) -> float:
    odds = log_odds(logits)
    return float(np.mean(np.logaddexp(0, np.where(right, -odds, odds))))
