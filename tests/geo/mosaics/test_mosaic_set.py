"""Folders of mosaics and the virtual raster over all zones, as people and programs open them."""

import csv
import hashlib
import json
import shutil
from dataclasses import replace
from functools import cache
from xml.etree import ElementTree

import numpy as np
import pystac
import pytest
import rasterio
from PIL import Image
from pyproj import Transformer
from rio_cogeo import cog_validate

from pipeline.config.predict import MosaicConf
from pipeline.errors import ConfigError
from pipeline.geo.maps import class_map
from pipeline.geo.maps.catalog import write_catalog
from pipeline.geo.mosaics import files
from pipeline.geo.mosaics.mosaic import Mosaic
from pipeline.geo.mosaics.mosaic_set import Plan, write_mosaics, write_vrt
from pipeline.geo.mosaics.target_grid import layout
from pipeline.geo.raster.grid import PixelGrid
from pipeline.geo.style.colors import rgb
from tests.support.mapped import CLASSES, constant_cells, mapped
from tests.support.viewers import open_in_qgis

WEST = PixelGrid(32633, 300_030.0, 5_800_050.0, 203, 171)
EAST = PixelGrid(32633, 301_210.0, 5_799_330.0, 150, 190)
NEXT_ZONE = PixelGrid(32632, 703_000.0, 5_800_050.0, 400, 300)
"""Overlaps WEST: 300 030 m of zone 33 is about 704 900 m of zone 32."""
MOSAIC = "mosaic_EPSG32633"
BERLIN = PixelGrid(32633, 380_000, 5_820_000, 100, 120, 80)


def plan_of(scenes, **conf):
    return Plan(
        MosaicConf(**conf), "predict.yaml", {scene.files.scene: scene.ground.grid for scene in scenes}
    )


def make(out):
    """Two scenes of one zone that overlap, and an older one of the next zone."""
    return [
        mapped(out, "west", WEST, constant_cells(WEST, 1, 60)),
        mapped(out, "east", EAST, constant_cells(EAST, 2, 80), datetime="2022-03-01T00:00:00Z",
               platform="sentinel-2b", note="another season"),
        mapped(out, "next", NEXT_ZONE, constant_cells(NEXT_ZONE, 3, 90),
               datetime="2019-01-01T00:00:00Z", baseline=None),
    ]  # fmt: skip


@pytest.fixture(scope="module")
def maps(tmp_path_factory):
    """A folder of maps with a space, an umlaut and signs of URLs in its path, with its mosaics."""
    out = tmp_path_factory.mktemp("world") / "meine Kärtchen #1? 'a' 50%25"
    mosaics = write_mosaics(plan_of(scenes := make(out)), scenes, CLASSES, out)
    write_catalog(out, [*(scene.files.scene for scene in scenes), *(m.scene for m in mosaics)])
    return out


def digests(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(f.relative_to(folder)): hashlib.sha256(f.read_bytes()).hexdigest() for f in files}


def test_a_mosaic_has_the_files_of_a_scenes_map(maps):
    names = {path.name.replace(MOSAIC, "*") for path in (maps / MOSAIC).iterdir()}
    assert names == {
        "*_classmap.tif", "*_classmap.tif.aux", "*_classmap.tif.aux.aux.xml", "*_classmap.qml",
        "*_classmap.sld", "*_classmap.qmd", "*_classmap.tif.vat.dbf", "*_classmap.tif.vat.cpg",
        "*_confidence.tif", "*_confidence.qml", "*.json", "areas.csv", "preview.png",
    }  # fmt: skip
    for what in ("classmap", "confidence"):
        path = maps / MOSAIC / f"{MOSAIC}_{what}.tif"
        assert cog_validate(path, strict=True, quiet=True)[0]
        with rasterio.open(path) as dataset:
            assert dataset.crs.to_epsg() == 32633
            assert (dataset.transform.c, dataset.transform.f) == (300_000, 5_800_080)
            assert dataset.res == (80, 80)
    with rasterio.open(maps / MOSAIC / f"{MOSAIC}_classmap.tif") as dataset:
        assert dataset.colormap(1)[2] == (*rgb(CLASSES[1].color), 255)


