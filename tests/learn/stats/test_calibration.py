from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from scipy.special import expit, softmax

from pipeline.learn.stats.calibration import (
    Calibration,
    Reliability,
    calibrate,
    cross_calibrated,
    log_odds,
)


def drawn(temperature: float, count: int = 2000) -> tuple[np.ndarray, np.ndarray]:
    """Classes drawn from softmax(logits), and logits that are as much overconfident."""
    random = np.random.default_rng(7)
    logits = random.normal(0, 1.5, (count, 4))
    shares = softmax(logits, axis=1).cumsum(axis=1)
    truth = (random.random(count)[:, None] > shares).sum(axis=1)
    return truth.clip(0, 3), logits * temperature


def world(made: Calibration, count: int = 2000) -> tuple[np.ndarray, np.ndarray]:
    """Classes of patches whose predicted class is right as often as a calibration says, and logits.

    Some have one rival and some have five, so that no kind of calibration can stand in for another.
    """
    random = np.random.default_rng(5)
    logits = random.normal(0, 1.0, (count, 6))
    rivals = random.integers(1, 6, count)
    logits[np.arange(6) > rivals[:, None]] -= 8
    logits = logits.astype(np.float32) * 2
    odds = made.slope * log_odds(logits / made.temperature) + made.bias
    best = logits.argmax(axis=1)
    return np.where(random.random(count) < expit(odds), best, (best + 1) % 6), logits


def folds(logits: np.ndarray, count: int = 5) -> np.ndarray:
    return np.arange(len(logits)) % count


@pytest.mark.parametrize("temperature", [0.4, 1.0, 3.0])
def test_the_temperature_that_made_a_network_overconfident_is_found(temperature):
    truth, logits = drawn(temperature)
    found = calibrate(truth, logits, folds(logits)).probabilities(logits)
    assert found == pytest.approx(softmax(logits / temperature, axis=1), abs=0.06)


@pytest.mark.parametrize(
    "made",
    [
        Calibration(temperature=2.5),
        Calibration(temperature=0.6),
        Calibration(temperature=1.5, bias=-0.8),
        Calibration(slope=0.5, bias=0.7),
        Calibration(slope=1.6, bias=-1.0),
    ],
    ids=lambda one: one.name,
)
def test_of_three_kinds_the_one_that_made_the_data_is_chosen(made):
    truth, logits = world(made)
    found = calibrate(truth, logits, folds(logits))
    assert [value == default for value, default in zip(found, Calibration(), strict=True)] == [
        value == default for value, default in zip(made, Calibration(), strict=True)
    ]
    assert found == pytest.approx(made, abs=0.15)


@pytest.mark.parametrize(
    ("calibration", "name"),
    [
        (Calibration(), "none"),
        (Calibration(1.3), "temperature 1.30"),
        (Calibration(1.3, 1.0, -0.25), "temperature 1.30 with bias -0.25"),
        (Calibration(1.0, 0.8, 0.1), "logistic regression of the log odds (slope 0.80, bias +0.10)"),
    ],
)
def test_a_calibration_says_what_it_is(calibration, name):
    assert calibration.name == name


calibrations = st.one_of(
    st.builds(Calibration, st.floats(0.05, 20), st.just(1.0), st.floats(-8, 8)),
    st.builds(Calibration, st.just(1.0), st.floats(0.05, 20), st.floats(-8, 8)),
)
some_logits = npst.arrays(
    np.float32,
    st.tuples(st.integers(1, 6), st.integers(1, 6)),
    elements=st.floats(-50, 50, width=32),
)


@given(calibrations, some_logits)
def test_no_calibration_changes_the_predicted_class(calibration, logits):
    before = logits.argmax(axis=1)
    assert (calibration.logits(logits).argmax(axis=1) == before).all()
    probabilities = calibration.probabilities(logits)
    # as likely as another one in float32 where all are sure to many digits
    best = np.take_along_axis(probabilities, before[:, None], axis=1)[:, 0]
    assert (best == probabilities.max(axis=1)).all()
    assert probabilities.sum(axis=1) == pytest.approx(1, abs=1e-5)


def test_log_odds_of_the_predicted_class_are_changed_and_others_keep_their_ratios():
    logits = np.random.default_rng(0).normal(0, 2, (50, 4))
    made = Calibration(slope=0.7, bias=0.9)
    after = made.logits(logits)
    best = logits.argmax(axis=1)
    shares = softmax(after, axis=1)[np.arange(50), best]
    assert np.log(shares / (1 - shares)) == pytest.approx(0.7 * log_odds(logits) + 0.9)
    others = np.arange(4) != best[:, None]
    assert (after[others] == logits[others]).all()


