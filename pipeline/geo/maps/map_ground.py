"""The pixels of the map of a scene, of which those count that lie in an area of interest."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import shapely
from shapely.geometry.base import BaseGeometry

from pipeline.geo.raster.area import covering
from pipeline.geo.raster.area_of_interest import AreaOfInterest, pixels_inside
from pipeline.geo.raster.grid import Indices, PatchGrid, PixelGrid, Window


@dataclass(frozen=True)
class MapGround:
    """The pixels of a map, and which of them count."""

    grid: PatchGrid
    """Its pixels, as cells of the scene."""
    shape: BaseGeometry | None = None
    """Polygons in the CRS of the scene: pixels with their centre outside do not count, and are nodata.
    All count where there are none."""

    @classmethod
    def of(
        cls, grid: PatchGrid, outline: BaseGeometry | None, area: AreaOfInterest | None
    ) -> MapGround | None:
        """The part of a map in the outline of its scene and in an area; None where none is.

        The part is a rectangle of the same pixels that the whole map has.
        """
        shape = outline
        if area is not None:
            wanted = area.on(grid.map_grid)
            shape = wanted if shape is None else shapely.intersection(shape, wanted)
        if shape is None:
            return cls(grid)
        if shape.is_empty or (window := covering(grid.map_grid, shape.bounds)) is None:
            return None
        return cls(replace(grid, part=window), shape)

    @property
    def scene(self) -> PixelGrid:
        """The pixels of the scene under the map."""
        return self.grid.scene.part(self.grid.pixels)

    def within(self, rows: range, cols: range) -> tuple[range, range] | None:
        """Of some rows and columns of pixels, those around the area; None where it has none there."""
        if self.shape is None:
            return rows, cols
        part = self._part(rows, cols)
        near = shapely.clip_by_rect(self.shape, *part.bounds)
        if near.is_empty or (window := covering(part, near.bounds)) is None:
            return None
        top, left = rows.start + window.row, cols.start + window.col
        return range(top, top + window.height), range(left, left + window.width)

    def inside(self, rows: range, cols: range) -> npt.NDArray[np.bool_]:
        """Which of some pixels, (rows, cols), count."""
        if self.shape is None:
            return np.ones((len(rows), len(cols)), dtype=bool)
        return pixels_inside(self.shape, self._part(rows, cols))

    def ground_px(self, rows: range, cols: range) -> Indices:
        """Scene pixels under some pixels, (rows, cols); 0 where they do not count."""
        rows_px, cols_px = self.grid.inside_px()
        ground = np.outer(rows_px[rows.start : rows.stop], cols_px[cols.start : cols.stop])
        return ground if self.shape is None else ground * self.inside(rows, cols)

    def _part(self, rows: range, cols: range) -> PixelGrid:
        return self.grid.map_grid.part(Window(rows.start, cols.start, len(rows), len(cols)))