def test_a_mosaic_says_what_it_comes_from(maps):
    with rasterio.open(maps / MOSAIC / f"{MOSAIC}_classmap.tif") as dataset:
        tags = dataset.tags()
    assert tags == {
        "AREA_OR_POINT": "Area",
        "ATTRIBUTION": "Contains modified Copernicus Sentinel data 2021, 2022. © a mapper.",
        "LENSCAPE_BANDS": "B02",
        "LENSCAPE_BASELINE": "02.04",
        "LENSCAPE_CELL_M": "80",
        "LENSCAPE_DATETIME": "2021-05-06T10:21:01Z/2022-03-01T00:00:00Z",
        "LENSCAPE_LEVEL": "L1C",
        "LENSCAPE_NOTE": "east: another season",
        "LENSCAPE_PATCH_M": "160",
        "LENSCAPE_PLATFORM": "sentinel-2a sentinel-2b",
        "LENSCAPE_SCENES": "east west",
        "LENSCAPE_VERSION": tags["LENSCAPE_VERSION"],
        "LENSCAPE_WEIGHTS_SHA256": "ab" * 32,
    }


def test_items_are_valid_and_lead_to_the_maps_they_come_from(maps):
    for name, sources in ((MOSAIC, ["east", "west"]), ("mosaic", ["next", MOSAIC])):
        item = pystac.Item.from_dict(json.loads((maps / name / f"{name}.json").read_text()))
        # offline: the schemas of extensions are on the web, the core ones come with pystac
        core = item.clone()
        core.stac_extensions = []
        core.validate()
        links = [link.href for link in item.links if link.rel == "derived_from"]
        assert links == [f"../{source}/{source}.json" for source in sources]
        assert item.datetime is None
        there = {f"./{path.relative_to(maps / name)}" for path in (maps / name).rglob("*.*")}
        hrefs = {asset.href for asset in item.assets.values()}
        assert hrefs == there - {f"./{name}.json"}
    times = json.loads((maps / MOSAIC / f"{MOSAIC}.json").read_text())["properties"]
    assert (times["start_datetime"], times["end_datetime"]) == (
        "2021-05-06T10:21:01Z",
        "2022-03-01T00:00:00Z",
    )


def test_areas_count_ground_of_two_scenes_once(maps):
    lines = (maps / MOSAIC / "areas.csv").read_text().splitlines()
    rows = {row["name"]: row for row in csv.DictReader(lines[3:])}
    overlap = (171 - 118) * 150  # EAST begins 118 columns east, 72 rows south of WEST
    overlap -= max(0, 150 - (203 - 72)) * (171 - 118)
    west, east = 203 * 171, 150 * 190
    assert float(rows["total"]["mapped_ha"]) == pytest.approx((west + east - overlap) / 100)
    # all of the ground of EAST is its class, and of the cells at its edge what WEST has of them
    assert float(rows["water"]["mapped_ha"]) >= east / 100
    assert float(rows["meadow"]["mapped_ha"]) == 0


def test_statistics_are_written_into_no_file_that_counts(tmp_path):
    """GDAL writes them into a VRT, which DVC would take for other maps."""
    scenes = make(tmp_path)
    write_mosaics(plan_of(scenes), scenes, CLASSES, tmp_path)
    before = digests(tmp_path)
    for name in ("classmap", "confidence"):
        with rasterio.open(tmp_path / "mosaic" / f"mosaic_{name}.vrt") as dataset:
            (found,) = dataset.stats()
            values = dataset.read(1, masked=True)
            assert (found.min, found.max) == (values.min(), values.max())
            assert found.mean == pytest.approx(values.mean())
    assert digests(tmp_path) == before


def test_neither_the_order_of_scenes_nor_the_size_of_squares_changes_a_byte(
    maps, tmp_path, monkeypatch
):
    scenes = make(tmp_path / "maps")[::-1]
    monkeypatch.setattr(files, "_SIDE", 16)
    write_mosaics(plan_of(scenes), scenes, CLASSES, tmp_path / "maps")
    shutil.copy(maps / "catalog.json", tmp_path / "maps")
    assert digests(tmp_path / "maps") == digests(maps)


