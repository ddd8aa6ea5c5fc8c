"""Nearest neighbour by geotransform: which pixels of a file hold the pixels of another grid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.geo.raster.grid import Indices, PixelGrid, Window


def nearest_rows(source: PixelGrid, other: PixelGrid, rows: npt.NDArray[np.floating]) -> Indices:
    """The rows of `source` that hold some, given in pixels of another grid; -1 or less above it."""
    # northings grow upwards, rows downwards: both are measured from the top
    return _index(source.y0 - (other.y0 - rows * other.pixel_m), source.pixel_m)


def nearest_cols(source: PixelGrid, other: PixelGrid, cols: npt.NDArray[np.floating]) -> Indices:
    """The columns of `source` that hold some, given in pixels of another grid; -1 or less before it."""
    return _index(other.x0 + cols * other.pixel_m - source.x0, source.pixel_m)


def _index(distance_m: npt.NDArray[np.floating], pixel_m: float) -> Indices:
    # the guard keeps float noise at an edge between two pixels from choosing the one before
    return np.floor(distance_m / pixel_m + 1e-9).astype(np.intp)


@dataclass(frozen=True)
class NearestPixels:
    """Some rows and columns of a file, and the smallest window that holds those inside of it."""

    window: Window
    rows: Axis
    cols: Axis

    @classmethod
    def of(cls, rows: Axis | None, cols: Axis | None) -> NearestPixels | None:
        """The pixels at some rows and columns; None where all of an axis are outside."""
        if rows is None or cols is None:
            return None
        return cls(Window(rows.first, cols.first, rows.length, cols.length), rows, cols)

    @classmethod
    def between(cls, source: PixelGrid, target: PixelGrid) -> NearestPixels | None:
        """The pixels of `source` that hold the centres of those of `target`; None where none does."""
        rows = nearest_rows(source, target, np.arange(target.height) + 0.5)
        cols = nearest_cols(source, target, np.arange(target.width) + 0.5)
        return cls.of(Axis.of(rows, source.height), Axis.of(cols, source.width))

    @property
    def inside(self) -> bool:
        """Whether all of them lie inside of the file."""
        return all(len(axis.target) == axis.count for axis in (self.rows, self.cols))

    @property
    def plain(self) -> bool:
        """Whether they are the window as it is."""
        both = isinstance(self.rows.source, slice) and isinstance(self.cols.source, slice)
        return self.inside and both

    def put(self, block: npt.NDArray[Any], into: npt.NDArray[Any], outside: int) -> None:
        """Write what `pick` gives."""
        rows, cols = self.rows.source, self.cols.source
        if not self.inside or isinstance(rows, slice) or isinstance(cols, slice):
            into[:] = self.pick(block, outside)
            return
        # `clip` lets take write where it is told to; no index is outside
        np.take(np.take(block, cols, axis=1), rows, axis=0, out=into, mode="clip")

    def pick(self, block: npt.NDArray[Any], outside: int) -> npt.NDArray[Any]:
        """The values of the window (H, W) at these pixels, (rows, cols); `outside` beyond the file."""
        picked = block[:, self.cols.source][self.rows.source]
        if self.inside:
            return picked
        values = np.full((self.rows.count, self.cols.count), outside, dtype=block.dtype)
        values[np.ix_(self.rows.target, self.cols.target)] = picked
        return values


@dataclass(frozen=True)
class Axis:
    """Pixels along one axis of a file."""

    first: int
    """The first pixel of the window."""
    length: int
    """Of the window."""
    count: int
    """Number of pixels."""
    source: slice | Indices
    """Where they lie in the window; a slice where they follow on each other."""
    target: Indices
    """Which of them lie inside of the file."""

    @classmethod
    def of(cls, indices: Indices, size: int) -> Axis | None:
        """Some pixels along a file of `size`; None if all are outside."""
        target = np.flatnonzero((indices >= 0) & (indices < size))
        if not len(target):
            return None
        inside = indices[target]
        first, last = int(inside.min()), int(inside.max())
        length = last - first + 1
        source: slice | Indices = inside - first
        if length == len(inside) and bool((np.diff(inside) == 1).all()):
            source = slice(None)
        return cls(first, length, len(indices), source, target)
