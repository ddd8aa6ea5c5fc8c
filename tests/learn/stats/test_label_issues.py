"""Labels that predictions contradict: made-up predictions of which the truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.learn.stats.label_issues import class_thresholds, label_issues

SURE, SURER = [0.8, 0.15, 0.05], [0.9, 0.08, 0.02]


def rolled(row, label):
    """A prediction whose most probable class is another one."""
    return np.roll(row, label)


def world(random, labels=200, classes=5, right=0.7):
    """Cells of labels of one to thirty cells, as (true class, probabilities, number of the label)."""
    sizes = random.integers(1, 31, labels)
    numbers = np.repeat(np.arange(labels), sizes)
    truth = random.integers(0, classes, labels)[numbers]
    logits = random.normal(size=(len(truth), classes))
    hit = random.random(len(truth)) < right
    logits[np.arange(len(truth)), np.where(hit, truth, random.integers(0, classes, len(truth)))] += 3
    odds = np.exp(logits)
    return truth, odds / odds.sum(axis=1, keepdims=True), numbers


def first_number(issues, numbers):
    return numbers[issues.example]


@pytest.mark.parametrize("seed", range(5))
def test_flipped_labels_stand_first(seed):
    random = np.random.default_rng(seed)
    truth, probabilities, numbers = world(random)
    flipped = random.choice(200, 10, replace=False)
    shift = np.zeros(200, dtype=int)
    shift[flipped] = random.integers(1, 5, 10)
    given = (truth + shift[numbers]) % 5
    issues = label_issues(given, probabilities, numbers)
    of_label = first_number(issues, numbers)
    found = np.isin(of_label[:10], flipped)
    assert found.sum() >= 8
    # and what they look like is what they are, but for some of one or two cells
    large = found & (issues.cells[:10] > 4)
    assert large.any()
    assert issues.looks_like[:10][large].tolist() == [
        truth[numbers == number][0] for number in of_label[:10][large]
    ]
    assert (np.diff(issues.score) <= 0).all()


def test_a_label_of_few_cells_needs_a_surer_network():
    numbers = np.repeat(np.arange(17), [1, 8, *[4] * 15])
    truth = np.array([0, 0, *[0, 1, 2] * 5])[numbers]
    probabilities = np.stack([rolled(SURE, label) for label in truth])
    probabilities[numbers < 2] = rolled(SURER, 1)  # the network is equally sure of both
    issues = label_issues(truth, probabilities, numbers)
    assert first_number(issues, numbers).tolist() == [1, 0]
    assert issues.score[0] > issues.score[1] > 0
    assert issues.cells.tolist() == [8, 1]
    assert issues.label.tolist() == [0, 0]
    assert issues.looks_like.tolist() == [1, 1]
    assert issues.confidence == pytest.approx([0.9, 0.9])
    assert issues.contradicting.tolist() == [1, 1]
    assert np.flatnonzero(issues.rank == 0).tolist() == np.flatnonzero(numbers == 1).tolist()
    assert (issues.rank[numbers > 1] == -1).all()


def test_the_share_that_contradicts_and_the_example_are_those_of_the_label():
    numbers = np.repeat([7, 8, 9, 10], [4, 6, 6, 9])
    truth = np.repeat([0, 1, 2, 0], [4, 6, 6, 9])
    probabilities = np.stack([rolled(SURE, label) for label in truth])
    probabilities[:3] = [[0.1, 0.85, 0.05], [0.01, 0.95, 0.04], [0.1, 0.85, 0.05]]
    issues = label_issues(truth, probabilities, numbers)
    assert len(issues) == 1
    assert issues.contradicting.tolist() == [0.75]
    assert issues.example.tolist() == [1]
    assert issues.confidence.tolist() == pytest.approx([(0.85 + 0.95 + 0.85 + 0.15) / 4])


def test_a_label_is_listed_where_half_of_its_cells_contradict_it():
    numbers = np.repeat([7, 8, 9, 10], [5, 5, 8, 40])
    truth = np.repeat([0, 0, 1, 0], [5, 5, 8, 40])
    probabilities = np.stack([rolled(SURE, label) for label in truth])
    probabilities[:3] = probabilities[5:7] = [0.001, 0.95, 0.049]
    # the others are unsure, so that in the mean of all cells both look like class 1
    probabilities[3:5] = probabilities[7:10] = [0.5, 0.49, 0.01]
    issues = label_issues(truth, probabilities, numbers)
    assert first_number(issues, numbers).tolist() == [7]
    assert issues.contradicting.tolist() == [0.6]


def test_where_predictions_agree_there_is_no_issue():
    truth = np.repeat([0, 1, 2], 5)
    probabilities = np.stack([rolled(SURE, label) for label in truth])
    issues = label_issues(truth, probabilities, np.arange(15) // 5)
    assert len(issues) == 0
    assert (issues.rank == -1).all()
    assert {name: len(column) for name, column in issues.columns.items()} == dict.fromkeys(
        ("label", "looks_like", "cells", "contradicting", "confidence", "score"), 0
    )


def test_a_class_that_the_network_never_knows_well_is_not_all_suspicious():
    # of class 1 the network says .42 on the average, of class 0 .9: .5 for class 0 contradicts nothing
    truth = np.repeat([0, 1], 20)
    probabilities = np.where(truth[:, None] == 0, [0.9, 0.1], [0.58, 0.42])
    assert class_thresholds(truth, probabilities).tolist() == pytest.approx([0.9, 0.42])
    assert len(label_issues(truth, probabilities, np.arange(40) // 4)) == 0


def test_where_the_own_class_is_as_probable_as_usual_nothing_contradicts():
    # of class 0 the network says .35 on the average, and .4 here
    truth = np.repeat([0, 0, 1], [4, 12, 8])
    probabilities = np.repeat([[0.4, 0.6], [0.34, 0.66], [0.42, 0.58]], [4, 12, 8], axis=0)
    issues = label_issues(truth, probabilities, np.arange(24) // 4)
    assert (issues.rank[:4] == -1).all()
    assert (issues.rank[4:16] >= 0).all()


def test_a_class_without_labels_is_never_suggested():
    truth = np.repeat([0, 1], [4, 8])
    probabilities = np.tile([0.1, 0.4, 0.5], (12, 1))
    probabilities[4:] = [0.1, 0.4, 0.5]
    probabilities[:2] = [0.3, 0.2, 0.5]
    assert np.isinf(class_thresholds(truth, probabilities)[2])
    assert set(label_issues(truth, probabilities, np.arange(12) // 2).looks_like) == {1}


def test_cells_without_a_polygon_are_labels_of_their_own():
    truth = np.array([0, 0, 0, 1, 1, 2, 2])
    probabilities = np.stack([rolled(SURE, label) for label in truth])
    probabilities[[0, 2]] = rolled(SURE, 1)
    numbers = np.array([-1, -1, -1, 0, 0, -1, -1])
    issues = label_issues(truth, probabilities, numbers)
    assert issues.cells.tolist() == [1, 1]
    assert sorted(issues.example.tolist()) == [0, 2]


def test_a_probability_of_nothing_does_not_outweigh_many_cells():
    truth = np.array([0, *[0] * 9, *[0] * 10, *[1] * 10])
    numbers = np.repeat([0, 1, 2, 3], [1, 9, 10, 10])
    probabilities = np.stack([rolled(SURE, label) for label in truth])
    probabilities[numbers == 0] = [0.0, 1.0, 0.0]
    probabilities[numbers == 1] = [0.01, 0.98, 0.01]
    issues = label_issues(truth, probabilities, numbers)
    assert first_number(issues, numbers).tolist() == [1, 0]
    assert np.isfinite(issues.score).all()


def test_the_order_of_the_cells_does_not_matter():
    random = np.random.default_rng(3)
    truth, probabilities, numbers = world(random, right=0.5)
    order = random.permutation(len(truth))
    one = label_issues(truth, probabilities, numbers)
    other = label_issues(truth[order], probabilities[order], numbers[order])
    assert other.rank.tolist() == one.rank[order].tolist()
    assert first_number(other, numbers[order]).tolist() == first_number(one, numbers).tolist()
