"""One-band maps on disk: painted block by block, published as cloud-optimised GeoTIFFs (COGs).

The same cells and tags give the same bytes: overviews are computed here (see `overviews`), and
compression is independent of the number of threads. Statistics stand inside the TIFF, so that a
viewer has nothing to compute and to write beside it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape, quoteattr

import numpy as np
import numpy.typing as npt
import rasterio
import rasterio.shutil
from affine import Affine
from rasterio._err import CPLE_BaseError  # what GDAL says where rasterio has no word for it
from rasterio.crs import CRS
from rasterio.errors import RasterioError
from rasterio.windows import Window as RasterioWindow

from pipeline.errors import OutputError
from pipeline.geo import overviews

BLOCK = 256
"""Side of the COG's internal squares, and the size at which overviews end."""
_READ = 2048
"""Side of the squares of cells that are held in memory at a time; a power of 2."""

Cells = npt.NDArray[np.uint8]
Color = tuple[int, int, int]


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


@dataclass(frozen=True)
class MapKind:
    """What the values of a map mean and how they are shown and reduced."""

    description: str
    """Description of the band."""
    nodata: int
    reduce: Callable[[Cells, int, int], Cells]
    """Overview of cells, by factor and nodata value: a function of `overviews`."""
    colors: Mapping[int, Color] = field(default_factory=dict)
    """The palette by value, red, green, blue from 0 to 255; empty for a map in grey."""
    unit: str = ""


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
        window = RasterioWindow(col, row, cells.shape[1], cells.shape[0])
        self._dataset.write(cells, 1, window=window)

    def read(self, row: int, col: int, height: int, width: int) -> Cells:
        """Read uint8 (height, width) cells, which lie inside the map."""
        window = RasterioWindow(col, row, width, height)
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
    with _writing(path):
        opened = Canvas(path, grid, nodata)
        try:
            yield opened
        finally:
            opened.close()
            path.unlink(missing_ok=True)


def write_cog(painted: Canvas, path: Path, kind: MapKind, tags: Mapping[str, str]) -> None:
    """Write what was painted as a COG with overviews, palette, statistics and tags.

    Files of a passing nature lie beside the canvas meanwhile.

    Raises:
        OutputError: when it cannot be written.
    """
    folder = painted.path.parent
    levels = overviews.factors(painted.grid.rows, painted.grid.cols, BLOCK)
    smaller = {factor: folder / f"{painted.path.stem}.{factor}.tif" for factor in levels}
    vrt = folder / f"{painted.path.stem}.vrt"
    with _writing(path):
        try:
            for factor, file in smaller.items():
                _write_overview(painted, file, factor, kind)
            painted.flush()
            numbers = statistics(painted.counts, kind.nodata)
            vrt.write_text(_vrt(painted, smaller, kind, tags, numbers), encoding="utf-8")
            rasterio.shutil.copy(
                vrt, path, driver="COG", BLOCKSIZE=BLOCK, COMPRESS="DEFLATE", LEVEL=9,
                OVERVIEWS="FORCE_USE_EXISTING", BIGTIFF="IF_SAFER",
            )  # fmt: skip
            _require_counts(path, painted)
        finally:
            for file in (vrt, *smaller.values()):
                file.unlink(missing_ok=True)


def statistics(counts: npt.NDArray[np.int64], nodata: int) -> dict[str, str]:
    """GDAL's STATISTICS_* of a uint8 raster whose values occur `counts[value]` times."""
    total = int(counts.sum())
    valid = counts.copy()
    valid[nodata] = 0
    number = int(valid.sum())
    if number == 0:
        return {}
    values = np.arange(256)
    mean = int((valid * values).sum()) / number
    variance = float((valid * (values - mean) ** 2).sum()) / number
    seen = np.flatnonzero(valid)
    return {
        "STATISTICS_MAXIMUM": str(seen[-1]),
        "STATISTICS_MEAN": f"{mean:.14g}",
        "STATISTICS_MINIMUM": str(seen[0]),
        "STATISTICS_STDDEV": f"{math.sqrt(variance):.14g}",
        "STATISTICS_VALID_PERCENT": f"{100 * number / total:.4g}",
    }


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except (RasterioError, CPLE_BaseError) as error:
        raise OutputError(
            f"{path} cannot be written ({error.__cause__ or error}); "
            "check the free space and the permissions there."
        ) from error


