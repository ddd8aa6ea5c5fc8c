"""Raster files: open, check, read; every error names the file and the remedy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any, Literal, NamedTuple

import numpy.typing as npt
import rasterio
from rasterio._err import CPLE_BaseError  # GDAL's own errors, where rasterio does not wrap them
from rasterio.enums import Resampling
from rasterio.errors import RasterioError
from rasterio.windows import Window as RasterWindow

from pipeline.errors import OutputError, SceneError
from pipeline.geo.raster import archive
from pipeline.geo.raster.drivers import open_raster
from pipeline.geo.raster.grid import PixelGrid, Window
from pipeline.geo.raster.remote import gdal_options, is_remote
from pipeline.geo.raster.signing import signed

_CODES = {"uint8", "uint16", "int16"}
FLOATS = {"float32", "float64"}
_NOISE_PX = 1e-6
"""How far float noise in a geotransform may move a pixel at the other end of a raster."""
_CACHE_BYTES = 64_000_000
_OPENING = [Lock() for _ in range(64)]
"""By the hash of a path or URL: one each would be kept of every file of an archive."""

type Kind = Literal["codes", "dn", "reflectance"]
"""What the values of a layer are: codes as of a mask, digital numbers, or reflectance."""
_TYPES: dict[Kind, tuple[set[str], str]] = {
    "codes": (_CODES, "; give whole numbers of 8 or 16 bits (gdal_translate -ot Byte)"),
    "dn": (
        _CODES | FLOATS,
        "; give digital numbers (uint16) with their scale and offset in the conf",
    ),
    "reflectance": (
        FLOATS,
        ", but the conf says `values: reflectance`, which means floats; drop that and state scale and "
        "offset",
    ),
}
"""The types of each kind, and what is said of another one."""


class Layer(NamedTuple):
    """One layer of a raster file."""

    href: str
    """Path or URL."""
    number: int | None = None
    """Its place in the file, from 1; none for the only layer of a file that must have no other."""


@dataclass(frozen=True)
class RasterFile:
    """What a raster file says of itself and of one of its layers."""

    layer: Layer
    grid: PixelGrid
    dtype: str
    nodata: float | None
    """The value that the file itself declares to be none."""

    @property
    def href(self) -> str:
        """Path or URL."""
        return self.layer.href


@contextmanager
def opened(href: str, *, any_format: bool = False, pixels_only: bool = False) -> Iterator[Any]:
    """The dataset of a path or URL, open for reading: a GeoTIFF or JPEG 2000 file, or of any format.

    With `pixels_only` it is open sooner and says nothing of where it lies.

    Raises:
        SceneError: when it is missing, unreadable or broken; also for what fails while it is open.
    """
    # what GDAL keeps of a remote file is dropped: the file may have changed meanwhile
    with _gdal_for(href, CPL_VSIL_CURL_NON_CACHED="/vsicurl/"):
        address = _address(href)
        dataset = open_raster(href, address, any_format=any_format, pixels_only=pixels_only)
        with dataset:
            yield dataset


class OpenFile:
    """A raster file that stays open; for one thread."""

    def __init__(self, href: str) -> None:
        """Open it.

        Raises:
            SceneError: when it is missing, unreadable or broken.
        """
        self.href, self._address = href, _address(href)
        with _gdal_for(href):
            self._dataset = _open_with_masks(href, self._address)
        self.height: int = self._dataset.height
        self.width: int = self._dataset.width
        self.block_px: tuple[int, int] = self._dataset.block_shapes[0]
        """Height and width of what is decoded at a time."""

    def read(self, window: Window, layer: int | None = None) -> npt.NDArray[Any]:
        """The pixels (H, W) of a window inside the file, of one of its layers.

        Raises:
            SceneError: when they are damaged.
        """
        with _gdal_for(self.href):
            if (address := _address(self.href)) != self._address:
                self._dataset.close()
                self._dataset, self._address = _open_with_masks(self.href, address), address
            return read(self._dataset, window, layer)

    def close(self) -> None:
        """Close it."""
        self._dataset.close()


def _open_with_masks(href: str, address: str) -> Any:
    """A dataset that several threads have open, each for itself.

    When pixels are read, rasterio first asks for masks and holds Python's lock (GIL) meanwhile. If GDAL
    then waits for a thread that downloads the same part of the header, and that thread waits for the
    GIL to report a warning, both wait for ever (compare rasterio issue 3611). So masks are asked for
    here, by one thread at a time for a file; the others find the header in GDAL's cache.
    """
    with _OPENING[hash(href) % len(_OPENING)]:
        dataset = open_raster(href, address, pixels_only=True)
        dataset.mask_flag_enums  # noqa: B018
        return dataset


def _address(href: str) -> str:
    """What GDAL calls a path or URL."""
    return signed(href) if is_remote(href) else archive.for_gdal(href)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn GDAL's errors about a full disk or a read-only folder into an `OutputError` about `path`."""
    try:
        with rasterio.Env():  # GDAL's own lines go to a log, not to people
            yield
    except (RasterioError, CPLE_BaseError) as error:
        raise OutputError(
            f"{path} cannot be written ({error.__cause__ or error}); "
            "check the free space and the permissions there."
        ) from error


