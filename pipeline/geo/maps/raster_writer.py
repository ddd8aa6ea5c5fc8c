"""A map while it is written: bands of uint8 pixels in an uncompressed file, block by block."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
from rasterio.crs import CRS
from rasterio.windows import Window as RasterWindow

from pipeline.geo.raster.grid import PixelGrid, Window
from pipeline.geo.raster.raster_file import read, writing

BLOCK = 256
"""Side of the squares in which a file keeps its pixels."""

Cells = npt.NDArray[np.uint8]


class RasterWriter:
    """A map while it is written: uint8 pixels in an uncompressed file, read and written by squares."""

    def __init__(self, path: Path, grid: PixelGrid, nodata: int, bands: int = 1) -> None:
        self.path = path
        self.grid = grid
        self.counts = np.zeros((bands, 256), dtype=np.int64)
        """How often each value was written, by band."""
        self._nodata = nodata
        self._dataset = _create(path, grid, nodata, bands)

    def empty(self, height: int, width: int) -> Cells:
        """Pixels without data, uint8 (bands, height, width)."""
        return np.full((len(self.counts), height, width), self._nodata, dtype=np.uint8)

    def write(self, row: int, col: int, cells: Cells, band: int = 1) -> None:
        """Write uint8 (h, w) or (bands, h, w) pixels, the top left at (row, col); each pixel once.

        The first of them belongs to `band`, counted from 1.
        """
        layers = cells.reshape(-1, *cells.shape[-2:])
        window = RasterWindow(col, row, cells.shape[-1], cells.shape[-2])
        for index, layer in enumerate(layers, start=band):
            self.counts[index - 1] += np.bincount(layer.ravel(), minlength=256)
            self._dataset.write(layer, index, window=window)

    def squares(self, side: int, band: int = 1) -> Iterator[tuple[int, int, Cells]]:
        """All pixels of a band as (row, col, pixels) in squares of at most `side`, row by row."""
        return squares(self._dataset, side, band)

    def read_around(self, square: Window, reach: int) -> Cells:
        """The pixels (h + 2 reach, w + 2 reach) of a square and around it; 0 outside of the map."""
        top, left = square.row - reach, square.col - reach
        height, width = square.height + 2 * reach, square.width + 2 * reach
        rows = slice(max(top, 0), min(top + height, self.grid.height))
        cols = slice(max(left, 0), min(left + width, self.grid.width))
        cells = np.zeros((height, width), dtype=np.uint8)
        cells[rows.start - top : rows.stop - top, cols.start - left : cols.stop - left] = (
            self._dataset.read(1, window=RasterWindow.from_slices(rows, cols))
        )
        return cells

    def flush(self) -> None:
        """Bring everything to the file, so that others can read it."""
        self._dataset.close()
        self._dataset = rasterio.open(self.path, "r+", driver="GTiff")

    def close(self) -> None:
        """Close the file."""
        self._dataset.close()


@contextmanager
def temporary_raster(
    path: Path, grid: PixelGrid, nodata: int, bands: int = 1
) -> Iterator[RasterWriter]:
    """Write a map to a file at `path`, which is closed and removed at the end.

    Raises:
        OutputError: when the file cannot be written.
    """
    with writing(path):
        opened = RasterWriter(path, grid, nodata, bands)
        try:
            yield opened
        finally:
            opened.close()
            path.unlink(missing_ok=True)


def squares(dataset: Any, side: int, band: int) -> Iterator[tuple[int, int, Cells]]:
    """All pixels of a band of an open raster as (row, col, pixels) in squares of at most `side`."""
    for part in Window(0, 0, dataset.height, dataset.width).parts(side, side):
        yield part.row, part.col, read(dataset, part, band)


def _create(path: Path, grid: PixelGrid, nodata: int, bands: int) -> Any:
    return rasterio.open(
        path, "w+", driver="GTiff", dtype="uint8", count=bands, height=grid.height, width=grid.width,
        crs=CRS.from_epsg(grid.epsg), transform=grid.transform, nodata=nodata, tiled=True,
        blockxsize=BLOCK, blockysize=BLOCK, interleave="band", bigtiff="IF_SAFER",
    )  # fmt: skip
