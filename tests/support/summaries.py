"""The figures of a run made of numbers, for tests of what shows them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.config.evaluate import CardConf
from pipeline.learn.evaluation.band_importance import BandImportance
from pipeline.learn.report.summary import RunSummary
from pipeline.learn.stats.accuracy import Scores
from pipeline.learn.stats.intervals import Interval
from pipeline.learn.stats.score_intervals import ScoreIntervals
from tests.support.learners import model_meta
from tests.support.stores import make_split, make_store

TRUTH = np.array([0, 0, 0, 0, 1, 1, 2, 2])
SCORES = {
    "network": Scores.of(TRUTH, np.array([0, 0, 1, 1, 1, 1, 2, 0]), 3),
    "majority": Scores.of(TRUTH, np.zeros(8, dtype=int), 3),
    "logistic_regression": Scores.of(TRUTH, np.array([0, 0, 0, 0, 0, 1, 2, 2]), 3),
}
CALIBRATION = {
    "ece_before": 0.2,
    "ece_after": 0.01,
    "temperature": 2.0,
    "slope": 1.0,
    "bias": 0.0,
}


def intervals(value: float, low: float, high: float, blocks: int = 40) -> ScoreIntervals:
    """Intervals of a network that differs from its best baseline, svm, by so much."""
    score = Interval(0.7, 0.6, 0.8, blocks)
    both = {"network": score, "svm": score}
    return ScoreIntervals(both, both, "svm", Interval(value, low, high, blocks))


def make_summary(folder: Path, **changes: Any) -> RunSummary:
    """The figures of a run on a small store, with some of them changed."""
    store = make_store(folder / "patches", count=100)
    split = make_split(folder / "split", store)
    fields: dict[str, Any] = {
        "meta": model_meta(classes=3).model_copy(update={"temperature": 2.0}),
        "store": store.meta,
        "split": split.split,
        "patches": {"train": 60, "validation": 20, "test": 20, "fold": 60},
        "scores": SCORES,
        "intervals": intervals(0.05, 0.01, 0.09),
        "calibration": CALIBRATION,
        "bands": [BandImportance("B01", 0.25, 0.01)],
        "learning_curve": {},
        "card": CardConf(),
    }
    return RunSummary(**fields | changes)


def with_folds(summary: RunSummary, folds: int = 5) -> RunSummary:
    """The same figures, of a cross-validation."""
    split = summary.split.model_copy(update={"folds": folds})
    patches = {"train": 1200, "validation": 0, "test": 1100, "fold": 950}
    return replace(summary, split=split, patches=patches)
