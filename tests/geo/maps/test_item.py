import hashlib
import json

import numpy as np
import pystac
import pytest

from pipeline.errors import OutputError
from pipeline.geo.maps import class_map, raster_writer
from pipeline.geo.maps.areas import Tally
from pipeline.geo.maps.catalog import MapFolder
from pipeline.geo.maps.item import write_item
from pipeline.geo.maps.sidecars import write_sidecars
from pipeline.geo.raster.grid import PixelGrid
from pipeline.store_meta import ClassInfo
from tests.support.mapped import info

CLASSES = [
    ClassInfo(name="forest", title="Wald & Forst", color="#1b7837", code="311"),
    ClassInfo(name="water", title="水域", color="#2166ac"),
]
GRID = PixelGrid(32633, 300000, 5800000, 30, 40, 80)
PROVENANCE = class_map.Provenance(
    [info("S", datetime="2017-02-16T10:21:01Z")], ["B02"], 80, 160, {"weights": "ab" * 32}, "credit"
)


@pytest.fixture
def files(tmp_path):
    """Everything in a folder of maps but the Item and the probabilities."""
    files = MapFolder(tmp_path, "S")
    with (
        raster_writer.temporary_raster(tmp_path / "a", GRID, class_map.NODATA) as classes,
        raster_writer.temporary_raster(tmp_path / "b", GRID, class_map.CONFIDENCE_NODATA) as confidence,
    ):
        classes.write(0, 0, np.ones((GRID.height, GRID.width), dtype=np.uint8))
        confidence.write(0, 0, np.full((GRID.height, GRID.width), 70, dtype=np.uint8))
        kind = class_map.class_map_kind(CLASSES)
        class_map.write_map(classes, files.class_map, kind, PROVENANCE)
        class_map.write_map(confidence, files.confidence, class_map.CONFIDENCE, PROVENANCE)
    record = class_map.MapRecord(PROVENANCE, GRID, CLASSES, Tally.empty())
    write_sidecars(files.class_map, "Class map of S", record)
    for end in (".vrt", ".qml"):
        files.true_colour.with_name(f"{files.true_colour.name}{end}").write_text("a picture")
    files.polygons.write_bytes(b"polygons")
    files.areas.write_text("areas")
    files.preview.write_bytes(b"picture")
    return files


def add_probabilities(files):
    with raster_writer.temporary_raster(
        files.folder / "c", GRID, class_map.CONFIDENCE_NODATA, 2
    ) as shares:
        shares.write(0, 0, np.full((2, GRID.height, GRID.width), 50, dtype=np.uint8))
        kind = class_map.probabilities_kind(CLASSES)
        class_map.write_map(shares, files.probabilities, kind, PROVENANCE)


def assets(files):
    record = class_map.MapRecord(PROVENANCE, GRID, CLASSES, Tally.empty())
    write_item(files, record, "../scene.json")
    return pystac.Item.from_file(str(files.item)).assets


def test_probabilities_are_an_asset_where_they_were_asked_for(files):
    without = assets(files)
    add_probabilities(files)
    found = assets(files)
    assert set(found) - set(without) == {"probabilities", "probabilities_style"}
    asset = found["probabilities"]
    assert (asset.href, asset.media_type) == ("./S_probabilities.tif", pystac.MediaType.COG)
    assert asset.extra_fields["bands"] == [
        {"name": "forest", "description": "Wald & Forst"},
        {"name": "water", "description": "水域"},
    ]
    assert (asset.extra_fields["nodata"], asset.extra_fields["unit"]) == (255, "%")
    assert asset.extra_fields["proj:shape"] == [30, 40]
    digest = hashlib.sha256(files.probabilities.read_bytes()).hexdigest()
    assert asset.extra_fields["file:checksum"] == f"1220{digest}"
    assert (files.folder / found["probabilities_style"].href).read_text().startswith("<!DOCTYPE qgis")


def test_every_file_of_the_folder_is_an_asset(files):
    add_probabilities(files)
    hrefs = {asset.href for asset in assets(files).values()}
    there = {f"./{path.name}" for path in files.folder.iterdir() if path != files.item}
    assert hrefs == there


def test_the_item_of_a_folder_with_a_gap_is_refused(files):
    files.confidence.with_suffix(".qml").unlink()
    with pytest.raises(OutputError, match=r"S_confidence\.qml is missing .* run `predict` again"):
        assets(files)


def test_an_item_carries_the_code_of_another_nomenclature(files):
    classes = assets(files)["classmap"].extra_fields["classification:classes"]
    assert [one.get("lenscape:code") for one in classes] == [None, "311", None]


def test_an_item_holds_no_absolute_path(files):
    add_probabilities(files)
    assets(files)
    assert str(files.folder) not in json.dumps(json.loads(files.item.read_text()))


def test_the_item_of_a_map_across_the_antimeridian(files):
    grid = PixelGrid(32601, 165_000, 200_000, 30, 40, 80)
    record = class_map.MapRecord(PROVENANCE, grid, CLASSES, Tally.empty())
    write_item(files, record, "../scene.json")
    item = json.loads(files.item.read_text())
    assert item["geometry"]["type"] == "MultiPolygon"
    west, _, east, _ = item["bbox"]
    assert 179.9 < west < 180
    assert -180 < east < -179.9
