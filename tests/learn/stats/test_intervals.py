from __future__ import annotations

import numpy as np

from pipeline.learn.stats.bootstrap import Hits, balanced_accuracy
from pipeline.learn.stats.intervals import Certainty

RANDOM = np.random.default_rng(0)
TRUTH, BLOCKS = RANDOM.integers(0, 3, 3000), np.arange(3000) // 60


def hits(right: float, blocks: np.ndarray = BLOCKS) -> Hits:
    called = np.where(np.random.default_rng(1).random(3000) < right, TRUTH, (TRUTH + 1) % 3)
    return Hits.of(TRUTH, called, blocks, 3)


def test_the_network_is_held_against_the_best_baseline():
    found = Certainty.of({"net": hits(0.9)}, {"poor": hits(0.5), "good_one": hits(0.8)})
    assert found.rival == "good_one"
    assert found.gain == balanced_accuracy(hits(0.9).less(hits(0.8)))
    assert "surely better than good one: balanced accuracy +0.1" in found.sentence
    assert "not surely" not in found.sentence
    assert found.record["gain"]["over"] == "good_one"
    assert found.metrics["gain_low"] > 0
    assert found.note == ""


def test_what_may_be_chance_is_called_so():
    found = Certainty.of({"net": hits(0.9)}, {"other": hits(0.9)})
    assert "not surely better than other" in found.sentence


def test_few_blocks_are_said_and_no_baseline_is_no_error():
    found = Certainty.of({"net": hits(0.9, BLOCKS // 10)}, {})
    assert (found.rival, found.gain) == (None, None)
    assert "5 blocks of test ground, fewer than 20: too few for the interval" in found.sentence
    assert "gain" not in found.record
    assert set(found.metrics) == {
        "accuracy_low", "accuracy_high", "balanced_accuracy_low", "balanced_accuracy_high",
    }  # fmt: skip
