from __future__ import annotations

import numpy as np
import pytest

from pipeline.learn.report.summary import caveat, description
from pipeline.learn.stats.accuracy import Scores
from pipeline.store import SceneInfo
from tests.support.learners import model_meta
from tests.support.stores import make_split, make_store

TRUTH = np.array([0, 0, 0, 0, 1, 1, 2, 2])
SCORES = {
    "network": Scores.of(TRUTH, np.array([0, 0, 1, 1, 1, 1, 2, 0]), 3),
    "majority": Scores.of(TRUTH, np.zeros(8, dtype=int), 3),
    "logistic_regression": Scores.of(TRUTH, np.array([0, 0, 0, 0, 0, 1, 2, 2]), 3),
}


@pytest.fixture
def said(tmp_path):
    """The description of a run, for given scores and tags."""
    store = make_store(tmp_path / "patches", count=100)
    split = make_split(tmp_path / "split", store)
    meta = model_meta(classes=3)

    def say(scores=SCORES, tags=None, meta=meta):
        return description(meta, store.meta, split, scores, tags or {})

    return say


def test_it_tells_data_split_result_and_worst_confusion(said):
    text = said()
    assert "**modern** on the bands B01, B02, B03, patches of 16 px, cells of 8 px." in text
    assert "Accuracy 0.625, balanced 0.667; the better baseline, logistic regression, has 0.875" in text
    assert "0.833 (-0.167 balanced)" in text
    assert "2 patches of C 0 (50% of them) are called C 1." in text
    assert "s1 (2017-02-16, L1C, baseline unknown); 60 training, 20 validation and 20 test" in text
    assert "Blocks of 1920 m, three parts, seed 0." in text
    assert "(c) nobody" in text


def test_the_better_baseline_is_the_balanced_one(said):
    # the majority is the more accurate one here, and of no use
    truth = np.array([0] * 9 + [1])
    scores = {
        "network": Scores.of(truth, truth, 2),
        "majority": Scores.of(truth, np.zeros(10, dtype=int), 2),
        "logistic_regression": Scores.of(truth, np.array([0] * 6 + [1] * 4), 2),
    }
    text = said(scores)
    assert "the better baseline, logistic regression, has 0.700 and 0.833 (+0.167 balanced)" in text
    assert "No test patch is called anything but what it is." in text


def test_without_baselines_there_is_nothing_to_beat(said):
    assert "Accuracy 0.625, balanced 0.667.\n" in said({"network": SCORES["network"]})


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        (
            {"git.commit": "a" * 40, "git.dirty": "false"},
            "`git checkout aaaaaaaaaaaa`, then `dvc repro`.",
        ),
        ({"git.commit": "a" * 40, "git.dirty": "true"}, "aaaa` with the changes that its files had"),
        ({"git.commit": "a" * 40, "dvc.experiment": "pale-hen"}, "`dvc exp apply pale-hen`, then"),
        ({}, "`dvc repro` in a checkout of the same code and conf."),
    ],
)
def test_it_says_how_to_get_there_again(said, tags, expected):
    text = said(tags=tags)
    assert expected in text
    assert "`111111111111`" in text  # the store's hash


def test_of_many_scenes_the_first_are_named(said):
    scene = model_meta().scenes[0]
    scenes = [SceneInfo(**scene.model_dump() | {"id": f"scene{n}"}) for n in range(40)]
    text = said(meta=model_meta(classes=3).model_copy(update={"scenes": scenes}))
    assert "scene9" in text
    assert "scene10" not in text
    assert "and 30 more scenes" in text


def test_the_caveat_counts_what_is_not_judged(tmp_path):
    store = make_store(tmp_path / "patches", count=100)
    counts = store.meta.counts | {"left_out": store.meta.counts["left_out"] | {"impure": 1234}}
    text = caveat(store.meta.model_copy(update={"counts": counts | {"positions": 5000}}))
    assert "one class covers 60% or more" in text
    assert "mixed ones (1,234 of 5,000 positions)" in text
