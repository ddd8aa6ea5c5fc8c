"""What other programs read beside a class map, read back by them or by GDAL."""

import json
import subprocess
import xml.etree.ElementTree as ET
from dataclasses import replace

import numpy as np
import pyogrio
import pytest
import rasterio

from pipeline.errors import OutputError
from pipeline.geo.maps.areas import Tally
from pipeline.geo.maps.class_map import MapRecord, Provenance
from pipeline.geo.maps.sidecars import (
    qmd,
    sidecars_of,
    sld,
    write_attribute_table,
    write_sidecars,
)
from pipeline.geo.raster.grid import PixelGrid
from pipeline.store_meta import ClassInfo
from tests.support.mapped import CLASSES, info
from tests.support.viewers import PYTHON, qgis_is_here

ORIGIN = Provenance([info("s.1")], ("B02",), 80, 160, {"weights": "ab" * 32}, "© a <mapper>")
CODED = [*CLASSES, ClassInfo(name="bog", title="Moor: " + "水" * 100, color="#0A0B0C", code="4.1.2")]


@pytest.fixture
def content():
    cells = np.zeros(256, dtype=np.int64)
    cells[:5] = [9, 12, 0, 123_456_789, 3]
    grid = PixelGrid(32633, 300_000, 5_800_000, 10, 12, 80)
    return MapRecord(ORIGIN, grid, CODED, Tally(cells, cells))


@pytest.fixture
def beside(content, tmp_path):
    path = tmp_path / "s.1_classmap.tif"
    with rasterio.open(
        path, "w", driver="GTiff", dtype="uint8", count=1, height=10, width=12, crs="EPSG:32633",
        transform=content.grid.transform, nodata=0,
    ) as dataset:  # fmt: skip
        dataset.write(np.ones((1, 10, 12), np.uint8))
    write_sidecars(path, "Class map of s.1", content)
    return path


def test_gdal_reads_the_attribute_table_of_arcgis(beside):
    table = pyogrio.read_dataframe(beside.with_name("s.1_classmap.tif.vat.dbf"))
    assert list(table.columns) == [
        "Value", "Count", "Class_Name", "Name", "Code", "Red", "Green", "Blue", "Opacity",
    ]  # fmt: skip
    assert table["Value"].tolist() == [1, 2, 3, 4]
    assert table["Count"].tolist() == [12, 0, 123_456_789, 3]
    assert table["Class_Name"].tolist()[:3] == ["Wald & Forst", "水域", "Wiese"]
    assert table["Name"].tolist() == ["forest", "water", "meadow", "bog"]
    assert table["Code"].tolist()[3] == "4.1.2"
    colours = table[["Red", "Green", "Blue", "Opacity"]].to_numpy().tolist()
    assert colours[0] == [0x1B, 0x78, 0x37, 255]
    assert colours[3] == [10, 11, 12, 255]


def test_a_long_title_is_cut_between_its_characters(beside):
    # 6 bytes and 82 times 3 are 252 of 254
    table = pyogrio.read_dataframe(beside.with_name("s.1_classmap.tif.vat.dbf"))
    assert table["Class_Name"].tolist()[3] == "Moor: " + "水" * 82


def test_arcgis_finds_numbers_as_integers_and_the_encoding(beside):
    path = beside.with_name("s.1_classmap.tif.vat.dbf")
    head = path.read_bytes()
    fields = [head[at : at + 32] for at in range(32, int.from_bytes(head[8:10], "little") - 1, 32)]
    kinds = {field[:11].rstrip(b"\0").decode(): (chr(field[11]), field[17]) for field in fields}
    texts = {"Class_Name", "Name", "Code"}
    assert kinds == {name: ("C" if name in texts else "N", 0) for name in kinds}
    assert all(0 < field[16] <= 254 for field in fields)
    assert path.with_suffix(".cpg").read_text() == "UTF-8"
    assert tuple(head[1:4]) == (70, 1, 1), "no date of today in it"


