"""What must hold of the files of a scene before it becomes an Item; each failure names its file."""

from __future__ import annotations

from pipeline.errors import RadiometryError, SceneError
from pipeline.geo.grid import SceneGrid
from pipeline.geo.raster import RasterFile, opened, read_decimated

MAX_NONPOSITIVE = 0.01
"""Largest share of a band's valid pixels at or below reflectance 0 (DESIGN.md, rule 1)."""
_BAND_M = (10.0, 20.0, 60.0)
_NO_VALUE = (None, 0.0, 65_535.0)
_CHECK_PX = 1024
_EDGE_TOLERANCE_M = 60.0


def require_band(file: RasterFile) -> None:
    """Refuse what is no Sentinel-2 band: pixels of another size, or another value for nodata.

    Raises:
        SceneError: when it is none.
    """
    if file.grid.pixel_m not in _BAND_M:
        raise SceneError(
            f"{file.href} has pixels of {file.grid.pixel_m:g} m; give Sentinel-2 bands at their 10, 20 "
            "or 60 m."
        )
    if file.nodata not in _NO_VALUE:
        raise SceneError(
            f"{file.href} declares {file.nodata:g} to be nodata, which is 0 in Sentinel-2 products; "
            "convert it (gdalwarp -dstnodata 0)."
        )


def require_cover(mask: RasterFile, grid: SceneGrid) -> None:
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


def require_same_ground(file: RasterFile, grid: SceneGrid) -> None:
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


def require_positive(file: RasterFile, scale: float, offset: float) -> None:
    """Refuse a scale and offset that the pixels contradict (DESIGN.md, rule 1).

    Raises:
        RadiometryError: when more than `MAX_NONPOSITIVE` of the valid pixels have no reflectance.
    """
    with opened(file.href) as dataset:
        dn = read_decimated(dataset, _CHECK_PX, file.layer.number)
    valid = dn[(dn != 0) & (dn != 65_535)]
    if not len(valid):
        return
    share = float((valid * scale + offset <= 0).mean())
    if share > MAX_NONPOSITIVE:
        raise RadiometryError(
            f"{file.href}: with scale {scale:g} and offset {offset:g}, {share:.0%} of its valid pixels "
            "have a reflectance of 0 or less; correct scale and offset of the scene in the conf "
            "(the offset may have been applied already)."
        )
