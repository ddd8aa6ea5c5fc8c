"""What must hold of the files of a scene before it becomes an Item; each failure names its file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from pipeline.bands import valid_of
from pipeline.errors import RadiometryError, SceneError
from pipeline.geo.raster.area import covering
from pipeline.geo.raster.grid import PixelGrid, Window
from pipeline.geo.raster.raster_file import FLOATS, RasterFile, opened, read, read_decimated
from pipeline.geo.scenes.scene_files import BandLayer

MAX_NONPOSITIVE = 0.01
"""Largest share of a band's valid pixels at or below reflectance 0 (DESIGN.md, rule 1)."""
_BAND_M = (10.0, 20.0, 60.0)
_NO_VALUE = (None, 0.0, 65_535.0)
_CHECK_PX = 1024
_STRIP_PX = 512
_EDGE_TOLERANCE_M = 60.0
_SATURATED = 65_535
_REMEDY = {
    False: "correct scale and offset of the scene in the conf (the offset may have been applied "
    "already)",
    True: "correct them in the conf, or add the value that stands for nodata there (`nodata: 0`)",
}
"""By whether a band holds floats."""


def require_band(file: RasterFile) -> None:
    """Refuse what is no Sentinel-2 band: pixels of another size, or another value for nodata.

    Raises:
        SceneError: when it is none.
    """
    if file.grid.pixel_m not in _BAND_M:
        raise SceneError(
            f"{file.href} has pixels of {file.grid.pixel_m:.10g} m; give Sentinel-2 bands at their "
            "10, 20 or 60 m."
        )
    if file.dtype not in FLOATS and file.nodata not in _NO_VALUE:
        raise SceneError(
            f"{file.href} declares {file.nodata:g} to be nodata, which is 0 in Sentinel-2 products; "
            "convert it (gdalwarp -dstnodata 0)."
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


def require_pixels(file: RasterFile, band: BandLayer, scene: PixelGrid) -> None:
    """Refuse a band without any valid pixel, and one whose pixels contradict its scale and offset.

    Only the ground of the scene is looked at (DESIGN.md, rule 1).

    Raises:
        SceneError: when no pixel is valid.
        RadiometryError: when more than `MAX_NONPOSITIVE` of the valid pixels have no reflectance.
    """
    window = covering(file.grid, scene.bounds) or file.grid.window
    with opened(file.href) as dataset:
        dn = read_decimated(dataset, _CHECK_PX, file.layer.number, window)
        valid = dn[valid_of(dn, band.nodata)]
        if not len(valid):
            _require_valid(file, band, dataset, window)
            return
    share = float((valid.astype(np.float64) * band.scale + band.offset <= 0).mean())
    if share > MAX_NONPOSITIVE:
        raise RadiometryError(
            f"{file.href}: with scale {band.scale:g} and offset {band.offset:g}, {share:.0%} of its "
            f"valid pixels have a reflectance of 0 or less; {_REMEDY[band.floats]}."
        )


def _require_valid(file: RasterFile, band: BandLayer, dataset: Any, window: Window) -> None:
    """Refuse a band whose every pixel is invalid, for which a look at a part of them is not enough.

    Raises:
        SceneError: when it is.
    """
    saturated = False
    for strip in window.parts(_STRIP_PX, window.width):
        dn = read(dataset, strip, file.layer.number)
        if valid_of(dn, band.nodata).any():
            return
        saturated |= not band.floats and bool((dn == _SATURATED).any())
    none = "NaN, infinity or the value for nodata" if band.floats else "0, which is nodata"
    if saturated:
        none = f"{_SATURATED}, which is saturated, or 0, which is nodata"
    raise SceneError(
        f"{file.href} has no valid pixel: all are {none}; give the scene of another date or an area "
        "that has pixels."
    )
