"""From band files to Items: what they say, and what is refused before it gets into one."""

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pystac
import pytest
from pystac.validation import JsonSchemaSTACValidator
from pystac.validation.local_validator import get_local_schema_cache
from shapely.geometry import shape

from pipeline.errors import RadiometryError, SceneError
from pipeline.files import sha256_of
from pipeline.geo.raster.grid import PixelGrid
from pipeline.geo.scenes.catalog import scene_item, write_catalog
from pipeline.geo.sources.folder import scene_files
from tests.support.worlds import (
    GRID,
    position_bands,
    positions,
    scene_conf,
    write_bands_folder,
    write_raster,
)

CORE = "https://schemas.stacspec.org/v1.1.0"


@pytest.fixture
def bands(tmp_path: Path) -> Path:
    return position_bands(tmp_path / "bands")


def item_of(path: Path, **keys: Any) -> dict[str, Any]:
    """The Item of a scene as it is written to `out/<id>/` beside its bands."""
    conf = scene_conf(path, **keys)
    write_catalog(path.parent / "out", [scene_item(scene_files(conf))], "train")
    written = (path.parent / "out" / conf.id / f"{conf.id}.json").read_text()
    fields: dict[str, Any] = json.loads(written)
    return fields


def test_an_item_says_all_that_is_known(bands: Path) -> None:
    item = item_of(
        bands,
        id="S2A_T33UUU_x",
        datetime="2021-05-06T12:21:01+02:00",
        platform="sentinel-2a",
        level="L2A",
        baseline="03.01",
        offset=0.25,
    )
    assert item["stac_version"] == "1.1.0"
    assert item["id"] == "S2A_T33UUU_x"
    assert item["properties"] == {
        "datetime": "2021-05-06T10:21:01Z",
        "gsd": 10.0,
        "platform": "sentinel-2a",
        "instruments": ["msi"],
        "processing:level": "L2A",
        "s2:processing_baseline": "03.01",
        "grid:code": "MGRS-33UUU",
        "proj:code": "EPSG:32633",
        "proj:shape": [132, 120],
        "proj:transform": [10.0, 0.0, 300_000.0, 0.0, -10.0, 5_800_020.0],
    }
    prefixes = [url.removesuffix("/schema.json").split("/")[-2] for url in item["stac_extensions"]]
    assert prefixes == ["eo", "file", "projection", "raster", "grid", "processing", "sentinel-2"]
    assert list(item["assets"]) == ["B02", "B05", "B09"]
    path = bands / "x_B09.tif"
    assert item["assets"]["B09"] == {
        "href": "../../bands/x_B09.tif",
        "type": "image/tiff; application=geotiff",
        "roles": ["data"],
        "bands": [{"name": "B09", "eo:center_wavelength": 0.9451, "eo:common_name": "nir09"}],
        "data_type": "uint16",
        "nodata": 0,
        "raster:scale": 0.0001,
        "raster:offset": 0.25,
        "gsd": 60.0,
        "proj:shape": [22, 21],
        "proj:transform": [60.0, 0.0, 299_950.0, 0.0, -60.0, 5_800_000.0],
        "file:checksum": f"1220{sha256_of(path)}",
        "file:size": path.stat().st_size,
    }


def test_what_is_not_known_is_not_said(bands: Path) -> None:
    properties = item_of(bands)["properties"]
    assert set(properties) == {
        "datetime", "gsd", "instruments", "proj:code", "proj:shape", "proj:transform"
    }  # fmt: skip
    # the schema of the grid extension requires its property
    for prefix in ("grid", "processing", "sentinel-2"):
        assert not any(prefix in url for url in item_of(bands)["stac_extensions"])


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("T33UUU_20170216T102101", "MGRS-33UUU"),
        ("S2A_MSIL2A_20230102T030405_N0509_R032_T18SUG_20230102T050607", "MGRS-18SUG"),
        ("S2B_01CDH_20230102_0_L2A", "MGRS-01CDH"),
        ("virginia", None),
        ("61UUU", None),
        ("33IUU_x", None),
        ("x33UUU", None),
    ],
)
def test_the_mgrs_tile_is_read_from_the_id(bands: Path, name: str, code: str | None) -> None:
    assert item_of(bands, id=name)["properties"].get("grid:code") == code


def test_the_footprint_is_in_degrees(tmp_path: Path) -> None:
    # the central meridian of zone 33 is 15 degrees east; the equator is northing 0
    grid = PixelGrid(32633, 500_000.0, 0.0, height=6, width=6)
    bands = write_bands_folder(tmp_path / "bands", grid, {"B02": positions(grid)})
    item = item_of(bands)
    (ring,) = item["geometry"]["coordinates"]
    assert item["geometry"]["type"] == "Polygon"
    assert list(ring[3]) == [15.0, 0.0]  # top left, after both lower corners and the top right
    # 60 m at the equator, in degrees of an ellipsoid of 6,378,137 m and 1/298.257
    assert ring[2][0] - 15 == pytest.approx(60 / 0.9996 / 111_319.5, rel=1e-3)
    assert ring[1][1] == pytest.approx(-60 / 0.9996 / 110_574.3, rel=1e-3)
    west, south, east, north = item["bbox"]
    assert (west, north) == (15.0, 0.0)
    assert (east, south) == (ring[1][0], ring[1][1])
    assert all(len(str(number).split(".")[1]) <= 7 for number in ring[1] if "e" not in str(number))


