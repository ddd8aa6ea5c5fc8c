"""A map while it is painted: one band of uint8 cells in an uncompressed file, block by block."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
from affine import Affine
from rasterio._err import CPLE_BaseError  # what GDAL says where rasterio has no word for it
from rasterio.crs import CRS
from rasterio.errors import RasterioError
from rasterio.windows import Window as RasterWindow

from pipeline.errors import OutputError

BLOCK = 256
"""Side of the squares in which a file keeps its cells."""

Cells = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class MapGrid:
    """Where the cells of a map lie: one pixel of the raster is one cell."""

    epsg: int
    transform: Affine
    """From (col, row) of a cell's corner to (x, y) in the CRS, m."""
    rows: int
    cols: int

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """Left, bottom, right, top in the CRS, m."""
        left, top = self.transform @ (0, 0)
        right, bottom = self.transform @ (self.cols, self.rows)
        return left, bottom, right, top


class Canvas:
    """A map while it is painted: uint8 cells in an uncompressed file, read and written by squares."""

    def __init__(self, path: Path, grid: MapGrid, nodata: int) -> None:
        self.path = path
        self.grid = grid
        self.counts = np.zeros(256, dtype=np.int64)
        """How often each value was painted."""
        self._dataset = _create(path, grid, nodata)

    def paint(self, row: int, col: int, cells: Cells) -> None:
        """Write uint8 (h, w) cells with their top left corner at (row, col); each cell once."""
        self.counts += np.bincount(cells.ravel(), minlength=256)
        window = RasterWindow(col, row, cells.shape[1], cells.shape[0])
        self._dataset.write(cells, 1, window=window)

    def read(self, row: int, col: int, height: int, width: int) -> Cells:
        """Read uint8 (height, width) cells, which lie inside the map."""
        window = RasterWindow(col, row, width, height)
        return self._dataset.read(1, window=window)  # type: ignore[no-any-return]

    def squares(self, side: int) -> Iterator[tuple[int, int, Cells]]:
        """All cells as (row, col, cells) in squares of at most `side`, row by row."""
        for row in range(0, self.grid.rows, side):
            for col in range(0, self.grid.cols, side):
                height = min(side, self.grid.rows - row)
                width = min(side, self.grid.cols - col)
                yield row, col, self.read(row, col, height, width)

    def flush(self) -> None:
        """Bring everything to the file, so that others can read it."""
        self._dataset.close()
        self._dataset = rasterio.open(self.path, "r+")

    def close(self) -> None:
        """Close the file."""
        self._dataset.close()


@contextmanager
def canvas(path: Path, grid: MapGrid, nodata: int) -> Iterator[Canvas]:
    """Paint a map in a file at `path`, which is closed and removed at the end.

    Raises:
        OutputError: when the file cannot be written.
    """
    with writing(path):
        opened = Canvas(path, grid, nodata)
        try:
            yield opened
        finally:
            opened.close()
            path.unlink(missing_ok=True)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what GDAL says of a full disk or a closed folder into an `OutputError` about `path`."""
    try:
        yield
    except (RasterioError, CPLE_BaseError) as error:
        raise OutputError(
            f"{path} cannot be written ({error.__cause__ or error}); "
            "check the free space and the permissions there."
        ) from error


def _create(path: Path, grid: MapGrid, nodata: int) -> Any:
    return rasterio.open(
        path, "w+", driver="GTiff", dtype="uint8", count=1, height=grid.rows, width=grid.cols,
        crs=CRS.from_epsg(grid.epsg), transform=grid.transform, nodata=nodata, tiled=True,
        blockxsize=BLOCK, blockysize=BLOCK, bigtiff="IF_SAFER",
    )  # fmt: skip
