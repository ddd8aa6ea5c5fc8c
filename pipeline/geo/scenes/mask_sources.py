"""The sources of a mask: raster layers and polygons, read as values that all products share.

0 is clear, then follow the classes of `MASK_CLASSES` in their order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing

import numpy as np
import numpy.typing as npt
import shapely

from pipeline.config.sources import MASK_CLASSES, MaskClass
from pipeline.errors import SceneError
from pipeline.geo.raster.area_of_interest import rasterized
from pipeline.geo.raster.grid import PixelGrid
from pipeline.geo.raster.nearest_lookup import NearestPixels
from pipeline.geo.raster.raster_file import OpenFile, RasterFile, inspect
from pipeline.geo.scenes.checks import require_cover
from pipeline.geo.scenes.scene_files import MaskLayer, PolygonMask

VALUES: dict[str, int] = {name: value for value, name in enumerate(MASK_CLASSES, start=1)}
"""Of the classes of a mask, in its file."""
_PATTERNS = 1 << 16

Codes = npt.NDArray[np.uint8]


class RasterSource:
    """A layer of a raster file; its pixels are found by geotransform, nearest."""

    def __init__(self, file: RasterFile, values: Mapping[int, int]) -> None:
        """Open it; `values` has the value of a mask by that of the file, the others are clear."""
        self.values = frozenset(values.values())
        """Those that may occur, without 0."""
        self.grid, self._number = file.grid, file.layer.number
        self._file = OpenFile(file.href)
        self._table = np.zeros(_PATTERNS, dtype=np.uint8)
        limits = np.iinfo(file.dtype)
        for value, code in values.items():
            if limits.min <= value <= limits.max:
                self._table[value % _PATTERNS] = code

    def codes(self, strip: PixelGrid) -> Codes:
        """The value of each pixel (H, W) of a strip; clear outside of the file."""
        nearest = NearestPixels.between(self.grid, strip)
        if nearest is None:
            return np.zeros((strip.height, strip.width), dtype=np.uint8)
        values = self._file.read(nearest.window, self._number)
        codes: Codes = self._table[values.view(f"u{values.itemsize}")]
        return nearest.pick(codes, outside=0)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class PolygonSource:
    """Polygons; a pixel is in one when its centre is."""

    def __init__(self, mask: PolygonMask, scene: PixelGrid) -> None:
        """Take the polygons, which are as fine as the grid of the scene."""
        self.grid, self._shapes = scene, mask.shapes
        self.values = frozenset((VALUES[mask.meaning],))
        self._bounds = shapely.bounds(mask.shapes).reshape(-1, 4).T

    def codes(self, strip: PixelGrid) -> Codes:
        """The value of each pixel (H, W) of a strip."""
        (value,) = self.values
        left, bottom, right, top = strip.bounds
        west, south, east, north = self._bounds
        near = (west <= right) & (east >= left) & (south <= top) & (north >= bottom)
        return rasterized(((polygon, value) for polygon in self._shapes[near]), strip, "uint8")


type Source = RasterSource | PolygonSource


def open_sources(
    masks: Sequence[MaskLayer | PolygonMask],
    scene: PixelGrid,
    classes: Sequence[MaskClass],
    stack: ExitStack,
) -> list[Source]:
    """Those of the masks that can have one of the classes; files are closed by `stack`.

    Raises:
        SceneError: when a mask cannot be read, leaves out a part of the scene or has another CRS.
    """
    sources: list[Source] = []
    for mask in masks:
        if isinstance(mask, PolygonMask):
            if mask.meaning not in classes:
                continue
            if mask.epsg != scene.epsg:
                raise SceneError(
                    f"{mask.origin} has EPSG:{mask.epsg}, its scene has EPSG:{scene.epsg}; give masks "
                    "and bands of one product."
                )
            sources.append(PolygonSource(mask, scene))
        elif values := {value: VALUES[c] for value, c in mask.classes.items() if c in classes}:
            file = inspect(*mask.layer)
            require_cover(file, scene)
            sources.append(stack.enter_context(closing(RasterSource(file, values))))
    return sources
