"""Where maps of several UTM zones come to lie in one CRS: on one grid of pixels of about their size."""

from __future__ import annotations

import math
from collections.abc import Sequence

from pipeline.errors import ConfigError
from pipeline.geo.raster.area import transformer
from pipeline.geo.raster.grid import PixelGrid

_LARGEST = 100
"""By so many times may a map grow in number of pixels before its CRS is said not to hold it."""


def layout(crs: str, grids: Sequence[PixelGrid], where: str) -> tuple[PixelGrid, list[PixelGrid]]:
    """Where maps come to lie in a CRS: the whole, and each map on the same grid of pixels.

    Its pixels are about those of the maps: as the smallest of theirs comes out in the middle of its
    map, in two digits.

    Raises:
        ConfigError: naming `where` the CRS stands, when it cannot hold a map: its area of use is
            another one, or a map crosses its edge.
    """
    side = float(f"{min(_cell_side(crs, grid) for grid in grids):.2g}")
    parts: list[PixelGrid] = []
    for grid in grids:
        bounds = transformer(grid.epsg, crs).transform_bounds(*grid.bounds, densify_pts=21)
        fits = all(map(math.isfinite, bounds)) and bounds[0] <= bounds[2]
        if fits:
            parts.append(grid_around(crs, side, bounds))
            fits = parts[-1].height * parts[-1].width <= _LARGEST * grid.height * grid.width + 10_000
        if not fits:
            raise ConfigError(
                f"{where}: {crs} cannot hold the maps of EPSG:{grid.epsg}, which lie outside of its "
                "area or across its edge; name a CRS of their region."
            )
    left, bottom, right, top = zip(*(part.bounds for part in parts), strict=True)
    return grid_around(crs, side, (min(left), min(bottom), max(right), max(top))), parts


def grid_around(crs: str, side: float, bounds: tuple[float, float, float, float]) -> PixelGrid:
    """The pixels, anchored at multiples of their side in a CRS, that cover left, bottom, right, top."""
    # float noise must not add a row
    west, south, east, north = (round(edge / side, 6) for edge in bounds)
    left, top = math.floor(west), math.ceil(north)
    height, width = top - math.floor(south), math.ceil(east) - left
    epsg = int(crs.removeprefix("EPSG:"))
    return PixelGrid(epsg, left * side, top * side, height, width, side)


def _cell_side(crs: str, grid: PixelGrid) -> float:
    """The side of a square of the CRS as large as the map pixel in the middle of a map."""
    to_crs = transformer(grid.epsg, crs)
    cell = [(0, 0), (1, 0), (1, 1), (0, 1)]
    corners = [grid.transform @ (grid.width / 2 + col, grid.height / 2 + row) for col, row in cell]
    (x0, y0), (x1, y1), (x2, y2), (x3, y3) = (to_crs.transform(*corner) for corner in corners)
    # a quadrangle is half the product of its diagonals
    area = abs((x2 - x0) * (y3 - y1) - (x3 - x1) * (y2 - y0)) / 2
    return math.sqrt(area)