def test_a_table_that_cannot_be_written_is_one_sentence(content, tmp_path):
    with pytest.raises(OutputError, match=r"a\.dbf cannot be written .* is the disk full\?"):
        write_attribute_table(tmp_path / "absent" / "a.dbf", content)


def test_the_style_of_geoserver_has_an_entry_a_class(content):
    root = ET.fromstring(sld("s.1_classmap", "A map", content.classes).encode())
    entries = root.findall(".//{*}ColorMap[@type='values']/{*}ColorMapEntry")
    assert [(e.get("quantity"), e.get("color"), e.get("label")) for e in entries[:3]] == [
        ("1", "#1b7837", "Wald & Forst"),
        ("2", "#2166ac", "水域"),
        ("3", "#ffee08", "Wiese"),
    ]
    assert root.find("{*}NamedLayer/{*}Name").text == "s.1_classmap"


READ = """
import json, os, sys
os.environ["QT_QPA_PLATFORM"] = "offscreen"
from qgis.core import QgsApplication, QgsRasterLayer
application = QgsApplication([], False)
application.initQgis()
layer = QgsRasterLayer(sys.argv[1], "map")
layer.loadDefaultMetadata()  # as the program does when a person adds a layer
seen = layer.metadata()
box = seen.extent().spatialExtents()[0].bounds
print(json.dumps({
    "title": seen.title(), "abstract": seen.abstract(), "rights": seen.rights(),
    "history": seen.history(), "crs": seen.crs().authid(),
    "box": [box.xMinimum(), box.yMinimum(), box.xMaximum(), box.yMaximum()],
    "time": seen.extent().temporalExtents()[0].begin().toUTC().toString("yyyy-MM-dd hh:mm"),
}))
"""


@pytest.mark.slow
def test_qgis_shows_the_metadata(beside):
    if not qgis_is_here():
        pytest.skip("QGIS is absent")
    command = [PYTHON, "-c", READ, str(beside)]
    answer = subprocess.run(command, check=True, capture_output=True, text=True)
    seen = json.loads(answer.stdout)
    assert seen["title"] == "Class map of s.1"
    assert "pixels of 80 m" in seen["abstract"]
    expected = "Contains modified Copernicus Sentinel data 2021. © a <mapper>."
    assert seen["rights"] == [expected]
    assert f"LENSCAPE_WEIGHTS_SHA256: {'ab' * 32}" in seen["history"]
    assert (seen["crs"], seen["time"]) == ("EPSG:32633", "2021-05-06 10:21")
    assert seen["box"] == pytest.approx([12.05, 52.3, 12.07, 52.32], abs=0.02)


def test_the_extent_across_the_antimeridian_is_two(content):
    # QGIS takes the smaller number for the west, whichever comes first
    whole = list(ET.fromstring(qmd("a", content).partition("\n")[2]).iter("spatial"))
    assert len(whole) == 1
    across = replace(content, grid=PixelGrid(32601, 165_000, 200_000, 30, 40, 80))
    parts = ET.fromstring(qmd("a", across).partition("\n")[2]).iter("spatial")
    spans = sorted((float(part.get("minx")), float(part.get("maxx"))) for part in parts)
    assert spans[0][0] == -180
    assert -180 < spans[0][1] < -179.9
    assert 179.9 < spans[1][0] < spans[1][1] == 180


def test_a_mosaic_states_the_time_from_its_first_to_its_last_scene(content):
    later = replace(ORIGIN, scenes=[info("s.2", datetime="2022-01-01T00:00:00Z")])
    root = ET.fromstring(qmd("Mosaic", replace(content, origin=Provenance.of_mosaic([later, ORIGIN]))))
    period = root.find("extent/temporal/period")
    assert [child.text for child in period] == ["2021-05-06T10:21:01Z", "2022-01-01T00:00:00Z"]


def test_the_same_map_gives_the_same_bytes(beside, content):
    before = [path.read_bytes() for path in sidecars_of(beside)]
    write_sidecars(beside, "Class map of s.1", content)
    assert [path.read_bytes() for path in sidecars_of(beside)] == before
    assert b"2026" not in b"".join(before)
