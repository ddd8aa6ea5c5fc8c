"""What says which pixels of a scene are cloud, shadow and the like: layers of rasters, and polygons.

Whatever the source calls it, here it is one of the values 0 clear, then the classes of `MASK_CLASSES`
in their order.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack, closing
from typing import Protocol

import numpy as np
import numpy.typing as npt
import shapely
from rasterio.features import rasterize

from pipeline.config.sources import MASK_CLASSES, MaskClass
from pipeline.errors import SceneError
from pipeline.geo.raster.grid import SceneGrid
from pipeline.geo.raster.nearest_lookup import Axis, Places, nearest_index
from pipeline.geo.raster.raster_file import OpenFile, RasterFile, inspect
from pipeline.geo.scenes.checks import require_cover
from pipeline.geo.scenes.scene_files import MaskLayer, PolygonMask

VALUES: dict[str, int] = {name: place for place, name in enumerate(MASK_CLASSES, start=1)}
"""Of the classes of a mask, in its file."""
_PATTERNS = 1 << 16

Codes = npt.NDArray[np.uint8]


class Source(Protocol):
    """What gives the values of a mask."""

    gives: frozenset[int]
    """Those that may occur, without 0."""

    def codes(self, strip: SceneGrid) -> Codes:
        """The value of each pixel (H, W) of a strip."""


class LayerReader:
    """A layer of a raster file; its pixels are found by geotransform, nearest."""

    def __init__(self, file: RasterFile, meanings: dict[int, int]) -> None:
        """Open it; `meanings` has the value of a mask by that of the file, the others are clear."""
        self.gives = frozenset(meanings.values())
        self._grid, self._number = file.grid, file.layer.number
        self._file = OpenFile(file.href)
        self._table = np.zeros(_PATTERNS, dtype=np.uint8)
        held = np.iinfo(file.dtype)
        for value, code in meanings.items():
            if held.min <= value <= held.max:
                self._table[value % _PATTERNS] = code

    def codes(self, strip: SceneGrid) -> Codes:
        """The value of each pixel (H, W) of a strip; clear where the file has none."""
        grid = self._grid
        right = strip.x0 + (np.arange(strip.width) + 0.5) * strip.pixel_m
        down = grid.y0 - strip.y0 + (np.arange(strip.height) + 0.5) * strip.pixel_m
        places = Places.of(
            Axis.of(nearest_index(0.0, grid.pixel_m, down), grid.height),
            Axis.of(nearest_index(grid.x0, grid.pixel_m, right), grid.width),
        )
        if places is None:
            return np.zeros((strip.height, strip.width), dtype=np.uint8)
        values = self._file.read(places.window, self._number)
        known: Codes = self._table[values.view(f"u{values.itemsize}")]
        return places.pick(known, outside=0)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class PolygonSource:
    """Polygons; a pixel is in one when its centre is."""

    def __init__(self, mask: PolygonMask) -> None:
        """Look up where each polygon lies."""
        self.gives = frozenset((VALUES[mask.meaning],))
        self._shapes, self._code = mask.shapes, VALUES[mask.meaning]
        self._bounds = shapely.bounds(mask.shapes).reshape(-1, 4)

    def codes(self, strip: SceneGrid) -> Codes:
        """The value of each pixel (H, W) of a strip."""
        left, bottom, right, top = strip.bounds
        west, south, east, north = self._bounds.T
        near = (west <= right) & (east >= left) & (south <= top) & (north >= bottom)
        shape = strip.height, strip.width
        if not near.any():
            return np.zeros(shape, dtype=np.uint8)
        pairs = ((polygon, self._code) for polygon in self._shapes[near])
        codes: Codes = rasterize(pairs, shape, transform=strip.transform, dtype="uint8")
        return codes


def open_sources(
    masks: Sequence[MaskLayer | PolygonMask],
    scene: SceneGrid,
    wanted: Sequence[MaskClass],
    stack: ExitStack,
) -> tuple[list[Source], list[SceneGrid]]:
    """What says something of the classes wanted, and the grids that it lies on.

    Raises:
        SceneError: when a mask cannot be read, leaves out a part of the scene or has another CRS.
    """
    sources: list[Source] = []
    grids = []
    for mask in masks:
        if isinstance(mask, PolygonMask):
            if mask.meaning not in wanted:
                continue
            _require_crs(mask, scene)
            sources.append(PolygonSource(mask))
            grids.append(scene)
        elif meant := {value: VALUES[m] for value, m in mask.classes.items() if m in wanted}:
            file = inspect(*mask.layer)
            require_cover(file, scene)
            sources.append(stack.enter_context(closing(LayerReader(file, meant))))
            grids.append(file.grid)
    return sources, grids


def _require_crs(mask: PolygonMask, scene: SceneGrid) -> None:
    if mask.epsg != scene.epsg:
        raise SceneError(
            f"{mask.origin} has EPSG:{mask.epsg}, its scene has EPSG:{scene.epsg}; give masks and "
            "bands of one product."
        )
