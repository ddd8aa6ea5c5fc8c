"""Pure arithmetic between pixels, patches, cells, blocks, maps and coordinates; nothing is read here.

Pixels are (row, col) from the top left corner of a scene; world coordinates are (x, y) in metres of
its CRS. Cells are anchored at multiples of their size in the CRS (as `gdalwarp -tap`), in the phase
of the scene's pixels, so that maps of neighbouring scenes and of other dates share one grid.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from affine import Affine

Indices = npt.NDArray[np.intp]


@dataclass(frozen=True)
class Window:
    """A rectangle of pixels; it may reach outside of its scene."""

    row: int
    col: int
    height: int
    width: int

    @property
    def rows(self) -> Indices:
        """Row indices, ascending."""
        return np.arange(self.row, self.row + self.height)

    @property
    def cols(self) -> Indices:
        """Column indices, ascending."""
        return np.arange(self.col, self.col + self.width)

    def parts(self, height: int, width: int) -> Iterator[Window]:
        """Its parts of at most some rows and columns, row by row."""
        bottom, right = self.row + self.height, self.col + self.width
        for row in range(self.row, bottom, height):
            for col in range(self.col, right, width):
                yield Window(row, col, min(height, bottom - row), min(width, right - col))


@dataclass(frozen=True)
class PixelGrid:
    """A north-up grid of square pixels: of a scene, or of a map, whose pixels are cells."""

    epsg: int
    """CRS, in metres; that of a map over several zones may be in degrees."""
    x0: float
    """Easting of the left edge."""
    y0: float
    """Northing of the top edge."""
    height: int
    """Rows."""
    width: int
    """Columns."""
    pixel_m: float = 10.0

    @property
    def transform(self) -> Affine:
        """Affine from (col, row) to (x, y)."""
        return Affine(self.pixel_m, 0.0, self.x0, 0.0, -self.pixel_m, self.y0)

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """(left, bottom, right, top), m."""
        return (
            self.x0,
            self.y0 - self.height * self.pixel_m,
            self.x0 + self.width * self.pixel_m,
            self.y0,
        )

    @property
    def window(self) -> Window:
        """The whole scene."""
        return Window(0, 0, self.height, self.width)

    def part(self, window: Window) -> PixelGrid:
        """The grid of a window of the scene, which may reach outside of it."""
        x0, y0 = self.x0 + window.col * self.pixel_m, self.y0 - window.row * self.pixel_m
        return PixelGrid(self.epsg, x0, y0, window.height, window.width, self.pixel_m)


@dataclass(frozen=True)
class PatchGrid:
    """The cells that cover a scene, or a part of them, and the patches around them.

    A cell is the centre of its patch. The outer cells may reach past the edge of the scene.
    """

    scene: PixelGrid
    patch_px: int
    cell_px: int
    part: Window | None = None
    """Of the cells that cover the scene, the rows and columns that are meant; all by default."""

    @property
    def margin_px(self) -> int:
        """Context around a cell on each side."""
        return (self.patch_px - self.cell_px) // 2

    @property
    def row0(self) -> int:
        """Row of the top edge of the first cells; at most 0 where all are meant."""
        first = _first_at_or_before(-self.scene.y0 / self.scene.pixel_m, self.cell_px)
        return first if self.part is None else first + self.part.row * self.cell_px

    @property
    def col0(self) -> int:
        """Column of the left edge of the first cells; at most 0 where all are meant."""
        first = _first_at_or_before(self.scene.x0 / self.scene.pixel_m, self.cell_px)
        return first if self.part is None else first + self.part.col * self.cell_px

    @property
    def rows(self) -> int:
        """Cells from north to south: those that it takes to cover the scene, or those meant of them."""
        if self.part is not None:
            return self.part.height
        return math.ceil((self.scene.height - self.row0) / self.cell_px)

    @property
    def cols(self) -> int:
        """Cells from west to east."""
        if self.part is not None:
            return self.part.width
        return math.ceil((self.scene.width - self.col0) / self.cell_px)

    @property
    def pixels(self) -> Window:
        """The pixels of the scene under the cells."""
        top, left = max(0, self.row0), max(0, self.col0)
        bottom = min(self.scene.height, self.row0 + self.rows * self.cell_px)
        right = min(self.scene.width, self.col0 + self.cols * self.cell_px)
        return Window(top, left, bottom - top, right - left)

    @property
    def cell_m(self) -> float:
        """Side of a cell, m."""
        return self.cell_px * self.scene.pixel_m

    @property
    def map_grid(self) -> PixelGrid:
        """The grid of the class map, in which one pixel is one cell."""
        x0, y0 = self.scene.transform @ (self.col0, self.row0)
        return PixelGrid(self.scene.epsg, x0, y0, self.rows, self.cols, self.cell_m)

    def read_window(self, rows: range, cols: range, margin_px: int | None = None) -> Window:
        """The pixels of a block of cells with the context around it (all of it by default)."""
        margin = self.margin_px if margin_px is None else margin_px
        return Window(
            self.row0 + rows.start * self.cell_px - margin,
            self.col0 + cols.start * self.cell_px - margin,
            len(rows) * self.cell_px + 2 * margin,
            len(cols) * self.cell_px + 2 * margin,
        )

    def inside_px(self) -> tuple[Indices, Indices]:
        """Pixels of each cell row and each cell column that lie inside the scene.

        The part of cell (r, c) inside the scene is the product of the two, in pixels.
        """
        return (
            _overlap(self.row0, self.rows, self.cell_px, self.scene.height),
            _overlap(self.col0, self.cols, self.cell_px, self.scene.width),
        )

    def positions(self, stride_px: int) -> tuple[Indices, Indices]:
        """Top rows and left columns, in pixels, of all cells wholly inside the scene at a stride.

        They are anchored at multiples of the stride in the CRS; where it divides the cell, those
        of the cell grid are among them.
        """
        return (
            _anchored(self.row0, stride_px, self.scene.height - self.cell_px),
            _anchored(self.col0, stride_px, self.scene.width - self.cell_px),
        )


def _first_at_or_before(edge_px: float, step_px: int) -> int:
    """The pixel, at most 0, of the last multiple of a step that is not past a scene's edge.

    Rounding the edge to whole pixels takes the phase of the scene's pixels out of the sum.
    """
    return -(round_half_down(edge_px) % step_px)


def round_half_down(value: float) -> int:
    """The nearest whole number; a half, which float noise must not tip, goes down."""
    return math.ceil(value - 0.5 - 1e-6)


def _overlap(first: int, count: int, size: int, limit: int) -> Indices:
    starts = first + size * np.arange(count)
    return np.minimum(starts + size, limit) - np.maximum(starts, 0)


def _anchored(first: int, step: int, last: int) -> Indices:
    return np.arange(first % step, last + 1, step)


def mirror_index(indices: Indices, size: int) -> Indices:
    """Indices of any value as indices below `size`, by mirrors along both edges.

    The edge value is repeated (... 1 0 | 0 1 2 ...), so that pixels of 20 and 60 m, which come as
    squares of equal values, are continued by squares.
    """
    folded = indices % (2 * size)
    return np.where(folded < size, folded, 2 * size - 1 - folded)


def square_sums(plane: npt.NDArray[Any], side: int) -> npt.NDArray[np.int32]:
    """Sums (H - side + 1, W - side + 1) of the squares of a plane (H, W), by their top left corners."""
    # a summed-area table (Crow 1984); that it may wrap around does not show in the differences
    table = np.zeros((plane.shape[0] + 1, plane.shape[1] + 1), dtype=np.int32)
    np.cumsum(np.cumsum(plane, axis=0, dtype=np.int32), axis=1, out=table[1:, 1:])
    right, left = table[:, side:], table[:, :-side]
    sums: npt.NDArray[np.int32] = right[side:] - left[side:] - right[:-side] + left[:-side]
    return sums


def block_of(
    x: npt.NDArray[np.float64], y: npt.NDArray[np.float64], block_m: float
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The block of each point: floor(x / block_m), floor(y / block_m)."""
    return np.floor(x / block_m).astype(np.int64), np.floor(y / block_m).astype(np.int64)


def block_names(
    epsg: npt.NDArray[np.integer],
    x: npt.NDArray[np.float64],
    y: npt.NDArray[np.float64],
    block_m: float,
) -> npt.NDArray[np.str_]:
    """The block of each point as `EPSG:col:row`."""
    blocks = zip(epsg.tolist(), *(values.tolist() for values in block_of(x, y, block_m)), strict=True)
    return np.array([f"{zone}:{col}:{row}" for zone, col, row in blocks], dtype=np.str_)
