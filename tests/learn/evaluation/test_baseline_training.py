from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pipeline.config.compute import ComputeConf
from pipeline.config.evaluate import EvaluateConf
from pipeline.learn.evaluation.baseline_training import NAMES, answers, learns_from
from pipeline.learn.evaluation.baselines import BASELINES, MOST_ROWS
from pipeline.learn.stats.accuracy import Scores
from tests.support.learners import training_data

CPU = ComputeConf(accelerator="cpu")
LEARNERS = [name for name in NAMES if name != "majority"]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Patches of three classes whose spectra differ; what is asked was never learnt."""
    return training_data(tmp_path_factory.mktemp("world"), bands=4, count=500)


@pytest.fixture(scope="module")
def asked(world):
    known = np.concatenate([world.train, world.validation])
    return np.setdiff1d(np.arange(len(world.store)), known)


def test_names_are_those_of_the_conf():
    assert list(NAMES) == EvaluateConf().baselines == [*BASELINES, "mlp"]


def test_each_beats_the_majority_where_classes_can_be_told_apart(world, asked):
    truth = world.store.patches["label"][asked]
    said = answers(NAMES, world, [1.0] * 3, asked, CPU)
    assert list(said) == list(NAMES)
    scores = {name: Scores.of(truth, labels, 3).balanced_accuracy for name, labels in said.items()}
    assert scores["majority"] == pytest.approx(1 / 3)
    assert {name: scores[name] > 0.9 for name in LEARNERS} == dict.fromkeys(LEARNERS, True)


@pytest.mark.parametrize("name", LEARNERS)
def test_each_learns_with_the_class_weights_that_it_is_given(tmp_path, name):
    data = training_data(tmp_path, bands=2, count=300, shuffled=True)
    asked = np.arange(len(data.store))
    for heavy in (0, 2):
        weights = [20.0 if label == heavy else 0.05 for label in range(3)]
        said = answers([name], data, weights, asked, CPU)[name]
        assert (said == heavy).mean() > 0.6  # labels say nothing, so that the weights decide


@pytest.mark.parametrize("name", LEARNERS)
def test_bands_that_the_network_does_not_see_play_no_role(tmp_path, name):
    data = training_data(tmp_path, bands=3, count=300)
    pixels = np.load(data.store.folder / "pixels.npy")
    blind = replace(data, bands=("B01",))
    before = answers([name], blind, [1.0] * 3, data.validation, CPU)[name]
    pixels[:, 1:] = np.random.default_rng(0).permutation(pixels[:, 1:])
    np.save(data.store.folder / "pixels.npy", pixels)
    again = replace(blind, store=type(data.store).open(data.store.folder))
    after = answers([name], again, [1.0] * 3, data.validation, CPU)[name]
    assert (before == after).all()


def test_what_is_learnt_from_is_known():
    assert learns_from("svm", 2 * MOST_ROWS) == learns_from("random_forest", 10**6) == MOST_ROWS
    assert learns_from("svm", 100) == 100
    assert learns_from("mlp", 10**6) == learns_from("logistic_regression", 10**6) == 10**6
