"""What the conf of `predict` says of mosaics."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.config.predict import MosaicConf, PredictConf
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
