"""A scene, small, for pictures, out of the blocks that are decoded for something else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.geo.raster.grid import Indices, Window
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


class Thumbnail:
    """Some bands of a scene by nearest neighbour; masked pixels, such as clouds, are shown.

    Blocks may be shown by several threads, in any order and more than once; a band of which some were
    not shown is read from its file.
    """

    def __init__(self, scene: Scene, bands: Sequence[str], max_px: int) -> None:
        """An empty picture of at most `max_px` on its longer side."""
        self.bands = tuple(bands)
        self._scene = scene
        self._sampled: dict[Layer, _Sampled] = {}
        for band in bands:
            layer = scene.files[band].layer
            grid = scene.grids[layer]
            rows, cols = scene.sampled_pixels(band, max_px)
            in_file = np.ix_((rows >= 0) & (rows < grid.height), (cols >= 0) & (cols < grid.width))
            seen = np.ones((len(rows), len(cols)), dtype=bool)
            seen[in_file] = False
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
        """Show a whole file, a row of blocks at a time."""
        source = OpenFile(file.layer.href)
        try:
            whole = Window(0, 0, source.height, source.width)
            for window in whole.parts(source.block_px[0], source.width):
                dn = source.read(window, file.layer.number)
                self.show(file.layer, window, file.harmonised(dn))
        finally:
            source.close()