def test_no_file_knows_where_it_was_made(maps):
    for path in maps.rglob("*.*"):
        assert path.is_dir() or str(maps.parent).encode() not in path.read_bytes(), path


@cache
def to_zone(epsg):
    """Made once a zone: it takes milliseconds, and is asked for at every cell."""
    return Transformer.from_crs(3857, epsg, always_xy=True)


def expected_class(x, y):
    """The class at a place of EPSG:3857, by the rules: newest on top, in the zone the surest.

    None near the edge of a map, where a pixel more or less is no matter.
    """
    for grid, value in ((EAST, 2), (WEST, 1), (NEXT_ZONE, 3)):
        east, north = to_zone(grid.epsg).transform(x, y)
        left, bottom, right, top = grid.bounds
        # cells at the edge may reach 80 m past it
        if left + 20 < east < right - 20 and bottom + 20 < north < top - 20:
            return value
        if left - 100 < east < right + 100 and bottom - 100 < north < top + 100:
            return None
    return 0


def test_the_map_over_all_zones_is_the_nearest_cell_of_the_newest(maps, tmp_path):
    # its paths are relative: it moves with the folder
    shutil.copytree(maps, tmp_path / "moved")
    with rasterio.open(tmp_path / "moved" / "mosaic" / "mosaic_classmap.vrt") as dataset:
        assert (dataset.crs.to_epsg(), dataset.nodata) == (3857, 0)
        assert dataset.res == (130, 130)  # 80 m at 52 degrees north
        assert not dataset.transform.c % 130
        assert dataset.colormap(1)[1] == (*rgb(CLASSES[0].color), 255)
        cells, places = dataset.read(1), dataset.xy
        compared = 0
        for row, col in np.ndindex(cells.shape):
            expected = expected_class(*places(row, col))
            if expected is not None:
                assert cells[row, col] == expected, (row, col)
                compared += 1
    assert compared > 0.7 * cells.size
    assert set(np.unique(cells)) == {0, 1, 2, 3}
    with rasterio.open(maps / "mosaic" / "mosaic_confidence.vrt") as dataset:
        confidence = dataset.read(1)
        assert dataset.nodata == 255
    np.testing.assert_array_equal(np.array([255, 60, 80, 90])[cells], confidence)


def test_in_the_crs_of_a_zone_its_cells_stay_as_they_are(tmp_path):
    scenes = make(tmp_path)[:2]
    write_mosaics(plan_of(scenes, crs="EPSG:32633"), scenes, CLASSES, tmp_path)
    with (
        rasterio.open(tmp_path / "mosaic" / "mosaic_classmap.vrt") as whole,
        rasterio.open(tmp_path / MOSAIC / f"{MOSAIC}_classmap.tif") as zone,
    ):
        assert whole.transform == zone.transform
        np.testing.assert_array_equal(whole.read(1), zone.read(1))


def test_the_map_over_all_zones_says_what_it_comes_from(maps):
    for name in ("classmap", "confidence"):
        with rasterio.open(maps / "mosaic" / f"mosaic_{name}.vrt") as dataset:
            tags = dataset.tags()
        years = "2019, 2021, 2022"
        assert tags["ATTRIBUTION"] == f"Contains modified Copernicus Sentinel data {years}. © a mapper."
        assert tags["LENSCAPE_SCENES"] == "east next west"
        assert tags["LENSCAPE_WEIGHTS_SHA256"] == "ab" * 32
        assert tags["LENSCAPE_NOTE"] == "east: another season"


def test_a_crs_in_degrees_keeps_longitude_first(tmp_path):
    scenes = make(tmp_path)[:2]
    write_mosaics(plan_of(scenes, crs="EPSG:4326"), scenes, CLASSES, tmp_path)
    with rasterio.open(tmp_path / "mosaic" / "mosaic_classmap.vrt") as whole:
        longitude, latitude = Transformer.from_crs(32633, 4326, always_xy=True).transform(
            WEST.x0 + 300, WEST.y0 - 300
        )
        assert whole.bounds.left < longitude < whole.bounds.right
        assert next(whole.sample([(longitude, latitude)]))[0] == 1


