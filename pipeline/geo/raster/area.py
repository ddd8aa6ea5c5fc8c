"""Areas in degrees: their pixels on a grid, and the area that patches cover."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from pyproj import Transformer
from rasterio.warp import transform_bounds

from pipeline.errors import SceneError
from pipeline.geo.raster.grid import PixelGrid, Window

type Area = tuple[float, float, float, float]
"""West, south, east, north in degrees."""

_SNAP_M = 60.0
"""Windows begin and end at multiples of this: bands of all resolutions cover the same ground."""
_NOTHING = 1e-6
"""Part of a pixel that is a rounding error."""


def window_of(grid: PixelGrid, area: Area, name: str) -> Window:
    """The pixels of a grid in an area, with those around it up to whole 60 m.

    Raises:
        SceneError: when there are none; the message begins with `name`.
    """
    window = covering(grid, _ground(grid.epsg, area))
    if window is None:
        raise SceneError(f"{name} has no pixel in the area; correct the area or narrow the search.")
    return window


def covering(grid: PixelGrid, bounds: Area) -> Window | None:
    """The pixels of a grid that have ground between some bounds in its CRS, m; None where none has."""
    left, bottom, right, top = bounds
    col, row = (
        max(0, math.floor(distance / grid.pixel_m + _NOTHING))
        for distance in (left - grid.x0, grid.y0 - top)
    )
    last_col, last_row = (
        min(side, math.ceil(distance / grid.pixel_m - _NOTHING))
        for side, distance in ((grid.width, right - grid.x0), (grid.height, grid.y0 - bottom))
    )
    if last_col <= col or last_row <= row:
        return None
    return Window(row, col, last_row - row, last_col - col)


def _ground(epsg: int, area: Area) -> Area:
    """The bounds of an area in a CRS, m, grown to whole 60 m."""
    left, bottom, right, top = transform_bounds("OGC:CRS84", f"EPSG:{epsg}", *area)
    west, south = (math.floor(edge / _SNAP_M) * _SNAP_M for edge in (left, bottom))
    east, north = (math.ceil(edge / _SNAP_M) * _SNAP_M for edge in (right, top))
    return west, south, east, north


def region(
    epsg: npt.NDArray[np.integer], x: npt.NDArray[Any], y: npt.NDArray[Any], side_m: float
) -> Area:
    """The smallest box of longitudes and latitudes that holds squares in one or several CRSs.

    The squares of `side_m` lie around (x, y), m in the CRS `epsg` of each, all (N,). Ground on both
    sides of the antimeridian gets the whole way round, -180 to 180.
    """
    boxes = []
    for code in np.unique(epsg).tolist():
        mine, half = epsg == code, side_m / 2
        ends = (x[mine].min() - half, y[mine].min() - half, x[mine].max() + half, y[mine].max() + half)
        to_world = Transformer.from_crs(f"EPSG:{code}", "OGC:CRS84", always_xy=True)
        west, south, east, north = to_world.transform_bounds(*ends)
        boxes.append((west, south, east, north) if west <= east else (-180.0, south, 180.0, north))
    west, south = (min(box[side] for box in boxes) for side in (0, 1))
    east, north = (max(box[side] for box in boxes) for side in (2, 3))
    return float(west), float(south), float(east), float(north)
