from __future__ import annotations

from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from pipeline.config.evaluate import CardConf
from pipeline.learn.report.model_card import limits
from pipeline.learn.report.page import verdicts
from pipeline.learn.stats.accuracy import Scores
from pipeline.learn.stats.intervals import Certainty, Interval
from tests.support.learners import model_meta


@dataclass
class Said:
    """What a page asks of the test part, in place of a whole store."""

    trust: dict[str, float] = field(
        default_factory=lambda: {"ece_before": 0.2, "ece_after": 0.01, "temperature": 2.0}
    )
    shared_m2: float = 0.0

    @property
    def split(self) -> Any:
        return SimpleNamespace(split=SimpleNamespace(shared_ground_m2=self.shared_m2))


def certainty(value: float, low: float, high: float, blocks: int = 40) -> Certainty:
    figure = Interval(0.7, 0.6, 0.8, blocks)
    both = {"network": figure, "svm": figure}
    return Certainty(both, both, "svm", Interval(value, low, high, blocks))


@pytest.mark.parametrize(
    ("gain", "mark", "said"),
    [
        (certainty(0.05, 0.01, 0.09), "good", "Surely better than the best baseline, svm"),
        (
            certainty(0.05, -0.01, 0.11),
            "fair",
            "Perhaps better than the best baseline, svm, not surely",
        ),
        (certainty(0.05, 0.01, 0.09, blocks=8), "fair", "on few blocks"),
        (certainty(-0.01, -0.05, 0.03), "bad", "No better than the best baseline, svm"),
        (replace(certainty(0, 0, 0), gain=None, rival=None), "bad", "compared with nothing"),
    ],
)
def test_the_verdict_begins_with_the_baselines(gain, mark, said):
    first = verdicts(Said(), gain)[0]
    assert first[0] == mark
    assert said in first[1]


def test_the_verdict_tells_of_calibration_blocks_and_leaks():
    marks = [mark for mark, _ in verdicts(Said(), certainty(0.05, 0.01, 0.09))]
    assert marks == ["good", "good"]
    unsure = Said({"ece_before": 0.2, "ece_after": 0.1, "temperature": 2.0}, shared_m2=5e6)
    found = verdicts(unsure, certainty(0.05, 0.01, 0.09, blocks=8))
    assert [mark for mark, _ in found] == ["fair", "fair", "bad", "fair"]
    assert "share 5.00 km2 of ground" in found[2][1]
    assert "8 blocks of test ground" in found[3][1]


def test_a_wide_interval_is_said_to_be_wide():
    wide = Interval(0.7, 0.3, 0.9, 40)
    both = {"network": wide, "svm": wide}
    found = Certainty(both, both, "svm", Interval(0.05, 0.01, 0.09, 40))
    told = "interval of balanced accuracy is 0.60 wide"
    assert told in verdicts(Said(), found)[-1][1]
    assert told in found.sentence
    assert "wide" not in certainty(0.05, 0.01, 0.09).sentence


def judged(confusion: list[list[int]], region: list[float] | None = None, images: Any = None) -> Any:
    meta = model_meta(classes=3).model_copy(update={"region": region})
    store = SimpleNamespace(meta=SimpleNamespace(images=images, min_purity=0.6))
    scores = {"network": Scores(np.array(confusion))}
    return SimpleNamespace(meta=meta, scores=scores, store=store, dissimilarity=np.zeros(1))


def test_limits_name_region_season_level_and_what_is_seldom_found():
    confusion = [[9, 1, 0], [6, 4, 0], [0, 0, 0]]
    said = CardConf(limits=["Not on ice."])
    found = limits(judged(confusion, region=[12.4, 52.4, 12.7, 52.6]), said)
    text = "\n".join(found)
    assert "(12.40, 52.40 to 12.70, 52.60)" in text
    assert "45 days of the year from 2017-02-16" in text
    assert "another level than L1C" in text
    assert "To find C 1 (40% of 10): fewer than half are found." in text
    assert "To find C 2: none were tested." in text
    assert "C 0" not in text
    assert "covers 60% were never judged" in text
    assert found[-1] == "Not on ice."


def test_limits_of_images_and_of_models_without_a_region():
    found = judged([[9, 0, 0], [0, 9, 0], [0, 0, 9]], images=object())
    scenes = [
        scene.model_copy(update={"datetime": "2015-06-23/2017-08-31"}) for scene in found.meta.scenes
    ]
    found.meta = found.meta.model_copy(update={"scenes": scenes})
    text = "\n".join(limits(found, CardConf()))
    assert "days of the year" not in text
    assert "region of its labels, unless" in text
    assert "only images of one class were judged" in text
    assert "fewer than half" not in text
