"""NearestPixels in files: pixels that hold them, values from where they are asked for."""

import numpy as np
import pytest

from pipeline.geo.raster.grid import PixelGrid, Window
from pipeline.geo.raster.nearest_lookup import Axis, NearestPixels, nearest_cols, nearest_rows

GRID = PixelGrid(32633, 300_000.0, 5_800_000.0, height=120, width=90)
PIXELS = (1 + np.arange(GRID.height)[:, None] * 100 + np.arange(GRID.width)).astype(np.uint16)


@pytest.mark.parametrize(
    ("rows", "cols"),
    [
        ([5, 3, 3, -1, 119, 120], [89, 0, 90, -2]),  # beyond all edges, in no order
        ([2, 3, 4], [7, 8]),  # a window
        ([2, 2, 3, 3], [6, 7, 7, 8, 8]),  # larger pixels
        ([4, 3, 3], [1, 0, 0, 1]),  # mirrored
        ([7], [7]),
    ],
)
def test_values_come_from_where_they_are_asked_for(rows: list[int], cols: list[int]) -> None:
    expected = [
        [PIXELS[row, col] if 0 <= row < GRID.height and 0 <= col < GRID.width else 7 for col in cols]
        for row in rows
    ]
    places = NearestPixels.of(Axis.of(np.array(rows), GRID.height), Axis.of(np.array(cols), GRID.width))
    assert places is not None
    window = places.window
    part = PIXELS[window.row : window.row + window.height, window.col : window.col + window.width]
    picked = places.pick(part, outside=7)
    assert (picked.dtype, picked.tolist()) == (PIXELS.dtype, expected)


def test_the_pixel_that_holds_a_coordinate() -> None:
    meters = PixelGrid(32633, 0.0, 500.0, 1000, 1000, 1.0)
    source = PixelGrid(32633, 100.0, 400.0, 10, 10, 20.0)
    offsets = np.array([99.9, 100.0, 119.9, 120.0, 120.0 - 1e-9, 80.0, 79.9])
    assert nearest_cols(source, meters, offsets).tolist() == [-1, 0, 0, 1, 1, -1, -2]
    assert nearest_rows(source, meters, offsets).tolist() == [-1, 0, 0, 1, 1, -1, -2]


def test_only_the_smallest_window_is_needed() -> None:
    rows, cols = Axis.of(np.array([-2, 5, 5, 7]), 20), Axis.of(np.array([3, 4, 200]), 10)
    places = NearestPixels.of(rows, cols)
    assert places is not None
    assert places.window == Window(5, 3, 3, 2)
    assert NearestPixels.of(Axis.of(np.array([-2, -1]), 20), cols) is None
