"""Rasters of codes, such as land-cover maps, as labels.

Codes become classes where they lie, and the classes come to the 10 m grid: by mode where the pixels
of the raster are smaller than those of the grid (each pixel of 10 m has the class of most of what it
covers, of equal ones the class that stands first in the conf, and none where most has none), by
nearest neighbour where they are as large or larger. Nodata and codes that the conf ignores are
unlabelled. The raster may lie in any CRS and be rotated; of one in degrees, what lies across the
180th meridian from a window's first corner is not seen.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from affine import Affine
from pyproj import CRS
from pyproj.exceptions import ProjError
from rasterio.enums import MaskFlags, Resampling
from rasterio.warp import reproject
from rasterio.windows import Window as RasterWindow

from pipeline.config.classes import ClassesConf
from pipeline.config.labels import RasterLabelConf
from pipeline.errors import LabelError
from pipeline.geo.labels.cell_classes import UNLABELLED, Labels, unlabelled
from pipeline.geo.labels.features import meanings, unknown_values
from pipeline.geo.raster import raster_file
from pipeline.geo.raster.grid import PatchGrid, PixelGrid, Window
from pipeline.geo.raster.reprojection import RasterGrid

_LARGEST_CODE = np.float64(2**53)
"""Beyond it, floats are not every whole number."""
_PIECE_PX = 8_000_000
"""Pixels of a raster that are held at a time, about."""
_LARGEST_PX = 2048
"""Side of a piece of a scene that is labelled at a time, at most."""
_FINER = 0.99
"""A raster is finer than the grid when a side of its pixel is shorter than this share of a pixel."""
_NO_CLASS, _OUTSIDE = 254, 255
"""Among classes in eight bits: a pixel without one, and ground without a pixel."""


@dataclass(frozen=True)
class LabelRaster:
    """A raster of codes and what they mean; pixels are read when they are asked for."""

    conf: RasterLabelConf
    classes_file: str
    """For the messages."""
    raster: RasterGrid
    nodata: tuple[float, ...]
    """The values that stand for none, beside NaN."""
    codes: npt.NDArray[np.int64]
    """Codes that mean something, ascending."""
    classes: npt.NDArray[np.int16]
    """The class of each, -1 for those to ignore."""
    counts: ClassVar[dict[str, int]] = {}
    """Its pixels are counted scene by scene."""

    def on(self, cells: PatchGrid) -> RasterLabels | None:
        """Its labels of a scene; None where it has no class within the bounds of the scene.

        Raises:
            LabelError: when a code there is no class, or there is no way between the two CRS.
        """
        scene = cells.scene
        try:
            window = self.raster.around(scene)
        except ProjError as error:
            raise LabelError(
                f"{self.conf.raster}: its CRS has no way to EPSG:{scene.epsg} of the scene; reproject "
                "the raster to it."
            ) from error
        counts = {} if window is None else self._counts(window)
        if not counts.get("pixels"):
            return None
        side = self.raster.pixel_m(scene)
        resampling = Resampling.mode if min(side) < _FINER * scene.pixel_m else Resampling.nearest
        density = scene.pixel_m**2 / math.prod(side)
        piece_px = max(1, min(_LARGEST_PX, math.isqrt(int(_PIECE_PX / density))))
        return RasterLabels(self, scene, resampling, piece_px, counts=counts)

    def codes_in(self, window: Window) -> tuple[Counter[int], int]:
        """How many pixels in a window have which code, and how many have none.

        Raises:
            LabelError: when a pixel is no whole number.
        """
        by_code: Counter[int] = Counter()
        total = 0
        with raster_file.opened(self.conf.raster, any_format=True) as dataset:
            for part in window.parts(max(1, _PIECE_PX // window.width), window.width):
                pixels, with_code = self._read(dataset, part)
                total += pixels.size
                pixels = pixels[with_code]
                self._require_whole(pixels)
                codes, counts = np.unique(pixels, return_counts=True)
                by_code.update(dict(zip(codes.tolist(), counts.tolist(), strict=True)))
        return by_code, total - by_code.total()

    def _counts(self, window: Window) -> dict[str, int]:
        """Its pixels in a window: `pixels` with a class, `ignored` and `nodata`."""
        by_code, nodata = self.codes_in(window)
        known = dict(zip(self.codes.tolist(), self.classes.tolist(), strict=True))
        if unknown := {code: count for code, count in by_code.items() if code not in known}:
            unknown = {int(code): count for code, count in unknown.items()}  # 7, not 7.0
            listed = unknown_values(unknown, "pixels near the scene", self.classes_file)
            raise LabelError(f"{self.conf.raster} holds {listed}")
        ignored = sum(count for code, count in by_code.items() if known[code] == UNLABELLED)
        return {"pixels": by_code.total() - ignored, "ignored": ignored, "nodata": nodata}

    def _read(self, dataset: Any, window: Window) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
        """The pixels (H, W) of a window inside the raster, and which of them are no nodata."""
        number = self.conf.layer or 1
        pixels = raster_file.read(dataset, window, number)
        with_code = ~np.isnan(pixels) if pixels.dtype.kind == "f" else np.ones(pixels.shape, dtype=bool)
        for value in self.nodata:
            with_code &= pixels != value
        if MaskFlags.per_dataset in dataset.mask_flag_enums[number - 1]:  # a mask or alpha beside them
            view = RasterWindow(window.col, window.row, window.width, window.height)
            with_code &= dataset.read_masks(number, window=view) > 0
        return pixels, with_code

    def _require_whole(self, pixels: npt.NDArray[Any]) -> None:
        if pixels.dtype.kind != "f":
            return
        odd = pixels[(pixels != np.rint(pixels)) | (np.abs(pixels) > _LARGEST_CODE)]
        if odd.size:
            raise LabelError(
                f"{self.conf.raster} holds {odd[0].item()!r} near the scene, but codes of classes are "
                "whole numbers; give a raster of codes, or state the value that stands for none as "
                "`nodata`."
            )

    def classes_in(self, dataset: Any, window: Window) -> npt.NDArray[np.uint8]:
        """The class of each pixel (H, W) of a window inside the raster, `_NO_CLASS` without one."""
        codes, with_code = self._read(dataset, window)
        nearest = np.minimum(np.searchsorted(self.codes, codes), len(self.codes) - 1)
        labels = self.classes[nearest]
        known = (self.codes[nearest] == codes) & (labels != UNLABELLED) & with_code
        return np.where(known, labels, _NO_CLASS).astype(np.uint8)


def open_raster(conf: RasterLabelConf, classes: ClassesConf, file: str) -> LabelRaster:
    """A raster of codes, checked as far as can be without its pixels.

    Raises:
        SceneError: when it is missing or cannot be read.
        LabelError: when it holds no numbers, several layers or lies nowhere, or when no class has a
            number among its values.
    """
    known = {
        value: label
        for value, label in meanings(classes).items()
        if isinstance(value, int) and abs(value) < 2**63  # no raster holds others
    }
    codes = np.array(sorted(known), dtype=np.int64)
    labels = np.array([known[code] for code in codes.tolist()], dtype=np.int16)
    if not (labels >= 0).any():
        raise LabelError(
            f"{file} gives no class the codes of {conf.raster}; list them as numbers under the "
            "`values` of its classes."
        )
    with raster_file.opened(conf.raster, any_format=True) as dataset:
        _require_codes(dataset, conf)
        number = conf.layer or 1
        return LabelRaster(
            conf,
            file,
            RasterGrid(CRS(dataset.crs), dataset.transform, dataset.height, dataset.width),
            tuple(v for v in (dataset.nodatavals[number - 1], conf.nodata) if v is not None),
            codes,
            labels,
        )


def _require_codes(dataset: Any, conf: RasterLabelConf) -> None:
    path, number = conf.raster, conf.layer or 1
    if conf.layer is None and dataset.count != 1:
        raise LabelError(f"{path} has {dataset.count} layers; name the one with the codes as `layer`.")
    if number > dataset.count:
        raise LabelError(f"{path} has {dataset.count} layers, none of them is number {number}.")
    dtype = dataset.dtypes[number - 1]
    if dtype.startswith("complex"):
        raise LabelError(
            f"{path} holds {dtype} values, but codes of classes are whole numbers; convert it "
            "(gdal_translate -ot Int16)."
        )
    if dataset.crs is None:
        raise LabelError(f"{path} has no CRS; assign one (gdal_edit.py -a_srs EPSG:...).")
    if dataset.transform.is_identity:
        raise LabelError(
            f"{path} does not say where it lies; assign bounds (gdal_edit.py -a_ullr ...)."
        )


@dataclass(frozen=True)
class RasterLabels(Labels):
    """The labels of one scene from a raster."""

    source: LabelRaster
    grid: PixelGrid
    resampling: Resampling
    piece_px: int
    """Side of what is labelled at a time, pixels of 10 m."""

    def pixels(self, window: Window) -> tuple[npt.NDArray[np.int16], npt.NDArray[np.int32]]:
        """Class of each pixel of a window, -1 without one, and -1 for the number, both (H, W)."""
        classes, numbers = unlabelled(window)
        with raster_file.opened(self.source.conf.raster, any_format=True) as dataset:
            for part in window.parts(self.piece_px, self.piece_px):
                resampled = self._resampled(dataset, part)
                top, left = part.row - window.row, part.col - window.col
                labels = np.where(resampled < _NO_CLASS, resampled.astype(np.int16), UNLABELLED)
                classes[top : top + part.height, left : left + part.width] = labels
        return classes, numbers

    def _resampled(self, dataset: Any, part: Window) -> npt.NDArray[np.uint8]:
        grid = self.grid.part(part)
        resampled = np.full((part.height, part.width), _OUTSIDE, dtype=np.uint8)
        if (window := self.source.raster.around(grid)) is None:
            return resampled
        reproject(
            self.source.classes_in(dataset, window),
            resampled,
            src_transform=self.source.raster.transform @ Affine.translation(window.col, window.row),
            src_crs=self.source.raster.crs,
            src_nodata=_OUTSIDE,
            dst_transform=grid.transform,
            dst_crs=f"EPSG:{grid.epsg}",
            dst_nodata=_OUTSIDE,
            resampling=self.resampling,
            # exact positions: what is near a pixel must not depend on the window
            tolerance=0,
            MODE_TIES="MIN",
        )
        return resampled
