"""Joined maps against a table of all cells and all pixels, made without the code that joins."""

import numpy as np
import pytest
import rasterio

from pipeline.errors import SceneError
from pipeline.geo.mosaics.mosaic import joined, mosaics
from pipeline.geo.raster.grid import PixelGrid
from tests.support.mapped import cells_of, constant_cells, mapped

# edges that are no multiples of the cells of 80 m, so that the outer cells reach past the scenes
WEST = PixelGrid(32633, 300_030.0, 5_800_050.0, 203, 171)
EAST = PixelGrid(32633, 301_210.0, 5_799_330.0, 150, 190)  # over the lower right of WEST
INSIDE = PixelGrid(32633, 300_990.0, 5_799_470.0, 31, 45)
FAR = PixelGrid(32633, 305_000.0, 5_801_000.0, 20, 30)
SHIFTED = PixelGrid(32633, 300_035.0, 5_800_052.5, 40, 40)
OTHER_ZONE = PixelGrid(32632, 699_990.0, 5_800_050.0, 64, 64)


@pytest.fixture
def scenes(tmp_path):
    """Four scenes on one grid, two of them of the same moment."""
    return [
        mapped(tmp_path, "b", WEST, datetime="2021-05-06T10:21:01Z"),
        mapped(tmp_path, "east", EAST, datetime="2021-05-06T12:21:01+02:00"),
        mapped(tmp_path, "inside", INSIDE, datetime="2019-07-01T10:00:00Z"),
        mapped(tmp_path, "far away", FAR, datetime="2021-07-01T10:00:00Z"),
    ]


def table(scenes):
    """By the centre of each cell, the values of the map that wins there: plain loops, plain rules."""
    cells = {}
    for scene in scenes:
        with (
            rasterio.open(scene.files.class_map) as first,
            rasterio.open(scene.files.confidence) as second,
        ):
            classes, confidence = first.read(1), second.read(1)
            for row, col in np.ndindex(classes.shape):
                cells.setdefault(first.xy(row, col), [])
                if classes[row, col] > 0:
                    newest = -scene.time.timestamp()
                    key = (-int(confidence[row, col]), newest, scene.files.scene)
                    cells[first.xy(row, col)].append((key, int(classes[row, col])))
    return {place: (min(found)[1], -min(found)[0][0]) if found else (0, 255)
            for place, found in cells.items()}  # fmt: skip


def pixels(scenes):
    """All pixels of 10 m that lie in a scene, by their place in the CRS."""
    return {
        (round(grid.x0 / 10) + col, round(grid.y0 / 10) - row)
        for grid in (scene.ground.grid.scene for scene in scenes)
        for row in range(grid.height)
        for col in range(grid.width)
    }


@pytest.mark.parametrize("side", [7, 1000])
def test_a_cell_goes_to_the_surer_then_newer_then_first_map(scenes, side):
    (mosaic,) = mosaics(scenes[::-1], 2)
    expected = table(scenes)
    seen = {}
    for square in joined(mosaic, side):
        assert max(square.classes.shape) <= side
        for row, col in np.ndindex(square.classes.shape):
            place = mosaic.grid.transform @ (square.col + col + 0.5, square.row + row + 0.5)
            seen[place] = (int(square.classes[row, col]), int(square.confidence[row, col]))
    assert len(seen) == mosaic.grid.height * mosaic.grid.width
    for place, values in seen.items():
        assert values == expected.get(place, (0, 255)), place
    assert set(expected) <= set(seen), "cells of a map lie between those of the mosaic"
    assert len({values for values in seen.values() if values[0]}) > 6


@pytest.mark.parametrize("side", [7, 1000])
def test_each_pixel_of_the_scenes_counts_once(scenes, side):
    (mosaic,) = mosaics(scenes, 2)
    left, top = round(mosaic.grid.transform.c / 10), round(mosaic.grid.transform.f / 10)
    expected = np.zeros((mosaic.grid.height, mosaic.grid.width), dtype=int)
    for x, y in pixels(scenes):
        expected[(top - y) // 8, (x - left) // 8] += 1
    for square in joined(mosaic, side):
        at = np.s_[square.row : square.row + side, square.col : square.col + side]
        np.testing.assert_array_equal(square.ground_px, expected[at])
    assert len(np.unique(expected)) > 4, "no cell is cut by an edge: the test shows little"


def test_maps_of_one_date_and_confidence_go_to_the_first_id(tmp_path):
    scenes = [
        mapped(tmp_path, name, WEST, constant_cells(WEST, value, 50))
        for value, name in ((1, "c"), (2, "a"), (3, "b"))
    ]
    (mosaic,) = mosaics(scenes, 2)
    (square,) = joined(mosaic, 1000)
    assert set(np.unique(square.classes)) == {2}


def test_zones_and_phases_make_mosaics_of_their_own(tmp_path):
    grids = {"a": WEST, "b": EAST, "c": SHIFTED, "d": SHIFTED, "e": OTHER_ZONE}
    scenes = [mapped(tmp_path, name, grid) for name, grid in grids.items()]
    found = {
        mosaic.id: [member.scene.files.scene for member in mosaic.members]
        for mosaic in mosaics(scenes, 1)
    }
    assert found == {
        "mosaic_EPSG32632": ["e"],
        "mosaic_EPSG32633": ["a", "b"],
        "mosaic_EPSG32633_x5_y2.5": ["c", "d"],
    }
    assert [mosaic.id for mosaic in mosaics(scenes, 2)] == list(found)[1:]


@pytest.mark.parametrize("phase", [0.0, 2.5, 5.0, 7.5])
def test_scenes_of_one_phase_fall_on_each_other_wherever_they_begin(tmp_path, phase):
    """Half a pixel is where the cell that an edge belongs to could be taken for its neighbour."""
    grids = [
        PixelGrid(32633, 300_000 + 10 * step + phase, 5_800_000 - 10 * step + phase, 20, 20)
        for step in range(9)
    ]
    scenes = [mapped(tmp_path, f"s{number}", grid) for number, grid in enumerate(grids)]
    (mosaic,) = mosaics(scenes, 9)
    for member in mosaic.members:
        grid = cells_of(member.scene.ground.grid.scene).map_grid
        corner = mosaic.grid.transform @ (member.col, member.row)
        assert corner == pytest.approx((grid.x0, grid.y0), abs=1e-6)


def test_a_map_that_is_damaged_is_named(scenes):
    (mosaic,) = mosaics(scenes, 2)
    path = scenes[2].files.confidence
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(SceneError, match=r"inside_confidence\.tif"):
        list(joined(mosaic, 1000))
