"""GeoPackages: the same bytes, a style that QGIS applies, nothing that opening them changes."""

import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from xml.etree import ElementTree as ET

import geopandas as gpd
import numpy as np
import pyogrio
import pytest
import shapely

from pipeline.errors import OutputError
from pipeline.geo.style.geopackage import categorized_qml, squares, write_layer
from tests.support.viewers import open_layers_in_qgis

CATEGORIES = [("a<b", "Wälder & <Moor>", "#0072b2"), ("c", "Wasser", "#d55e00"), ("d", "x", "#999999")]


def frame(count=120):
    at = np.arange(count)
    x, y = 330_000 + 80.0 * (at % 10), 5_820_000 - 80.0 * (at // 10)
    kind = np.array([value for value, _, _ in CATEGORIES])[at // 10 % 3]
    return gpd.GeoDataFrame(
        {"kind": kind, "at": at}, geometry=squares(x, y, np.full(count, 32633), 80.0)
    )


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    path = tmp_path_factory.mktemp("layers") / "kinds.gpkg"
    write_layer(path, "kinds", frame(), categorized_qml("kind", CATEGORIES, opacity=1.0))
    return path


def test_the_same_table_gives_the_same_bytes_at_another_time_and_place(package, tmp_path):
    time.sleep(1.1)  # SQLite's CURRENT_TIMESTAMP counts seconds
    again = tmp_path / "elsewhere" / "other.gpkg"
    write_layer(again, "kinds", frame(), categorized_qml("kind", CATEGORIES, opacity=1.0))
    assert again.read_bytes() == package.read_bytes()


def test_many_squares_give_the_same_bytes(tmp_path):
    # past 100,000 features GDAL would build the index in a thread of its own
    for name in ("first.gpkg", "second.gpkg"):
        write_layer(tmp_path / name, "kinds", frame(100_500), categorized_qml("kind", CATEGORIES))
    assert (tmp_path / "first.gpkg").read_bytes() == (tmp_path / "second.gpkg").read_bytes()


def test_the_table_comes_back(package):
    seen = gpd.read_file(package, layer="kinds")
    assert seen.crs.to_epsg() == 32633
    assert seen["at"].tolist() == list(range(120))
    assert seen.geometry.iloc[11].bounds == (330_040.0, 5_819_880.0, 330_120.0, 5_819_960.0)
    assert pyogrio.list_layers(package)[0, 0] == "kinds"  # the one that GDAL opens by itself


def test_the_file_is_alone_and_read_only(package):
    assert [file.name for file in package.parent.iterdir()] == ["kinds.gpkg"]
    assert package.stat().st_mode & 0o777 == 0o444


def test_gdal_is_left_as_it_was(tmp_path):
    pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": "2001-02-03T04:05:06Z"})
    try:
        write_layer(tmp_path / "a.gpkg", "kinds", frame(), "")
        assert pyogrio.get_gdal_config_option("OGR_CURRENT_DATE") == "2001-02-03T04:05:06Z"
    finally:
        pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": None})
    write_layer(tmp_path / "b.gpkg", "kinds", frame(), "")
    assert pyogrio.get_gdal_config_option("OGR_CURRENT_DATE") is None


def test_the_style_is_the_default_of_its_layer(package):
    with closing(sqlite3.connect(f"file:{package}?mode=ro", uri=True)) as database:
        rows = database.execute(
            "SELECT f_table_name, f_geometry_column, useAsDefault, styleQML FROM layer_styles"
        ).fetchall()
    ((layer, column, default, qml),) = rows
    assert (layer, column, default) == ("kinds", "geom", 1)
    labels = [c.get("label") for c in ET.fromstring(qml.split("\n", 1)[1]).iter("category")]
    assert labels == [label for _, label, _ in CATEGORIES]


@pytest.mark.slow
def test_qgis_shows_the_categories_and_leaves_the_file_alone(package, tmp_path):
    before, changed = package.read_bytes(), package.stat().st_mtime_ns
    seen = open_layers_in_qgis([package], tmp_path)[str(package)]
    assert seen["column"] == "kind"
    assert seen["categories"] == [list(category) for category in CATEGORIES]
    assert seen["features"] == 120
    assert seen["crs"] == "EPSG:32633"
    assert seen["extent"] == [329_960.0, 5_819_080.0, 330_760.0, 5_820_040.0]
    assert set(seen["colors"][:4]) == {"#ffffff", "#0072b2", "#d55e00", "#999999"}
    assert seen["files"] == seen["files_after"] == ["kinds.gpkg"]
    assert (package.read_bytes(), package.stat().st_mtime_ns) == (before, changed)


def test_squares_of_several_zones_come_in_degrees():
    here = squares(np.array([5e5, 5e5]), np.array([5.5e6, 5.5e6]), np.array([32632, 32633]), 1000.0)
    assert here.crs.to_epsg() == 4326
    west, south, east, north = here.total_bounds
    assert (west, east) == pytest.approx((9 - 0.0069, 15 + 0.0069), abs=2e-4)
    assert south < 49.65 < north
    assert here.to_crs(32632).iloc[0].area == pytest.approx(1e6, rel=1e-6)


def test_squares_of_two_zones_are_cut_at_the_antimeridian(tmp_path):
    x, y, epsg = np.array([834_000.0, 166_000.0]), np.array([2e5, 2e5]), np.array([32660, 32601])
    here = squares(x, y, epsg, 1000.0)
    assert (here.total_bounds[0], here.total_bounds[2]) == (-180, 180)
    # of the square, not of the strip round the world
    assert shapely.area(here.to_numpy()).max() < 1e-4
    write_layer(tmp_path / "a.gpkg", "kinds", gpd.GeoDataFrame({"kind": ["a", "b"]}, geometry=here), "")
    read = gpd.read_file(tmp_path / "a.gpkg", layer="kinds").geometry
    assert shapely.area(read.to_numpy()).max() < 1e-4


LIMITED = """
import resource, signal, sys
from pathlib import Path
from pipeline.errors import OutputError
from tests.geo.style.test_geopackage import frame
from pipeline.geo.style.geopackage import categorized_qml, write_layer
data = frame(3000)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)
try:
    write_layer(Path(sys.argv[1]), "kinds", data, "")
except OutputError as error:
    print(error)
"""


@pytest.mark.slow
@pytest.mark.parametrize("limit", [4096, 650_000])
def test_a_disk_too_small_is_one_sentence_and_leaves_nothing(tmp_path, limit):
    # a limit on the size of a file stands in for the full disk: writes fail alike; at the last one
    # GDAL gives up the spatial index without a word
    path = tmp_path / "a.gpkg"
    command = [sys.executable, "-c", LIMITED, str(path), str(limit)]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert answer.stdout.startswith(f"{path} cannot be written"), answer.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_failure_keeps_the_file_before(tmp_path):
    path = tmp_path / "a.gpkg"
    path.write_bytes(b"before")
    with pytest.raises(OutputError, match=r"a\.gpkg cannot be written"):
        write_layer(path, "layer_styles", frame(), "")  # a name that the table of styles needs
    assert path.read_bytes() == b"before"
    assert [file.name for file in tmp_path.iterdir()] == ["a.gpkg"]
