import hashlib
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
import rasterio
from PIL import Image

from pipeline.geo.maps import class_map, raster_writer
from pipeline.geo.raster.grid import PixelGrid
from pipeline.geo.style.colors import rgb
from pipeline.store_meta import ClassInfo
from tests.support.mapped import info
from tests.support.viewers import open_in_qgis

CLASSES = [
    ClassInfo(name="forest", title='Wald & Forst <mit "Anführung">', color="#1B7837"),
    ClassInfo(name="water", title="水域", color="#2166ac"),
    ClassInfo(name="meadow", title="Луг / مرج", color="#ffee08"),
    ClassInfo(name="absent", title="100 % of $nothing", color="#ff00ff"),
]
GRID = PixelGrid(32633, 300000, 5800000, 310, 420, 80)
PROVENANCE = class_map.Provenance(
    [info("S", datetime="2017-02-16T10:21:01Z", baseline="02.04")],
    bands=["B02", "B8A"],
    cell_m=80,
    patch_m=160,
    hashes={"weights": "ab" * 32, "store": "cd" * 32},
    credit="© OpenStreetMap contributors, ODbL 1.0",
)


def cells():
    values = np.kron(np.arange(12).reshape(3, 4) % 4, np.ones((104, 105), dtype=int))
    return values[: GRID.height].astype(np.uint8)  # 0 (nodata) to 3; the last class never occurs


def shares():
    """Per cent of each class: 97 of the one on the map, 1 of the others."""
    of_class = np.arange(1, len(CLASSES) + 1)[:, None, None]
    result = np.where(cells() == of_class, 97, 1).astype(np.uint8)
    result[:, cells() == 0] = class_map.CONFIDENCE_NODATA
    return result


@pytest.fixture(scope="module")
def maps(tmp_path_factory):
    """Class map, confidence, probabilities, published in a folder with a space and an umlaut."""
    folder = tmp_path_factory.mktemp("maps") / "meine Kärtchen"
    folder.mkdir()
    paths = [folder / f"S_{what}.tif" for what in ("classmap", "confidence", "probabilities")]
    with (
        raster_writer.temporary_raster(folder / "a.tif", GRID, class_map.NODATA) as first,
        raster_writer.temporary_raster(folder / "b.tif", GRID, class_map.CONFIDENCE_NODATA) as second,
        raster_writer.temporary_raster(
            folder / "c.tif", GRID, class_map.CONFIDENCE_NODATA, len(CLASSES)
        ) as third,
    ):
        first.write(0, 0, cells())
        second.write(0, 0, np.where(cells() > 0, 30 * cells(), class_map.CONFIDENCE_NODATA))
        third.write(0, 0, shares())
        kind = class_map.class_map_kind(CLASSES)
        class_map.write_map(first, paths[0], kind, PROVENANCE)
        class_map.write_map(second, paths[1], class_map.CONFIDENCE, PROVENANCE)
        kind = class_map.probabilities_kind(CLASSES)
        class_map.write_map(third, paths[2], kind, PROVENANCE)
    return paths


def hashes(folder):
    files = sorted(file for file in folder.iterdir() if not file.name.endswith(".tif.aux.xml"))
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


@pytest.fixture(scope="module")
def seen(maps, tmp_path_factory):
    """What QGIS shows of the maps, asked for everything that makes viewers write files."""
    before = hashes(maps[0].parent)
    pictures = tmp_path_factory.mktemp("pictures")
    return open_in_qgis(list(maps), pictures), before


@pytest.mark.slow
def test_qgis_shows_exactly_the_classes_with_names_and_colours(maps, seen):
    shown = seen[0][str(maps[0])]
    expected = [[info.title, info.color.lower()] for info in CLASSES]
    assert shown["renderer"] == "paletted"
    assert shown["legend"] == expected
    # the first line is QGIS's own: the band that is shown
    assert shown["tree"] == [
        "Band 1: land cover class (Palette)",
        *(info.title for info in CLASSES),
    ]


