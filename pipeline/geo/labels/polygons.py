"""Label polygons -> a class, or none, per pixel.

A pixel of 10 m has the class of the polygon that holds its centre. Where polygons of several classes
of one file hold it, the smallest of them wins (a pond in a park; of equal ones the first in the
file), or the pixel stays unlabelled, as the conf says.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely

from pipeline.geo.labels.cell_classes import Labels, unlabelled
from pipeline.geo.labels.features import AREAL, Features, FileFeatures, Shapes
from pipeline.geo.raster.area_of_interest import rasterized
from pipeline.geo.raster.grid import PatchGrid, PixelGrid, Window


@dataclass(frozen=True)
class Polygons(Features):
    """The polygons of one source of labels, all of them valid."""

    overlap: str = "smallest"
    """Whether the smallest polygon wins, or pixels of several classes are `unlabelled`."""

    def on(self, cells: PatchGrid) -> PolygonLabels | None:
        """Their labels of a scene; None where none intersects it.

        Raises:
            LabelError: when there is no way from their CRS to that of the scene.
        """
        shapes, rows = self.intersecting(cells.scene)
        if not len(shapes):
            return None
        # the last key sorts first: decreasing area; of equal ones the first in the file is painted last
        order = np.lexsort((-np.arange(len(shapes)), -shapely.area(shapes)))
        rows = rows[order]
        return PolygonLabels(
            cells.scene, shapes[order], self.classes[rows], self.overlap, numbers=self.numbers[rows]
        )


def polygons_of(features: FileFeatures, overlap: str) -> Polygons:
    """The polygons among the features of a file, invalid ones mended.

    Raises:
        LabelError: when none of them covers ground.
    """
    rows = features.of(AREAL)
    shapes = features.shapes[rows]
    invalid = ~shapely.is_valid(shapes)
    # the other method of GEOS would keep spikes as lines, which would be painted as pixels
    shapes[invalid] = shapely.make_valid(shapes[invalid], method="structure", keep_collapsed=False)
    whole = shapely.area(shapes) > 0
    counts = features.counts(len(rows), int(whole.sum()), "polygons")
    counts["repaired"] = int((invalid & whole).sum())
    return Polygons(
        features.conf,
        features.crs,
        shapes[whole],
        features.classes[rows][whole],
        features.numbers[rows][whole],
        counts,
        overlap,
    )


@dataclass(frozen=True)
class PolygonLabels(Labels):
    """The polygons that label one scene, in its CRS, the largest first: what is painted later wins."""

    grid: PixelGrid
    shapes: Shapes
    """Polygons, by decreasing area."""
    classes: npt.NDArray[np.int16]
    """Class of each, 0-based."""
    overlap: str = "smallest"
    """Whether the smallest polygon wins, or pixels of several classes are `unlabelled`."""

    @cached_property
    def _bounds(self) -> npt.NDArray[np.float64]:
        return shapely.bounds(self.shapes).reshape(-1, 4).T  # type: ignore[no-any-return]

    def pixels(self, window: Window) -> tuple[npt.NDArray[np.int16], npt.NDArray[np.int32]]:
        """Class and polygon number of each pixel of a window, both (H, W), -1 where there is none."""
        grid = self.grid.part(window)
        left, bottom, right, top = grid.bounds
        west, south, east, north = self._bounds
        near = np.flatnonzero((west < right) & (east > left) & (south < top) & (north > bottom))
        # counted from 1, because 0 is what is not painted
        painted = _painted(self.shapes[near], np.arange(1, len(near) + 1), grid)
        hit = painted > 0
        if self.overlap == "unlabelled":
            hit &= ~self._overlapping(near, grid)
        chosen = near[painted[hit] - 1]
        classes, numbers = unlabelled(window)
        classes[hit], numbers[hit] = self.classes[chosen], self.numbers[chosen]
        return classes, numbers

    def _overlapping(self, near: npt.NDArray[np.intp], grid: PixelGrid) -> npt.NDArray[np.bool_]:
        """Whether each pixel lies under polygons of several classes."""
        claims = np.zeros((grid.height, grid.width), dtype=np.uint8)
        for label in np.unique(self.classes[near]):
            of_class = self.shapes[near[self.classes[near] == label]]
            ones = np.ones(len(of_class), dtype=np.int64)
            claims += (_painted(of_class, ones, grid) > 0).astype(np.uint8)
        return claims > 1


def _painted(shapes: Shapes, values: npt.NDArray[np.int64], grid: PixelGrid) -> npt.NDArray[Any]:
    """The values of polygons, from 1, at the pixels whose centres they hold, (H, W); the last wins."""
    # half the bytes are painted in half the time
    dtype = "uint16" if values.max(initial=0) < 2**16 else "int32"
    return rasterized(zip(shapes, values.tolist(), strict=True), grid, dtype)
