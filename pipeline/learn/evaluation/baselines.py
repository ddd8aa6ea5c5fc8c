"""The bar that every network must clear: what the band statistics of a patch say without one.

Each is fitted on the training patches of the network, on its bands, with its class weights. Time is
bounded: logistic regression takes some steps of Newton's method, each tree of the forest sees
`MOST_ROWS` patches at most, and so does the support vector machine, in `_COMPONENTS` features.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt
from sklearn.ensemble import RandomForestClassifier
from sklearn.kernel_approximation import Nystroem
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

Features = npt.NDArray[np.float64]
Labels = npt.NDArray[np.integer]
_NEWTON_UNKNOWNS = 4000
_TREES = 200
_COMPONENTS = 400
MOST_ROWS = 20_000
"""Patches that a tree of the forest and the support vector machine learn from, at most."""
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
            class_weight=_by_label(labels, weights),
        ),
    )
    fitted: Baseline = model.fit(features, labels)
    return fitted


def random_forest(features: Features, labels: Labels, weights: Sequence[float]) -> Baseline:
    """200 trees (Breiman 2001), each on a bootstrap draw of at most `MOST_ROWS` patches.

    Leaves hold three patches or more: in those of one, class weights would decide nothing.
    """
    model = RandomForestClassifier(
        n_estimators=_TREES,
        min_samples_leaf=3,
        max_samples=MOST_ROWS if len(labels) > MOST_ROWS else None,
        class_weight=_by_label(labels, weights),
        random_state=0,
    )
    fitted: Baseline = model.fit(features, labels)
    return fitted


def support_vector_machine(features: Features, labels: Labels, weights: Sequence[float]) -> Baseline:
    """One machine a class against the others, C = 1, with a radial kernel of gamma = 1 / features.

    The kernel is approximated (Nystroem; Williams and Seeger 2001), because the exact one takes time
    by the square of the patches; of more than `MOST_ROWS` patches it learns from a draw of each class.
    """
    rows = _drawn(labels)
    model = make_pipeline(
        StandardScaler(),
        Nystroem(n_components=min(_COMPONENTS, len(rows)), random_state=0),
        LinearSVC(C=1.0, dual=False, max_iter=5000, class_weight=_by_label(labels, weights)),
    )
    fitted: Baseline = model.fit(features[rows], labels[rows])
    return fitted


def _by_label(labels: Labels, weights: Sequence[float]) -> dict[int, float]:
    return {label: weights[label] for label in np.unique(labels).tolist()}


def _drawn(labels: Labels) -> npt.NDArray[np.intp]:
    """All rows, or of each class the same share of them, about `MOST_ROWS` together."""
    if len(labels) <= MOST_ROWS:
        return np.arange(len(labels))
    draw = np.random.default_rng(0).permutation(len(labels))
    share = MOST_ROWS / len(labels)
    of_class = [draw[labels[draw] == label] for label in np.unique(labels)]
    return np.sort(np.concatenate([rows[: max(1, int(share * len(rows)))] for rows in of_class]))


BASELINES: dict[str, Callable[[Features, Labels, Sequence[float]], Baseline]] = {
    "majority": majority,
    "logistic_regression": logistic_regression,
    "random_forest": random_forest,
    "svm": support_vector_machine,
}
"""Those on band statistics, by the names that the conf of evaluate uses."""
