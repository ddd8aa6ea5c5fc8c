from __future__ import annotations

import numpy as np
import pytest

from pipeline.config.evaluate import EvaluateConf
from pipeline.learn.baselines import BASELINES, band_statistics, logistic_regression, majority

RANDOM = np.random.default_rng(0)


def test_statistics_of_a_patch_by_hand():
    patch = np.array([[[10, 20], [30, 0]], [[0, 0], [0, 0]], [[7, 7], [7, 7]]], dtype=np.uint16)
    found = band_statistics([patch[None]], [0, 1, 2])
    mean, std, low, high = found.reshape(4, 3)
    assert mean.tolist() == [20, 0, 7]
    assert std == pytest.approx([np.sqrt(200 / 3), 0, 0])
    assert low.tolist() == [10, 0, 7]
    assert high.tolist() == [30, 0, 7]


def test_bands_are_those_asked_for_in_their_order():
    patches = RANDOM.integers(1, 9000, (5, 4, 6, 6), dtype=np.uint16)
    found = band_statistics([patches], [3, 1])
    assert found.shape == (5, 8)
    expected = patches[:, [3, 1]].reshape(5, 2, -1).astype(float)
    assert found[:, :2] == pytest.approx(expected.mean(axis=2))
    assert found[:, 2:4] == pytest.approx(expected.std(axis=2))
    assert found[:, 4:6] == pytest.approx(expected.min(axis=2))
    assert found[:, 6:] == pytest.approx(expected.max(axis=2))


def test_pieces_do_not_matter():
    patches = RANDOM.integers(0, 60_000, (7, 2, 8, 8), dtype=np.uint16)
    whole = band_statistics([patches], [0, 1])
    assert (band_statistics([patches[:3], patches[3:4], patches[4:]], [0, 1]) == whole).all()
    assert band_statistics([], [0, 1]).shape == (0, 8)


def test_the_majority_says_the_same_of_everything():
    fitted = majority(np.zeros((4, 1)), np.array([2, 1, 2, 0]), [1, 1, 1])
    assert fitted.predict(np.zeros((3, 1))).tolist() == [2, 2, 2]


def test_logistic_regression_learns_what_is_linear():
    labels = np.arange(90) % 3
    features = np.eye(3)[labels] * 4 + RANDOM.normal(size=(90, 3))
    # standardised inside: units do not matter
    fitted = logistic_regression(features * [1, 1000, 1e-3], labels, [1.0, 1.0, 1.0])
    assert (fitted.predict(features * [1, 1000, 1e-3]) == labels).mean() > 0.95


def test_class_weights_draw_the_border():
    labels = np.array([0] * 80 + [1] * 20)
    features = RANDOM.normal(size=(100, 2)) + labels[:, None]
    plain = logistic_regression(features, labels, [1.0, 1.0]).predict(features)
    weighted = logistic_regression(features, labels, [0.5, 8.0]).predict(features)
    assert plain.sum() < 25 < weighted.sum()


def test_very_many_classes_are_fitted_without_a_matrix_of_all_unknowns():
    labels = np.arange(800) % 80
    features = np.eye(80)[labels] + 0.01 * RANDOM.normal(size=(800, 80))
    fitted = logistic_regression(features, labels, [1.0] * 80)
    assert (fitted.predict(features) == labels).all()
    assert fitted.steps[-1][1].solver == "lbfgs"


def test_names_are_those_of_the_conf():
    assert list(BASELINES) == EvaluateConf().baselines
