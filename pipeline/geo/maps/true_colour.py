"""A scene in true colour: beside its map in the preview, and under it in QGIS.

Where the bands are plain files of this disk, a GDAL virtual raster shows them at full resolution, by
relative paths. Of a scene behind HTTP or in an archive, a small picture in its place is written out:
nobody should wait for a server, or need a key, to look at a map.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import rasterio
from affine import Affine
from rasterio.crs import CRS

from pipeline.files import relative_path
from pipeline.geo.maps.preview import VOID
from pipeline.geo.raster.grid import PixelGrid
from pipeline.geo.raster.raster_file import writing
from pipeline.geo.raster.remote import is_remote
from pipeline.geo.scenes.scene import Scene
from pipeline.geo.scenes.scene_files import BandLayer
from pipeline.geo.style.xml import render

NODATA = 0
_FULL = 10_000
"""Harmonised DN of reflectance 1."""


def photo_bands(available: Sequence[str]) -> tuple[str, ...]:
    """The bands to show: B04, B03, B02, or the last three where one is missing, or one in grey."""
    if {"B04", "B03", "B02"} <= set(available):
        return ("B04", "B03", "B02")
    return tuple(reversed(available[-3:])) if len(available) >= 3 else (available[0],)


def photo_title(bands: Sequence[str]) -> str:
    """What a picture of these bands shows."""
    true_colour = tuple(bands) == ("B04", "B03", "B02")
    words = "True colour" if true_colour else "False colour" if len(bands) == 3 else "Band"
    return f"{words} ({', '.join(bands)})"


def stretch(pixels: npt.NDArray[np.uint16]) -> npt.NDArray[np.uint8]:
    """DN (C, h, w) -> (h, w, 3) for the eye: per band, its 2nd to 98th percentile; nodata is void."""
    valid = (pixels > 0).all(axis=0)
    image = np.empty((*valid.shape, 3), dtype=np.uint8)
    image[:] = VOID
    if not valid.any():
        return image
    limits = stretch_limits(pixels)
    for channel in range(3):
        plane = min(channel, len(pixels) - 1)
        shades = 255 * _scaled(pixels[plane], limits[plane])
        image[valid, channel] = np.rint(shades[valid]).astype(np.uint8)
    return image


def stretch_limits(pixels: npt.NDArray[np.uint16]) -> list[tuple[float, float]]:
    """The darkest and the brightest DN that are told apart, of each band of DN (C, h, w)."""
    valid = (pixels > 0).all(axis=0)
    limits = []
    for plane in pixels:
        low, high = np.percentile(plane[valid], (2, 98)) if valid.any() else (0.0, 1.0)
        limits.append((float(low), max(float(high), float(low) + 1.0)))
    return limits


def write_true_colour(
    scene: Scene,
    ground: PixelGrid,
    pixels: npt.NDArray[np.uint16],
    bands: Sequence[str],
    stem: Path,
    destination: Path,
) -> None:
    """Write `<stem>.vrt` or `<stem>.tif`, and its style beside it: colours from 1, 0 is nodata.

    A small picture of the ground, a part of the scene, harmonised DN (C, h, w) of `bands` (red, green
    and blue, or one in grey), says how it is stretched. `destination` is the folder in which the file
    will lie.

    Raises:
        OutputError: when it cannot be written.
    """
    files = [scene.files[band] for band in _three(bands)]
    limits = _three(stretch_limits(pixels))
    offsets = [_offset(scene.grids[file.layer], ground) for file in files]
    if all(_is_plain(file) for file in files) and None not in offsets:
        path = stem.with_name(f"{stem.name}.vrt")
        path.write_text(_vrt(ground, files, offsets, limits, destination), encoding="utf-8")
    else:
        path = stem.with_name(f"{stem.name}.tif")
        _write_small(path, ground, _three(list(pixels)), limits)
    path.with_suffix(".qml").write_text(render("raster_style.qml.j2"), encoding="utf-8")


def _three[T](items: Sequence[T]) -> list[T]:
    """Three of them: one band stands for all colours."""
    return [items[min(k, len(items) - 1)] for k in range(3)]


def _is_plain(file: BandLayer) -> bool:
    return not is_remote(file.layer.href) and Path(file.layer.href).is_file()


def _offset(file: PixelGrid, ground: PixelGrid) -> tuple[int, int] | None:
    """Row and column of a file at which a ground begins; None where its pixels are not the file's."""
    down, right = ((file.y0 - ground.y0) / file.pixel_m, (ground.x0 - file.x0) / file.pixel_m)
    row, col = round(down), round(right)
    same = file.pixel_m == ground.pixel_m and max(abs(down - row), abs(right - col)) < 1e-6
    inside = 0 <= row <= file.height - ground.height and 0 <= col <= file.width - ground.width
    return (row, col) if same and inside else None


def _vrt(
    ground: PixelGrid,
    files: Sequence[BandLayer],
    offsets: Sequence[tuple[int, int] | None],
    limits: Sequence[tuple[float, float]],
    destination: Path,
) -> str:
    bands = [
        {
            "href": relative_path(Path(file.layer.href), destination.absolute()),
            "number": file.layer.number or 1,
            "offset": offset,
            "nodata": 0 if file.nodata is None else file.nodata,
            "low": _stored(file, low),
            "high": _stored(file, high),
        }
        for file, offset, (low, high) in zip(files, offsets, limits, strict=True)
    ]
    return render("true_colour.vrt.j2", grid=ground, bands=bands, nodata=NODATA)


def _stored(file: BandLayer, harmonised: float) -> float:
    """The number in a file that stands for a harmonised DN."""
    return round((harmonised / _FULL - file.offset) / file.scale, 6)


def _write_small(
    path: Path,
    ground: PixelGrid,
    planes: Sequence[npt.NDArray[np.uint16]],
    limits: Sequence[tuple[float, float]],
) -> None:
    height, width = planes[0].shape
    shrunk = Affine.scale(ground.width / width, ground.height / height)
    with (
        writing(path),
        rasterio.open(
            path, "w", driver="GTiff", dtype="uint8", count=3, height=height, width=width,
            crs=CRS.from_epsg(ground.epsg), transform=ground.transform @ shrunk,
            nodata=NODATA, photometric="RGB", compress="DEFLATE", interleave="pixel",
        ) as dataset,
    ):  # fmt: skip
        for number, (plane, edges) in enumerate(zip(planes, limits, strict=True), start=1):
            shades = np.where(plane > 0, 1 + np.rint(254 * _scaled(plane, edges)), NODATA)
            dataset.write(shades.astype(np.uint8), number)


def _scaled(plane: npt.NDArray[np.uint16], limits: tuple[float, float]) -> npt.NDArray[np.float64]:
    """From 0 at the darkest DN that is told apart to 1 at the brightest."""
    low, high = limits
    return np.clip((plane.astype(np.float64) - low) / (high - low), 0, 1)
