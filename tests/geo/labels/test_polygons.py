"""Polygons to pixels, against slow and plain references."""

from pathlib import Path

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from pipeline.geo.labels.cell_classes import UNLABELLED
from pipeline.geo.labels.polygons import PolygonLabels, _painted
from pipeline.geo.labels.sources import read_features
from pipeline.geo.raster.grid import PatchGrid, PixelGrid, Window
from tests.support.examples import examples
from tests.support.labelled import EPSG, make_classes, make_labels, px_box

GRID = PixelGrid(EPSG, 300_030.0, 5_800_050.0, 40, 30)
CELLS = PatchGrid(GRID, 16, 8)
CLASSES = make_classes("wood", "lake", "farm")

type Rect = tuple[int, int, int, int]


def labels_of(rects: list[tuple[int, Rect]], overlap: str = "smallest") -> PolygonLabels:
    """Rectangles in whole pixels (row, col, height, width) with classes, in the order of a file."""
    shapes = np.array([px_box(GRID, *rect) for _, rect in rects], dtype=object)
    order = np.lexsort((-np.arange(len(rects)), -shapely.area(shapes)))
    classes = np.array([label for label, _ in rects], dtype=np.int16)
    numbers = order.astype(np.int32)
    return PolygonLabels(GRID, shapes[order], classes[order], overlap, numbers=numbers)


def painted_by_hand(rects: list[tuple[int, Rect]], overlap: str) -> tuple[np.ndarray, np.ndarray]:
    """Class and number of each pixel of the scene: each pixel asks all rectangles."""
    classes = np.full((GRID.height, GRID.width), UNLABELLED)
    numbers = classes.copy()
    for row, col in np.ndindex(classes.shape):
        holding = [
            (height * width, number, label)
            for number, (label, (top, left, height, width)) in enumerate(rects)
            if top <= row < top + height and left <= col < left + width
        ]
        if holding and (overlap == "smallest" or len({label for *_, label in holding}) == 1):
            _, numbers[row, col], classes[row, col] = min(holding)
    return classes, numbers


rectangles = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.tuples(st.integers(-5, 39), st.integers(-5, 29), st.integers(1, 25), st.integers(1, 25)),
    ),
    min_size=1,
    max_size=8,
)


@examples(60)
@given(
    rectangles,
    st.sampled_from(["smallest", "unlabelled"]),
    st.tuples(st.integers(-3, 30), st.integers(-3, 20), st.integers(1, 15), st.integers(1, 15)),
)
def test_any_window_is_painted_as_pixel_by_pixel(
    rects: list[tuple[int, Rect]], overlap: str, window: Rect
) -> None:
    """The smallest wins, of equal ones the first; or pixels of several classes have none."""
    classes, numbers = labels_of(rects, overlap).pixels(Window(*window))
    row, col, height, width = window
    inside_rows, inside_cols = slice(max(row, 0), row + height), slice(max(col, 0), col + width)
    expected_classes, expected_numbers = painted_by_hand(rects, overlap)
    mine = (slice(max(-row, 0), GRID.height - row), slice(max(-col, 0), GRID.width - col))
    np.testing.assert_array_equal(classes[mine], expected_classes[inside_rows, inside_cols])
    np.testing.assert_array_equal(numbers[mine], expected_numbers[inside_rows, inside_cols])


@pytest.mark.parametrize(("edge", "labelled"), [(3.4, 3), (3.6, 4)])
def test_a_pixel_belongs_to_what_holds_its_centre(edge: float, labelled: int) -> None:
    shapes = np.array([px_box(GRID, 0, 0, 2, edge)], dtype=object)
    labels = PolygonLabels(GRID, shapes, np.zeros(1, np.int16), numbers=np.zeros(1, np.int32))
    classes, _ = labels.pixels(GRID.window)
    assert (classes[0] >= 0).sum() == labelled
    assert (classes >= 0).sum() == 2 * labelled


def test_a_hole_in_a_polygon_is_unlabelled() -> None:
    ring = px_box(GRID, 0, 0, 9, 9) - px_box(GRID, 3, 3, 3, 3)
    shapes = np.array([ring], dtype=object)
    labels = PolygonLabels(GRID, shapes, np.zeros(1, np.int16), numbers=np.zeros(1, np.int32))
    classes, _ = labels.pixels(Window(0, 0, 9, 9))
    assert (classes < 0).sum() == 9
    assert (classes[3:6, 3:6] < 0).all()


def test_of_equal_polygons_the_first_in_the_file_wins_and_a_smaller_one_wherever_it_is(
    tmp_path: Path,
) -> None:
    small, square = px_box(GRID, 2, 2, 2, 2), px_box(GRID, 0, 0, 8, 8)
    features = [("farm", small), ("wood", square), ("lake", square)]
    labels = read_features(make_labels(tmp_path / "a.gpkg", features), CLASSES).on(CELLS)
    assert labels is not None
    classes, numbers = labels.pixels(GRID.window)
    assert np.unique(classes[:8, :8]).tolist() == [0, 2]
    assert (numbers[2:4, 2:4] == 0).all()
    assert (numbers[:2, :8] == 1).all()


def test_polygons_elsewhere_say_nothing(tmp_path: Path) -> None:
    conf = make_labels(tmp_path / "a.gpkg", [("wood", px_box(GRID, 100, 100, 5, 5))])
    assert read_features(conf, CLASSES).on(CELLS) is None


def test_a_bow_tie_is_painted_as_its_two_wings(tmp_path: Path) -> None:
    """Without mending, where its edges cross would be decided by the winding."""
    x, y = GRID.x0, GRID.y0
    tie = shapely.Polygon([(x, y), (x + 200, y - 200), (x + 200, y), (x, y - 200)])
    labels = read_features(make_labels(tmp_path / "a.gpkg", [("wood", tie)]), CLASSES).on(CELLS)
    assert labels is not None
    classes, _ = labels.pixels(Window(0, 0, 20, 20))
    assert (classes[10, [0, 19]] == 0).all()
    assert (classes[[0, 19], 10] == UNLABELLED).all()


def test_polygons_beyond_two_bytes_are_painted() -> None:
    boxes = np.array([shapely.box(*GRID.bounds)], dtype=object)
    for number in (65_535, 65_536, 70_000):
        assert (_painted(boxes, np.array([number]), GRID) == number).all()


def test_of_dissolved_polygons_the_smallest_part_wins(tmp_path: Path) -> None:
    """A pond in a wood, each a part of the one polygon of its class; that of water is larger."""
    wood, pond, lake = (px_box(GRID, *rect) for rect in ((0, 0, 10, 10), (2, 2, 3, 3), (20, 0, 20, 30)))
    hut = px_box(GRID, 25, 5, 4, 4)
    features = [
        ("lake", shapely.MultiPolygon([pond, lake])),
        ("wood", shapely.MultiPolygon([wood, hut])),
    ]
    labels = read_features(make_labels(tmp_path / "a.gpkg", features), CLASSES).on(CELLS)
    assert labels is not None
    classes, numbers = labels.pixels(GRID.window)
    assert (classes[2:5, 2:5] == 1).all()
    assert (classes[25:29, 5:9] == 0).all()
    assert (classes[:10, :10] == 0).sum() == 91
    assert len({numbers[row, col] for row, col in ((0, 0), (2, 2), (22, 0), (25, 5))}) == 4
