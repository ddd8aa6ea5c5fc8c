from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pipeline.learn.stats.accuracy import Scores
from pipeline.learn.stats.intervals import Hits, Interval, accuracy, balanced_accuracy
from pipeline.learn.stats.score_intervals import ScoreIntervals

CLASSES = 3


def simulated(blocks: int, seed: int, alike: float = 0.9) -> tuple[np.ndarray, ...]:
    """Truth, predictions and blocks of patches whose errors come together.

    `alike` of them are right or wrong by half blocks. Each patch is right with a probability of 0.8.
    """
    random = np.random.default_rng(seed)
    sizes = random.integers(5, 60, blocks)
    block = np.repeat(np.arange(blocks), sizes)
    half = 2 * block + (random.random(len(block)) < 0.5)
    together = (random.random(2 * blocks) < 0.8)[half]
    right = np.where(random.random(len(block)) < alike, together, random.random(len(block)) < 0.8)
    truth = random.integers(0, CLASSES, len(block))
    predicted = np.where(right, truth, (truth + 1) % CLASSES)
    return truth, predicted, block


def hits(blocks: int, seed: int, alike: float = 0.9) -> Hits:
    return Hits.of(*simulated(blocks, seed, alike), CLASSES)


def plain(truth: np.ndarray, predicted: np.ndarray) -> tuple[float, float]:
    """The interval of independent patches."""
    share = (truth == predicted).mean()
    half = 1.96 * np.sqrt(share * (1 - share) / len(truth))
    return share - half, share + half


@pytest.mark.parametrize("blocks", [40, 100])
def test_intervals_hold_the_truth_where_those_of_independent_patches_do_not(blocks):
    held = np.zeros(3)
    for seed in range(300):
        truth, predicted, block = simulated(blocks, seed)
        counted = Hits.of(truth, predicted, block, CLASSES)
        low, high = plain(truth, predicted)
        overall, balanced = (find(counted, draws=600) for find in (accuracy, balanced_accuracy))
        held += [
            overall.low <= 0.8 <= overall.high,
            balanced.low <= 0.8 <= balanced.high,
            low <= 0.8 <= high,
        ]
    shares = held / 300
    assert 0.92 <= shares[0] <= 0.98
    assert 0.92 <= shares[1] <= 0.98
    assert shares[2] < 0.6


def test_the_values_are_those_of_the_scores():
    truth, predicted, block = simulated(30, seed=1)
    counted, scores = Hits.of(truth, predicted, block, CLASSES), Scores.of(truth, predicted, CLASSES)
    assert accuracy(counted).value == pytest.approx(scores.accuracy)
    assert balanced_accuracy(counted).value == pytest.approx(scores.balanced_accuracy)


def test_the_difference_of_two_models_on_the_same_patches_is_known_better_than_each():
    truth, predicted, block = simulated(60, seed=2)
    better = predicted.copy()
    better[::10] = truth[::10]
    first, second = (Hits.of(truth, labels, block, CLASSES) for labels in (better, predicted))
    gain = balanced_accuracy(first.less(second))
    assert 0 < gain.low < gain.value < gain.high < 0.06
    assert gain.high - gain.low < balanced_accuracy(first).high - balanced_accuracy(first).low
    none = balanced_accuracy(first.less(first))
    assert -0.1 < none.low < none.value == 0 < none.high < 0.1, "60 blocks without one that differs"


def test_a_class_of_few_blocks_is_no_error():
    truth, predicted, block = simulated(40, seed=3)
    rare = np.where(block < 3, 2, truth % 2)
    actual = balanced_accuracy(Hits.of(rare, np.where(predicted == truth, rare, 0), block, CLASSES))
    assert 0 <= actual.low < actual.value < actual.high <= 1


def test_few_blocks_have_a_note():
    assert "19 blocks of test ground, fewer than 20" in accuracy(hits(19, seed=0)).record["note"]
    assert "note" not in accuracy(hits(20, seed=0)).record
    alone = accuracy(hits(1, seed=0))
    assert (alone.known, str(alone)) == (False, f"{alone.value:.3f} (no interval)")
    assert (alone.record["low"], alone.record["high"]) == (None, None)
    assert "1 block of test ground, of which no interval can be had" in alone.note
    difference = accuracy(hits(1, seed=0).less(hits(1, seed=0)))
    assert (difference.known, difference.significant) == (False, False)


