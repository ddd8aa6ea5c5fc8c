"""The area's pixels of remote bands, as local COGs.

GDAL reads them where they lie: of a tiled file only the tiles are transferred that the area touches.
JPEG 2000 files are fetched whole, since OpenJPEG walks through all of a file to find a tile in it; so
are the files of a server that sends no parts. A finished COG stays for the next run.
"""

from __future__ import annotations

import hashlib
import sys
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import rasterio
import rasterio.shutil
from rasterio.windows import Window as RasterWindow

from pipeline.errors import SceneError
from pipeline.files import publish, remove, require_space
from pipeline.geo.raster.archive import require_whole
from pipeline.geo.raster.area import Area, window_of
from pipeline.geo.raster.grid import PixelGrid, Window
from pipeline.geo.raster.raster_file import grid_of, opened, read, writing
from pipeline.geo.raster.remote import RemoteFile, changed, download, look_up

_FORM = 1
"""Number of the form of the COGs: another one, and they are written anew."""
_STRIP_PX = 2048
"""Rows that are read at a time, about: whole tiles."""
_TYPES = ("uint8", "uint16", "int16")


@dataclass
class Downloads:
    """Where finished files are kept, and how much was fetched by this run."""

    folder: Path
    files: int = 0
    """Number of files that pixels or all bytes were fetched of."""
    file_bytes: int = 0
    """Their size."""
    fetched_bytes: int = 0
    """The bytes of the tiles that the areas touch, and of the files that were fetched whole."""

    def summary(self) -> str | None:
        """What was fetched, for people; none where nothing was."""
        if not self.files:
            return None
        files = f"{self.files} files of {self.file_bytes / 1e6:.2f} MB"
        if self.fetched_bytes == self.file_bytes:
            return f"downloaded {files}"
        part = f"{self.fetched_bytes / 1e6:.2f} MB"
        return f"downloaded {part}, of {files}: the tiles that the areas touch"

    def count(self, file: RemoteFile, fetched_bytes: int) -> None:
        """One more file, and how many of its bytes were fetched."""
        self.files += 1
        self.file_bytes += file.size
        self.fetched_bytes += fetched_bytes

    def whole(self, file: RemoteFile, path: Path, name: str) -> None:
        """Fetch a whole file; what an earlier run fetched of it is kept.

        Raises:
            SceneError: when it cannot be fetched.
            OutputError: when the disk is full; the message begins with `name`.
        """
        require_space(path, file.size, name)
        download(file, path)
        self.count(file, file.size)

    def band(self, href: str, area: Area, name: str) -> Path:
        """The pixels of a remote file in an area, as a local COG.

        Args:
            href: Address of a TIFF or JPEG 2000 file.
            area: The part of it that is wanted.
            name: Of the COG, without suffix: a folder and a file.

        Raises:
            SceneError: when the file cannot be fetched, is damaged, or has no pixel in the area.
            OutputError: when the disk is full.
        """
        file = look_up(href)
        key = hashlib.sha256(repr((_FORM, href, file.etag, file.size, area)).encode()).hexdigest()[:16]
        path = self.folder / f"{name}-{key}.tif"
        if path.exists() and file.etag:
            return path
        if file.ranges and PurePosixPath(urlsplit(href).path).suffix.lower() != ".jp2":
            with publish(path) as partial:
                self.count(file, _write_cog(href, file, area, partial))
                if look_up(href) != file:
                    raise changed(file)
            return path
        copy = path.with_suffix(".whole")
        if not copy.exists() or not file.etag:
            self.whole(file, copy, "the download")
        try:
            with publish(path) as partial:
                require_whole(copy)
                _write_cog(str(copy), file, area, partial)
        except SceneError as error:
            remove(copy)  # it is damaged, and people know the file by its address
            raise SceneError(str(error).replace(str(copy), href)) from error
        remove(copy)
        if not file.ranges:
            print(
                f"lenscape: the server of {href} sends no parts of files: it was fetched whole, "
                f"{file.size / 1e6:.1f} MB.",
                file=sys.stderr,
            )
        return path


def _write_cog(source: str, file: RemoteFile, area: Area, path: Path) -> int:
    """Write the pixels of a file in an area as a COG with overviews by nearest neighbour.

    GDAL reads the file at `source`: its address, or the path of a copy.

    Returns:
        The bytes of the tiles that were read.
    """
    pixels = path.with_name(f"{path.name}.pixels")
    try:
        with opened(source) as dataset:
            _require_dn(dataset, source)
            grid = grid_of(dataset, source)
            window = window_of(grid, area, file.href)
            tile_bytes = _tile_bytes(dataset, window, file)
            size = window.height * window.width * np.dtype(dataset.dtypes[0]).itemsize
            require_space(path, tile_bytes + size, "the download")
            _copy_pixels(dataset, grid, window, pixels)
            with writing(path):
                rasterio.shutil.copy(
                    pixels, path, driver="COG", BLOCKSIZE=512, COMPRESS="DEFLATE", LEVEL=6,
                    PREDICTOR="YES", OVERVIEW_RESAMPLING="NEAREST", BIGTIFF="IF_SAFER",
                )  # fmt: skip
    finally:
        remove(pixels)
    return tile_bytes


def _require_dn(dataset: Any, source: str) -> None:
    if dataset.count != 1 or dataset.dtypes[0] not in _TYPES:
        raise SceneError(
            f"{source} has {dataset.count} layers of {dataset.dtypes[0]}, but a band is one of "
            "digital numbers (uint16); name another collection."
        )


def _tile_bytes(dataset: Any, window: Window, file: RemoteFile) -> int:
    """The bytes of the tiles that a window touches; those of the whole file where it has no tiles.

    Raises:
        SceneError: when some of them would lie beyond the end of the file.
    """
    if dataset.driver != "GTiff":
        return file.size
    high, wide = dataset.block_shapes[0]
    total = 0
    for row in range(window.row // high, -(-(window.row + window.height) // high)):
        for col in range(window.col // wide, -(-(window.col + window.width) // wide)):
            # a tile without data has neither
            first, size = (
                int(dataset.get_tag_item(f"BLOCK_{key}_{col}_{row}", "TIFF", bidx=1) or 0)
                for key in ("OFFSET", "SIZE")
            )
            if first + size > file.size:
                raise SceneError(f"{file.href} was cut off: it ends before its pixels do; use another.")
            total += size
    return total


def _copy_pixels(dataset: Any, grid: PixelGrid, window: Window, path: Path) -> None:
    """Write a window of a file as a plain GeoTIFF, some rows of whole tiles at a time."""
    tile_rows = dataset.block_shapes[0][0]
    step = tile_rows * max(1, _STRIP_PX // tile_rows)
    end = window.row + window.height
    with writing(path):
        target = rasterio.open(
            path, "w", driver="GTiff", height=window.height, width=window.width, count=1,
            dtype=dataset.dtypes[0], nodata=dataset.nodata, crs=f"EPSG:{grid.epsg}",
            transform=grid.part(window).transform, BIGTIFF="IF_SAFER",
        )  # fmt: skip
    try:
        target.scales, target.offsets = dataset.scales, dataset.offsets
        for begin in range(window.row // step * step, end, step):
            row = max(begin, window.row)
            strip = Window(row, window.col, min(begin + step, end) - row, window.width)
            values = read(dataset, strip)
            with writing(path):
                target_window = RasterWindow(0, row - window.row, window.width, strip.height)
                target.write(values, 1, window=target_window)
    finally:
        target.close()
