"""Texts of people that mean something to HTML, XML, spreadsheets or shells stay texts in every output.

Names that become files are restricted (tests/config/test_record.py), zips that lead out of their folder
are refused (tests/geo), the report is in tests/learn/report/test_rendering.py.
"""

import csv
import json
import sqlite3
import xml.etree.ElementTree as ET
from contextlib import closing
from pathlib import Path

import pytest
import rasterio

from pipeline.commands import sample
from pipeline.config.compute import ComputeConf
from pipeline.geo.maps import class_map
from pipeline.geo.maps.catalog import MapFolder, write_catalog
from pipeline.geo.maps.mapper import map_scene
from pipeline.geo.maps.pieces import Mapper
from pipeline.geo.maps.postprocessing import PostProcessing
from pipeline.geo.qgis.project import PROJECT, write_project
from pipeline.store_meta import ClassInfo, Geometry
from tests.geo.qgis.test_project import thirds
from tests.support.mapped import info
from tests.support.placed import make_scene

EVIL = "\"'/><evil x='1'>]]><!--&evil;&#0;{{ 7 * 7 }}../../$(evil)"
FORMULA = "=cmd|' /C evil'!A0"
CLASSES = [
    ClassInfo(name="forest", title=EVIL, color="#1b7837", description=EVIL, code=FORMULA),
    ClassInfo(name="water", title=FORMULA, color="#2166ac", code="+1+1"),
    ClassInfo(name="meadow", title="@SUM(A1)", color="#ffee08", code=EVIL),
]


@pytest.fixture(scope="module")
def maps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of one map with all that lies beside it, and its QGIS project."""
    root = tmp_path_factory.mktemp("hostile")
    scene, out = make_scene(root), root / "maps"
    geometry = Geometry(patch_px=16, cell_px=8, min_valid=0.75)
    mapper = Mapper(
        thirds, ("B02", "B03"), geometry, CLASSES, (30, 30), probabilities=True,
        postprocessing=PostProcessing(polygons_m2=0),
    )  # fmt: skip
    origin = class_map.Provenance(
        [info(scene.id)], ("B02", "B03"), 80, 160, {"weights": "ab" * 32}, EVIL, EVIL
    )
    out.mkdir()
    place = out / scene.id
    map_scene(scene, mapper, origin, place, place, ComputeConf(workers=1))
    write_catalog(out, [scene.id])
    write_project(out / PROJECT, out)
    sample.run(MapFolder(place, scene.id).class_map, out / "form.gpkg", 0.1, 2, 0)
    return out


def test_no_element_is_smuggled_into_xml(maps: Path) -> None:
    ends = {".qml", ".sld", ".qmd", ".xml", ".vrt", ".qgs"}
    files = [path for path in maps.rglob("*") if path.suffix in ends]
    texts = {str(path): path.read_text(encoding="utf-8") for path in files}
    for path in maps.rglob("*.gpkg"):
        with closing(sqlite3.connect(path)) as database:
            ((texts[str(path)],),) = database.execute("SELECT styleQML FROM layer_styles").fetchall()
    assert {Path(name).suffix for name in texts} == {*ends, ".gpkg"}
    carried = 0
    for name, text in texts.items():
        root = ET.fromstring(text)
        assert not [one.tag for one in root.iter() if "evil" in one.tag], name
        values = [value for one in root.iter() for value in (one.text, *one.attrib.values())]
        carried += any("<evil x='1'>" in (value or "") for value in values)
    assert carried > 5, "it is told as it is"


def test_no_cell_of_a_table_is_a_formula(maps: Path) -> None:
    tables = list(maps.rglob("*.csv"))
    assert len(tables) > 1
    for path in tables:
        with path.open(encoding="utf-8", newline="") as stream:
            cells = [cell for row in csv.reader(stream) for cell in row]
        assert not [cell for cell in cells if cell.startswith(("=", "+", "@"))], path
    assert any(f"'{FORMULA}" in path.read_text() for path in tables)


def test_nothing_lies_outside_and_texts_come_back(maps: Path) -> None:
    assert not [path for path in maps.parent.rglob("*") if "evil" in path.name]
    (item,) = maps.glob("*/[!.]*.json")
    classes = json.loads(item.read_text())["assets"]["classmap"]["classification:classes"]
    assert EVIL in {one.get("title") for one in classes}
    with rasterio.open(next(maps.glob("*/*_classmap.tif"))) as dataset:
        assert EVIL in dataset.tags().values()
