from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pipeline.config.compute import ComputeConf
from pipeline.config.evaluate import EvaluateConf
from pipeline.learn.evaluation import baselines
from pipeline.learn.evaluation.baselines import (
    BASELINES,
    MOST_ROWS,
    NAMES,
    band_statistics,
    baseline_predictions,
    logistic_regression,
    majority,
    training_patches,
)
from pipeline.learn.stats.accuracy import Scores
from tests.support.learners import training_data

CPU = ComputeConf(accelerator="cpu")
TRAINED = [name for name in NAMES if name != "majority"]
RANDOM = np.random.default_rng(0)


def test_statistics_of_a_patch_by_hand():
    patch = np.array([[[10, 20], [30, 0]], [[0, 0], [0, 0]], [[7, 7], [7, 7]]], dtype=np.uint16)
    statistics = band_statistics([patch[None]], [0, 1, 2])
    mean, std, low, high = statistics.reshape(4, 3)
    assert mean.tolist() == [20, 0, 7]
    assert std == pytest.approx([np.sqrt(200 / 3), 0, 0])
    assert low.tolist() == [10, 0, 7]
    assert high.tolist() == [30, 0, 7]


def test_bands_are_those_asked_for_in_their_order():
    patches = RANDOM.integers(1, 9000, (5, 4, 6, 6), dtype=np.uint16)
    statistics = band_statistics([patches], [3, 1])
    assert statistics.shape == (5, 8)
    expected = patches[:, [3, 1]].reshape(5, 2, -1).astype(float)
    assert statistics[:, :2] == pytest.approx(expected.mean(axis=2))
    assert statistics[:, 2:4] == pytest.approx(expected.std(axis=2))
    assert statistics[:, 4:6] == pytest.approx(expected.min(axis=2))
    assert statistics[:, 6:] == pytest.approx(expected.max(axis=2))


def test_chunks_do_not_matter():
    patches = RANDOM.integers(0, 60_000, (7, 2, 8, 8), dtype=np.uint16)
    whole = band_statistics([patches], [0, 1])
    assert (band_statistics([patches[:3], patches[3:4], patches[4:]], [0, 1]) == whole).all()
    assert band_statistics([], [0, 1]).shape == (0, 8)


def test_the_majority_predicts_one_class_everywhere():
    fitted = majority(np.zeros((4, 1)), np.array([2, 1, 2, 0]), [1, 1, 1])
    assert fitted.predict(np.zeros((3, 1))).tolist() == [2, 2, 2]


def test_logistic_regression_learns_what_is_linear():
    labels = np.arange(90) % 3
    features = np.eye(3)[labels] * 4 + RANDOM.normal(size=(90, 3))
    # standardised inside: units do not matter
    fitted = logistic_regression(features * [1, 1000, 1e-3], labels, [1.0, 1.0, 1.0])
    assert (fitted.predict(features * [1, 1000, 1e-3]) == labels).mean() > 0.95


LEARNERS = [name for name in BASELINES if name != "majority"]


@pytest.mark.parametrize("name", LEARNERS)
def test_class_weights_draw_the_border(name):
    random = np.random.default_rng(3)
    labels = np.array([0] * 160 + [1] * 40)
    features, asked = (random.normal(size=(200, 2)) + labels[:, None] for _ in range(2))
    plain, weighted = (
        BASELINES[name](features, labels, weights).predict(asked)
        for weights in ([1.0, 1.0], [0.5, 8.0])
    )
    assert plain.sum() < 45 < weighted.sum()


@pytest.mark.parametrize("name", ["random_forest", "svm"])
def test_rings_are_learnt_where_a_line_cannot_separate_them(name):
    random = np.random.default_rng(4)
    labels = np.arange(400) % 2
    angle, radius = random.uniform(0, 2 * np.pi, 400), 1 + labels + random.normal(0, 0.1, 400)
    # no unit of its own may matter
    rings = np.stack([np.cos(angle), 1000 * np.sin(angle)], axis=1) * radius[:, None]
    half = slice(None, 200), slice(200, None)
    right = {
        one: (
            BASELINES[one](rings[half[0]], labels[half[0]], [1.0, 1.0]).predict(rings[half[1]])
            == labels[half[1]]
        ).mean()
        for one in (name, "logistic_regression")
    }
    assert right[name] > 0.95
    assert right["logistic_regression"] < 0.65


