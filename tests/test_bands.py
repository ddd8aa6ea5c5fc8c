"""Bands in the order of every store, choices of them, and harmonised DN."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.bands import BANDS, NO_DN, harmonise, select
from pipeline.errors import ConfigError
from tests.support.examples import examples

ALL = tuple(BANDS)
FINE = ("B02", "B03", "B04", "B08")
COARSE = ("B01", "B09", "B10")


def test_bands_go_from_short_to_long_waves() -> None:
    assert len(BANDS) == 13
    assert all(name == band.name for name, band in BANDS.items())
    waves = [band.center_wavelength_um for band in BANDS.values()]
    assert all(a < b for a, b in pairwise(waves))
    assert ALL[7:9] == ("B08", "B8A")


@pytest.mark.parametrize("name", ALL)
def test_native_resolutions_are_those_of_the_products(name: str) -> None:
    expected = 10 if name in FINE else 60 if name in COARSE else 20
    assert BANDS[name].native_m == expected


@pytest.mark.parametrize(
    ("spec", "chosen"),
    [
        ("all", ALL),
        ("rgb", ("B04", "B03", "B02")),
        ("10m", FINE),
        (["B12", "B02"], ("B12", "B02")),
    ],
)
def test_a_choice_keeps_its_order(spec: str | list[str], chosen: tuple[str, ...]) -> None:
    assert select(spec, ALL, "train.yaml: key 'bands'") == chosen


def test_all_are_the_bands_that_there_are() -> None:
    assert select("all", ("B02", "B8A"), "here") == ("B02", "B8A")


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        (["B02", "B13"], "'B13' is no Sentinel-2 band"),
        (["b02"], "'b02' is no Sentinel-2 band"),
        (["B02", "B12"], "band B12 is not in the data"),
        ("rgb", "band B04 is not in the data"),
        (["B02", "B03", "B02"], "band B02 stands twice"),
    ],
)
def test_a_wrong_choice_names_the_key_and_the_remedy(spec: str | list[str], problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        select(spec, ("B02", "B03", "B8A"), "train.yaml: key 'bands'")
    assert str(caught.value).startswith(f"train.yaml: key 'bands': {problem}")
    if "twice" not in problem:
        assert str(caught.value).endswith("choose from B02, B03, B8A.")


@pytest.mark.parametrize(
    ("dn", "scale", "offset", "expected"),
    [
        (0, 0.0001, 0.0, 0),  # nodata
        (0, 0.0001, 0.2, 0),  # before the offset, whatever it is
        (0, 0.0001, -0.1, 0),
        (65_535, 0.0001, -0.1, 0),  # saturated
        (1, 0.0001, 0.0, 1),
        (65_534, 0.0001, 0.0, 65_534),
        (65_534, 0.0001, 0.1, 65_534),  # clipped, not mistaken for saturation
        (1_001, 0.0001, -0.1, 1),
        (1_000, 0.0001, -0.1, 1),  # reflectance 0 is dark, not nodata
        (7, 0.0001, -0.1, 1),
        (11_000, 0.0001, -0.1, 10_000),
        (200, 0.0002, 0.0, 400),
        (3, 0.00005, 0.0, 2),  # 1.5, in one rounding
    ],
)
def test_harmonised_dn(dn: int, scale: float, offset: float, expected: int) -> None:
    harmonised = harmonise(np.array([[dn]], dtype=np.uint16), scale, offset)
    assert (harmonised.dtype, harmonised.tolist()) == (np.uint16, [[expected]])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.1234, 1_234),
        (np.nan, 0),
        (np.inf, 0),
        (-np.inf, 0),
        (-9_999.0, 0),  # stands for none
        (0.0, 1),  # dark, not nodata
        (-0.01, 1),
        (0.00001, 1),
        (6.5534, 65_534),
        (6.5535, 65_534),  # clipped, not mistaken for saturation
        (3e38, 65_534),
    ],
)
def test_harmonised_reflectance(dtype: type, value: float, expected: int) -> None:
    harmonised = harmonise(np.array([[value]], dtype=dtype), 1.0, 0.0, (-9_999.0,))
    assert (harmonised.dtype, harmonised.tolist()) == (np.uint16, [[expected]])


def test_a_value_for_none_that_float32_cannot_hold_exactly() -> None:
    declared = float(np.finfo(np.float32).min)
    values = np.array([declared, 0.3], dtype=np.float32)
    assert harmonise(values, 1.0, 0.0, (declared,)).tolist() == [0, 3_000]
    assert harmonise(np.array([0.1, 0.3], dtype=np.float32), 1.0, 0.0, (0.1,)).tolist() == [0, 3_000]


def test_floats_that_are_dn_become_what_the_dn_would() -> None:
    dn = np.arange(1, 65_535, dtype=np.uint16)
    whole, floats = (harmonise(dn.astype(kind), 0.0001, -0.1) for kind in (np.uint16, np.float32))
    assert np.array_equal(whole, floats)
    reflectance = (dn / 10_000).astype(np.float32)
    assert np.array_equal(harmonise(reflectance, 1.0, 0.0, ()), dn)
    assert harmonise(np.array([0, 1, 65_535, np.nan], np.float32), 0.0001, 0.0).tolist() == [0, 1, 0, 0]


@pytest.mark.parametrize("value", [-9_999, -10_000, -32_768, 7])
def test_other_integers_for_none(value: int) -> None:
    dn = np.array([value, 0, 3, 1_200], dtype=np.int16)
    assert harmonise(dn, 0.0001, -0.1, (*NO_DN, value)).tolist() == [0, 0, 1, 200]
    assert harmonise(dn, 0.0001, -0.1, (float(value),)).tolist() == [0, 1, 1, 200]


def test_a_value_for_none_that_a_type_cannot_hold() -> None:
    assert harmonise(np.array([0, 9], np.uint16), 0.0001, 0.0, (-9_999.0,)).tolist() == [1, 9]


@examples(60)
@given(
    st.lists(st.integers(0, 65_535), min_size=1, max_size=50),
    st.sampled_from([(0.0001, 0.0), (0.0001, -0.1), (0.00005, 0.02), (0.0004, -0.3)]),
)
def test_harmonised_dn_are_reflectance(dn: list[int], radiometry: tuple[float, float]) -> None:
    scale, offset = radiometry
    harmonised = harmonise(np.array(dn, dtype=np.uint16), scale, offset)
    for before, after in zip(dn, harmonised.tolist(), strict=True):
        if before in (0, 65_535):
            assert after == 0
        else:
            reflectance = before * scale + offset
            assert after / 10_000 == pytest.approx(min(max(reflectance, 0.0001), 6.5534), abs=5.1e-5)