@contextmanager
def _gdal_for(href: str, **options: str) -> Iterator[None]:
    """GDAL with the settings used here; its errors become a `SceneError` about `href`."""
    remote = is_remote(href)
    if not remote and archive.FileState.of(href) is None:
        problem = "is a folder" if Path(href).is_dir() else "does not exist"
        raise SceneError(f"{href} {problem}; name a raster file.")
    try:
        # One thread inside GDAL: with more, a damaged JPEG 2000 file comes back as zeros without an
        # error. Pieces of work run side by side instead. Its cache, by default a share of the memory
        # of the machine, need hold no more than what is decoded at a time.
        with rasterio.Env(
            GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR",
            GDAL_NUM_THREADS="1",
            GDAL_CACHEMAX=_CACHE_BYTES,
            **(gdal_options() | options if remote else {}),
        ):
            yield
    except (RasterioError, CPLE_BaseError, OSError, ValueError) as error:
        reason = str(error.__cause__ or error).split("\n")[0].rstrip(".")
        remedy = "check the connection, or" if remote else "it is damaged or no raster:"
        raise SceneError(
            f"{href} cannot be read ({reason}); {remedy} fetch or export it again."
        ) from error


def inspect(href: str, layer: int | None = None, kind: Kind = "codes") -> RasterFile:
    """Open a raster file and check that it lies on a grid that lenscape can use.

    `layer` is the one that is meant, from 1; without it, the file must have just one. Its values must
    be of a type that its `kind` may have: integers of 8 or 16 bits, of DN also floats, of reflectance
    floats alone.

    Raises:
        SceneError: when it is no GeoTIFF or JPEG 2000, was cut off, lacks the layer or has several
            where one was expected, has no CRS, a CRS in degrees or without EPSG code, a rotated or
            south-up grid, or values of another type.
    """
    archive.require_whole(href)
    with opened(href) as dataset:
        if layer is None and dataset.count != 1:
            raise SceneError(
                f"{href} has {dataset.count} layers; give a file of one (gdal_translate -b)."
            )
        number = layer or 1
        if number > dataset.count:
            raise SceneError(f"{href} has {dataset.count} layers, none of them is number {number}.")
        dtype = dataset.dtypes[number - 1]
        types, remedy = _TYPES[kind]
        if dtype not in types:
            raise SceneError(f"{href} holds {dtype} values{remedy}.")
        nodata = dataset.nodatavals[number - 1]
        file = RasterFile(Layer(href, layer), grid_of(dataset, href), dtype, nodata)
        # of a file that was cut off, the last pixel is missing whatever else can still be read
        read(dataset, Window(dataset.height - 1, dataset.width - 1, 1, 1), number)
        return file


def grid_of(dataset: Any, href: str) -> PixelGrid:
    """The grid of an open dataset, whatever it holds.

    Raises:
        SceneError: when it lies on no grid that lenscape can use.
    """
    crs, transform = dataset.crs, dataset.transform
    if crs is None:
        raise SceneError(f"{href} has no CRS; assign one (gdal_edit.py -a_srs EPSG:...).")
    if not crs.is_projected or crs.linear_units_factor[1] != 1.0:
        raise SceneError(
            f"{href} has the CRS {crs.to_string()}, which is not in metres; "
            "reproject it to its UTM zone (gdalwarp -t_srs EPSG:326..)."
        )
    epsg = crs.to_epsg()
    if epsg is None:
        raise SceneError(f"{href} has a CRS without EPSG code; assign the one of its UTM zone.")
    if transform.is_identity:
        raise SceneError(
            f"{href} does not say where it lies; assign bounds (gdal_edit.py -a_ullr ...)."
        )
    height, width = dataset.height, dataset.width
    across, down = transform.a, -transform.e
    pixel_m = (across + down) / 2
    limit_m = _NOISE_PX * pixel_m
    if abs(pixel_m - round(pixel_m, 6)) * max(height, width) <= limit_m:
        pixel_m = round(pixel_m, 6)
    if max(abs(transform.b) * height, abs(transform.d) * width) > limit_m:
        raise SceneError(f"{href} is rotated; warp it to a north-up grid (gdalwarp).")
    if transform.e > 0:
        raise SceneError(f"{href} is south-up; warp it to a north-up grid (gdalwarp).")
    if max(abs(across - pixel_m) * width, abs(down - pixel_m) * height) > limit_m:
        raise SceneError(
            f"{href} has pixels of {across:.10g} x {down:.10g} m; warp it to square ones (gdalwarp)."
        )
    x0, y0 = (round(edge, 5) for edge in (transform.c, transform.f))
    return PixelGrid(epsg, x0, y0, height, width, pixel_m)


def read(dataset: Any, window: Window, layer: int | None = None) -> npt.NDArray[Any]:
    """The pixels (H, W) of a window that lies inside a dataset, of one of its layers."""
    view = RasterWindow(window.col, window.row, window.width, window.height)
    pixels: npt.NDArray[Any] = dataset.read(layer or 1, window=view)
    return pixels


def read_decimated(
    dataset: Any, max_px: int, layer: int | None = None, window: Window | None = None
) -> npt.NDArray[Any]:
    """One layer of a dataset, or a window of it, by nearest neighbour at `max_px` on its longer side
    or less, (h, w).
    """
    part = window or Window(0, 0, dataset.height, dataset.width)
    factor = max(1.0, max(part.height, part.width) / max_px)
    pixels: npt.NDArray[Any] = dataset.read(
        layer or 1,
        window=RasterWindow(part.col, part.row, part.width, part.height),
        out_shape=(round(part.height / factor) or 1, round(part.width / factor) or 1),
        resampling=Resampling.nearest,
    )
    return pixels
