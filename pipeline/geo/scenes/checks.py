"""What must hold of the files of a scene before it becomes an Item; each failure names its file."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from pyproj import Geod
from pyproj.aoi import AreaOfInterest
from pyproj.database import query_utm_crs_info

from pipeline.bands import NO_DN
from pipeline.errors import SceneError
from pipeline.geo.raster.grid import PixelGrid
from pipeline.geo.raster.raster_file import FLOATS, RasterFile
from pipeline.geo.scenes.scene_files import BandLayer, MaskLayer
from pipeline.geo.scenes.stac import to_degrees

_BAND_M = (10.0, 20.0, 60.0)
_EDGE_TOLERANCE_M = 60.0
_SCALE_ERROR = 0.01
"""By how much a metre of a CRS may differ from one on the ground."""
_EARTH = Geod(ellps="WGS84")
_STEPS_M = np.array([(0, 500, 0, 500, 500), (0, 0, 500, 500, -500)])
"""East and north, from the middle of a scene: no step and four, since scale may depend on direction."""


def require_band(file: RasterFile) -> None:
    """Refuse what is no Sentinel-2 band: pixels of another size.

    Raises:
        SceneError: when it is none.
    """
    if file.grid.pixel_m not in _BAND_M:
        raise SceneError(
            f"{file.href} has pixels of {file.grid.pixel_m:.10g} m; give Sentinel-2 bands at their "
            "10, 20 or 60 m."
        )


def with_nodata(band: BandLayer, file: RasterFile) -> BandLayer:
    """A band with the value for nodata that its file declares, where no other one is stated.

    Raises:
        SceneError: when the stated one is no value that the file can hold.
    """
    if band.nodata is not None and not _holds(file.dtype, band.nodata):
        raise SceneError(
            f"{file.href} holds {file.dtype} values, none of which can be {band.nodata:g}, which the "
            "conf states as `nodata`; correct it there."
        )
    usual = not band.reflectance and file.nodata in NO_DN
    if band.nodata is not None or usual or file.nodata is None or not _holds(file.dtype, file.nodata):
        return band
    return replace(band, nodata=file.nodata)


def _holds(dtype: str, value: float) -> bool:
    """Whether a type can hold a number."""
    if dtype in FLOATS:
        return math.isfinite(value)
    limits = np.iinfo(dtype)
    return limits.min <= value <= limits.max and value == int(value)


def require_true_scale(grid: PixelGrid, href: str) -> None:
    """Refuse a CRS in which distances and areas at a scene are not those on the ground.

    Raises:
        SceneError: when a metre of the CRS differs by more than 1 %.
    """
    left, bottom, right, top = grid.bounds
    east, north = _STEPS_M
    longitude, latitude = to_degrees(grid.epsg).transform(
        (left + right) / 2 + east, (bottom + top) / 2 + north
    )
    if not np.isfinite([longitude, latitude]).all():
        raise SceneError(
            f"{href} lies outside of the area of EPSG:{grid.epsg}; assign its own CRS and bounds "
            "(gdal_edit.py -a_srs ... -a_ullr ...)."
        )
    middle = np.full(4, longitude[0]), np.full(4, latitude[0])
    _, _, ground_m = _EARTH.inv(*middle, longitude[1:], latitude[1:])
    scale = max(np.hypot(east, north)[1:] / ground_m, key=lambda ratio: abs(ratio - 1))
    if abs(scale - 1) > _SCALE_ERROR:
        here = AreaOfInterest(longitude[0], latitude[0], longitude[0], latitude[0])
        zones = query_utm_crs_info(datum_name="WGS 84", area_of_interest=here)
        zone = f"EPSG:{zones[0].code}" if zones else "its UTM zone"
        raise SceneError(
            f"{href} has EPSG:{grid.epsg}, in which a metre on the ground is {scale:.3g} m there; warp "
            f"it to {zone} (gdalwarp -t_srs)."
        )


def require_size(file: RasterFile, sizes: Mapping[float, tuple[int, int]]) -> None:
    """Refuse a band of another size than the metadata of its product state, by pixel size in m.

    Raises:
        SceneError: when it has.
    """
    grid = file.grid
    height, width = sizes.get(grid.pixel_m, (grid.height, grid.width))
    if (height, width) != (grid.height, grid.width):
        raise SceneError(
            f"{file.href} has {grid.height} x {grid.width} pixels, but the metadata of its product say "
            f"{height} x {width}; download the product again."
        )


def require_cover(mask: RasterFile, grid: PixelGrid) -> None:
    """Refuse a mask that leaves out a part of its scene, where clouds would pass as clear.

    Raises:
        SceneError: when it does, or has another CRS.
    """
    (left, bottom, right, top), bounds = mask.grid.bounds, grid.bounds
    missing = max(left - bounds[0], bottom - bounds[1], bounds[2] - right, bounds[3] - top)
    if mask.grid.epsg != grid.epsg or missing > _EDGE_TOLERANCE_M:
        ground = f"EPSG:{grid.epsg}, bounds {', '.join(f'{edge:.0f}' for edge in bounds)}"
        raise SceneError(
            f"{mask.href} does not cover its scene ({ground}); give a mask of all of it in its CRS."
        )


def require_no_band(mask: MaskLayer, bands: Mapping[str, RasterFile]) -> None:
    """Refuse a mask that is the file of a band, by name.

    Raises:
        SceneError: when it is.
    """
    own = os.path.realpath(mask.layer.href)
    if band := next((name for name, file in bands.items() if os.path.realpath(file.href) == own), None):
        raise SceneError(
            f"{mask.layer.href} is named as the mask of its scene, but holds its band {band}; name a "
            "raster of what to leave out."
        )


def require_same_ground(file: RasterFile, grid: PixelGrid) -> None:
    """Refuse a band that lies elsewhere than the others; the edges of 60 m pixels may stand out.

    Raises:
        SceneError: when it does.
    """
    if file.grid.epsg != grid.epsg:
        raise SceneError(
            f"{file.href} has EPSG:{file.grid.epsg}, the finest band has EPSG:{grid.epsg}; "
            "give bands of one product."
        )
    apart = max(abs(a - b) for a, b in zip(file.grid.bounds, grid.bounds, strict=True))
    if apart > _EDGE_TOLERANCE_M:
        raise SceneError(
            f"{file.href} covers other ground than the finest band (edges {apart:g} m apart); "
            "give bands of one product."
        )
