"""Which cells become patches: anchors, counts that add up, draws by ground."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config.labels import VectorLabelConf
from pipeline.config.tile import TileConf
from pipeline.geo.labels.polygons import PolygonLabels
from pipeline.geo.patches import positions as module
from pipeline.geo.patches.positions import Positions, draw, labelled_positions, runs
from pipeline.geo.raster.grid import PixelGrid
from tests.support.examples import examples
from tests.support.labelled import EPSG, bare_scene, px_box

# neither edge is a multiple of 80 m, the usual cell, and the far edges cut cells too
GRID = PixelGrid(EPSG, 300_030.0, 5_800_050.0, 75, 61)


def conf(**keys: object) -> TileConf:
    return TileConf(labels=[VectorLabelConf(path="", attribute="")], **({"stride_px": 4} | keys))


def labels_of(grid: PixelGrid, *rects: tuple[int, float, float, float, float]) -> PolygonLabels:
    """Rectangles (class, row, col, height, width) in pixels, the largest first."""
    return PolygonLabels(
        grid,
        np.array([px_box(grid, *rect[1:]) for rect in rects], dtype=object),
        np.array([rect[0] for rect in rects], dtype=np.int16),
        numbers=np.arange(len(rects), dtype=np.int32),
    )


def found(
    grid: PixelGrid, *rects: tuple[int, float, float, float, float], name: str = "s1", **keys: object
) -> Positions:
    return labelled_positions(bare_scene(grid, name), labels_of(grid, *rects), conf(**keys), 3)


def everywhere(grid: PixelGrid = GRID, name: str = "s1", **keys: object) -> Positions:
    """All positions: wood in the north, lake in the south."""
    half = grid.height // 2
    north, south = (0, 0, 0, half, grid.width), (1, half, 0, grid.height - half, grid.width)
    return found(grid, north, south, name=name, min_purity=0.1, **keys)


def ground(positions: Positions) -> set[tuple[float, float]]:
    return set(zip(*(axis.tolist() for axis in positions.centers), strict=True))


@examples(80)
@given(
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    st.tuples(st.integers(-20, 20), st.integers(-20, 20)),
    st.sampled_from([(8, 8), (8, 4), (8, 1), (6, 3), (5, 5), (1, 1)]),
    st.sampled_from([0.0, 3.0]),
)
def test_positions_and_reasons_add_up_to_all_cells_that_meet_the_scene(
    size: tuple[int, int], origin: tuple[int, int], cell: tuple[int, int], phase: float
) -> None:
    grid = PixelGrid(EPSG, 10.0 * origin[0] + phase, 10.0 * origin[1] + phase, *size)
    cell_px, stride_px = cell
    left, bottom, right, top = grid.bounds

    def meeting(low: float, high: float) -> int:
        """Squares with an edge at a multiple of the stride that share ground with the scene."""
        edges = [10 * stride_px * k + phase for k in range(-90, 90)]
        return sum(1 for edge in edges if edge < high and edge + 10 * cell_px > low)

    rect = (0, size[0] / 4, size[1] / 4, size[0] / 2, size[1] / 2)
    positions = found(grid, rect, patch_px=cell_px, cell_px=cell_px, stride_px=stride_px)
    assert len(positions) + sum(positions.left_out.values()) == meeting(left, right) * meeting(
        bottom, top
    )
    assert positions.left_out.keys() == {"edge", "unlabelled", "impure"}


def test_reasons_one_by_one() -> None:
    """A row of four cells, half of the third one labelled, the fourth cut by the edge."""
    grid = PixelGrid(EPSG, 0.0, 80.0, 8, 28)
    positions = found(grid, (1, 0, 0, 8, 8), (2, 0, 20, 8, 4), stride_px=8)
    assert positions.left_out == {"edge": 1, "unlabelled": 1, "impure": 1}
    assert (positions.row.tolist(), positions.col.tolist()) == ([0], [0])
    assert (positions.label.tolist(), positions.purity.tolist()) == ([1], [1.0])


@pytest.mark.parametrize(("share", "count"), [(4, 1), (5, 0)])
def test_a_share_of_exactly_min_purity_is_enough(share: int, count: int) -> None:
    grid = PixelGrid(EPSG, 0.0, 50.0, 5, 5)
    keys = {"patch_px": 5, "cell_px": 5, "stride_px": 5, "min_purity": share / 5}
    assert len(found(grid, (0, 0, 0, 4, 5), **keys)) == count


def test_cells_are_anchored_at_multiples_of_their_size() -> None:
    positions = everywhere()
    x, y = positions.centers
    on_grid = (x % 80 == 40) & (y % 80 == 40)
    assert positions.on_grid.tolist() == on_grid.tolist()
    assert on_grid.any()
    assert not on_grid.all()
    assert set(x % 40) == set(y % 40) == {0.0}


def test_rows_and_columns_fit_the_coordinates() -> None:
    positions = everywhere()
    x, y = positions.centers
    assert (300_030.0 + 10 * (positions.col + 4) == x).all()
    assert (5_800_050.0 - 10 * (positions.row + 4) == y).all()
    assert (positions.label == (y < 5_800_050.0 - 370)).all()


def test_order_is_row_major_however_many_rows_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = everywhere()
    order = np.lexsort((whole.col, whole.row))
    assert order.tolist() == list(range(len(whole)))
    monkeypatch.setattr(module, "_SPAN_PX", 8)
    monkeypatch.setattr(module, "_AT_A_TIME", 3)
    pieces = everywhere()
    assert pieces.left_out == whole.left_out
    for column in ("row", "col", "label", "purity", "polygon"):
        assert getattr(pieces, column).tolist() == getattr(whole, column).tolist()


def test_a_scene_smaller_than_a_cell_has_no_position() -> None:
    for size in ((5, 40), (40, 5), (3, 3)):
        positions = everywhere(PixelGrid(EPSG, 30.0, 50.0, *size))
        assert len(positions) == 0
        assert positions.left_out["edge"] > 0
        assert draw([positions], conf(max_per_class=1))[0].left_out["drawn_out"] == 0


def test_a_draw_takes_as_many_as_it_may_and_counts_the_others() -> None:
    all_of_it = everywhere()
    (drawn,) = draw([all_of_it], conf(max_per_class=10))
    assert np.bincount(drawn.label).tolist() == [10, 10]
    assert len(drawn) + drawn.left_out["drawn_out"] == len(all_of_it)
    (drawn,) = draw([all_of_it], conf(max_per_scene=7))
    assert len(drawn) == 7
    (drawn,) = draw([all_of_it], conf(max_per_scene=7, max_per_class=1))
    assert np.bincount(drawn.label).tolist() == [1, 1]
    assert (np.diff(drawn.row) >= 0).all()
    (drawn,) = draw([all_of_it], conf())
    assert len(drawn) == len(all_of_it)


def test_a_draw_is_spread_over_the_scene() -> None:
    positions = everywhere(PixelGrid(EPSG, 300_000.0, 5_800_000.0, 400, 400))
    (drawn,) = draw([positions], conf(max_per_scene=1000))
    # a quarter of the scene holds a quarter of them: 250, with a standard deviation of 14
    quarters = np.bincount((drawn.row >= 200) * 2 + (drawn.col >= 200))
    assert (abs(quarters - 250) < 60).all()


def test_seeds_draw_differently_and_any_number_is_one() -> None:
    positions = everywhere()
    drawn = [
        ground(draw([positions], conf(max_per_scene=9, seed=seed))[0]) for seed in (0, 1, -1, 2**70 + 5)
    ]
    assert all(len(one) == 9 for one in drawn)
    assert len({frozenset(one) for one in drawn}) == 4


def test_two_dates_draw_the_same_ground_in_any_order() -> None:
    first, second = everywhere(name="a"), everywhere(name="b")
    for keys in ({"max_per_scene": 9}, {"max_per_class": 10}):
        one, two = draw([first, second], conf(**keys))
        assert ground(one) == ground(two)
        two_again, one_again = draw([second, first], conf(**keys))
        assert (ground(one), ground(two)) == (ground(one_again), ground(two_again))


def test_an_odd_number_for_two_dates_does_not_depend_on_their_order() -> None:
    first, second = everywhere(name="a"), everywhere(name="b")
    forth, back = (
        {p.scene.id: ground(p) for p in draw(scenes, conf(max_per_class=5))}
        for scenes in ([first, second], [second, first])
    )
    assert forth == back


def test_another_scene_exchanges_nothing() -> None:
    here = everywhere(name="here")
    there = everywhere(PixelGrid(EPSG, 400_000.0, 5_800_000.0, 60, 60), name="there")
    (alone,) = draw([here], conf(max_per_scene=20, max_per_class=12))
    beside, _ = draw([here, there], conf(max_per_scene=20, max_per_class=12))
    assert ground(beside) < ground(alone)
    assert ground(draw([there, here], conf(max_per_scene=20))[1]) == ground(
        draw([here], conf(max_per_scene=20))[0]
    )


def test_the_same_coordinates_in_another_zone_are_other_ground() -> None:
    here, there = everywhere(), everywhere(PixelGrid(32632, 300_030.0, 5_800_050.0, 75, 61))
    drawn = [ground(draw([p], conf(max_per_scene=9))[0]) for p in (here, there)]
    assert drawn[0] != drawn[1]


@examples(50)
@given(st.lists(st.integers(0, 60), max_size=30).map(sorted), st.integers(1, 20))
def test_runs_hold_all_rows_once_and_span_little(rows: list[int], span: int) -> None:
    pieces = [np.array(rows)[run].tolist() for run in runs(np.array(rows, dtype=np.intp), span)]
    assert [row for piece in pieces for row in piece] == rows
    assert all(piece[-1] - piece[0] < span for piece in pieces)


def test_neither_spans_nor_workers_change_a_position(monkeypatch: pytest.MonkeyPatch) -> None:
    labels = labels_of(GRID, (0, 0, 0, 45, 33), (1, 45, 10, 30, 50), (2, 20, 20, 9, 9))
    both = []
    for span, workers in ((512, 1), (9, 4)):
        monkeypatch.setattr(module, "_SPAN_PX", span)
        both.append(labelled_positions(bare_scene(GRID), labels, conf(), 3, workers))
    one, other = both
    assert len(one) > 50
    assert one.left_out == other.left_out
    for name in ("row", "col", "label", "purity", "polygon"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