@pytest.mark.slow
def test_qgis_shows_confidence_as_a_ramp_from_0_to_100_per_cent(maps, seen):
    shown = seen[0][str(maps[1])]
    assert shown["renderer"] == "singlebandpseudocolor"
    assert [label for label, _ in shown["legend"]] == ["0 %", "25 %", "50 %", "75 %", "100 %"]
    assert shown["statistics"][:2] == [30, 90]


@pytest.mark.slow
def test_qgis_shows_the_first_probability_and_offers_all_by_title(maps, seen):
    shown = seen[0][str(maps[2])]
    titles = [f"Band {k}: {info.title}" for k, info in enumerate(CLASSES, start=1)]
    assert shown["bands"] == titles
    assert shown["renderer"] == "singlebandpseudocolor"
    assert shown["tree"][0] == f"{titles[0]} (Gray)"
    assert [label for label, _ in shown["legend"]] == ["0 %", "25 %", "50 %", "75 %", "100 %"]
    assert shown["statistics"][:2] == [1, 97]
    picture = np.asarray(Image.open(shown["png"]).convert("RGBA"))
    opaque = {tuple(color) for color in picture[picture[..., 3] == 255][:, :3].tolist()}
    assert len(opaque) == 2, "sure of the first class, and not"
    assert (picture[..., 3] == 0).any()


def test_probabilities_name_their_classes(maps):
    with rasterio.open(maps[2]) as dataset:
        np.testing.assert_array_equal(dataset.read(), shares())
        assert dataset.descriptions == tuple(info.title for info in CLASSES)
        names = [dataset.tags(band)["LENSCAPE_CLASS"] for band in dataset.indexes]
        assert (names, dataset.nodata) == ([info.name for info in CLASSES], 255)


@pytest.mark.slow
def test_qgis_puts_the_maps_where_they_lie(maps, seen):
    for path in maps:
        shown = seen[0][str(path)]
        assert shown["crs"] == "EPSG:32633"
        assert shown["extent"] == [300000, 5800000 - 310 * 80, 300000 + 420 * 80, 5800000]


@pytest.mark.slow
def test_qgis_paints_the_colours_of_the_classes_and_nothing_where_there_is_no_data(maps, seen):
    picture = np.asarray(Image.open(seen[0][str(maps[0])]["png"]).convert("RGBA"))
    painted = {tuple(color) for color in picture[picture[..., 3] == 255][:, :3].tolist()}
    assert painted == {rgb(info.color) for info in CLASSES[:3]}
    height = round(600 * 310 / 420)
    top = (600 - height) // 2  # QGIS keeps the scale and centres the map
    row, col = top + height // 6, 600 // 8
    assert picture[row, col, 3] == 0, "the first square is nodata"
    assert tuple(picture[row, col + 150][:3]) == rgb(CLASSES[0].color)
    confidence = np.asarray(Image.open(seen[0][str(maps[1])]["png"]).convert("RGBA"))
    assert confidence[row, col, 3] == 0
    assert confidence[row, col + 150, 3] == 255


@pytest.mark.slow
def test_statistics_and_histograms_asked_for_leave_our_files_as_they_are(maps, seen):
    answer, before = seen
    assert answer[str(maps[0])]["statistics"][:2] == [1, 3]
    assert answer[str(maps[0])]["histogram"][1] == (cells() == 1).sum()
    assert hashes(maps[0].parent) == before
    others = set(answer["files"]) - set(before)
    assert all(name.endswith(".tif.aux.xml") for name in others), "what .dvcignore lets viewers add"


@pytest.mark.slow
def test_gdal_knows_the_names_before_and_after_a_viewer_wrote_its_file(maps, seen):
    shown = seen[0][str(maps[0])]
    assert shown["categories"] == ["nodata", *(info.title for info in CLASSES)]
    assert shown["colors"][1:] == [[*rgb(info.color), 255] for info in CLASSES]
    assert Path(f"{maps[0]}.aux.xml").exists(), "GDAL wrote no file: the test shows nothing"


def test_names_stand_in_files_that_viewers_do_not_write(maps):
    tree = ET.parse(f"{maps[0]}.aux.aux.xml")
    names = [node.text for node in tree.iterfind(".//CategoryNames/Category")]
    assert names == ["nodata", *(info.title for info in CLASSES)]
    assert Path(f"{maps[0]}.aux").read_bytes().startswith(b"EHFA_HEADER_TAG")


