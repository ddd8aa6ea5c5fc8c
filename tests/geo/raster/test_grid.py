"""Pixels, cells, patches and blocks: the arithmetic, for any scene."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.geo.raster.grid import (
    PatchGrid,
    PixelGrid,
    Window,
    block_of,
    mirror_index,
    round_half_down,
    square_sums,
)
from tests.support.examples import examples

few = examples(80)
phases = st.sampled_from([0.0, 0.0, 2.5, 5.0, 7.3])


@st.composite
def scenes(draw: st.DrawFn) -> PixelGrid:
    """Scenes at any place of a UTM zone, south of the equator too, in any phase of their pixels."""
    col, row = draw(st.integers(10_000, 90_000)), draw(st.integers(-10, 999_999))
    x0, y0 = 10.0 * col + draw(phases), 10.0 * row + draw(phases)
    return PixelGrid(32633, x0, y0, draw(st.integers(1, 150)), draw(st.integers(1, 150)))


@st.composite
def grids(draw: st.DrawFn) -> PatchGrid:
    cell_px = draw(st.integers(1, 20))
    return PatchGrid(draw(scenes()), cell_px + 2 * draw(st.integers(0, 12)), cell_px)


def cell_window(grid: PatchGrid, row: int, col: int) -> Window:
    return grid.read_window(range(row, row + 1), range(col, col + 1), margin_px=0)


def patch_window(grid: PatchGrid, row: int, col: int) -> Window:
    return grid.read_window(range(row, row + 1), range(col, col + 1))


def test_bounds_and_transform_of_a_scene() -> None:
    scene = PixelGrid(32633, 300_000, 5_800_000, height=3, width=5)
    assert scene.transform @ (0, 0) == (300_000, 5_800_000)
    assert scene.transform @ (5, 3) == (300_050, 5_799_970)
    assert scene.bounds == (300_000, 5_799_970, 300_050, 5_800_000)
    assert scene.window == Window(0, 0, 3, 5)


def test_rows_and_cols_of_a_window_that_reaches_outside() -> None:
    window = Window(-1, 4, 3, 2)
    assert (window.rows.tolist(), window.cols.tolist()) == ([-1, 0, 1], [4, 5])


def test_cells_by_hand() -> None:
    # the corner lies 30 m east of a multiple of 80 m and 50 m south of one
    grid = PatchGrid(PixelGrid(32633, 80_030, 800_000 - 50, height=12, width=20), 16, 8)
    assert (grid.row0, grid.col0, grid.rows, grid.cols) == (-5, -3, 3, 3)
    assert grid.margin_px == 4
    assert grid.cell_m == 80
    assert grid.map_grid.transform @ (0, 0) == (80_000, 800_000)
    assert grid.map_grid.transform @ (1, 1) == (80_080, 799_920)
    assert cell_window(grid, 1, 2) == Window(3, 13, 8, 8)
    assert patch_window(grid, 1, 2) == Window(-1, 9, 16, 16)
    assert grid.read_window(range(0, 2), range(1, 3)) == Window(-9, 1, 24, 24)
    rows, cols = grid.inside_px()
    assert (rows.tolist(), cols.tolist()) == ([3, 8, 1], [5, 8, 7])
    tops, lefts = grid.positions(4)
    assert (tops.tolist(), lefts.tolist()) == ([3], [1, 5, 9])


@few
@given(grids())
def test_cells_cover_the_scene_and_no_more_than_needed(grid: PatchGrid) -> None:
    scene, cell = grid.scene, grid.cell_px
    assert -cell < grid.row0 <= 0
    assert -cell < grid.col0 <= 0
    assert 0 <= grid.row0 + grid.rows * cell - scene.height < cell
    assert 0 <= grid.col0 + grid.cols * cell - scene.width < cell
    rows, cols = grid.inside_px()
    assert (rows.sum(), cols.sum()) == (scene.height, scene.width)
    assert (len(rows), len(cols)) == (grid.rows, grid.cols)
    assert min(rows.min(), cols.min()) >= 1
    assert max(rows.max(), cols.max()) <= cell


@few
@given(grids())
def test_cells_are_anchored_in_the_crs_in_the_phase_of_the_pixels(grid: PatchGrid) -> None:
    x, y = grid.map_grid.transform @ (0, 0)
    # half a pixel at most from a multiple of the cell's side, as `gdalwarp -tap` would lay it
    assert abs(x - grid.cell_m * round(x / grid.cell_m)) <= 5 + 1e-5
    assert abs(y - grid.cell_m * round(y / grid.cell_m)) <= 5 + 1e-5
    # and whole pixels from the corner of the scene
    assert ((x - grid.scene.x0) / 10) == pytest.approx(grid.col0, abs=1e-6)
    assert ((grid.scene.y0 - y) / 10) == pytest.approx(grid.row0, abs=1e-6)


@few
@given(grids(), st.integers(-200, 200), st.integers(-200, 200))
def test_cells_of_neighbouring_scenes_fall_on_each_other(
    grid: PatchGrid, down: int, right: int
) -> None:
    scene = grid.scene
    moved = PixelGrid(scene.epsg, scene.x0 + 10 * right, scene.y0 - 10 * down, 97, 61)
    neighbour = PatchGrid(moved, grid.patch_px, grid.cell_px)
    x, y = grid.map_grid.transform @ (0, 0)
    other_x, other_y = neighbour.map_grid.transform @ (0, 0)
    for apart in ((other_x - x) / grid.cell_m, (other_y - y) / grid.cell_m):
        assert apart == pytest.approx(round(apart), abs=1e-6)


@few
@given(grids(), st.data())
def test_a_cell_is_the_centre_of_its_patch(grid: PatchGrid, data: st.DataObject) -> None:
    row, col = data.draw(st.integers(0, grid.rows - 1)), data.draw(st.integers(0, grid.cols - 1))
    cell, patch = cell_window(grid, row, col), patch_window(grid, row, col)
    assert (cell.height, cell.width, patch.height, patch.width) == (
        *2 * [grid.cell_px],
        *2 * [grid.patch_px],
    )
    for window in (cell, patch):
        middle = grid.scene.transform @ (window.col + window.width / 2, window.row + window.height / 2)
        assert middle == pytest.approx(grid.map_grid.transform @ (col + 0.5, row + 0.5), abs=1e-4)
    inside = cell.row >= 0 and cell.col >= 0
    inside = inside and cell.row + cell.height <= grid.scene.height
    inside = inside and cell.col + cell.width <= grid.scene.width
    rows, cols = grid.inside_px()
    assert (rows[row] == cols[col] == grid.cell_px) == inside


@few
@given(grids(), st.data())
def test_a_block_of_cells_is_read_with_all_of_its_patches(grid: PatchGrid, data: st.DataObject) -> None:
    row, col = data.draw(st.integers(0, grid.rows - 1)), data.draw(st.integers(0, grid.cols - 1))
    last_row, last_col = data.draw(st.integers(row, grid.rows)), data.draw(st.integers(col, grid.cols))
    window = grid.read_window(range(row, last_row + 1), range(col, last_col + 1))
    first, last = patch_window(grid, row, col), patch_window(grid, last_row, last_col)
    assert (window.row, window.col) == (first.row, first.col)
    assert window.row + window.height == last.row + last.height
    assert window.col + window.width == last.col + last.width


@few
@given(grids(), st.data())
def test_positions_are_all_anchored_cells_inside(grid: PatchGrid, data: st.DataObject) -> None:
    divisors = [n for n in range(1, grid.cell_px + 1) if grid.cell_px % n == 0]
    stride = data.draw(st.sampled_from(divisors))
    tops, lefts = grid.positions(stride)
    scene, cell = grid.scene, grid.cell_px
    # in pixels from the origin of the CRS, which for one phase is one and the same place
    from_top, from_left = round_half_down(-scene.y0 / 10), round_half_down(scene.x0 / 10)
    every_row, every_col = range(scene.height - cell + 1), range(scene.width - cell + 1)
    assert tops.tolist() == [row for row in every_row if (row + from_top) % stride == 0]
    assert lefts.tolist() == [col for col in every_col if (col + from_left) % stride == 0]
    whole_rows = {cell_window(grid, r, 0).row for r, n in enumerate(grid.inside_px()[0]) if n == cell}
    whole_cols = {cell_window(grid, 0, c).col for c, n in enumerate(grid.inside_px()[1]) if n == cell}
    assert whole_rows <= set(tops.tolist())
    assert whole_cols <= set(lefts.tolist())


@pytest.mark.parametrize(
    ("value", "whole"),
    [
        (2.4, 2),
        (2.5, 2),
        (2.5 + 1e-9, 2),
        (2.6, 3),
        (-2.5, -3),
        (-2.5 + 1e-9, -3),
        (-2.4, -2),
        (3.0, 3),
    ],
)
def test_a_half_goes_down_whatever_the_float_noise(value: float, whole: int) -> None:
    assert round_half_down(value) == whole


@few
@given(st.integers(1, 30), st.integers(0, 100), st.integers(0, 100))
def test_mirrors_repeat_the_edge_as_numpy_does(size: int, before: int, after: int) -> None:
    indices = mirror_index(np.arange(-before, size + after), size)
    assert indices.tolist() == np.pad(np.arange(size), (before, after), mode="symmetric").tolist()


def test_blocks_are_ground() -> None:
    x = np.array([0.0, 959.99, 960.0, -0.01])
    y = np.array([-960.0, -960.01, 5_800_000.0, 0.0])
    col, row = block_of(x, y, 960.0)
    assert col.tolist() == [0, 0, 1, -1]
    assert row.tolist() == [-1, -2, 6041, 0]


@pytest.mark.parametrize("side", [1, 3, 5])
def test_sums_of_squares(side):
    plane = np.arange(30).reshape(5, 6) - 9
    sums = square_sums(plane, side)
    assert sums.shape == (6 - side, 7 - side)
    for row, col in np.ndindex(sums.shape):
        assert sums[row, col] == plane[row : row + side, col : col + side].sum()