def test_what_is_due_follows_the_conf(tmp_path):
    scenes = make(tmp_path)

    def due(scenes, **conf):
        return [f.scene for f in write_mosaics(plan_of(scenes, **conf), scenes, CLASSES, tmp_path)]

    assert due(scenes[:1]) == []
    assert due([scenes[0], scenes[2]]) == ["mosaic"]
    assert due(scenes, crs=None) == [MOSAIC]
    assert due(scenes, min_scenes=1) == ["mosaic_EPSG32632", MOSAIC, "mosaic"]
    assert due(scenes, min_scenes=4) == []


SHIFTED = PixelGrid(32633, 300_035.0, 5_800_050.0, 40, 40)
ACROSS_180 = PixelGrid(32601, 160_000.0, 200_000.0, 1200, 1200)


@pytest.mark.parametrize(
    ("grids", "crs", "message"),
    [
        ({"a": WEST, "b": EAST}, "EPSG:99999", "predict.yaml: key 'mosaic.crs': EPSG:99999 is no CRS"),
        ({"a": WEST, "b": EAST}, "EPSG:5773", "'mosaic.crs': EPSG:5773 .* no plane of two axes"),
        ({"a": WEST, "b": EAST}, "EPSG:4978", "'mosaic.crs': EPSG:4978 .* no plane of two axes"),
        ({"a": ACROSS_180, "b": EAST}, "EPSG:4326", "EPSG:4326 cannot hold the maps of EPSG:32601"),
        ({"a": ACROSS_180, "b": EAST}, "EPSG:3857", "EPSG:3857 cannot hold the maps of EPSG:32601"),
        ({MOSAIC: WEST, "b": EAST}, "EPSG:3857", f"scene {MOSAIC} has the name of a mosaic"),
        ({"mosaic": WEST, "b": NEXT_ZONE}, "EPSG:3857", "scene mosaic has the name of a mosaic"),
    ],
)
def test_what_cannot_be_written_is_refused_before_any_work(tmp_path, grids, crs, message):
    scenes = [mapped(tmp_path, name, grid) for name, grid in grids.items()]
    with pytest.raises(ConfigError, match=message):
        plan_of(scenes, crs=crs).require_possible()


def test_scenes_that_only_resampling_could_join_are_said(tmp_path):
    grids = {"a": WEST, "b": EAST, "c": SHIFTED, "d": NEXT_ZONE}
    scenes = [mapped(tmp_path, name, grid) for name, grid in grids.items()]
    (note,) = plan_of(scenes).notes
    assert note == (
        "the scenes of EPSG:32633 lie on 2 grids of pixels, which only resampling could join: a, b | c"
    )
    plan_of(scenes).require_possible()


@pytest.fixture(scope="module")
def viewed(maps, tmp_path_factory):
    """A copy of the maps, for viewers to write into."""
    return shutil.copytree(maps, tmp_path_factory.mktemp("seen") / "Kärtchen #1? 'a' 50%25")


@pytest.fixture(scope="module")
def seen(viewed, tmp_path_factory):
    """What QGIS shows of the mosaic and of the map over all zones."""
    files = [viewed / MOSAIC / f"{MOSAIC}_classmap.tif", viewed / "mosaic" / "mosaic_classmap.vrt",
             viewed / "mosaic" / "mosaic_confidence.vrt"]  # fmt: skip
    answer = open_in_qgis(files, tmp_path_factory.mktemp("pictures"))
    return [answer[str(path)] for path in files]


@pytest.mark.slow
def test_qgis_shows_mosaics_with_names_and_colours(seen):
    for shown, crs in zip(seen, ("EPSG:32633", "EPSG:3857"), strict=False):
        assert shown["crs"] == crs
        assert shown["renderer"] == "paletted"
        assert shown["legend"] == [[info.title, info.color.lower()] for info in CLASSES]
        assert shown["categories"] == ["nodata", *(info.title for info in CLASSES)]
        assert shown["colors"][1:] == [[*rgb(info.color), 255] for info in CLASSES]
    assert seen[2]["renderer"] == "singlebandpseudocolor"
    assert seen[2]["statistics"][:2] == [60, 90]


