"""Maps on disk: written block by block, published as cloud-optimised GeoTIFFs (COGs).

The same pixels and tags give the same bytes: overviews are computed here (see `overviews`), and
compression is independent of the number of threads. Statistics stand inside the TIFF, so that a
viewer has nothing to compute and to write beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import rasterio
import rasterio.shutil
from affine import Affine
from rasterio.transform import array_bounds

from pipeline.errors import OutputError
from pipeline.geo.maps import overviews
from pipeline.geo.maps.raster_writer import BLOCK, Cells, RasterWriter, squares
from pipeline.geo.raster.grid import PixelGrid
from pipeline.geo.raster.raster_file import writing
from pipeline.geo.style.xml import render

_READ = 2048
"""Side of the squares of pixels that are held in memory at a time; a power of 2."""

Color = tuple[int, int, int]


@dataclass(frozen=True)
class Band:
    """What a band of a map says of itself."""

    description: str
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class MapKind:
    """What the values of a map mean and how they are shown and reduced."""

    bands: Sequence[Band]
    nodata: int
    reduce: Callable[[Cells, int, int], Cells]
    """Overview of pixels, by factor and nodata value: a function of `overviews`."""
    colors: Mapping[int, Color] = field(default_factory=dict)
    """The palette by value, red, green, blue from 0 to 255; empty for a map in grey."""
    unit: str = ""
    names: Sequence[str] = ()
    """Category names of the values 0, 1, ..., where it has any."""
    style: str = ""
    """QML, for QGIS."""


def write_cog(raster: RasterWriter, path: Path, kind: MapKind, tags: Mapping[str, str]) -> None:
    """Publish a raster as a COG with overviews, palette, statistics and tags.

    Files of a passing nature lie beside the raster meanwhile.

    Raises:
        OutputError: when it cannot be written.
    """
    folder = raster.path.parent
    levels = overviews.factors(raster.grid.height, raster.grid.width, BLOCK)
    smaller = {factor: folder / f"{raster.path.stem}.{factor}.tif" for factor in levels}
    vrt = folder / f"{raster.path.stem}.vrt"
    with writing(path):
        try:
            counts = [raster.counts]
            for factor, file in smaller.items():
                counts.append(_write_overview(raster, file, factor, kind))
            raster.flush()
            content = render(
                "cog.vrt.j2", grid=raster.grid, kind=kind, tags=tags, path=raster.path,
                overviews=list(smaller.values()),
            )  # fmt: skip
            vrt.write_text(content, encoding="utf-8")
            # of a map without data GDAL would state zeros
            has_data = np.delete(raster.counts, kind.nodata, axis=1).any()
            # level 9 takes 3 to 6 times as long as 6 and saves 1 to 7 % of a scene's maps
            rasterio.shutil.copy(
                vrt, path, driver="COG", BLOCKSIZE=BLOCK, COMPRESS="DEFLATE", LEVEL=6,
                INTERLEAVE="BAND", OVERVIEWS="FORCE_USE_EXISTING", BIGTIFF="IF_SAFER",
                STATISTICS="YES" if has_data else "NO",
            )  # fmt: skip
            _require_counts(path, counts)
        finally:
            for file in (vrt, *smaller.values()):
                file.unlink(missing_ok=True)


def read_small(path: Path, max_px: int) -> tuple[Cells, tuple[float, float, float, float]]:
    """A COG of ours, reduced until it fits `max_px`: uint8 (h, w) and its bounds, m.

    The bounds are those of whole squares of pixels, which may reach past the map's.
    """
    with rasterio.open(path) as dataset:
        levels, transform = overviews.factors(dataset.height, dataset.width, max_px), dataset.transform
    level = {"overview_level": len(levels) - 1} if levels else {}
    with rasterio.open(path, **level) as dataset:
        cells = dataset.read(1)
    scaled = transform @ Affine.scale(levels[-1] if levels else 1)
    return cells, array_bounds(*cells.shape, scaled)


def _require_counts(path: Path, expected: Sequence[npt.NDArray[np.int64]]) -> None:
    """Refuse a file that does not hold what was written: GDAL may keep quiet about a full disk.

    Args:
        path: A COG.
        expected: How often each value occurs by band, of the map and of its overviews.
    """
    for number, counts in enumerate(expected):
        counted = np.zeros_like(counts)
        level = {"overview_level": number - 1} if number else {}
        with rasterio.open(path, **level) as dataset:
            for band in range(len(counted)):
                for _, _, cells in squares(dataset, _READ, band + 1):
                    counted[band] += np.bincount(cells.ravel(), minlength=256)
        if not np.array_equal(counted, counts):
            raise OutputError(
                f"{path} does not hold what was written to it; free some space and run it again."
            )


def _write_overview(
    raster: RasterWriter, path: Path, factor: int, kind: MapKind
) -> npt.NDArray[np.int64]:
    """Write one level to a file of its own; how often each value occurs in it, by band."""
    grid = raster.grid
    height, width = -(-grid.height // factor), -(-grid.width // factor)
    smaller = PixelGrid(grid.epsg, grid.x0, grid.y0, height, width, factor * grid.pixel_m)
    side = max(_READ, factor)  # a multiple of the factor: no square is cut
    level = RasterWriter(path, smaller, kind.nodata, len(kind.bands))
    try:
        for band in range(1, len(kind.bands) + 1):
            for row, col, cells in raster.squares(side, band):
                reduced = kind.reduce(cells, factor, kind.nodata)
                level.write(row // factor, col // factor, reduced, band)
    finally:
        level.close()
    return level.counts
