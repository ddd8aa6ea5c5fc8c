"""The values of the bands of a scene, as a look at a part of their pixels shows them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.bands import SATURATED, valid_of
from pipeline.errors import RadiometryError, SceneError
from pipeline.geo.raster.area import covering
from pipeline.geo.raster.grid import PixelGrid, Window
from pipeline.geo.raster.raster_file import RasterFile, opened, read, read_decimated
from pipeline.geo.scenes.scene_files import BandLayer

_LOOK_PX = 1024
_STRIP_PX = 512
_RANKS = 1001

type Ranked = npt.NDArray[np.float64]
"""A thousand values of a band at equal ranks, ascending: a share of them is one of its pixels."""


@dataclass(frozen=True)
class Sample:
    """The valid values of a band on the ground of its scene."""

    file: RasterFile
    band: BandLayer
    count: int
    """Valid pixels that were looked at."""
    values: Ranked
    zeros: float = 0.0
    """The share of all pixels looked at that is DN 0."""

    @property
    def reflectance(self) -> Ranked:
        """The values by scale and offset of the band."""
        return self.values * self.band.scale + self.band.offset

    def share(self, value: float) -> float:
        """The share of pixels that have a value."""
        return float((self.values == value).mean())


def sampled(file: RasterFile, band: BandLayer, scene: PixelGrid) -> Sample:
    """Look at about a million pixels of a band, or all there are, on the ground of its scene.

    Raises:
        SceneError: when no pixel is valid.
        RadiometryError: when they should be DN and are no whole numbers.
    """
    window = covering(file.grid, scene.bounds) or file.grid.window
    with opened(file.href) as dataset:
        values = read_decimated(dataset, _LOOK_PX, file.layer.number, window)
        valid = values[valid_of(values, band.none)]
        zeros = 0.0 if band.reflectance else float((values == 0).mean())
        if not len(valid):
            valid = _first_valid(file, band, dataset, window)
    if not band.reflectance and valid.dtype.kind == "f" and (valid != np.rint(valid)).any():
        raise RadiometryError(
            f"{file.href} holds {file.dtype} values that are no whole numbers, so no digital numbers; "
            "add `values: reflectance` in the conf, and a scale unless it is 1."
        )
    ranks = np.linspace(0, len(valid) - 1, _RANKS).round().astype(np.intp)
    return Sample(file, band, len(valid), np.sort(valid)[ranks].astype(np.float64), zeros)


def _first_valid(file: RasterFile, band: BandLayer, dataset: Any, window: Window) -> npt.NDArray[Any]:
    """The valid pixels of the first rows that have some, which a look at a part of all may miss.

    Raises:
        SceneError: when there are none.
    """
    saturated = False
    for strip in window.parts(_STRIP_PX, window.width):
        values = read(dataset, strip, file.layer.number)
        if (valid := valid_of(values, band.none)).any():
            return values[valid]
        saturated |= not band.reflectance and bool((values == SATURATED).any())
    none = "NaN, infinity or the value for nodata" if band.reflectance else "0, which is nodata"
    if saturated:
        none = f"{SATURATED}, which is saturated, or 0, which is nodata"
    raise SceneError(
        f"{file.href} has no valid pixel: all are {none}; give the scene of another date or an area "
        "that has pixels."
    )
