from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.learn.stats.calibration import (
    Reliability,
    consistent_temperature,
    shrunk_temperature,
    uncalibrated,
)


def softmax(logits: np.ndarray) -> np.ndarray:
    values = np.exp(logits - logits.max(axis=1, keepdims=True))
    return values / values.sum(axis=1, keepdims=True)


def drawn(temperature: float, count: int = 20_000) -> tuple[np.ndarray, np.ndarray]:
    """Classes drawn from softmax(logits), and logits that are as much overconfident."""
    random = np.random.default_rng(7)
    logits = random.normal(0, 1.5, (count, 4))
    shares = softmax(logits).cumsum(axis=1)
    truth = (random.random(count)[:, None] > shares).sum(axis=1)
    return truth.clip(0, 3), logits * temperature


@pytest.mark.parametrize("temperature", [0.4, 1.0, 3.0])
def test_the_temperature_that_made_a_network_overconfident_is_found(temperature):
    assert consistent_temperature(*drawn(temperature)) == pytest.approx(temperature, rel=0.05)


def test_dividing_by_the_temperature_calibrates():
    truth, logits = drawn(3.0)
    before = Reliability.of(truth, softmax(logits)).error
    after = Reliability.of(truth, softmax(logits / consistent_temperature(truth, logits))).error
    assert before > 0.15
    assert after < 0.01


def test_few_patches_all_predicted_right_do_not_make_certain():
    logits = np.tile([2.0, 0.0, 0.0], (8, 1))
    temperature = consistent_temperature(np.zeros(8, dtype=int), logits)
    assert softmax(logits / temperature)[0, 0] == pytest.approx(0.9)


def test_mean_confidence_becomes_the_share_of_right_predictions():
    random = np.random.default_rng(3)
    # mostly a little too sure, seldom wildly so: the log loss would follow the wild ones
    truth, logits = drawn(1.3, count=5000)
    wild = random.random(5000) < 0.05
    logits[wild] *= 10
    scaled = softmax(logits / consistent_temperature(truth, logits))
    assert scaled.max(axis=1).mean() == pytest.approx((scaled.argmax(axis=1) == truth).mean(), abs=1e-3)


@pytest.mark.parametrize(("truth", "limit"), [(0, 0.05), (1, 20.0)])
def test_what_no_temperature_can_reach_ends_at_a_limit(truth, limit):
    logits = np.tile([1.0, 0.999, 0.999], (100_000, 1))
    actual = consistent_temperature(np.full(100_000, truth), logits)
    assert actual == pytest.approx(limit)


def test_blocks_that_agree_decide_and_blocks_that_do_not_hardly():
    truth, logits = drawn(2.0)
    agreed = np.arange(len(truth)) % 10
    assert shrunk_temperature(truth, logits, agreed) == pytest.approx(2.0, rel=0.05)
    # in one block of five every prediction is wrong, in the others all are right
    block = np.arange(500) // 100
    truth, logits = np.where(block == 0, 1, 0), np.tile([2.0, 0.0, 0.0], (500, 1))
    free, kept = consistent_temperature(truth, logits), shrunk_temperature(truth, logits, block)
    assert abs(np.log(kept)) < 0.3 * abs(np.log(free))


def test_one_block_says_nothing():
    truth, logits = drawn(2.0, count=100)
    assert shrunk_temperature(truth, logits, np.zeros(100, dtype=int)) == 1.0


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
    assert set(Reliability.of(truth, softmax(logits)).count.tolist()) == {6, 7}
    assert len(Reliability.of(truth[:3], softmax(logits)[:3]).count) == 3


def test_a_network_without_patches_is_left_alone():
    assert consistent_temperature(np.array([], dtype=int), np.empty((0, 3))) == 1.0
    with pytest.raises(ValueError, match="0 true classes"):
        Reliability.of(np.array([], dtype=int), np.empty((0, 3)))


@given(st.floats(0.2, 5.0))
def test_uncalibrated_probabilities_are_those_of_the_logits(temperature):
    _, logits = drawn(1.0, count=50)
    before, after = softmax(logits), softmax(logits / temperature)
    assert uncalibrated(after, temperature) == pytest.approx(before, abs=1e-6)
    assert (after.argmax(axis=1) == before.argmax(axis=1)).all()
