"""Active sampling: the ground whose labels would teach the network most.

Pixels of the map are chosen, and the cell around each is labelled, the square that `tile` gives a
class.

Uncertainty sampling, least confident first (Settles 2009, Active learning literature survey), joined
with the dissimilarity to the training data, and one cell a square of ground, so that the cells of one
round differ (diversity; Tuia et al. 2011, A survey of active learning algorithms for supervised remote
sensing image classification, IEEE Journal of Selected Topics in Signal Processing 5). Cells that were
chosen are no probability sample: nothing follows from them about the rest of the map.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.errors import SceneError
from pipeline.geo.maps import class_map
from pipeline.geo.maps.catalog import MapFolder
from pipeline.geo.raster.grid import PixelGrid, Window
from pipeline.geo.raster.raster_file import OpenFile, inspect
from pipeline.geo.reference.sample import MapFrame

ACTIVE = "active"
_SIDE = 2048
"""Pixels along each axis that are in memory at a time, at most."""


@dataclass(frozen=True)
class ActiveSample:
    """Cells that were chosen, and how they differ from the map."""

    cells: Mapping[str, npt.NDArray[Any]]
    """`x` and `y` of the centres, m; `value`, the map's class of the pixel chosen; all (n,), in an
    order that says nothing."""
    means: Mapping[str, tuple[float, float]]
    """Of `confidence` and, where there is one, `dissimilarity`: per cent, of the pixels and the map."""


def draw_active(frame: MapFrame, count: int, seed: int) -> ActiveSample:
    """Choose at most `count` cells by low confidence and high dissimilarity, spread over the map.

    Both count by their rank among the pixels of the map, alike. Of each square of ground the first
    pixel is a candidate, of equals one at random; the squares are as large as `count` of them with
    data allow, at least as large as a cell, and of the candidates the first of `count` cells are
    chosen. The map is read square by square, twice.

    Raises:
        SceneError: when the confidence is missing, or a raster cannot be read or is of another map.
    """
    folder = MapFolder(frame.path.parent, frame.scene)
    paths = {"classes": frame.path, "confidence": folder.confidence}
    if folder.dissimilarity.exists():
        paths["dissimilarity"] = folder.dissimilarity
    grid = inspect(str(frame.path)).grid
    for path in paths.values():
        if not path.exists() or inspect(str(path)).grid != grid:
            raise SceneError(
                f"{path} is missing or has other pixels than {frame.path}; run `predict` again."
            )
    files = [OpenFile(str(path)) for path in paths.values()]
    try:
        return _chosen(files, _Ground(grid, frame), list(paths)[1:], count, np.random.default_rng(seed))
    finally:
        for file in files:
            file.close()


@dataclass(frozen=True)
class _Ground:
    """The cells under the pixels of a map."""

    grid: PixelGrid
    """Of the map."""
    frame: MapFrame

    def x(self, cols: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        """Of the centre of the cell around the centre of each column of pixels, m."""
        return self._center(self.grid.x0 + (cols + 0.5) * self.grid.pixel_m, self.grid.x0)

    def y(self, rows: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        """Of the centre of the cell around the centre of each row of pixels, m."""
        return self._center(self.grid.y0 - (rows + 0.5) * self.grid.pixel_m, self.grid.y0)

    def _center(self, place: npt.NDArray[np.float64], origin: float) -> npt.NDArray[np.float64]:
        pixel_m, cell_m = self.grid.pixel_m, self.frame.cell_m
        phase = origin - round(origin / pixel_m) * pixel_m  # that of the scene's pixels
        center: npt.NDArray[np.float64] = ((place - phase) // cell_m + 0.5) * cell_m + phase
        return center

    def eligible(self, window: Window) -> npt.NDArray[np.bool_]:
        """Which pixels `tile` could take a patch around, (h, w).

        The patch lies in the map, and the pixel is none of the outermost ones, which may reach past the
        scene.
        """
        grid, half = self.grid, self.frame.patch_m / 2
        left, bottom, right, top = grid.bounds
        rows, cols = window.rows, window.cols
        x, y = self.x(cols), self.y(rows)
        rows_inside = (rows > 0) & (rows < grid.height - 1) & (y + half <= top) & (y - half >= bottom)
        cols_inside = (cols > 0) & (cols < grid.width - 1) & (x - half >= left) & (x + half <= right)
        return np.outer(rows_inside, cols_inside)


def _chosen(
    files: list[OpenFile], ground: _Ground, names: list[str], count: int, random: np.random.Generator
) -> ActiveSample:
    grid = ground.grid
    counts = np.zeros((len(names), 256), dtype=np.int64)
    for window in grid.window.parts(_SIDE, _SIDE):
        (_, *layers), eligible = _read(files, ground, window)
        counts += [np.bincount(layer[eligible], minlength=256) for layer in layers]
    total = int(counts[0].sum())
    if not total:
        raise SceneError(
            f"{files[0].href} has no pixel with data and a whole patch around it, so that none can be "
            "chosen; name the map of a larger scene."
        )
    # by value, the share of the map's pixels that are surer, and of those no more dissimilar
    ranks = counts.cumsum(axis=1) / total
    ranks[0] = 1 - ranks[0]
    # a square holds at most side * side pixels, so that at least `count` squares have one
    side = min(max(math.isqrt(total // count), math.ceil(ground.frame.cell_m / grid.pixel_m)), _SIDE)
    candidates: list[tuple[float, ...]] = []
    for window in grid.window.parts(side, side):
        rasters, eligible = _read(files, ground, window)
        if eligible.any():
            shares = [rank[layer] for rank, layer in zip(ranks, rasters[1:], strict=True)]
            priority = np.where(eligible, np.sum(shares, axis=0), -1)
            best = np.flatnonzero(priority == priority.max())
            row, col = divmod(int(random.choice(best)), window.width)
            values = rasters[:, row, col].tolist()
            candidates.append((priority[row, col], window.row + row, window.col + col, *values))
    priorities, rows, cols, classes, *measured = np.array(random.permutation(candidates)).T
    centers = np.stack([ground.x(cols), ground.y(rows)])
    order = np.argsort(-priorities, kind="stable")
    # of the pixels in one cell the first
    _, once = np.unique(centers[:, order], axis=1, return_index=True)
    first = random.permutation(order[np.sort(once)[:count]])
    x, y = centers[:, first]
    chosen = [float(layer[first].mean()) for layer in measured]
    whole = (counts @ np.arange(256) / total).tolist()
    cells = {"x": x, "y": y, "value": classes[first].astype(int)}
    return ActiveSample(cells, dict(zip(names, zip(chosen, whole, strict=True), strict=True)))


def _read(
    files: list[OpenFile], ground: _Ground, window: Window
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
    """The class map and the other rasters of a window, (n, h, w), and which pixels are eligible."""
    rasters = np.stack([file.read(window, 1) for file in files])
    with_data = (rasters[1:] != class_map.CONFIDENCE_NODATA).all(axis=0)
    return rasters, with_data & ground.eligible(window)
