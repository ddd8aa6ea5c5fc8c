from __future__ import annotations

from dataclasses import replace

import pytest

from pipeline.learn.report.summary import PUBLISHED
from pipeline.learn.stats.intervals import Interval
from pipeline.store_meta import ImagesInfo
from tests.support.summaries import SCORES, make_summary

WHOLE = ImagesInfo(
    name="EuroSAT",
    whole=True,
    lists=["mine", "official"],
    published_lists=["official"],
    lists_sha256="0" * 64,
)


@pytest.fixture
def summary(tmp_path):
    return make_summary(tmp_path)


def with_images(summary, images, lists):
    return replace(
        summary,
        store=summary.store.model_copy(update={"images": images}),
        split=summary.split.model_copy(update={"lists": lists}),
    )


def test_published_accuracies_are_those_of_the_whole_data_set_with_a_published_split(summary):
    assert with_images(summary, WHOLE, "official").published == PUBLISHED["EuroSAT"]
    other = WHOLE.model_copy(update={"name": "another"})
    assert with_images(summary, other, "official").published == ""


@pytest.mark.parametrize(
    ("images", "lists"),
    [
        (None, None),
        (WHOLE, None),
        (WHOLE, "mine"),
        (WHOLE.model_copy(update={"whole": False}), "official"),
        (WHOLE.model_copy(update={"published_lists": []}), "official"),
    ],
)
def test_there_are_no_published_accuracies_for_anything_else(summary, images, lists):
    assert with_images(summary, images, lists).published is None


def test_days_are_known_unless_a_scene_stands_for_a_range(summary):
    assert (summary.days, summary.years) == (["2017-02-16"], ["2017"])
    meta = summary.meta
    scenes = [s.model_copy(update={"datetime": "2015-06-23/2017-08-31"}) for s in meta.scenes]
    ranged = replace(summary, meta=meta.model_copy(update={"scenes": scenes}))
    assert (ranged.days, ranged.years) == ([], ["2015", "2017"])


def test_the_learning_curve_stands_in_the_record_where_there_is_one(summary):
    assert "learning_curve" not in summary.record
    curve = {0.25: Interval(0.5, 0.4, 0.6, 40), 1.0: Interval(0.7, 0.6, 0.8, 40)}
    record = replace(summary, learning_curve=curve).record["learning_curve"]
    assert list(record) == ["0.25", "1"]
    assert record["0.25"]["value"] == 0.5


def test_the_record_and_the_metrics_are_the_same_figures(summary):
    record, metrics = summary.record, summary.metrics
    network = SCORES["network"]
    assert record["test"] == network.numbers | {"patches": 20}
    assert list(record["baseline"]) == ["majority", "logistic_regression"]
    assert record["baseline"]["majority"]["training_patches"] == 60
    assert record["calibration"] == summary.calibration
    assert record["classes"]["c0"]["recall"] == metrics["test/recall/c0"] == 0.5
    assert metrics["test/accuracy"] == record["test"]["accuracy"] == network.accuracy
    assert metrics["test/gain"] == record["intervals"]["gain"]["value"] == 0.05
    assert metrics["baseline/majority/accuracy"] == SCORES["majority"].accuracy
    assert (metrics["test/ece_after"], metrics["band/B01"]) == (0.01, 0.25)
