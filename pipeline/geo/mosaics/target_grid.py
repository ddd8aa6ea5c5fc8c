"""Where maps of several UTM zones come to lie in one CRS: on one grid of pixels of about a cell."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from affine import Affine
from pyproj import CRS, Transformer
from pyproj.exceptions import CRSError

from pipeline.errors import ConfigError
from pipeline.geo.maps.raster_writer import MapGrid

_LARGEST = 100
"""By so many times may a map grow in number of pixels before its CRS is said not to hold it."""


@dataclass(frozen=True)
class TargetGrid:
    """Pixels of a CRS, anchored at multiples of their side."""

    crs: str
    """`EPSG:<code>`."""
    side: float
    """Of a pixel, in units of the CRS."""

    def around(self, bounds: tuple[float, float, float, float]) -> MapGrid:
        """The whole pixels that cover left, bottom, right, top."""
        # float noise must not add a row
        west, south, east, north = (round(edge / self.side, 6) for edge in bounds)
        left, bottom, right, top = (
            math.floor(west), math.floor(south), math.ceil(east), math.ceil(north),
        )  # fmt: skip
        transform = Affine(self.side, 0.0, left * self.side, 0.0, -self.side, top * self.side)
        return MapGrid(int(self.crs.removeprefix("EPSG:")), transform, top - bottom, right - left)


@dataclass(frozen=True)
class Layout:
    """Where parts come to lie in another CRS."""

    grid: MapGrid
    """Of the whole."""
    parts: tuple[MapGrid, ...]
    """Of each part, on the same grid of pixels."""


def require_crs(crs: str, where: str) -> None:
    """Refuse a CRS that has no plane of two axes.

    Raises:
        ConfigError: naming `where` it stands.
    """
    try:
        found = CRS.from_user_input(crs)
    except CRSError as error:
        raise ConfigError(f"{where}: {crs} is no CRS that PROJ knows; name another one.") from error
    if not (found.is_projected or found.is_geographic) or len(found.axis_info) != 2:
        raise ConfigError(
            f"{where}: {crs} ({found.name}) has no plane of two axes; name a projected CRS, such as "
            "EPSG:3857."
        )


def layout(crs: str, grids: Sequence[MapGrid], where: str) -> Layout:
    """Where maps come to lie in a CRS.

    A pixel there is about a cell: as the smallest of the maps' cells comes out in the middle of its
    map, in two digits.

    Raises:
        ConfigError: naming `where` the CRS stands, when it cannot hold a map: its area of use is
            another one, or a map crosses its edge.
    """
    target_grid = TargetGrid(crs, float(f"{min(_cell_side(crs, grid) for grid in grids):.2g}"))
    parts = []
    for grid in grids:
        to_crs = Transformer.from_crs(grid.epsg, crs, always_xy=True)
        left, bottom, right, top = to_crs.transform_bounds(*grid.bounds, densify_pts=21)
        if not all(map(math.isfinite, (left, bottom, right, top))) or left > right:
            raise _unfit(crs, grid, where)
        parts.append(target_grid.around((left, bottom, right, top)))
        if parts[-1].rows * parts[-1].cols > _LARGEST * grid.rows * grid.cols + 10_000:
            raise _unfit(crs, grid, where)
    edges = [part.bounds for part in parts]
    whole = (
        min(edge[0] for edge in edges),
        min(edge[1] for edge in edges),
        max(edge[2] for edge in edges),
        max(edge[3] for edge in edges),
    )
    return Layout(target_grid.around(whole), tuple(parts))


def _cell_side(crs: str, grid: MapGrid) -> float:
    """The side of a square of the CRS as large as the cell in the middle of a map."""
    to_crs = Transformer.from_crs(grid.epsg, crs, always_xy=True)
    cell = [(0, 0), (1, 0), (1, 1), (0, 1)]
    corners = [grid.transform @ (grid.cols / 2 + col, grid.rows / 2 + row) for col, row in cell]
    (x0, y0), (x1, y1), (x2, y2), (x3, y3) = (to_crs.transform(*corner) for corner in corners)
    # a quadrangle is half the product of its diagonals
    area = abs((x2 - x0) * (y3 - y1) - (x3 - x1) * (y2 - y0)) / 2
    return math.sqrt(area)


def _unfit(crs: str, grid: MapGrid, where: str) -> ConfigError:
    return ConfigError(
        f"{where}: {crs} cannot hold the maps of EPSG:{grid.epsg}, which lie outside of its area or "
        "across its edge; name a CRS of their region."
    )