@pytest.mark.slow
def test_qgis_changes_no_file_that_dvc_watches(seen, viewed, maps):
    assert seen
    left = {name: hashed for name, hashed in digests(viewed).items()
            if not name.endswith(".aux.xml") or name.endswith(".aux.aux.xml")}  # fmt: skip
    assert left == digests(maps)


@pytest.mark.slow
def test_qgis_paints_all_zones_and_nothing_where_there_is_no_map(seen):
    pictures = [np.asarray(Image.open(shown["png"]).convert("RGBA")) for shown in seen[:2]]
    for picture, classes in zip(pictures, (CLASSES[:2], CLASSES), strict=True):
        opaque = picture[picture[..., 3] == 255][:, :3]
        assert {tuple(color) for color in opaque.tolist()} == {rgb(c.color) for c in classes}
        assert (picture[..., 3] == 0).any()


def write_map(path, grid, value):
    with rasterio.open(
        path, "w", driver="GTiff", dtype="uint8", count=1, height=grid.height, width=grid.width,
        crs=f"EPSG:{grid.epsg}", transform=grid.transform, nodata=0,
    ) as file:  # fmt: skip
        file.write(np.full((grid.height, grid.width), value, dtype=np.uint8), 1)


def test_the_later_map_lies_on_top_and_names_may_hold_anything(tmp_path):
    """Names of scenes come to stand in XML and in paths."""
    east = PixelGrid(32633, 383_200, 5_820_000, 100, 120, 80)
    maps = {"a & b": (BERLIN, 1), "<ö> 'c'": (east, 2)}
    for name, (grid, value) in maps.items():
        (tmp_path / name).mkdir()
        write_map(tmp_path / name / f"{name}_classmap.tif", grid, value)
    parts = [Mosaic(name, grid, ()) for name, (grid, _) in maps.items()]
    whole, grids = layout("EPSG:32633", [BERLIN, east], "here")
    (tmp_path / "whole").mkdir()
    tags = {"NOTE": 'a < b & "c"'}
    kind = replace(class_map.class_map_kind(CLASSES), names=["none", "x < y & z"])
    path = tmp_path / "whole" / "m.vrt"
    written = write_vrt(path, "classmap", kind, tags, whole, list(zip(parts, grids, strict=True)))
    assert [file.name for file in written] == [f"{name}_classmap.vrt" for name in maps]
    with rasterio.open(path) as dataset:
        cells = dataset.read(1)
        assert dataset.tags()["NOTE"] == tags["NOTE"]
    assert (cells[:, :40] == 1).all()
    assert (cells[:, 40:] == 2).all()
    assert cells.shape == (100, 160)
    names = [node.text for node in ElementTree.parse(path).iter("Category")]
    assert names == ["none", "x < y & z"]


BEYOND = PixelGrid(32601, 180_000.0, 200_000.0, 300, 300)
BEFORE = PixelGrid(32660, 800_000.0, 200_000.0, 300, 300)


def test_mosaics_across_the_antimeridian_say_where_they_lie(tmp_path):
    scenes = [
        mapped(tmp_path, name, grid) for name, grid in (("a", ACROSS_180), ("b", BEYOND), ("c", BEFORE))
    ]
    # Mercator with the meridian of 150 degrees in its middle
    write_mosaics(plan_of(scenes, crs="EPSG:3832"), scenes, CLASSES, tmp_path)
    for name in ("mosaic_EPSG32601", "mosaic"):
        item = json.loads((tmp_path / name / f"{name}.json").read_text())
        west, south, east, north = item["bbox"]
        assert 179.6 < west < 180
        assert -180 < east < -179.6
        assert 1.6 < south < north < 1.9
        assert item["geometry"]["type"] == "MultiPolygon"


def test_a_map_of_both_ends_of_a_crs_lies_where_its_parts_do(tmp_path):
    scenes = [mapped(tmp_path, "a", BEYOND), mapped(tmp_path, "b", BEFORE)]
    write_mosaics(plan_of(scenes), scenes, CLASSES, tmp_path)
    west, _, east, _ = json.loads((tmp_path / "mosaic" / "mosaic.json").read_text())["bbox"]
    assert 179.6 < west < 180
    assert -180 < east < -179.6