def test_tags_say_where_a_map_comes_from_and_nothing_else(maps):
    for path in maps:
        with rasterio.open(path) as dataset:
            tags = dataset.tags()
        assert tags == {
            "AREA_OR_POINT": "Area",
            "ATTRIBUTION": "Contains modified Copernicus Sentinel data 2017. "
            "© OpenStreetMap contributors, ODbL 1.0.",
            "LENSCAPE_BANDS": "B02 B8A",
            "LENSCAPE_BASELINE": "02.04",
            "LENSCAPE_CELL_M": "80",
            "LENSCAPE_DATETIME": "2017-02-16T10:21:01Z",
            "LENSCAPE_LEVEL": "L1C",
            "LENSCAPE_PATCH_M": "160",
            "LENSCAPE_SCENE": "S",
            "LENSCAPE_STORE_SHA256": "cd" * 32,
            "LENSCAPE_VERSION": tags["LENSCAPE_VERSION"],
            "LENSCAPE_WEIGHTS_SHA256": "ab" * 32,
        }


def test_the_most_probable_class_wins_of_equals_the_first():
    probabilities = np.array(
        [[[0.5, 0.2, 0.3]], [[0.5, 0.205, 0.3]], [[0.0, 0.595, 0.4]]], dtype=np.float32
    )
    mapped = np.array([[True, True, False]])
    values, confidence = class_map.decide(probabilities, mapped)
    assert values.tolist() == [[1, 3, 0]]
    assert confidence.tolist() == [[50, 60, 255]]
    assert values.dtype == confidence.dtype == np.uint8


def test_per_cent_rounds_halves_upward_and_leaves_nodata():
    probabilities = np.array([[[0.0, 0.125, 1.0]], [[0.005, 0.995, 1.0000001]]], dtype=np.float32)
    mapped = np.array([[True, True, False]])
    shares = class_map.per_cent(probabilities, mapped)
    assert shares.tolist() == [[[0, 13, 255]], [[0, 100, 255]]]
    assert class_map.per_cent(probabilities, ~mapped)[:, 0, 2].tolist() == [100, 100]
    assert shares.dtype == np.uint8


def test_characters_that_xml_cannot_hold_do_not_break_a_style():
    odd = [ClassInfo(name="a", title="a\x00b\x0b\nc\ud800 <&>'\"", color="#000000")]
    entry = ET.fromstring(class_map.class_map_kind(odd).style.split("\n", 1)[1]).find(".//paletteEntry")
    assert entry.get("label") == "a b c  <&>'\""


@pytest.mark.slow
def test_dvc_keeps_our_files_and_passes_over_those_of_viewers(maps, tmp_path):
    shutil.copytree(maps[0].parent, tmp_path / "maps")
    for viewers in (tmp_path / "maps").glob("*.tif.aux.xml"):
        viewers.unlink()  # of the other tests
    shutil.copy(Path(__file__).parents[3] / ".dvcignore", tmp_path)
    ours = hashes(tmp_path / "maps")

    def dvc(*command):
        command = [sys.executable, "-m", "dvc", "--quiet", *command]
        subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)

    dvc("init", "--no-scm")
    dvc("add", "maps")
    open_in_qgis([tmp_path / "maps" / path.name for path in maps], tmp_path)
    assert list((tmp_path / "maps").glob("*.tif.aux.xml")), "no viewer wrote: the test shows nothing"
    status = [sys.executable, "-m", "dvc", "status"]
    told = subprocess.run(status, cwd=tmp_path, check=True, capture_output=True, text=True).stdout
    assert "up to date" in told
    shutil.rmtree(tmp_path / "maps")
    dvc("checkout")
    assert hashes(tmp_path / "maps") == ours
    shown = open_in_qgis([tmp_path / "maps" / maps[0].name], tmp_path)
    categories = shown[str(tmp_path / "maps" / maps[0].name)]["categories"]
    assert categories == ["nodata", *(info.title for info in CLASSES)]
