"""Active sampling: the cells of a map whose labels would teach the network most.

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
"""Cells along each axis that are in memory at a time, at most."""


@dataclass(frozen=True)
class ActiveSample:
    """Cells that were chosen, and how they differ from the map."""

    cells: Mapping[str, npt.NDArray[Any]]
    """`x` and `y` of the centres, m; `value`; all (n,), in an order that says nothing."""
    means: Mapping[str, tuple[float, float]]
    """Of `confidence` and, where there is one, `dissimilarity`: per cent, of the cells and the map."""


def draw_active(frame: MapFrame, count: int, seed: int) -> ActiveSample:
    """Choose at most `count` cells by low confidence and high dissimilarity, spread over the map.

    Both count by their rank among the cells of the map, alike. Of each square of ground the first cell
    is a candidate, of equals one at random; the squares are as large as `count` of them with data
    allow, and of the candidates the first `count` are chosen. The map is read square by square, twice.

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
                f"{path} is missing or has other cells than {frame.path}; run `predict` again."
            )
    files = [OpenFile(str(path)) for path in paths.values()]
    try:
        return _chosen(files, list(paths)[1:], grid, count, np.random.default_rng(seed))
    finally:
        for file in files:
            file.close()


def _chosen(
    files: list[OpenFile], names: list[str], grid: PixelGrid, count: int, random: np.random.Generator
) -> ActiveSample:
    counts = np.zeros((len(names), 256), dtype=np.int64)
    for window in grid.window.parts(_SIDE, _SIDE):
        (_, *layers), eligible = _read(files, grid, window)
        counts += [np.bincount(layer[eligible], minlength=256) for layer in layers]
    total = int(counts[0].sum())
    if not total:
        raise SceneError(
            f"{files[0].href} has no cell with data inside its outermost ones, so that none can be "
            "chosen; name the map of a larger scene."
        )
    # by value, the share of the map's cells that are surer, and of those no more dissimilar
    ranks = counts.cumsum(axis=1) / total
    ranks[0] = 1 - ranks[0]
    # a square holds at most side * side cells, so that at least `count` squares have one
    side = min(max(math.isqrt(total // count), 1), _SIDE)
    candidates: list[tuple[float, ...]] = []
    for window in grid.window.parts(side, side):
        rasters, eligible = _read(files, grid, window)
        if eligible.any():
            shares = [rank[layer] for rank, layer in zip(ranks, rasters[1:], strict=True)]
            priority = np.where(eligible, np.sum(shares, axis=0), -1)
            best = np.flatnonzero(priority == priority.max())
            row, col = divmod(int(random.choice(best)), window.width)
            values = rasters[:, row, col].tolist()
            candidates.append((priority[row, col], window.row + row, window.col + col, *values))
    priorities, rows, cols, classes, *measured = np.array(random.permutation(candidates)).T
    first = random.permutation(np.argsort(-priorities, kind="stable")[:count])
    x, y = grid.transform @ (cols[first] + 0.5, rows[first] + 0.5)
    chosen = [float(layer[first].mean()) for layer in measured]
    whole = (counts @ np.arange(256) / total).tolist()
    cells = {"x": x, "y": y, "value": classes[first].astype(int)}
    return ActiveSample(cells, dict(zip(names, zip(chosen, whole, strict=True), strict=True)))


def _read(
    files: list[OpenFile], grid: PixelGrid, window: Window
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
    """The class map and the other rasters of a window, (n, h, w), and which cells are eligible, (h, w).

    The outermost cells are not: they may reach past the scene, where `tile` takes no patch.
    """
    rasters = np.stack([file.read(window, 1) for file in files])
    rows, cols = window.rows, window.cols
    inside = np.outer((rows > 0) & (rows < grid.height - 1), (cols > 0) & (cols < grid.width - 1))
    return rasters, inside & (rasters[1:] != class_map.CONFIDENCE_NODATA).all(axis=0)
