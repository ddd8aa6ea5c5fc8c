"""Label polygons -> one class, or none, per cell.

A pixel of 10 m has the class of the polygon that holds its centre. Where polygons of several classes
hold it, the smallest of them wins (a pond in a park; of equal ones the first in the file), or the
pixel stays unlabelled, as the conf says. A cell has the class that covers the largest share of it,
if that is at least `min_purity`; of equal shares, the class that stands first in the conf.
Unlabelled ground is unknown, never background.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely
from rasterio.features import rasterize

from pipeline.config.classes import ClassesConf
from pipeline.config.tile import LabelConf
from pipeline.errors import LabelError
from pipeline.geo.grid import SceneGrid, Window
from pipeline.geo.polygons import Polygons, read_sources

UNLABELLED = -1
_RASTERIZING = Lock()
"""rasterio silences a warning of its own while it paints, which threads cannot do side by side."""


@dataclass(frozen=True)
class Labels:
    """The polygons that label one scene, in its CRS, the largest first: what is painted later wins."""

    grid: SceneGrid
    shapes: npt.NDArray[np.object_]
    """Polygons, by decreasing area."""
    classes: npt.NDArray[np.int16]
    """Class of each, 0-based."""
    numbers: npt.NDArray[np.int32]
    """Number of each over all sources, as `Polygons.numbers`."""
    overlap: str = "smallest"
    """Whether the smallest polygon wins, or pixels of several classes are `unlabelled`."""

    @cached_property
    def _bounds(self) -> npt.NDArray[np.float64]:
        return shapely.bounds(self.shapes).reshape(-1, 4).T  # type: ignore[no-any-return]

    def pixels(self, window: Window) -> tuple[npt.NDArray[np.int16], npt.NDArray[np.int32]]:
        """Class and polygon number of each pixel of a window, both (H, W), -1 where there is none."""
        here = _grid_of(window, self.grid)
        left, bottom, right, top = here.bounds
        west, south, east, north = self._bounds
        near = np.flatnonzero((west < right) & (east > left) & (south < top) & (north > bottom))
        # places from 1, because 0 is what is not painted
        places = _painted(self.shapes[near], np.arange(1, len(near) + 1), here)
        hit = places > 0
        if self.overlap == "unlabelled":
            hit &= ~self._disputed(near, here)
        chosen = near[places[hit] - 1]
        classes = np.full(hit.shape, UNLABELLED, dtype=np.int16)
        numbers = np.full(hit.shape, UNLABELLED, dtype=np.int32)
        classes[hit], numbers[hit] = self.classes[chosen], self.numbers[chosen]
        return classes, numbers

    def _disputed(self, near: npt.NDArray[np.intp], here: SceneGrid) -> npt.NDArray[np.bool_]:
        """Whether each pixel lies under polygons of several classes."""
        claims = np.zeros((here.height, here.width), dtype=np.uint8)
        for label in np.unique(self.classes[near]):
            of_class = self.shapes[near[self.classes[near] == label]]
            ones = np.ones(len(of_class), dtype=np.int64)
            claims += (_painted(of_class, ones, here) > 0).astype(np.uint8)
        return claims > 1


def _grid_of(window: Window, grid: SceneGrid) -> SceneGrid:
    """The grid of a window of a scene, which may reach outside of it."""
    return replace(
        grid,
        x0=grid.x0 + window.col * grid.pixel_m,
        y0=grid.y0 - window.row * grid.pixel_m,
        height=window.height,
        width=window.width,
    )


def _painted(
    shapes: npt.NDArray[np.object_], values: npt.NDArray[np.int64], here: SceneGrid
) -> npt.NDArray[Any]:
    """The values of polygons, from 1, at the pixels whose centres they hold, (H, W); the last wins."""
    shape = (here.height, here.width)
    if not len(shapes):
        return np.zeros(shape, dtype=np.int32)
    pairs = list(zip(shapes, values.tolist(), strict=True))
    # half the bytes are painted in half the time
    dtype = "uint16" if values.max() < 2**16 else "int32"
    with _RASTERIZING:
        painted: npt.NDArray[Any] = rasterize(pairs, shape, transform=here.transform, dtype=dtype)
    return painted


def labels_on(grid: SceneGrid, sources: Sequence[Polygons], overlap: str, scene: str) -> Labels:
    """The labels of a scene.

    Args:
        grid: The scene's.
        sources: All that describe it.
        overlap: `smallest` or `unlabelled`.
        scene: Its id, for the message.

    Raises:
        LabelError: when no polygon touches the scene.
    """
    found = [(source, *source.on(grid)) for source in sources]
    shapes = np.concatenate([np.empty(0, dtype=object), *(shapes for _, shapes, _ in found)])
    if not len(shapes):
        raise LabelError(_elsewhere(grid, sources, scene))
    classes = np.concatenate([source.classes[places] for source, _, places in found])
    numbers = np.concatenate([source.numbers[places] for source, _, places in found])
    # the last key sorts first: decreasing area; of equal areas the first in the file is painted last
    order = np.lexsort((-np.arange(len(shapes)), -shapely.area(shapes)))
    return Labels(grid, shapes[order], classes[order], numbers[order], overlap)


def _elsewhere(grid: SceneGrid, sources: Sequence[Polygons], scene: str) -> str:
    if not sources:
        return (
            f"no labels describe the scene {scene}; add its id to the `scenes` of its labels, or take "
            "it out of the scenes to train on."
        )
    left, bottom, right, top = grid.bounds
    paths = ", ".join(source.conf.path for source in sources)
    return (
        f"the labels ({paths}) do not overlap the scene {scene} (EPSG:{grid.epsg}, x {left:.0f} to "
        f"{right:.0f}, y {bottom:.0f} to {top:.0f}); give labels of its ground, or correct their CRS."
    )


def read_labels(
    confs: Sequence[LabelConf], classes: ClassesConf, grid: SceneGrid, overlap: str, scene: str = ""
) -> Labels:
    """The labels of one scene from their files, as `read_sources` and `labels_on` give them.

    Raises:
        LabelError: when the files cannot be used or no polygon touches the scene.
    """
    return labels_on(grid, read_sources(confs, classes), overlap, scene)


def classify_cells(
    classes: npt.NDArray[np.int16], numbers: npt.NDArray[np.int32], count: int
) -> tuple[npt.NDArray[np.int16], npt.NDArray[np.float32], npt.NDArray[np.int32]]:
    """The class of each cell from its pixels, however small its share.

    Args:
        classes: Class of each pixel, (N, cell_px, cell_px), -1 unlabelled.
        numbers: Polygon of each pixel, alike.
        count: Number of classes.

    Returns:
        For each cell its class (-1 where no pixel has one), the share of the cell that this class
        covers, and of the polygons of this class the one that covers most of the cell.
    """
    flat = classes.reshape(len(classes), -1)
    shares = np.stack([(flat == label).mean(axis=1) for label in range(count)], axis=1)
    label = shares.argmax(axis=1).astype(np.int16)
    purity = shares.max(axis=1).astype(np.float32)
    label[purity == 0] = UNLABELLED
    of_class = np.where(flat == label[:, None], numbers.reshape(len(numbers), -1), UNLABELLED)
    return label, purity, _most_frequent(of_class)


def _most_frequent(values: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    """The most frequent value that is not -1 of each row, the smallest of equals; -1 where none is."""
    ordered = np.sort(values, axis=1)
    width = ordered.shape[1]
    # the length of the run of equal values that ends at each place
    starts = np.ones(ordered.shape, dtype=bool)
    starts[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    since = np.maximum.accumulate(np.where(starts, np.arange(width), 0), axis=1)
    runs = np.where(ordered == UNLABELLED, 0, np.arange(width) - since + 1)
    best = runs.argmax(axis=1)
    return ordered[np.arange(len(ordered)), best]
