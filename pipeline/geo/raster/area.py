"""Areas: their CRS, their pixels on a grid, the area that patches cover, the 180th meridian.

Across the antimeridian, shapes and areas are as RFC 7946 writes them, which STAC follows: a shape is
cut in two there, and an area has a west above its east (sections 3.1.9 and 5.2). The library
antimeridian cuts shapes too; here those of a whole table are looked at as arrays, and areas of several
zones are joined.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely
from pyproj import CRS, Transformer
from pyproj.exceptions import CRSError
from shapely.geometry.base import BaseGeometry

from pipeline.errors import ConfigError, SceneError
from pipeline.geo.raster.grid import PixelGrid, Window

type Area = tuple[float, float, float, float]
"""West, south, east, north in degrees; west is above east only across the antimeridian."""
Shapes = npt.NDArray[np.object_]

_SNAP_M = 60.0
"""The least common multiple of the bands' pixels."""
_NOTHING = 1e-6
"""Part of a pixel that is a rounding error."""
_DIGITS = 8
"""Of a degree, a millimetre: below it, versions of libraries differ."""


@cache  # it takes longer to make than to use
def transformer(source: CRS | int | str, target: CRS | int | str) -> Transformer:
    """From one CRS to another, each an object, an EPSG code or a name; x comes before y in both.

    Raises:
        ProjError: when there is no way between them.
    """
    return Transformer.from_crs(source, target, always_xy=True)


def crs_of(code: str, where: str) -> CRS:
    """The CRS of an EPSG code, which has to have a plane of two axes.

    Raises:
        ConfigError: naming `where` it stands, when there is none, or it has no such plane.
    """
    try:
        crs = CRS.from_user_input(code)
    except CRSError as error:
        raise ConfigError(f"{where}: {code} is no CRS that PROJ knows; name another one.") from error
    if not (crs.is_projected or crs.is_geographic) or len(crs.axis_info) != 2:
        raise ConfigError(
            f"{where}: {code} ({crs.name}) has no plane of two axes; name a projected CRS, such as "
            "EPSG:3857."
        )
    return crs


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
    return to_whole_squares(transformer("OGC:CRS84", epsg).transform_bounds(*area))


def to_whole_squares(bounds: Area) -> Area:
    """Bounds in a CRS, m, grown to whole 60 m: bands of all resolutions cover the same ground."""
    left, bottom, right, top = bounds
    west, south = (math.floor(edge / _SNAP_M) * _SNAP_M for edge in (left, bottom))
    east, north = (math.ceil(edge / _SNAP_M) * _SNAP_M for edge in (right, top))
    return west, south, east, north


def region(
    epsg: npt.NDArray[np.integer], x: npt.NDArray[Any], y: npt.NDArray[Any], side_m: float
) -> Area:
    """The smallest area that holds squares in one or several CRSs.

    The squares of `side_m` lie around (x, y), m in the CRS `epsg` of each, all (N,).
    """
    areas = []
    for code in np.unique(epsg).tolist():
        mine, half = epsg == code, side_m / 2
        ends = (x[mine].min() - half, y[mine].min() - half, x[mine].max() + half, y[mine].max() + half)
        areas.append(transformer(int(code), "OGC:CRS84").transform_bounds(*ends))
    return enclosing(areas)


def enclosing(areas: npt.ArrayLike) -> Area:
    """The smallest area around areas (N, 4), whichever way round the world; N is at least 1."""
    west, south, east, north = np.asarray(areas, dtype=np.float64).reshape(-1, 4).T
    order = np.argsort(west, kind="stable")
    first = west[order]
    # longitudes go on past 180: the widest gap without any area is what the smallest leaves out
    last = np.where(east < west, east + 360, east)
    reached = np.maximum.accumulate(np.append(last.max() - 360, last[order]))[1:]
    gaps = np.append(first[1:], first[0] + 360) - reached
    widest = int(gaps.argmax())
    left, right = float(first[(widest + 1) % len(first)]), float(reached[widest])
    if gaps[widest] <= 0:
        left, right = -180.0, 180.0
    elif right > 180:
        right = round(right - 360, _DIGITS)
    return left, float(south.min()), right, float(north.max())


def outline(area: Area) -> BaseGeometry:
    """The shape of an area, in two parts where it crosses the antimeridian."""
    west, south, east, north = area
    if west <= east:
        return shapely.box(west, south, east, north)
    halves = [shapely.box(west, south, 180.0, north), shapely.box(-180.0, south, east, north)]
    return shapely.multipolygons(halves)


def area_around(shape: BaseGeometry) -> Area:
    """The smallest area around a shape that is cut at the antimeridian."""
    return enclosing(shapely.bounds(shapely.get_parts(shape)))


def cut_at_antimeridian(shapes: Shapes) -> Shapes:
    """Shapes (N,) with those that cross the antimeridian cut there, all within -180 to 180 degrees.

    From one point of an outline to the next the shorter way round the world is meant, so that it may
    run on past 180 degrees as well as go on at -180. The others come back as they are.
    """
    west, _, east, _ = shapely.bounds(shapes).reshape(-1, 4).T
    across = (west < -180) | (east > 180) | (east - west > 180)
    result = shapes.copy()
    for index in np.flatnonzero(across & np.isfinite(east - west)):
        try:
            result[index] = _cut(shapes[index])
        except shapely.GEOSException:  # it crosses itself
            result[index] = _cut(shapely.make_valid(shapes[index]))
    return result


def _cut(shape: BaseGeometry) -> BaseGeometry:
    if shape.geom_type == "Point":
        return shapely.Point((shape.x + 180) % 360 - 180, shape.y)
    pieces = []
    for part in shapely.get_parts(shape):
        ring = _continued(shapely.get_coordinates(shapely.get_exterior_ring(part)))
        if len(ring) and abs(ring[-1, 0] - ring[0, 0]) > 180:
            # it goes once round a pole, which lies inside
            _, south, _, north = part.bounds
            pole = (south, 90.0) if south + north > 0 else (-90.0, north)
            pieces.append(shapely.box(-180.0, pole[0], 180.0, pole[1]))
            continue
        whole = shapely.transform(part, _continued)
        for turn in (-360.0, 0.0, 360.0):
            here = shapely.intersection(whole, shapely.box(turn - 180, -90, turn + 180, 90))
            back = shapely.transform(here, lambda points, by=turn: np.round(points - [by, 0], _DIGITS))
            pieces += [piece for piece in shapely.get_parts(back) if piece.area > 0]
    if not pieces:  # all round the world, or nothing that has an area
        return shape
    return shapely.orient_polygons(pieces[0] if len(pieces) == 1 else shapely.multipolygons(pieces))


def _continued(points: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Points (N, 2) with longitudes that go on past 180 degrees instead of beginning again at -180."""
    turns = np.cumsum(np.round(np.diff(points[:, 0], prepend=points[:1, 0]) / 360))
    return np.column_stack([points[:, 0] - 360 * turns, points[:, 1]])
