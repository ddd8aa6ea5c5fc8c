"""Which band the description of a layer means, and what does not tell."""

from __future__ import annotations

import pytest

from pipeline.bands import BANDS
from pipeline.geo.sources.band_names import band_of


@pytest.mark.parametrize(
    ("text", "band"),
    [
        ("B02", "B02"),
        ("b2", "B02"),
        ("B8A", "B8A"),
        ("B08A", "B8A"),
        ("B8A_20m", "B8A"),
        ("B11", "B11"),
        ("S2A_B04", "B04"),
        ("Sentinel-2 B05", "B05"),
        ("B02 (490 nm)", "B02"),
        ("B2, central wavelength 0.49 µm", "B02"),
        ("Band 2 - Blue", "B02"),
        ("Band 8A - Vegetation red edge", "B8A"),
        ("Band 10 - SWIR - Cirrus", "B10"),
        ("blue", "B02"),
        (" Red ", "B04"),
        ("Band 2", None),  # the second band of whatever it is
        ("Band 2 - Red", None),
        ("B02 (665 nm)", None),
        ("B13", None),
        ("B00", None),
        ("B123", None),
        ("NDVI", None),
        ("reddish", None),
        ("", None),
        ("2", None),
    ],
)
def test_descriptions(text: str, band: str | None) -> None:
    assert band_of(text) == band


def test_every_band_is_known_by_its_own_name() -> None:
    assert [band_of(name) for name in BANDS] == list(BANDS)
