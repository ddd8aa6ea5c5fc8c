"""The bar that every network must clear: what the band statistics of a patch say without one.

Each is fitted on the training patches of the network, on its bands, with its class weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

Features = npt.NDArray[np.float64]
Labels = npt.NDArray[np.integer]
_NEWTON_UNKNOWNS = 4000
STATISTICS = ("mean", "std", "min", "max")


class Baseline(Protocol):
    """A fitted baseline."""

    def predict(self, features: Features) -> Labels:
        """The class of each row of band statistics (N, 4 C)."""


class Majority:
    """Says the most frequent training class of everything."""

    def __init__(self, label: int) -> None:
        self.label = label

    def predict(self, features: Features) -> Labels:
        """The same class for each row."""
        return np.full(len(features), self.label, dtype=np.int64)


def band_statistics(pieces: Iterable[npt.NDArray[np.uint16]], places: Sequence[int]) -> Features:
    """Mean, standard deviation, minimum and maximum per band of patches that come in pieces.

    Args:
        pieces: Harmonised DN, uint16 (n, C, P, P); holes (0) are left out of the statistics.
        places: The bands to describe, as places on the C axis.

    Returns:
        float64 (N, 4 * bands): all means, then all standard deviations, minima, maxima. A band
        without a valid pixel in a patch has 0 everywhere.
    """
    rows = [_statistics(piece[:, list(places)]) for piece in pieces]
    return np.concatenate(rows) if rows else np.empty((0, len(STATISTICS) * len(places)))


def _statistics(patches: npt.NDArray[np.uint16]) -> Features:
    # axis order (n, C, P * P)
    values = patches.reshape(*patches.shape[:2], -1).astype(np.float64)
    valid = values > 0
    count = np.maximum(valid.sum(axis=2), 1)
    mean = values.sum(axis=2) / count
    square = (values**2).sum(axis=2) / count
    std = np.sqrt(np.maximum(square - mean**2, 0.0))
    low = np.where(valid, values, np.inf).min(axis=2)
    low[~np.isfinite(low)] = 0.0
    return np.concatenate([mean, std, low, values.max(axis=2)], axis=1)


def majority(features: Features, labels: Labels, weights: Sequence[float]) -> Baseline:
    """The most frequent training class; the weights do not matter to it."""
    del features, weights
    return Majority(int(np.bincount(labels).argmax()))


def logistic_regression(features: Features, labels: Labels, weights: Sequence[float]) -> Baseline:
    """Multinomial logistic regression on standardised band statistics, L2 with C = 1.

    Newton's method, because it converges in some steps where gradients take hundreds; for very many
    classes its square matrix of all unknowns would be too large.
    """
    unknowns = (features.shape[1] + 1) * len(weights)
    model = make_pipeline(
        StandardScaler(),
        LogisticRegression(
            C=1.0,
            solver="newton-cholesky" if unknowns <= _NEWTON_UNKNOWNS else "lbfgs",
            max_iter=1000,
            class_weight={label: weights[label] for label in np.unique(labels).tolist()},
        ),
    )
    fitted: Baseline = model.fit(features, labels)
    return fitted


BASELINES: dict[str, Callable[[Features, Labels, Sequence[float]], Baseline]] = {
    "majority": majority,
    "logistic_regression": logistic_regression,
}
"""By the names that the conf of evaluate uses."""
