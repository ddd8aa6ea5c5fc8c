"""Baselines: classifiers that every network must beat, fitted on the same patches and class weights.

Four take the band statistics of a patch (mean, standard deviation, minimum and maximum of each band);
the fifth is a multilayer perceptron on the flattened patch, trained as the network is. All see the
bands of the network and no others. Time is bounded: logistic regression takes some steps of Newton's
method, each tree of the forest sees `MOST_ROWS` patches at most, and so does the support vector
machine, in `_COMPONENTS` features.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import get_args

import numpy as np
import numpy.typing as npt
from sklearn.base import ClassifierMixin
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import RandomForestClassifier
from sklearn.kernel_approximation import Nystroem
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from threadpoolctl import threadpool_limits

from pipeline.config.compute import ComputeConf
from pipeline.config.evaluate import BaselineName
from pipeline.config.train import TrainConf
from pipeline.learn.data.reader import Rows
from pipeline.learn.data.training_data import TrainingData
from pipeline.learn.inference.predictor import batched_logits

Features = npt.NDArray[np.float64]
Labels = npt.NDArray[np.integer]
NAMES: tuple[str, ...] = get_args(BaselineName)
PERCEPTRON = TrainConf(network="mlp", epochs=30, patience=30, lr=1e-3, tolerance=0.05)
"""How the perceptron learns: as many epochs whatever the data, so that its time is bounded by them."""
MOST_ROWS = 5_000
"""Patches that a tree of the forest and the support vector machine learn from, at most."""
STATISTICS = ("mean", "std", "min", "max")
_NEWTON_UNKNOWNS = 4000
_TREES = 200
_COMPONENTS = 400


def baseline_predictions(
    names: Sequence[str],
    data: TrainingData,
    class_weights: Sequence[float],
    rows: Rows,
    compute: ComputeConf,
) -> dict[str, Labels]:
    """The classes that each baseline, fitted on the training patches, predicts for some patches.

    Args:
        names: Of `NAMES`.
        data: The training and validation patches of the network, and its bands.
        class_weights: Of the network.
        rows: The patches to classify, as rows of the store.
        compute: Machine and precision of the perceptron.

    Returns:
        0-based classes, (N,), by name.

    Raises:
        LenscapeError: as `train_network` does.
    """
    classical = [name for name in names if name in BASELINES]
    # side by side, and OpenBLAS in one thread: its threads wait for each other longer than they compute
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(1) as thread:
        fitted = thread.submit(_on_band_statistics, classical, data, class_weights, rows)
        predicted: dict[str, Labels] = {}
        if "mlp" in names:
            # Lightning takes seconds to import, and no other baseline needs it
            from pipeline.learn.training.trainer import train_network  # noqa: PLC0415

            trained = train_network(data, PERCEPTRON, compute, list(class_weights))
            predicted["mlp"] = batched_logits(trained.classifier, data.pixels(rows)).argmax(axis=1)
        predicted |= fitted.result()
    return {name: predicted[name] for name in names}


def _on_band_statistics(
    names: Sequence[str], data: TrainingData, class_weights: Sequence[float], rows: Rows
) -> dict[str, Labels]:
    if not names:
        return {}
    training, features = (
        band_statistics(data.store.chunks(part), data.band_indexes) for part in (data.train, rows)
    )
    labels = data.store.patches["label"][data.train]
    fitted = {name: BASELINES[name](training, labels, class_weights) for name in names}
    return {name: model.predict(features).astype(np.int64) for name, model in fitted.items()}


def training_patches(name: str, available: int) -> int:
    """Of so many training patches, those that a baseline, or a tree of the forest, learns from."""
    return min(available, MOST_ROWS) if name in ("svm", "random_forest") else available


def band_statistics(chunks: Iterable[npt.NDArray[np.uint16]], bands: Sequence[int]) -> Features:
    """Mean, standard deviation, minimum and maximum per band of patches that come in chunks.

    Args:
        chunks: Harmonised DN, uint16 (n, C, P, P); nodata pixels (0) are left out of the statistics.
        bands: The bands to describe, as indices on the C axis.

    Returns:
        float64 (N, 4 * bands): all means, then all standard deviations, minima, maxima. A band
        without a valid pixel in a patch has 0 everywhere.
    """
    rows = [_statistics(chunk[:, list(bands)]) for chunk in chunks]
    return np.concatenate(rows) if rows else np.empty((0, len(STATISTICS) * len(bands)))


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


def majority(features: Features, labels: Labels, weights: Sequence[float]) -> ClassifierMixin:
    """The most frequent training class; the weights do not matter to it."""
    del weights
    return DummyClassifier(strategy="most_frequent").fit(features, labels)


def logistic_regression(
    features: Features, labels: Labels, weights: Sequence[float]
) -> ClassifierMixin:
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
    return model.fit(features, labels)


def random_forest(features: Features, labels: Labels, weights: Sequence[float]) -> ClassifierMixin:
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
    return model.fit(features, labels)


def support_vector_machine(
    features: Features, labels: Labels, weights: Sequence[float]
) -> ClassifierMixin:
    """One machine a class against the others, C = 1, with a radial kernel of gamma = 1 / features.

    The kernel is approximated (Nystroem; Williams and Seeger 2001), because the exact one takes time
    by the square of the patches; of more than `MOST_ROWS` patches it learns from a draw of each class.
    """
    rows = _stratified_draw(labels)
    model = make_pipeline(
        StandardScaler(),
        Nystroem(n_components=min(_COMPONENTS, len(rows)), random_state=0),
        LinearSVC(C=1.0, dual=False, max_iter=5000, class_weight=_by_label(labels, weights)),
    )
    return model.fit(features[rows], labels[rows])


def _by_label(labels: Labels, weights: Sequence[float]) -> dict[int, float]:
    return {label: weights[label] for label in np.unique(labels).tolist()}


def _stratified_draw(labels: Labels) -> npt.NDArray[np.intp]:
    """All rows, or of each class the same share of them, about `MOST_ROWS` together."""
    if len(labels) <= MOST_ROWS:
        return np.arange(len(labels))
    draw = np.random.default_rng(0).permutation(len(labels))
    share = MOST_ROWS / len(labels)
    of_class = [draw[labels[draw] == label] for label in np.unique(labels)]
    return np.sort(np.concatenate([rows[: max(1, int(share * len(rows)))] for rows in of_class]))


BASELINES: dict[str, Callable[[Features, Labels, Sequence[float]], ClassifierMixin]] = {
    "majority": majority,
    "logistic_regression": logistic_regression,
    "random_forest": random_forest,
    "svm": support_vector_machine,
}
"""Those on band statistics, by the names that the conf of evaluate uses."""