@pytest.mark.parametrize("name", ["random_forest", "svm"])
def test_of_very_many_patches_a_share_of_each_class_is_learnt_from(name, monkeypatch):
    monkeypatch.setattr(baselines, "MOST_ROWS", 60)
    labels = np.array([0] * 900 + [1] * 95 + [2] * 5)
    features = np.eye(3)[labels] * 6 + RANDOM.normal(size=(1000, 3))
    drawn = baselines._stratified_draw(labels)
    assert np.bincount(labels[drawn]).tolist() == [54, 5, 1]
    fitted = BASELINES[name](features, labels, [1.0, 1.0, 1.0])
    again = BASELINES[name](features, labels, [1.0, 1.0, 1.0])
    predicted = fitted.predict(features)
    assert (predicted == labels).mean() > 0.9
    assert (again.predict(features) == predicted).all()


def test_very_many_classes_are_fitted_without_a_matrix_of_all_unknowns():
    labels = np.arange(800) % 80
    features = np.eye(80)[labels] + 0.01 * RANDOM.normal(size=(800, 80))
    fitted = logistic_regression(features, labels, [1.0] * 80)
    assert (fitted.predict(features) == labels).all()
    assert fitted.steps[-1][1].solver == "lbfgs"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Patches of three classes whose spectra differ; the other patches are in no part of it."""
    return training_data(tmp_path_factory.mktemp("data"), bands=4, count=500)


@pytest.fixture(scope="module")
def others(data):
    known = np.concatenate([data.train, data.validation])
    return np.setdiff1d(np.arange(len(data.store)), known)


def test_names_are_those_of_the_conf():
    assert list(NAMES) == [*EvaluateConf().baselines, "mlp"] == [*BASELINES, "mlp"]


def test_each_beats_the_majority_where_classes_can_be_told_apart(data, others):
    truth = data.store.patches["label"][others]
    predicted = baseline_predictions(NAMES, data, [1.0] * 3, others, CPU)
    assert list(predicted) == list(NAMES)
    scores = {name: Scores.of(truth, labels, 3).balanced_accuracy for name, labels in predicted.items()}
    assert scores["majority"] == pytest.approx(1 / 3)
    assert {name: scores[name] > 0.9 for name in TRAINED} == dict.fromkeys(TRAINED, True)


@pytest.mark.parametrize("name", TRAINED)
def test_each_learns_with_the_class_weights_that_it_is_given(tmp_path, name):
    data = training_data(tmp_path, bands=2, count=300, shuffled=True)
    others = np.arange(len(data.store))
    for heavy in (0, 2):
        weights = [20.0 if label == heavy else 0.05 for label in range(3)]
        predicted = baseline_predictions([name], data, weights, others, CPU)[name]
        assert (predicted == heavy).mean() > 0.6  # the labels are random, so that the weights decide


@pytest.mark.parametrize("name", TRAINED)
def test_bands_that_the_network_does_not_see_play_no_role(tmp_path, name):
    data = training_data(tmp_path, bands=3, count=300)
    pixels = np.load(data.store.folder / "pixels.npy")
    blind = replace(data, bands=("B01",))
    before = baseline_predictions([name], blind, [1.0] * 3, data.validation, CPU)[name]
    pixels[:, 1:] = np.random.default_rng(0).permutation(pixels[:, 1:])
    np.save(data.store.folder / "pixels.npy", pixels)
    again = replace(blind, store=type(data.store).open(data.store.folder))
    after = baseline_predictions([name], again, [1.0] * 3, data.validation, CPU)[name]
    assert (before == after).all()


def test_the_number_of_training_patches_of_a_baseline():
    assert (
        training_patches("svm", 2 * MOST_ROWS) == training_patches("random_forest", 10**6) == MOST_ROWS
    )
    assert training_patches("svm", 100) == 100
    assert training_patches("mlp", 10**6) == training_patches("logistic_regression", 10**6) == 10**6
