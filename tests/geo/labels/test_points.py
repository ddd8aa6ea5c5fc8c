"""Points as labels: the cell that each lies in, majorities, and nothing between the cells."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import shapely
from hypothesis import given
from hypothesis import strategies as st
from pyproj import CRS, Transformer

from pipeline.config.labels import VectorLabelConf
from pipeline.config.tile import TileConf
from pipeline.geo.labels.points import PointLabels, Points
from pipeline.geo.labels.sources import read_features
from pipeline.geo.patches.positions import labelled_positions
from pipeline.geo.raster.grid import PatchGrid
from tests.support.examples import examples
from tests.support.labelled import bare_scene, make_classes, make_labels
from tests.support.worlds import GRID

CELLS = PatchGrid(GRID, 16, 8)
NAMES = ("wood", "water", "meadow")


def at(row: float, col: float) -> shapely.Point:
    """A place in pixels of the scene."""
    return shapely.Point(GRID.x0 + 10 * col, GRID.y0 - 10 * row)


def labels_of(folder: Path, *features: tuple[str, object], crs: object = GRID.epsg) -> PointLabels:
    found = source_of(folder, *features, crs=crs).on(CELLS)
    assert found is not None
    return found


def source_of(folder: Path, *features: tuple[str, object], crs: object = GRID.epsg) -> Points:
    conf = make_labels(folder / "points.gpkg", features, crs=crs)
    found = read_features(conf, make_classes(*NAMES))
    assert isinstance(found, Points)
    return found


def cells_with(labels: PointLabels) -> dict[tuple[int, int], str]:
    """The class of each labelled cell by the row and column of the pixel at its top left."""
    classes, _ = labels.pixels(GRID.window)
    found = {}
    for row, col in zip(labels.rows, labels.cols, strict=True):
        top, left = CELLS.row0 + 8 * row, CELLS.col0 + 8 * col
        cell = classes[max(top, 0) : top + 8, max(left, 0) : left + 8]
        assert len(np.unique(cell)) == 1, "a point labels all of its cell"
        found[int(top), int(left)] = NAMES[cell[0, 0]]
    assert (classes >= 0).sum() <= 64 * len(found)
    return found


def test_a_point_labels_the_cell_that_it_lies_in(tmp_path: Path) -> None:
    first, left = CELLS.row0 + 8 * 4, CELLS.col0 + 8 * 5
    labels = labels_of(tmp_path, ("water", at(first + 3.2, left + 7.9)))
    assert cells_with(labels) == {(first, left): "water"}


def test_a_border_belongs_to_the_cell_east_and_south_of_it(tmp_path: Path) -> None:
    row, col = CELLS.row0 + 8 * 4, CELLS.col0 + 8 * 5
    labels = labels_of(tmp_path, ("wood", at(row, col)), ("water", at(row + 8, col + 4)))
    assert cells_with(labels) == {(row, col): "wood", (row + 8, col): "water"}


def test_points_in_degrees(tmp_path: Path) -> None:
    row, col = CELLS.row0 + 8 * 4, CELLS.col0 + 8 * 5
    place = at(row + 4, col + 4)
    lonlat = Transformer.from_crs(GRID.epsg, 4326, always_xy=True).transform(place.x, place.y)
    labels = labels_of(tmp_path, ("wood", shapely.Point(lonlat)), crs=4326)
    assert cells_with(labels) == {(row, col): "wood"}


def test_the_most_frequent_class_of_a_cell_wins_and_the_first_of_equals(tmp_path: Path) -> None:
    row, col = CELLS.row0 + 8 * 4, CELLS.col0 + 8 * 5
    features = [("meadow", at(row + i, col + 1)) for i in range(3)]
    features += [("wood", at(row + i, col + 2)) for i in range(2)]
    features += [("water", at(row + 8 + i, col + 3)) for i in range(2)]
    features += [("wood", at(row + 8 + i, col + 3)) for i in range(2)]
    labels = labels_of(tmp_path, *features)
    assert cells_with(labels) == {(row, col): "meadow", (row + 8, col): "wood"}
    assert labels.winning.tolist() == [0, 7]
    assert labels.numbers.tolist() == list(range(9))


@examples(40)
@given(
    st.lists(
        st.tuples(st.integers(0, 131), st.integers(0, 119), st.integers(0, 2)), min_size=1, max_size=30
    )
)
def test_majorities_as_counted_by_hand(places: list[tuple[int, int, int]]) -> None:
    expected: dict[tuple[int, int], Counter[int]] = {}
    for row, col, label in places:
        cell = ((row - CELLS.row0) // 8, (col - CELLS.col0) // 8)
        expected.setdefault(cell, Counter())[label] += 1
    points = Points(
        VectorLabelConf(path="p.gpkg", attribute="kind"),
        CRS(GRID.epsg),
        np.array([at(row + 0.5, col + 0.5) for row, col, _ in places]),
        np.array([label for *_, label in places], dtype=np.int16),
        np.arange(len(places), dtype=np.int32),
        {},
    )
    found = points.on(CELLS)
    assert found is not None
    cells = zip(found.rows.tolist(), found.cols.tolist(), found.classes.tolist(), strict=True)
    assert {(row, col): label for row, col, label in cells} == {
        cell: min(counts, key=lambda one: (-counts[one], one)) for cell, counts in expected.items()
    }
    assert len(found.winning) == len(expected)


def test_only_cells_of_the_cell_grid_have_the_class_of_a_point(tmp_path: Path) -> None:
    """The patch is centred on the cell of the point, at any stride."""
    row, col = CELLS.row0 + 8 * 4, CELLS.col0 + 8 * 5
    labels = labels_of(tmp_path, ("water", at(row + 4, col + 4)))
    conf = TileConf(labels=[], patch_px=16, cell_px=8, stride_px=2)
    found = labelled_positions(bare_scene(GRID), labels, conf, 3)
    assert (found.row.tolist(), found.col.tolist()) == ([row], [col])
    assert (found.label.tolist(), found.purity.tolist()) == ([1], [1.0])
    x, y = found.centers
    assert (x[0], y[0]) == (GRID.x0 + 10 * (col + 4), GRID.y0 - 10 * (row + 4))


def test_multipoints_stand_for_their_parts(tmp_path: Path) -> None:
    row, col = CELLS.row0 + 8 * 4, CELLS.col0 + 8 * 5
    several = shapely.MultiPoint([at(row + 1, col + 1), at(row + 9, col + 1)])
    source = source_of(tmp_path, ("water", several), ("wood", at(row + 17, col + 1)))
    assert source.counts == {
        "features": 2, "single_parts": 3, "points": 3, "ignored": 0, "empty": 0, "other": 0,
    }  # fmt: skip
    found = source.on(CELLS)
    assert found is not None
    assert cells_with(found) == {(row, col): "water", (row + 8, col): "water", (row + 16, col): "wood"}
    assert found.numbers.tolist() == [0, 2, 1]


def test_points_outside_label_nothing(tmp_path: Path) -> None:
    outside = [at(-1, 5), at(5, -1), at(GRID.height + 1, 5), at(5, GRID.width + 1)]
    edges = [at(GRID.height, 5), at(5, GRID.width)]
    assert source_of(tmp_path, *(("wood", place) for place in outside + edges)).on(CELLS) is None
    labels = labels_of(tmp_path, *(("wood", place) for place in [*outside, at(0, 0)]))
    assert len(labels.rows) == 1


def test_beside_polygons_points_are_others(tmp_path: Path) -> None:
    polygon = shapely.box(GRID.x0, GRID.y0 - 900, GRID.x0 + 900, GRID.y0)
    conf = make_labels(tmp_path / "both.gpkg", [("wood", polygon), ("water", at(5, 5))])
    found = read_features(conf, make_classes(*NAMES))
    assert found.counts["polygons"] == found.counts["other"] == 1
