"""A scene, small, for pictures, out of the blocks that are decoded for something else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import shapely
from shapely.geometry.base import BaseGeometry

from pipeline.geo.raster.grid import Indices, PixelGrid, Window
from pipeline.geo.raster.nearest_lookup import nearest_cols, nearest_rows
from pipeline.geo.raster.raster_file import Layer, OpenFile
from pipeline.geo.scenes.scene import Scene
from pipeline.geo.scenes.scene_files import BandLayer


@dataclass(frozen=True)
class _Sampled:
    """The pixels of one file that are wanted, ascending along both axes."""

    rows: Indices
    cols: Indices
    values: npt.NDArray[np.uint16]
    """(rows, cols); 0 where there is none."""
    seen: npt.NDArray[np.bool_]


def _spread(ground: PixelGrid, max_px: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Rows and columns of a grid, in pixels, spread evenly over it, at most `max_px` of either."""
    factor = max(1.0, max(ground.height, ground.width) / max_px)
    height, width = (round(side / factor) or 1 for side in (ground.height, ground.width))
    rows = (np.arange(height, dtype=np.float64) + 0.5) * (ground.height / height)
    cols = (np.arange(width, dtype=np.float64) + 0.5) * (ground.width / width)
    return rows, cols


class Thumbnail:
    """Some bands of a scene by nearest neighbour; masked pixels, such as clouds, are shown.

    Blocks may be shown by several threads, in any order and more than once; a band of which some were
    not shown is read from its file.
    """

    def __init__(
        self,
        scene: Scene,
        bands: Sequence[str],
        max_px: int,
        part: PixelGrid | None = None,
        shape: BaseGeometry | None = None,
    ) -> None:
        """An empty picture of at most `max_px` on its longer side.

        It shows the whole scene, or a part of it, and of that only what lies in a shape, if there is
        one, in the CRS of the scene.
        """
        self.bands = tuple(bands)
        self._scene = scene
        self._sampled: dict[Layer, _Sampled] = {}
        ground = scene.grid if part is None else part
        rows_px, cols_px = _spread(ground, max_px)
        outside = np.zeros((len(rows_px), len(cols_px)), dtype=bool)
        if shape is not None:
            shapely.prepare(shape)
            x = ground.x0 + cols_px * ground.pixel_m
            y = ground.y0 - rows_px * ground.pixel_m
            outside = ~shapely.contains_xy(shape, *np.meshgrid(x, y))
        for band in bands:
            layer = scene.files[band].layer
            grid = scene.grids[layer]
            rows, cols = nearest_rows(grid, ground, rows_px), nearest_cols(grid, ground, cols_px)
            in_file = np.ix_((rows >= 0) & (rows < grid.height), (cols >= 0) & (cols < grid.width))
            seen = np.ones((len(rows), len(cols)), dtype=bool)
            seen[in_file] = outside[in_file]
            self._sampled[layer] = _Sampled(rows, cols, np.zeros(seen.shape, np.uint16), seen)

    def show(self, layer: Layer, window: Window, values: npt.NDArray[np.uint16]) -> None:
        """Take what is wanted out of the harmonised DN (H, W) of a window of a file."""
        if (sampled := self._sampled.get(layer)) is None:
            return
        rows = slice(*np.searchsorted(sampled.rows, (window.row, window.row + window.height)))
        cols = slice(*np.searchsorted(sampled.cols, (window.col, window.col + window.width)))
        at = np.ix_(sampled.rows[rows] - window.row, sampled.cols[cols] - window.col)
        sampled.values[rows, cols] = values[at]
        sampled.seen[rows, cols] = True

    def pixels(self) -> npt.NDArray[np.uint16]:
        """Harmonised DN, uint16 (C, h, w).

        Raises:
            SceneError: when a file has to be read and is missing or damaged.
        """
        planes = []
        for band in self.bands:
            file = self._scene.files[band]
            sampled = self._sampled[file.layer]
            if not sampled.seen.all():
                self._read(file)
            planes.append(sampled.values)
        return np.stack(planes)

    def _read(self, file: BandLayer) -> None:
        """Show what was not shown of a file, a row of blocks at a time."""
        sampled = self._sampled[file.layer]
        rows, cols = (np.flatnonzero((~sampled.seen).any(axis=axis)) for axis in (1, 0))
        first_row, first_col = sampled.rows[rows[0]], sampled.cols[cols[0]]
        last_row, last_col = sampled.rows[rows[-1]], sampled.cols[cols[-1]]
        source = OpenFile(file.layer.href)
        try:
            high = source.block_px[0]
            top = first_row // high * high
            bottom = min(source.height, (last_row // high + 1) * high)
            missing = Window(top, first_col, bottom - top, last_col - first_col + 1)
            for window in missing.parts(high, missing.width):
                dn = source.read(window, file.layer.number)
                self.show(file.layer, window, file.harmonised(dn))
        finally:
            source.close()
