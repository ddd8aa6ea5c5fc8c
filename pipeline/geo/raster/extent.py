"""Where on Earth the patches of a store lie."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from pyproj import Transformer

Box = tuple[float, float, float, float]
"""West, south, east and north in degrees."""


def region(
    epsg: npt.NDArray[np.integer], x: npt.NDArray[Any], y: npt.NDArray[Any], side_m: float
) -> Box:
    """The smallest box of longitudes and latitudes that holds squares in one or several CRSs.

    Ground on both sides of the antimeridian gets the whole way round, -180 to 180.

    Args:
        epsg: CRS of each square, (N,).
        x: Easting of its centre, m.
        y: Northing of its centre, m.
        side_m: Side of a square.
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