def test_the_footprint_across_the_antimeridian_is_cut_there(tmp_path: Path) -> None:
    # RFC 7946, 3.1.9 and 5.2; 180 degrees is about 166,000 m of zone 1 near the equator
    grid = PixelGrid(32601, 165_960.0, 200_040.0, height=60, width=60)
    item = item_of(write_bands_folder(tmp_path / "bands", grid, {"B02": positions(grid)}))
    assert item["geometry"]["type"] == "MultiPolygon"
    assert schemas().validate_core(item, pystac.STACObjectType.ITEM, "1.1.0") is not None
    west, south, east, north = item["bbox"]
    assert 179.99 < west < 180
    assert -180 < east < -179.99
    longitudes = [x for polygon in item["geometry"]["coordinates"] for x, _ in polygon[0]]
    assert set(map(abs, longitudes)) >= {180.0}
    assert min(abs(x) for x in longitudes) > 179.99
    wide = (east - west) % 360
    assert wide == pytest.approx(600 / 111_319.5, rel=0.01)
    assert shape(item["geometry"]).area == pytest.approx(wide * (north - south), rel=0.01)


def test_a_mask_is_an_asset(bands: Path, tmp_path: Path) -> None:
    values = np.zeros((132, 120), dtype=np.uint8)
    mask = write_raster(tmp_path / "clouds.tif", values, GRID)
    item = item_of(bands, mask={"path": str(mask), "invalid": [1, 9]})
    asset = item["assets"]["mask"]
    assert asset["roles"] == ["data-mask"]
    assert asset["href"] == "../../clouds.tif"
    assert asset["lenscape:invalid_values"] == [1, 9]
    assert asset["file:checksum"] == f"1220{sha256_of(mask)}"
    assert "raster:scale" not in asset


def schemas() -> JsonSchemaSTACValidator:
    """The schemas that come with pystac; those of the extensions are on the web only."""
    validator = JsonSchemaSTACValidator()
    assert {f"{CORE}/item-spec/json-schema/item.json"} <= get_local_schema_cache().keys()
    return validator


def test_items_and_catalogs_are_valid_stac(bands: Path, tmp_path: Path) -> None:
    mask = write_raster(tmp_path / "m.tif", np.zeros((132, 120), dtype=np.uint8), GRID)
    keys = {"level": "L1C", "platform": "sentinel-2a", "baseline": "05.09"}
    masked = scene_conf(bands, id="b", mask={"path": str(mask)}, **keys)
    items = [
        scene_item(scene_files(scene_conf(bands, id="a.1"))),
        scene_item(scene_files(masked)),
    ]
    write_catalog(tmp_path / "out", items, "train")
    validator = schemas()
    for name, kind in (
        ("catalog.json", pystac.STACObjectType.CATALOG),
        ("a.1/a.1.json", pystac.STACObjectType.ITEM),
        ("b/b.json", pystac.STACObjectType.ITEM),
    ):
        content = json.loads((tmp_path / "out" / name).read_text())
        assert validator.validate_core(content, kind, "1.1.0") is not None
        content["links"] = "none"
        with pytest.raises(pystac.errors.STACValidationError):
            validator.validate_core(content, kind, "1.1.0")


def test_a_catalog_leads_to_its_items_and_their_pixels(bands: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out.d"  # a dot, which is no file extension
    confs = [scene_conf(bands, id=name) for name in ("z", "a.1")]
    write_catalog(folder, [scene_item(scene_files(conf)) for conf in confs], "map")
    catalog = pystac.Catalog.from_file(str(folder / "catalog.json"))
    items = list(catalog.get_items())
    assert (catalog.id, [item.id for item in items]) == ("map", ["z", "a.1"])
    for item in items:
        assert item.get_root() is catalog
        assert item.get_parent() is catalog
        for asset in item.assets.values():
            assert Path(asset.get_absolute_href() or "").is_file()


def test_nothing_in_an_item_is_absolute_or_of_now(bands: Path, tmp_path: Path) -> None:
    write_catalog(tmp_path / "out", [scene_item(scene_files(scene_conf(bands)))], "train")
    for path in (tmp_path / "out").rglob("*.json"):
        text = path.read_text()
        assert str(tmp_path) not in text
        assert f"{datetime.now(UTC):%Y-%m}" not in text
        assert not re.search(r'"(created|updated|self)"', text)


def test_every_file_is_checked(bands: Path, tmp_path: Path) -> None:
    with pytest.raises(RadiometryError, match="add offset to it"):
        item_of(bands, offset=None)
    with pytest.raises(RadiometryError, match=r"x_B05\.tif: with scale 0\.0001 and offset -0\.1"):
        item_of(bands, offset=-0.1)
    small = PixelGrid(32633, 300_000, 5_800_020, 20, 20, 60)
    mask = write_raster(tmp_path / "m.tif", np.zeros((20, 20), dtype=np.uint8), small)
    with pytest.raises(SceneError, match=r"m\.tif does not cover its scene"):
        item_of(bands, mask={"path": str(mask)})
    for pixel_m, problem in ((30, "has pixels of 30 m"), (60, "covers other ground")):
        grid = PixelGrid(32633, 310_000, 5_800_020, 40, 40, pixel_m)
        write_raster(bands / "x_B11.tif", positions(grid), grid)
        with pytest.raises(SceneError, match=rf"x_B11\.tif {problem}"):
            item_of(bands)


def test_a_mask_that_is_missing(bands: Path) -> None:
    with pytest.raises(SceneError, match=r"nowhere\.tif does not exist"):
        item_of(bands, mask={"path": "nowhere.tif"})
