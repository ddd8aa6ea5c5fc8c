"""What the conf of `predict` says of mosaics."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.config.predict import MosaicConf, PolygonsConf, PredictConf, SmoothingConf
from pipeline.config.reading import parse
from pipeline.errors import ConfigError


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ({}, MosaicConf(min_scenes=2, crs="EPSG:3857")),
        ({"mosaic": "none"}, "none"),
        ({"mosaic": {}}, MosaicConf(min_scenes=2, crs="EPSG:3857")),
        ({"mosaic": {"crs": None}}, MosaicConf(min_scenes=2, crs=None)),
        (
            {"mosaic": {"min_scenes": 1, "crs": "EPSG:25833"}},
            MosaicConf(min_scenes=1, crs="EPSG:25833"),
        ),
    ],
)
def test_mosaics_are_written_unless_the_conf_says_none(raw: dict[str, Any], expected: object) -> None:
    assert parse(raw, PredictConf, "predict.yaml").mosaic == expected


def test_maps_are_those_of_the_network_unless_the_conf_says_more() -> None:
    made = parse({}, PredictConf, "predict.yaml")
    assert (made.min_confidence, made.smoothing, made.polygons) == (0, "none", "none")
    raw = {"min_confidence": 40, "smoothing": {"window_pixels": 5}, "polygons": {"min_area_m2": 5e4}}
    asked = parse(raw, PredictConf, "predict.yaml")
    assert asked.smoothing == SmoothingConf(window_pixels=5)
    assert asked.polygons == PolygonsConf(min_area_m2=50_000)
    for wrong, key in (
        ({"min_confidence": 101}, "min_confidence"),
        ({"smoothing": {"window_pixels": 4}}, "smoothing.window_pixels"),
        ({"polygons": {"min_area_m2": -1}}, "polygons.min_area_m2"),
    ):
        with pytest.raises(ConfigError, match=f"key '{key}' is"):
            parse(wrong, PredictConf, "predict.yaml")


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (None, "key 'mosaic' is None, but it must be 'none' or keys with their values; correct"),
        ("all", "key 'mosaic' is 'all', but it must be 'none' or keys with their values; correct"),
        (
            {"crs": "WGS84"},
            "key 'mosaic.crs' is 'WGS84', but it must be a code as 'EPSG:3857'; correct",
        ),
        ({"min_scenes": 0}, "key 'mosaic.min_scenes' is 0, but it must be greater than 0; correct"),
        ({"srs": "EPSG:3857"}, "key 'mosaic.srs' is unknown; the keys there are min_scenes, crs."),
    ],
)
def test_other_values_are_refused(raw: object, says: str) -> None:
    with pytest.raises(ConfigError, match=f"^predict.yaml: {says}"):
        parse({"mosaic": raw}, PredictConf, "predict.yaml")
