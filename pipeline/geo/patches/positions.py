"""Which cells of a scene become patches: those with a class, and a draw of them where there are many.

Labels alone decide here; no pixel is read. Everything is counted: the positions that stay and the
reasons of the others add up to all cells that share a pixel with the scene.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
from shapely.geometry.base import BaseGeometry

from pipeline.config.tile import TileConf
from pipeline.geo.labels.cell_classes import UNLABELLED, Labels, classify_cells
from pipeline.geo.raster.area_of_interest import AreaOfInterest, pixels_inside
from pipeline.geo.raster.grid import Indices, PatchGrid, Window, square_sums
from pipeline.geo.scenes.scene import Scene
from pipeline.parallel import run_pieces

_SPAN_PX = 512
"""Rows of pixels whose labels are painted at a time."""
_AT_A_TIME = 16_384
"""Cells that are classified at a time."""
_ARRAYS = ("row", "col", "label", "purity", "polygon")
"""Fields of `Positions` with a value for each of them."""


@dataclass(frozen=True)
class Positions:
    """Cells of one scene that have a class, row-major: arrays of N values each."""

    scene: Scene
    grid: PatchGrid
    row: Indices
    """Top row of the cell, pixels of the scene."""
    col: Indices
    """Left column of the cell."""
    label: npt.NDArray[np.int16]
    """Class of the cell, 0-based."""
    purity: npt.NDArray[np.float32]
    """Share of the cell that its class covers."""
    polygon: npt.NDArray[np.int32]
    """Number of the label of this class that most of the cell has it from, -1 for a raster."""
    left_out: dict[str, int] = field(default_factory=dict)
    """Positions that are not among them, by reason."""

    def __len__(self) -> int:
        return len(self.row)

    def __getitem__(self, rows: slice | npt.NDArray[Any]) -> Positions:
        """Some of the positions: a run of them, indices, or a mask."""
        return replace(self, **{name: getattr(self, name)[rows] for name in _ARRAYS})

    @property
    def centers(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """World coordinates (x, y) of the centres, m."""
        half, scene = self.grid.cell_px / 2, self.scene.grid
        x = scene.x0 + (self.col + half) * scene.pixel_m
        y = scene.y0 - (self.row + half) * scene.pixel_m
        return np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)

    @property
    def on_grid(self) -> npt.NDArray[np.bool_]:
        """Whether each cell lies on the cell grid."""
        size = self.grid.cell_px
        on_rows = (self.row - self.grid.row0) % size == 0
        on_cols = (self.col - self.grid.col0) % size == 0
        on_both: npt.NDArray[np.bool_] = on_rows & on_cols
        return on_both

    def columns(self, valid: npt.NDArray[np.float32]) -> dict[str, Any]:
        """Their rows of the table of patches, but for the outline; `valid` is their share of pixels."""
        x, y = self.centers
        return {
            "scene": [self.scene.id] * len(self),
            "epsg": np.full(len(self), self.scene.grid.epsg, dtype=np.int32),
            "x": x,
            "y": y,
            "label": self.label,
            "purity": self.purity,
            "valid": valid,
            "on_grid": self.on_grid,
            "polygon": self.polygon,
        }


def labelled_positions(
    scene: Scene, labels: Labels, conf: TileConf, classes: int, workers: int = 1
) -> Positions:
    """The positions of a scene, at the stride of the conf, whose cell has a class.

    `left_out` counts the others: `edge` (the cell reaches past the scene), `unlabelled` (no pixel of it
    has a class; those of points have one for cells of the cell grid alone) and `impure` (no class
    covers `min_purity` of it).
    """
    grid = PatchGrid(scene.grid, conf.patch_px, conf.cell_px)
    rows, cols = grid.positions(conf.stride_px)
    everywhere = _meeting(grid.row0, scene.grid.height, conf) * _meeting(
        grid.col0, scene.grid.width, conf
    )
    left_out = {"edge": everywhere - len(rows) * len(cols), "unlabelled": 0, "impure": 0}
    kept = [_unlabelled(scene, grid, rows[:0], cols[:0])]
    spans = (_unlabelled(scene, grid, rows[run], cols) for run in runs(rows, _SPAN_PX) if len(cols))
    for cells in run_pieces(partial(_classified, labels=labels, classes=classes), spans, workers):
        labelled = cells.label != UNLABELLED
        # a share is a quotient of whole numbers, here in 32 bits: leave room for its last ones
        pure = cells.purity >= conf.min_purity - 1e-6
        left_out["unlabelled"] += int((~labelled).sum())
        left_out["impure"] += int((labelled & ~pure).sum())
        kept.append(cells[labelled & pure])
    arrays: dict[str, Any] = {
        name: np.concatenate([getattr(part, name) for part in kept]) for name in _ARRAYS
    }
    return replace(kept[0], left_out=left_out, **arrays)


def in_area(positions: Positions) -> Positions:
    """Those of the positions whose cell has a pixel in the outline of its scene, if there is one.

    The others are counted as `outside_area`.
    """
    outline = positions.scene.outline
    if outline is None:
        return positions
    return _only(positions, _touching(positions, outline, margin_px=0), "outside_area")


def without(positions: Positions, excluded: AreaOfInterest) -> Positions:
    """Those of the positions whose patch shows no pixel of an area; the others count as `excluded`."""
    shown = ~_touching(positions, excluded.on(positions.grid.scene), positions.grid.margin_px)
    return _only(positions, shown, "excluded")


def _only(positions: Positions, kept: npt.NDArray[np.bool_], reason: str) -> Positions:
    left_out = positions.left_out | {reason: int((~kept).sum())}
    return replace(positions[kept], left_out=left_out)


def _touching(positions: Positions, shape: BaseGeometry, margin_px: int) -> npt.NDArray[np.bool_]:
    """Whether each cell, with a margin around it, has a pixel whose centre lies in a shape."""
    touching, scene = np.zeros(len(positions), dtype=bool), positions.grid.scene
    side = positions.grid.cell_px + 2 * margin_px
    for run in runs(positions.row, _SPAN_PX):
        row, col = positions.row[run] - margin_px, positions.col[run] - margin_px
        top, left = int(row.min()), int(col.min())
        window = Window(top, left, int(row.max()) - top + side, int(col.max()) - left + side)
        sums = square_sums(pixels_inside(shape, scene.part(window)), side)
        touching[run] = sums[row - top, col - left] > 0
    return touching


def runs(rows: Indices, span_px: int) -> list[slice]:
    """Ascending rows in runs of which each spans at most `span_px`, or is one row many times."""
    if not len(rows):
        return []
    cuts = np.flatnonzero(np.diff((rows - rows[0]) // span_px)) + 1
    return [slice(start, stop) for start, stop in pairwise([0, *cuts.tolist(), len(rows)])]


def _meeting(first: int, size: int, conf: TileConf) -> int:
    """How many positions along one axis have a cell that shares a pixel with the scene."""
    # of the positions first + k * stride, those above -cell_px and below size
    before = (first + conf.cell_px - 1) // conf.stride_px
    return before + (size - 1 - first) // conf.stride_px + 1


def _unlabelled(scene: Scene, grid: PatchGrid, rows: Indices, cols: Indices) -> Positions:
    """All positions of some rows and columns, row-major, without a class."""
    row, col = (axis.ravel() for axis in np.meshgrid(rows, cols, indexing="ij"))
    return Positions(
        scene,
        grid,
        row,
        col,
        label=np.full(len(row), UNLABELLED, dtype=np.int16),
        purity=np.zeros(len(row), dtype=np.float32),
        polygon=np.full(len(row), UNLABELLED, dtype=np.int32),
    )


def _classified(cells: Positions, labels: Labels, classes: int) -> Positions:
    """Give each of the cells its class unless all of its pixels are unlabelled."""
    size, (row, col) = cells.grid.cell_px, (cells.row, cells.col)
    top, left = int(row[0]), int(col[0])
    window = Window(top, left, int(row[-1]) - top + size, int(col[-1]) - left + size)
    pixels, numbers = labels.pixels(window)
    # the classes of pixels, as cells between those of the cell grid see them
    between = pixels
    if len(labels.centred):
        between = np.where(np.isin(numbers, labels.centred), np.int16(UNLABELLED), pixels)
    view = partial(np.lib.stride_tricks.sliding_window_view, window_shape=(size, size))
    labelled = np.flatnonzero(square_sums(pixels != UNLABELLED, size)[row - top, col - left])
    for start in range(0, len(labelled), _AT_A_TIME):
        part = labelled[start : start + _AT_A_TIME]
        at = (row[part] - top, col[part] - left)
        squares = view(pixels)[at]
        if between is not pixels:
            on_grid = cells.on_grid[part, None, None]
            squares = np.where(on_grid, squares, view(between)[at])
        label, purity, polygon = classify_cells(squares, view(numbers)[at], classes)
        cells.label[part], cells.purity[part], cells.polygon[part] = label, purity, polygon
    return cells


def draw(scenes: Sequence[Positions], conf: TileConf) -> list[Positions]:
    """At most `max_per_scene` positions of each scene, and of those `max_per_class` of each class.

    The rank of a position is a hash of (seed, EPSG, x, y), and the smallest ranks stay: the same
    ground is drawn on every date and in any order of the scenes. Another scene can take patches under
    `max_per_class` away, but exchanges no position of the others for another. What is not drawn is
    counted as `drawn_out`.
    """
    ranks = np.concatenate([ground_ranks(*p.centers, p.scene.grid.epsg, conf.seed) for p in scenes])
    labels = np.concatenate([positions.label for positions in scenes])
    numbers = {name: number for number, name in enumerate(sorted(p.scene.id for p in scenes))}
    scene = np.repeat([numbers[p.scene.id] for p in scenes], [len(p) for p in scenes])
    # of equal ranks, one ground on several dates, the scene whose id sorts first
    order = np.lexsort((scene, ranks))
    keep = drawn(order, (scene, conf.max_per_scene), (labels, conf.max_per_class))
    masks = np.split(keep, np.cumsum([len(positions) for positions in scenes])[:-1])
    return [
        replace(p[mask], left_out=p.left_out | {"drawn_out": int((~mask).sum())})
        for p, mask in zip(scenes, masks, strict=True)
    ]


def drawn(order: Indices, *limits: tuple[npt.NDArray[Any], int | None]) -> npt.NDArray[np.bool_]:
    """Which of N positions stay: the first in `order` of each group, at most as many as its limit.

    Limits apply one after the other, each a group (N) of every position and how many of one group stay.
    """
    keep = np.ones(len(order), dtype=bool)
    for groups, most in limits:
        for group in np.unique(groups) if most is not None else []:
            mine = order[keep[order] & (groups[order] == group)]
            keep[mine[most:]] = False
    return keep


def ground_ranks(
    x: npt.NDArray[np.float64], y: npt.NDArray[np.float64], epsg: int | npt.NDArray[Any], seed: int
) -> npt.NDArray[np.uint64]:
    """Ranks of points (x, y), m in the CRS of each, in the draw of a seed: a hash of the ground."""
    rank = np.full(len(x), seed % 2**64, dtype=np.uint64)
    # half metres as whole numbers, free of the noise of floats
    for values in (np.asarray(epsg), np.rint(2 * x), np.rint(2 * y)):
        rank = _mixed(rank ^ values.astype(np.int64).astype(np.uint64))
    return rank


def _mixed(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """The finaliser of SplitMix64 (Steele, Lea and Flood 2014): every bit sways all others."""
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
