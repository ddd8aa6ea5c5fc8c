"""With which drivers GDAL opens a raster file.

What comes from elsewhere is a GeoTIFF or a JPEG 2000 file, and no other driver looks at it: those of
virtual formats read further files and addresses that a file names.
"""

from __future__ import annotations

import warnings
from typing import Any

from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.io import DatasetReader

from pipeline.errors import SceneError
from pipeline.geo.raster import archive
from pipeline.geo.raster.remote import is_remote

# a file without a grid is refused where one is needed
warnings.filterwarnings("ignore", category=NotGeoreferencedWarning)

_DRIVERS = ("GTiff", "JP2OpenJPEG", "JP2ECW", "JP2KAK", "JP2MrSID")
_NO_CRS = {"GEOREF_SOURCES": "NONE"}
"""Option of those drivers: to read neither CRS nor geotransform."""
_OTHERS = {
    b"\x89PNG": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"<VRTDataset": "VRT",
    b"\x89HDF": "HDF5",
    b"CDF": "netCDF",
    b"EHFA": "HFA",
    b"SQLite format 3": "GPKG",
}
"""Formats of files that are often renamed, by their first bytes."""


def open_raster(href: str, address: str, *, any_format: bool = False, pixels_only: bool = False) -> Any:
    """The dataset at an address of GDAL, a GeoTIFF or JPEG 2000 file unless `any_format` says so.

    With `pixels_only` it says nothing of where it lies: to read its CRS takes four fifths of the time
    of opening it.

    Raises:
        RasterioError: when it cannot be opened.
        SceneError: when `href`, as people call it, is known to be of another format.
    """
    try:
        # `rasterio.open` takes one driver
        drivers = None if any_format else _DRIVERS
        return DatasetReader(address, driver=drivers, **(_NO_CRS if pixels_only else {}))
    except RasterioError:
        kind = None if any_format or is_remote(href) else _kind_of(href)
        if kind is None:
            raise
    raise SceneError(
        f"{href} is a {kind} file whatever its name says; give a GeoTIFF or JPEG 2000 file."
    )


def _kind_of(path: str) -> str | None:
    """The other format that a file on disk or in a zip has; None where it is not known."""
    with archive.stream_of(path) as stream:
        head = stream.read(32).lstrip()
    return next((kind for start, kind in _OTHERS.items() if head.startswith(start)), None)
