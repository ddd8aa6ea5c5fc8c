"""What of a scene training never saw."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from pipeline.learn.stats.domain_shift import days_apart, novelty
from pipeline.store import SceneInfo


def scene(day: str = "2021-06-01", **keys: Any) -> SceneInfo:
    stated: dict[str, Any] = {
        "id": "s", "epsg": 32633, "datetime": f"{day}T10:21:01Z", "platform": "sentinel-2a",
        "level": "L1C", "baseline": "02.04", "checksum": "",
    }  # fmt: skip
    return SceneInfo(**(stated | keys))


@pytest.mark.parametrize(
    ("first", "second", "days"),
    [
        ("2021-06-01", "2021-06-01", 0),
        ("2017-06-01", "2023-06-01", 0),
        ("2021-06-01", "2019-07-16", 45),
        ("2021-12-31", "2022-01-01", 1),
        ("2021-12-20", "2021-01-10", 21),
        ("2021-01-01", "2021-07-02", 182),
        ("2020-02-29", "2021-03-01", 0),
        ("2020-12-31", "2021-12-31", 0),
    ],
)
def test_days_of_the_year_apart(first: str, second: str, days: int) -> None:
    one, other = date.fromisoformat(first), date.fromisoformat(second)
    assert days_apart(one, other) == days_apart(other, one) == days


@pytest.mark.parametrize(
    ("mapped", "said"),
    [
        (scene("2021-07-16"), ""),
        (scene("2021-07-17"), "2021-07-17 is 46 days of the year from 2021-06-01, the nearest that"),
        (scene("2023-04-17"), ""),
        (scene("2023-04-16"), "2023-04-16 is 46 days of the year from 2021-06-01, the nearest that"),
        (scene(level="L2A"), "level L2A, but the model was trained on L1C"),
        (scene(platform="sentinel-2c"), "satellite sentinel-2c, but the model was trained on sentinel"),
        (scene(platform="Sentinel-2A"), ""),
        (scene(level=None, platform=None), ""),
        (scene(baseline="05.09"), ""),
    ],
)
def test_what_is_new_is_said(mapped: SceneInfo, said: str) -> None:
    found = novelty(mapped, [scene()])
    assert found.startswith(said)
    assert bool(found) == bool(said)


def test_the_nearest_training_scene_counts() -> None:
    trained = [scene("2021-01-10"), scene("2021-06-01"), scene("2019-11-20", level="L2A")]
    assert not novelty(scene("2023-12-20"), trained)
    assert "2023-09-01 is 80 days of the year from 2019-11-20" in novelty(scene("2023-09-01"), trained)
    assert not novelty(scene("2023-12-20", level="L2A"), trained)


def test_several_novelties_are_said_together() -> None:
    found = novelty(scene("2021-12-01", level="L2A", platform="sentinel-2b"), [scene()])
    assert found.count("; ") == 2


def test_images_of_unknown_days_say_nothing_of_the_season() -> None:
    images = scene(datetime="2015-06-23T00:00:00Z/2017-08-31T00:00:00Z", platform=None)
    assert not novelty(scene("2021-12-01"), [images])