def _require_counts(path: Path, painted: Canvas) -> None:
    """Refuse a file that does not hold what was painted: GDAL may keep quiet about a full disk."""
    counts = np.zeros(256, dtype=np.int64)
    with rasterio.open(path) as dataset:
        for _, window in dataset.block_windows(1):
            counts += np.bincount(dataset.read(1, window=window).ravel(), minlength=256)
    if not np.array_equal(counts, painted.counts):
        raise OutputError(
            f"{path} does not hold what was written to it; free some space and run the command again."
        )


def _create(path: Path, grid: MapGrid, nodata: int) -> Any:
    return rasterio.open(
        path, "w+", driver="GTiff", dtype="uint8", count=1, height=grid.rows, width=grid.cols,
        crs=CRS.from_epsg(grid.epsg), transform=grid.transform, nodata=nodata, tiled=True,
        blockxsize=BLOCK, blockysize=BLOCK, bigtiff="IF_SAFER",
    )  # fmt: skip


def _write_overview(painted: Canvas, path: Path, factor: int, kind: MapKind) -> None:
    grid = painted.grid
    scaled = grid.transform @ Affine.scale(factor)
    smaller = MapGrid(grid.epsg, scaled, -(-grid.rows // factor), -(-grid.cols // factor))
    side = max(_READ, factor)  # a multiple of the factor: no square is cut
    level = Canvas(path, smaller, kind.nodata)
    try:
        for row, col, cells in painted.squares(side):
            level.paint(row // factor, col // factor, kind.reduce(cells, factor, kind.nodata))
    finally:
        level.close()


def _vrt(
    painted: Canvas,
    smaller: Mapping[int, Path],
    kind: MapKind,
    tags: Mapping[str, str],
    band_tags: Mapping[str, str],
) -> str:
    """The GDAL virtual raster of which the COG is a copy: the only door for overviews of our own."""
    grid = painted.grid
    affine = ", ".join(repr(float(value)) for value in grid.transform.to_gdal())
    levels = "".join(
        f'<Overview><SourceFilename relativeToVRT="1">{escape(file.name)}</SourceFilename>'
        "<SourceBand>1</SourceBand></Overview>"
        for file in smaller.values()
    )
    return (
        f'<VRTDataset rasterXSize="{grid.cols}" rasterYSize="{grid.rows}">'
        f"<SRS>EPSG:{grid.epsg}</SRS><GeoTransform>{affine}</GeoTransform>{_metadata(tags)}"
        f'<VRTRasterBand dataType="Byte" band="1"><Description>{escape(kind.description)}</Description>'
        f"{_metadata(band_tags)}<NoDataValue>{kind.nodata}</NoDataValue>"
        f"<UnitType>{escape(kind.unit)}</UnitType>{_palette(kind)}"
        f'<SimpleSource><SourceFilename relativeToVRT="1">{escape(painted.path.name)}</SourceFilename>'
        f"<SourceBand>1</SourceBand></SimpleSource>{levels}</VRTRasterBand></VRTDataset>"
    )


def _metadata(tags: Mapping[str, str]) -> str:
    items = "".join(f"<MDI key={quoteattr(key)}>{escape(value)}</MDI>" for key, value in tags.items())
    return f"<Metadata>{items}</Metadata>"


def _palette(kind: MapKind) -> str:
    if not kind.colors:
        return "<ColorInterp>Gray</ColorInterp>"
    entries = []
    for value in range(max(kind.colors) + 1):
        red, green, blue = kind.colors.get(value, (0, 0, 0))
        alpha = 255 if value in kind.colors else 0
        entries.append(f'<Entry c1="{red}" c2="{green}" c3="{blue}" c4="{alpha}"/>')
    return f"<ColorInterp>Palette</ColorInterp><ColorTable>{''.join(entries)}</ColorTable>"
