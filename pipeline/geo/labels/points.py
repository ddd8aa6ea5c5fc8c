"""Label points -> a class per cell of the cell grid, and for no cell between.

A point labels the whole cell that holds it, so that its patch is centred on that cell; a point on a
border lies in the cell east or south of it. Of several points in one cell the most frequent class
wins, of equally frequent ones the class that stands first in the conf.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import shapely

from pipeline.geo.labels.cell_classes import UNLABELLED, Labels
from pipeline.geo.labels.features import PUNCTUAL, Features, FileFeatures
from pipeline.geo.raster.grid import Indices, PatchGrid, Window


@dataclass(frozen=True)
class Points(Features):
    """The points of one source of labels."""

    def on(self, cells: PatchGrid) -> PointLabels | None:
        """Their labels of a scene; None where none lies in it.

        Raises:
            LabelError: when there is no way from their CRS to that of the scene.
        """
        shapes, indices = self.intersecting(cells.scene)
        scene = cells.scene
        cols = np.floor((shapely.get_x(shapes) - scene.x0) / scene.pixel_m).astype(np.intp)
        rows = np.floor((scene.y0 - shapely.get_y(shapes)) / scene.pixel_m).astype(np.intp)
        # the borders in the south and east are those of the pixels beyond
        inside = (rows < scene.height) & (cols < scene.width)
        if not inside.any():
            return None
        points = indices[inside]
        cell_rows = (rows[inside] - cells.row0) // cells.cell_px
        cell_cols = (cols[inside] - cells.col0) // cells.cell_px
        chosen, winners = _majority(cell_rows * cells.cols + cell_cols, self.classes[points])
        winning = self.numbers[points[winners]]
        return PointLabels(
            cells,
            chosen // cells.cols,
            chosen % cells.cols,
            self.classes[points[winners]],
            winning,
            numbers=self.numbers[points],
            centred=winning,  # a point labels no other cell than its own
        )


def points_of(features: FileFeatures) -> Points:
    """The points among the features of a file.

    Raises:
        LabelError: when there is none.
    """
    rows = features.of(PUNCTUAL)
    counts = features.counts(len(rows), len(rows), "points")
    return Points(
        features.conf,
        features.crs,
        features.shapes[rows],
        features.classes[rows],
        features.numbers[rows],
        counts,
    )


def _majority(cells: Indices, classes: npt.NDArray[np.int16]) -> tuple[Indices, npt.NDArray[np.intp]]:
    """Of the points in each cell, the first one of the most frequent class.

    Returns:
        The cells, ascending, and the index of that point among all.
    """
    # by cell, then by class, then as they stood: runs of equal cell and class
    order = np.lexsort((classes, cells))
    pairs = np.stack([cells[order], classes[order].astype(np.intp)], axis=1)
    _, starts, lengths = np.unique(pairs, axis=0, return_index=True, return_counts=True)
    # the longest run of each cell, of equal ones that of the first class
    best = np.lexsort((pairs[starts, 1], -lengths, pairs[starts, 0]))
    chosen, first = np.unique(pairs[starts[best], 0], return_index=True)
    return chosen, order[starts[best[first]]]


@dataclass(frozen=True)
class PointLabels(Labels):
    """The cells of one scene that points label."""

    cells: PatchGrid
    rows: Indices
    """Row of each on the cell grid."""
    cols: Indices
    """Column of each."""
    classes: npt.NDArray[np.int16]
    """Class of each, 0-based."""
    winning: npt.NDArray[np.int32]
    """Number of the point that gives each its class."""

    def pixels(self, window: Window) -> tuple[npt.NDArray[np.int16], npt.NDArray[np.int32]]:
        """Class and number of the point of each pixel of a window, both (H, W), -1 without one."""
        size = self.cells.cell_px
        rows, cols = (window.rows - self.cells.row0) // size, (window.cols - self.cells.col0) // size
        near = (self.rows >= rows[0]) & (self.rows <= rows[-1])
        near &= (self.cols >= cols[0]) & (self.cols <= cols[-1])
        shape = (rows[-1] - rows[0] + 1, cols[-1] - cols[0] + 1)
        classes = np.full(shape, UNLABELLED, dtype=np.int16)
        numbers = np.full(shape, UNLABELLED, dtype=np.int32)
        at = (self.rows[near] - rows[0], self.cols[near] - cols[0])
        classes[at], numbers[at] = self.classes[near], self.winning[near]
        cells = np.ix_(rows - rows[0], cols - cols[0])
        return classes[cells], numbers[cells]
