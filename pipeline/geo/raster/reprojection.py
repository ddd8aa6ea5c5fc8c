"""Where a raster lies that shares no grid with a scene: in any CRS, rotated or not."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from affine import Affine
from pyproj import CRS

from pipeline.geo.raster.area import transformer
from pipeline.geo.raster.grid import PixelGrid, Window

_EDGE_POINTS = 21
"""Points along each edge of a grid that are looked up in the other CRS: the edge bends."""
_REACH_PX = 2
"""Pixels of the raster around a grid that resampling may look at."""
_FAR = 1e30
"""The coordinate of points that cannot be projected to the other CRS."""

type _Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class RasterGrid:
    """The pixels of a raster on the ground."""

    crs: CRS
    transform: Affine
    """From (col, row) to coordinates of its CRS."""
    height: int
    """Rows."""
    width: int
    """Columns."""

    def around(self, grid: PixelGrid) -> Window | None:
        """The pixels around a grid; None where there are none.

        Raises:
            ProjError: when no transformation between the two CRS is known.
        """
        x, y = self._looked_up(grid, *_outline(grid))
        if self.crs.is_geographic:
            # longitudes go on across the 180th meridian instead of beginning again
            x = x[0] + (x - x[0] + 180) % 360 - 180
        cols, rows = ~self.transform @ (x, y)
        top, bottom = _span(rows, self.height)
        left, right = _span(cols, self.width)
        if top >= bottom or left >= right:
            return None
        return Window(top, left, bottom - top, right - left)

    def pixel_m(self, grid: PixelGrid) -> tuple[float, float]:
        """Width and height of a pixel at the middle of a grid, m.

        Raises:
            ProjError: when no transformation between the two CRS is known.
        """
        left, bottom, right, top = grid.bounds
        middle = np.array([(left + right) / 2]), np.array([(bottom + top) / 2])
        cols, rows = ~self.transform @ self._looked_up(grid, *middle)
        # the pixel's corner, and those to the right of it and below it
        corners = self.transform @ (cols + np.array([0, 1, 0]), rows + np.array([0, 0, 1]))
        x, y = transformer(self.crs, grid.epsg).transform(*corners)
        return math.hypot(x[1] - x[0], y[1] - y[0]), math.hypot(x[2] - x[0], y[2] - y[0])

    def _looked_up(self, grid: PixelGrid, x: _Values, y: _Values) -> tuple[_Values, _Values]:
        """Coordinates of a grid's CRS in that of the raster."""
        projected = transformer(grid.epsg, self.crs).transform(x, y)
        x, y = (np.where(np.isfinite(axis), axis, _FAR) for axis in projected)
        return x, y


def _outline(grid: PixelGrid) -> tuple[_Values, _Values]:
    """Points along the edges of a grid."""
    left, bottom, right, top = grid.bounds
    x, y = np.linspace(left, right, _EDGE_POINTS), np.linspace(bottom, top, _EDGE_POINTS)
    ends = np.ones(_EDGE_POINTS)
    return (
        np.concatenate([x, x, left * ends, right * ends]),
        np.concatenate([top * ends, bottom * ends, y, y]),
    )


def _span(coordinates: _Values, size: int) -> tuple[int, int]:
    """The first pixel and the one behind the last that coordinates need, inside of the raster."""
    low, high = (
        math.floor(np.clip(end, -_FAR, _FAR)) for end in (coordinates.min(), coordinates.max())
    )
    return max(0, low - _REACH_PX), min(size, high + 1 + _REACH_PX)
