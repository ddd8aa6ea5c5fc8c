"""Names and offsets of the Items of public catalogs, as they published them."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.bands import BANDS
from pipeline.errors import RadiometryError, SceneError
from pipeline.geo.sources.stac_names import band_assets, level, processing_baseline, radiometry
from tests.support.catalogs import published

L2A = [band for band in BANDS if band != "B10"]
CATALOGS = {
    # file of each band's asset, scale, offset, baseline, level
    "earth-search-v1": ("{band}.tif", 0.0001, 0.0, "05.09", "L2A"),
    "planetary-computer-02.12": ("_{band}_{native}m.tif", 0.0001, 0.0, "02.12", "L2A"),
    "planetary-computer-04.00": ("_{band}_{native}m.tif", 0.0001, -0.1, "04.00", "L2A"),
    "data-space": ("_{band}_{native}m.jp2", 0.0001, -0.1, "05.11", "L2A"),
    "earth-search-v0": ("/{band}.tif", None, None, None, "L2A"),
}


@pytest.mark.parametrize("name", CATALOGS)
def test_every_band_is_found_at_its_own_resolution(name: str) -> None:
    form = CATALOGS[name][0]
    found = band_assets(published(name), None)
    assert list(found) == L2A, "in the order of BANDS"
    for band, asset in found.items():
        assert asset["href"].endswith(form.format(band=band, native=BANDS[band].native_m))


@pytest.mark.parametrize("name", CATALOGS)
def test_what_an_item_says_of_its_product(name: str) -> None:
    item = published(name)
    assert (processing_baseline(item), level(item)) == CATALOGS[name][3:]


@pytest.mark.parametrize("name", [name for name in CATALOGS if CATALOGS[name][1] is not None])
def test_scale_and_offset_of_every_band(name: str) -> None:
    item = published(name)
    for asset in band_assets(item, None).values():
        assert radiometry(item, asset) == CATALOGS[name][1:3]


def test_an_item_that_states_neither_offset_nor_baseline() -> None:
    item = published("earth-search-v0")
    with pytest.raises(
        RadiometryError,
        match=r"^the Item S2A_28QCH_20200714_0_L2A states neither an offset nor a processing baseline",
    ):
        radiometry(item, item["assets"]["B02"])


def test_names_of_an_l1c_item_of_earth_search() -> None:
    item = published("earth-search-v1")
    item["assets"]["cirrus"] = item["assets"]["nir09"]
    item["properties"]["s2:product_type"] = "S2MSI1C"
    assert list(band_assets(item, None)) == list(BANDS)
    assert level(item) == "L1C"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"s2:product_type": "S2MSI1C"}, "L1C"),
        ({"processing:level": "L2A"}, "L2A"),
        ({"processing:level": "L2", "product:type": "S2MSI2A"}, "L2A"),
        ({}, None),
    ],
)
def test_levels(fields: dict[str, str], expected: str | None) -> None:
    assert level({"id": "x_20210512A", "collection": "sentinel-2", "properties": fields}) == expected


def test_a_level_in_the_name_of_a_collection() -> None:
    assert level({"id": "x", "collection": "sentinel-2-l1c", "properties": {}}) == "L1C"
    assert level({"id": "x", "collection": "sentinel-s2-l2a-cogs", "properties": {}}) == "L2A"
    assert level({"id": "S2B_MSIL1C_2021", "properties": {}}) == "L1C"


def _item(asset: dict[str, Any], **fields: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    return {"id": "i", "properties": fields}, asset


V10 = {"raster:bands": [{"scale": 0.0001, "offset": -0.1}]}
V11 = {"raster:scale": 0.0001, "raster:offset": -0.1}
V11_BAND = {"bands": [{"name": "B02", "raster:scale": 0.0001, "raster:offset": -0.1}]}
APPLIED = "earthsearch:boa_offset_applied"


@pytest.mark.parametrize("asset", [V10, V11, V11_BAND])
def test_where_an_offset_may_stand(asset: dict[str, Any]) -> None:
    assert radiometry(*_item(asset)) == (0.0001, -0.1)
    assert radiometry(*_item(asset, **{"s2:processing_baseline": "05.09"})) == (0.0001, -0.1)
    assert radiometry(*_item(asset, **{APPLIED: False})) == (0.0001, -0.1)
    assert radiometry(*_item(asset, **{APPLIED: True})) == (0.0001, 0.0)


def test_an_offset_that_the_baseline_does_not_have() -> None:
    with pytest.raises(
        RadiometryError, match=r"an offset of -0\.1, which baseline 02\.14 does not have"
    ):
        radiometry(*_item(V10, **{"s2:processing_baseline": "02.14", APPLIED: False}))


def test_other_numbers_are_taken_as_they_are() -> None:
    asset = {"raster:bands": [{"scale": 0.0002, "offset": 0}]}
    assert radiometry(*_item(asset, **{"s2:processing_baseline": "05.09"})) == (0.0002, 0.0)


@pytest.mark.parametrize(
    ("baseline", "offset"), [("02.12", 0.0), ("03.01", 0.0), ("04.00", -0.1), ("05.11", -0.1)]
)
def test_pixels_of_the_product_by_its_baseline(baseline: str, offset: float) -> None:
    assert radiometry(*_item({}, **{"s2:processing_baseline": baseline})) == (0.0001, offset)
    assert radiometry(*_item({}, **{"sentinel:processing_baseline": baseline})) == (0.0001, offset)
    applied = {"sentinel:processing_baseline": baseline, "sentinel:boa_offset_applied": True}
    assert radiometry(*_item({}, **applied)) == (0.0001, 0.0)


def test_a_date_says_nothing_of_the_offset() -> None:
    for moment in ("2019-01-01T00:00:00Z", "2024-01-01T00:00:00Z"):
        with pytest.raises(RadiometryError):
            radiometry(*_item({}, datetime=moment))
        assert radiometry(*_item({}, datetime=moment, **{"s2:processing_baseline": "02.12"}))[1] == 0


def test_only_the_bands_that_are_wanted() -> None:
    item = published("earth-search-v1")
    assert list(band_assets(item, ["B8A", "B02"])) == ["B02", "B8A"]
    del item["assets"]["nir08"]
    with pytest.raises(
        SceneError,
        match=r"Item S2A_39QTA_20230628_0_L2A has no asset of band B8A, its assets are aot, bl",
    ):
        band_assets(item, ["B8A", "B02"])
    with pytest.raises(SceneError, match="no asset of any Sentinel-2 band, its assets are none; name"):
        band_assets({"id": "i", "assets": {}}, None)


@pytest.mark.parametrize(("key", "value"), [("scale", 0), ("scale", "-1"), ("offset", float("inf"))])
def test_a_scale_or_offset_that_no_band_has(key: str, value: object) -> None:
    item = published("earth-search-v0")
    item["assets"]["B02"] |= {"raster:scale": 0.0001, "raster:offset": 0.0} | {f"raster:{key}": value}
    with pytest.raises(RadiometryError, match="which no band has; add scale and offset"):
        radiometry(item, item["assets"]["B02"])
