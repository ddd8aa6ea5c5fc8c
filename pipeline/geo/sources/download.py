"""The area's pixels of remote bands, as local COGs.

Of a TIFF the tiles are fetched that the area touches, of any other file the whole. What was fetched is
kept in a folder of its own until the COG is finished; the COG stays there for the next run.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from xml.sax.saxutils import escape

import rasterio
import rasterio.shutil

from pipeline.errors import OutputError, SceneError
from pipeline.files import publish, remove, require_space
from pipeline.geo.raster.area import Area, window_of
from pipeline.geo.raster.grid import SceneGrid, Window
from pipeline.geo.raster.raster_file import grid_of, opened, read, require_whole, writing
from pipeline.geo.raster.remote import RemoteFile, look_up
from pipeline.geo.raster.tiffindex import read_index, with_margin
from pipeline.geo.sources.sparse import SparseCopy, Traffic

_FORM = 1
"""Number of the form of the COGs: another one, and they are written anew."""
_HEAD = 1 << 15
"""Bytes at the beginning of a file that are fetched at once: the header of most COGs."""
_STRIP_PX = 512
_TYPES = {"uint8": "Byte", "uint16": "UInt16", "int16": "Int16"}


@dataclass(frozen=True)
class Downloads:
    """Where finished COGs and what they are made of are kept, and what went over the line."""

    folder: Path
    traffic: Traffic = field(default_factory=Traffic)

    def summary(self) -> str | None:
        """What was transferred, for people; none where nothing was."""
        traffic = self.traffic
        if not traffic.requests:
            return None
        share = f", {traffic.fetched / traffic.needed:.2f} times" if traffic.needed else ""
        return (
            f"downloaded {traffic.fetched / 1e6:.2f} MB in {traffic.requests} requests{share} the "
            f"{traffic.needed / 1e6:.2f} MB of the tiles that the areas touch"
        )

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
        file, head = look_up(href, _HEAD)
        key = hashlib.sha256(repr((_FORM, href, file.etag, file.size, area)).encode()).hexdigest()[:16]
        path = self.folder / f"{name}-{key}.tif"
        if path.exists() and file.etag:
            return path
        copy = SparseCopy(file, path.with_suffix(".part"), self.traffic)
        if head:
            self.traffic.count(len(head))
            copy.put(0, head)
        self._cut(copy, area, path)
        copy.discard()
        return path

    def _cut(self, copy: SparseCopy, area: Area, path: Path) -> None:
        """Fetch what the area needs of a file and write it as a COG."""
        file = copy.file
        index = read_index(copy.read, file.href)
        needed = [(0, file.size)]
        if index is None:
            require_space(copy.path, file.size, "the download")
            copy.ensure(needed)
        with _speaking_of(copy):
            require_whole(copy.path)
            grid = grid_of(str(copy.path))
        if not file.ranges:
            _warn_of_whole(file)
        window = window_of(grid, area, file.href)
        if index is not None:
            needed = index.spans(window)
            if max(map(sum, needed), default=0) > file.size:
                copy.discard()
                raise SceneError(f"{file.href} was cut off: it ends before its pixels do; use another.")
            require_space(copy.path, sum(count for _, count in needed), "the download")
            copy.ensure(with_margin(needed, file.size))
        self.traffic.need(sum(count for _, count in needed))
        _write_cog(copy, window, grid, path)


def _warn_of_whole(file: RemoteFile) -> None:
    print(
        f"lenscape: the server of {file.href} sends no parts of files: it was fetched whole, "
        f"{file.size / 1e6:.1f} MB.",
        file=sys.stderr,
    )


@contextmanager
def _speaking_of(copy: SparseCopy) -> Iterator[None]:
    """Name the remote file, not its local copy, in what goes wrong; a bad copy is given up."""
    try:
        yield
    except SceneError as error:
        copy.discard()
        raise SceneError(str(error).replace(str(copy.path), copy.file.href)) from error


def _write_cog(copy: SparseCopy, window: Window, grid: SceneGrid, path: Path) -> None:
    """Write some pixels of a copy as a COG with overviews by nearest neighbour."""
    with publish(path) as partial:
        vrt = partial.with_suffix(".vrt")
        try:
            with _speaking_of(copy):
                vrt.write_text(_vrt(copy.path, window, grid), encoding="utf-8")
            with writing(path):
                rasterio.shutil.copy(
                    vrt, partial, driver="COG", BLOCKSIZE=512, COMPRESS="DEFLATE", LEVEL=6,
                    PREDICTOR="YES", OVERVIEW_RESAMPLING="NEAREST", BIGTIFF="IF_SAFER",
                )  # fmt: skip
        except OutputError:
            # GDAL does not say which side it was
            with _speaking_of(copy), opened(str(copy.path)) as dataset:
                for row in range(window.row, window.row + window.height, _STRIP_PX):
                    rows = min(_STRIP_PX, window.row + window.height - row)
                    read(dataset, Window(row, window.col, rows, window.width))
            raise
        finally:
            remove(vrt)


def _vrt(source: Path, window: Window, grid: SceneGrid) -> str:
    """A GDAL virtual raster of some pixels of a file of one band."""
    with opened(str(source)) as dataset:
        if dataset.count != 1 or dataset.dtypes[0] not in _TYPES:
            raise SceneError(
                f"{source} has {dataset.count} layers of {dataset.dtypes[0]}, but a band is one of "
                "digital numbers (uint16); name another collection."
            )
        kind, nodata = _TYPES[dataset.dtypes[0]], dataset.nodata
    left, top = grid.transform @ (window.col, window.row)
    size = f'xSize="{window.width}" ySize="{window.height}"'
    return (
        f'<VRTDataset rasterXSize="{window.width}" rasterYSize="{window.height}">'
        f"<SRS>EPSG:{grid.epsg}</SRS>"
        f"<GeoTransform>{left!r}, {grid.pixel_m!r}, 0, {top!r}, 0, {-grid.pixel_m!r}</GeoTransform>"
        f'<VRTRasterBand dataType="{kind}" band="1">'
        + ("" if nodata is None else f"<NoDataValue>{nodata!r}</NoDataValue>")
        + f"<SimpleSource><SourceFilename>{escape(str(source.absolute()))}</SourceFilename>"
        # tiles of the source's overviews were not fetched
        '<OpenOptions><OOI key="OVERVIEW_LEVEL">NONE</OOI></OpenOptions>'
        f'<SourceBand>1</SourceBand><SrcRect xOff="{window.col}" yOff="{window.row}" {size}/>'
        f'<DstRect xOff="0" yOff="0" {size}/></SimpleSource></VRTRasterBand></VRTDataset>'
    )