def of_blocks(blocks: int, right: int, patches: int = 30, classes: int = 1) -> Hits:
    """Blocks of as many patches of each class, of which the same number is right in each."""
    total = np.full((blocks, classes), float(patches))
    return Hits(np.full((blocks, classes), float(right)), total)


@pytest.mark.parametrize("find", [accuracy, balanced_accuracy])
def test_blocks_without_a_mistake_do_not_say_that_there_is_none(find):
    perfect = find(of_blocks(20, 30, classes=3))
    # Clopper and Pearson: 20 of 20, two-sided 95 %
    assert (perfect.low, perfect.high) == (pytest.approx(0.025 ** (1 / 20)), 1)
    nothing = find(of_blocks(20, 0))
    assert (nothing.low, nothing.high) == (0, pytest.approx(1 - 0.025 ** (1 / 20)))
    assert find(of_blocks(4, 30)).low < 0.5


def test_blocks_that_are_all_alike_have_an_interval():
    alike = accuracy(of_blocks(20, 15))
    # 10 of 20 by scipy.stats.binomtest
    assert (alike.low, alike.high) == (pytest.approx(0.2720, abs=1e-4), pytest.approx(0.7280, abs=1e-4))
    two = of_blocks(22, 30)
    two.right[0] = 1
    odd = accuracy(two)
    assert odd.low < odd.value < odd.high


@pytest.mark.parametrize("blocks", [2, 4, 8, 19])
def test_on_few_blocks_nothing_is_significant(blocks):
    network, majority = of_blocks(blocks, 30, classes=2), of_blocks(blocks, 1, classes=2)
    figures = ScoreIntervals.of({"network": network}, {"majority": majority})
    assert figures.gain is not None
    assert figures.gain.low < figures.gain.value
    assert not figures.gain.significant
    assert "significant" not in figures.sentence
    assert "better, on too few blocks to rule out chance, than majority" in figures.sentence


def test_of_one_block_mlflow_gets_no_ends():
    alone = ScoreIntervals.of({"network": of_blocks(1, 30)}, {"majority": of_blocks(1, 1)})
    assert set(alone.metrics) == {"gain"}
    assert alone.record["gain"]["low"] is None


def test_the_same_patches_give_the_same_interval():
    assert accuracy(hits(40, seed=4)) == accuracy(hits(40, seed=4))
    assert accuracy(hits(40, seed=4)) != accuracy(hits(40, seed=4), seed=1)


def test_no_patches_are_refused():
    none = np.array([], dtype=int)
    with pytest.raises(ValueError, match="no patches"):
        Hits.of(none, none, none, CLASSES)


RANDOM = np.random.default_rng(0)
TRUTH, BLOCKS = RANDOM.integers(0, 3, 3000), np.arange(3000) // 60


def of_share(right: float, blocks: np.ndarray = BLOCKS) -> Hits:
    predicted = np.where(np.random.default_rng(1).random(3000) < right, TRUTH, (TRUTH + 1) % 3)
    return Hits.of(TRUTH, predicted, blocks, 3)


def test_the_network_is_compared_with_the_best_baseline():
    actual = ScoreIntervals.of(
        {"net": of_share(0.9)}, {"poor": of_share(0.5), "good_one": of_share(0.8)}
    )
    assert actual.best_baseline == "good_one"
    assert actual.gain == balanced_accuracy(of_share(0.9).less(of_share(0.8)))
    assert "; significantly better than good one: balanced accuracy +0.1" in actual.sentence
    assert actual.record["gain"]["over"] == "good_one"
    assert actual.metrics["gain_low"] > 0
    assert actual.notes == []


def test_a_difference_that_may_be_chance_is_not_significant():
    actual = ScoreIntervals.of({"net": of_share(0.9)}, {"other": of_share(0.9)})
    assert "; not better than other: balanced accuracy +0.000" in actual.sentence
    chance = replace(actual, gain=Interval(0.01, -0.02, 0.04, 50))
    assert "; not significantly better than other: balanced accuracy +0.010 (95 % CI" in chance.sentence


def test_few_blocks_are_noted_and_no_baseline_is_no_error():
    actual = ScoreIntervals.of({"net": of_share(0.9, BLOCKS // 10)}, {})
    assert (actual.best_baseline, actual.gain) == (None, None)
    assert "5 blocks of test ground, fewer than 20: too few for a reliable interval" in actual.sentence
    assert "gain" not in actual.record
    assert set(actual.metrics) == {
        "accuracy_low", "accuracy_high", "balanced_accuracy_low", "balanced_accuracy_high",
    }  # fmt: skip