def test_log_odds_are_those_of_the_largest_probability():
    logits = np.random.default_rng(0).normal(0, 2, (50, 4))
    shares = softmax(logits, axis=1).max(axis=1)
    assert log_odds(logits) == pytest.approx(np.log(shares / (1 - shares)))
    assert np.isfinite(log_odds(np.array([[5000.0, 0.0, -5000.0]]))).all()


def test_calibration_calibrates():
    truth, logits = world(Calibration(slope=0.5, bias=-0.7), count=1000)
    before = Reliability.of(truth, softmax(logits, axis=1), bins=5).error
    calibrated = cross_calibrated(truth, logits, folds(logits, 3), calibrate)
    assert before > 0.2
    assert Reliability.of(truth, softmax(calibrated, axis=1), bins=5).error < 0.05


def test_few_patches_all_predicted_right_do_not_make_certain():
    logits = np.tile([2.0, 0.0, 0.0], (8, 1))
    found = calibrate(np.zeros(8, dtype=int), logits, folds(logits, 2))
    assert found.probabilities(logits)[0, 0] < 0.97


@pytest.mark.parametrize("truth", [0, 1])
def test_what_no_calibration_can_reach_ends_at_a_limit(truth):
    logits = np.tile([1.0, 0.999, 0.999], (1000, 1))
    found = calibrate(np.full(1000, truth), logits, folds(logits))
    assert np.isfinite(found).all()
    assert 0.05 <= found.temperature <= 20.1
    assert 0.049 <= found.slope <= 20.1
    assert found.logits(logits).argmax(axis=1).tolist() == [0] * 1000


def test_one_group_says_nothing():
    truth, logits = drawn(2.0, count=100)
    assert calibrate(truth, logits, np.zeros(100, dtype=int)) == Calibration()
    assert Calibration().logits(logits) == pytest.approx(logits)


def test_one_class_alone_is_left_alone():
    logits = np.random.default_rng(0).normal(size=(10, 1))
    assert calibrate(np.zeros(10, dtype=int), logits, folds(logits)) == Calibration()
    assert Calibration(1.0, 2.0, 1.0).logits(logits) == pytest.approx(logits)


def test_each_group_is_calibrated_by_the_others_alone():
    random = np.random.default_rng(0)
    truth, logits, groups = np.arange(60) % 3, random.normal(size=(60, 3)), np.arange(60) // 20
    seen = []

    def fit(own, values, others):
        seen.append(set(others.tolist()))
        assert len(own) == len(values) == len(others) == 40
        assert (own == truth[groups != ({0, 1, 2} - seen[-1]).pop()]).all()
        return Calibration(2.0 + len(seen))

    actual = cross_calibrated(truth, logits, groups, fit)
    assert seen == [{1, 2}, {0, 2}, {0, 1}]
    expected = logits / np.array([3.0, 4.0, 5.0])[groups][:, None]
    assert actual == pytest.approx(expected)


def test_the_order_of_the_patches_does_not_matter():
    truth, logits = world(Calibration(slope=1.6, bias=-1.0), count=500)
    groups, order = folds(logits), np.random.default_rng(1).permutation(500)
    first = calibrate(truth, logits, groups)
    assert calibrate(truth[order], logits[order], groups[order]) == pytest.approx(first, abs=1e-3)


def test_the_error_is_that_of_a_table_made_by_hand():
    # four predictions of 0.6, two of them right; four of 0.9, all of them right
    probabilities = np.array([[0.6, 0.4]] * 4 + [[0.9, 0.1]] * 4)
    truth = np.array([0, 0, 1, 1, 0, 0, 0, 0])
    actual = Reliability.of(truth, probabilities, bins=2)
    assert actual.confidence.tolist() == pytest.approx([0.6, 0.9])
    assert actual.accuracy.tolist() == [0.5, 1.0]
    assert actual.error == pytest.approx((4 * 0.1 + 4 * 0.1) / 8)


def test_bins_hold_equal_counts_and_none_is_empty():
    truth, logits = drawn(1.0, count=100)
    shares = softmax(logits, axis=1)
    assert set(Reliability.of(truth, shares).count.tolist()) == {6, 7}
    assert len(Reliability.of(truth[:3], shares[:3]).count) == 3


def test_no_patches_have_no_reliability():
    with pytest.raises(ValueError, match="0 true classes"):
        Reliability.of(np.array([], dtype=int), np.empty((0, 3)))
