"""What is made of class maps: unclassified cells, smoothing, polygons; each beside a plain way."""

import json
from collections import Counter
from dataclasses import replace

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import scipy.ndimage

from pipeline.config.compute import ComputeConf
from pipeline.errors import MismatchError
from pipeline.geo.maps import class_map
from pipeline.geo.maps import postprocessing as postprocessing_module
from pipeline.geo.maps.mapper import map_scene
from pipeline.geo.maps.pieces import Mapper, Piece, map_piece
from pipeline.geo.maps.postprocessing import PostProcessing, majority
from pipeline.store_meta import ClassInfo, Geometry
from tests.support.mapped import CLASSES, info
from tests.support.placed import make_scene

HOLES = [(40, 40, 60, 60)]
ORIGIN = class_map.Provenance([info("s.1")], ("B02", "B03"), 80, 160, {"weights": "ab" * 32}, "")


def patchy(pixels, rows, cols, _holes=None):
    """Three classes and a confidence from 40 to 100 % that follow from the place of a cell."""
    row, col = pixels[:, 4::8, 4::8][:, :rows, :cols].astype(np.int64)
    mix = (row * 7919 + col * 104729 + row * col) % 13
    best = np.where(mix < 9, (row // 40 + col // 60) % 3, mix % 3)
    shares = np.zeros((3, rows, cols), dtype=np.float32)
    highest = 0.4 + 0.05 * (mix % 13)
    shares[:] = (1 - highest) / 2
    np.put_along_axis(shares, best[None], highest[None].astype(np.float32), axis=0)
    return shares


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    return make_scene(tmp_path_factory.mktemp("scene"), HOLES)


def mapped(scene, folder, options, piece=30):
    mapper = Mapper(
        patchy, ("B02", "B03"), Geometry(patch_px=16, cell_px=8, min_valid=0.75), CLASSES,
        (piece, piece), postprocessing=options,
    )  # fmt: skip
    origin = replace(ORIGIN, postprocessing=options.facts())
    tally = map_scene(scene, mapper, origin, folder, folder, ComputeConf(workers=1)).tally
    with (
        rasterio.open(folder / "s.1_classmap.tif") as classes,
        rasterio.open(folder / "s.1_confidence.tif") as confidence,
    ):
        return classes.read(1), confidence.read(1), tally, classes.tags()


@pytest.fixture(scope="module")
def plain(scene, tmp_path_factory):
    return mapped(scene, tmp_path_factory.mktemp("plain") / "s.1", PostProcessing())


def plain_majority(cells, count, side):
    """Cell by cell, with a dictionary."""
    result, reach = cells.copy(), side // 2
    for row, col in np.ndindex(cells.shape):
        own = cells[row, col]
        if not 0 < own <= count:
            continue
        square = cells[max(0, row - reach) : row + reach + 1, max(0, col - reach) : col + reach + 1]
        votes = Counter(int(v) for v in square.ravel() if 0 < v <= count)
        most = max(votes.values())
        if votes[int(own)] < most:
            result[row, col] = min(value for value, n in votes.items() if n == most)
    return result


@pytest.mark.parametrize("side", [3, 5, 9])
def test_the_majority_is_that_of_a_plain_count(side):
    cells = np.random.default_rng(side).integers(0, 6, (23, 31)).astype(np.uint8)
    reach = side // 2
    np.testing.assert_array_equal(
        majority(np.pad(cells, reach), 4, reach), plain_majority(cells, 4, side)
    )


def test_cells_of_low_confidence_are_unclassified_everywhere(scene, plain, tmp_path):
    folder = tmp_path / "s.1"
    classes, confidence, tally, tags = mapped(scene, folder, PostProcessing(min_confidence=60))
    before, sure, _, plain_tags = plain
    np.testing.assert_array_equal(confidence, sure)
    np.testing.assert_array_equal(classes, np.where((before > 0) & (sure < 60), 4, before))
    assert (classes == 4).sum() > 20
    assert (classes == 0).sum() > 5
    assert tally.pixels[4] == (classes == 4).sum()
    assert tags["LENSCAPE_MIN_CONFIDENCE"] == "60"
    assert "LENSCAPE_MIN_CONFIDENCE" not in plain_tags

    for end in ("classmap.qml", "classmap.sld", "classmap.qmd", "classmap.tif.aux.aux.xml"):
        assert "Unclassified (low confidence)" in (folder / f"s.1_{end}").read_text(encoding="utf-8"), (
            end
        )
    assert b"Unclassified (low confidence)" in (folder / "s.1_classmap.tif.vat.dbf").read_bytes()
    assert f"4,unclassified,,{tally.pixels[4]}," in (folder / "areas.csv").read_text()
    with rasterio.open(folder / "s.1_classmap.tif") as dataset:
        assert dataset.colormap(1)[4] == (0x9E, 0x9E, 0x9E, 255)
    item = json.loads((folder / "s.1.json").read_text())
    assert item["properties"]["lenscape:min_confidence"] == 60
    assert "lenscape accuracy" in item["properties"]["lenscape:accuracy"]
    assert item["assets"]["classmap"]["classification:classes"][4]["name"] == "unclassified"


def test_a_confidence_just_below_the_limit_is_not_rounded_up_to_it(scene):
    """69.6 % is 70 % in the map of confidence, and below 70 %; 70 % in float32 is not."""

    def shares(_pixels, rows, cols, _holes=None):
        sure = np.resize(np.array([0.696, 0.7, 0.704], dtype=np.float32), (rows, cols))
        return np.stack([sure, 1 - sure, np.zeros_like(sure)])

    mapper = Mapper(
        shares, ("B02", "B03"), Geometry(patch_px=16, cell_px=8, min_valid=0.75), CLASSES, (30, 30),
        postprocessing=PostProcessing(min_confidence=70),
    )  # fmt: skip
    classes, confidence = map_piece(scene, mapper, mapper.ground(scene), Piece(range(1), range(3)))
    assert confidence.tolist() == [[70, 70, 70]]
    assert classes.tolist() == [[4, 1, 1]]


def test_smoothing_comes_after_unclassified_cells_which_neither_vote_nor_change(scene, plain, tmp_path):
    both = PostProcessing(min_confidence=60, smoothing_pixels=3)
    classes, _, tally, tags = mapped(scene, tmp_path / "s.1", both)
    before = np.where((plain[0] > 0) & (plain[1] < 60), 4, plain[0]).astype(np.uint8)
    np.testing.assert_array_equal(classes, plain_majority(before, 3, 3))
    assert (classes != before).any()
    np.testing.assert_array_equal(tally.pixels, np.bincount(classes.ravel(), minlength=256))
    assert tally.ground_px.sum() == scene.grid.height * scene.grid.width
    assert (tags["LENSCAPE_SMOOTHING_PIXELS"], tags["LENSCAPE_MIN_CONFIDENCE"]) == ("3", "60")


def test_neither_pieces_nor_squares_change_a_byte(scene, tmp_path, monkeypatch):
    whole = PostProcessing(min_confidence=60, smoothing_pixels=5, polygons_m2=30_000)
    mapped(scene, tmp_path / "a", whole)
    monkeypatch.setattr(postprocessing_module, "_SIDE", 7)
    mapped(scene, tmp_path / "b", whole, piece=4)
    names = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert "s.1_polygons.gpkg" in names
    assert not [name for name in names if "partial" in name]
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name


def test_polygons_cover_the_map_and_none_is_too_small(scene, plain, tmp_path):
    least = 4 * 80 * 80
    mapped(scene, tmp_path / "fine", PostProcessing(polygons_m2=0))
    mapped(scene, tmp_path / "s.1", PostProcessing(polygons_m2=least))
    fine, coarse = (
        gpd.read_file(tmp_path / folder / "s.1_polygons.gpkg", layer="polygons")
        for folder in ("fine", "s.1")
    )
    cells = plain[0]
    for value in (1, 2, 3):
        there = fine[fine["value"] == value]
        assert there.area.sum() == (cells == value).sum() * 6400
        assert len(there) == scipy.ndimage.label(cells == value)[1]
    assert len(coarse) < len(fine)
    assert coarse.area.min() >= least
    assert coarse.area.sum() == fine.area.sum() == (cells > 0).sum() * 6400
    assert coarse["area_ha"].to_numpy() == pytest.approx(coarse.area / 1e4)
    assert set(coarse["class"]) <= {info.name for info in CLASSES}
    assert coarse.crs.to_epsg() == 32633
    item = json.loads((tmp_path / "s.1" / "s.1.json").read_text())
    assert item["assets"]["polygons"]["href"] == "./s.1_polygons.gpkg"
    assert "lenscape:accuracy" not in item["properties"]


def test_there_must_be_room_for_the_unclassified_class():
    many = [ClassInfo(name=f"c{k}", title="C", color="#000000") for k in range(254)]
    assert len(PostProcessing().legend(many)) == 254
    with pytest.raises(MismatchError, match=r"holds 254 classes .* `min_confidence: 0`"):
        PostProcessing(min_confidence=1).legend(many)
    with pytest.raises(MismatchError, match="a class 'unclassified' of its own"):
        PostProcessing(min_confidence=1).legend(
            [ClassInfo(name="unclassified", title="U", color="#000000")]
        )
    grey = [ClassInfo(name="rock", title="Rock", color="#9E9E9E")]
    assert PostProcessing(min_confidence=1).legend(grey)[-1].color != "#9e9e9e"
