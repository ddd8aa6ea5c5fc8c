"""Which pixels of a file hold some places, and their values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.geo.grid import Indices, Window


def nearest_index(first: float, step_m: float, centers: npt.NDArray[np.floating]) -> Indices:
    """Along one axis, the pixel of `step_m` metres that holds each coordinate; -1 or less before it."""
    # the guard keeps float noise at an edge between two pixels from choosing the one before
    return np.floor((centers - first) / step_m + 1e-9).astype(np.intp)


@dataclass(frozen=True)
class Places:
    """Some rows and columns of a file, and the smallest window that holds those inside of it."""

    window: Window
    rows: _Axis
    cols: _Axis

    @classmethod
    def of(cls, rows: Indices, cols: Indices, shape: tuple[int, int]) -> Places | None:
        """The places at some rows and columns of a file of (height, width); None if all are outside."""
        both = [_Axis.of(places, size) for places, size in zip((rows, cols), shape, strict=True)]
        if None in both:
            return None
        (top, height, row), (left, width, col) = (found for found in both if found is not None)
        return cls(Window(top, left, height, width), row, col)

    def pick(self, block: npt.NDArray[Any], outside: int) -> npt.NDArray[Any]:
        """The values of the window's pixels (H, W) at the places, (rows, cols); `outside` beyond."""
        columns = block[:, self.cols.source]
        if self.rows.target is None and self.cols.target is None:
            return columns[self.rows.source]
        values = np.full((self.rows.count, self.cols.count), outside, dtype=block.dtype)
        every = np.arange(self.rows.count), np.arange(self.cols.count)
        target = (
            all_of if axis.target is None else axis.target
            for axis, all_of in zip((self.rows, self.cols), every, strict=True)
        )
        values[np.ix_(*target)] = columns[self.rows.source]
        return values


@dataclass(frozen=True)
class _Axis:
    """Places along one axis."""

    count: int
    source: slice | Indices
    """Where they lie in the window; a slice where they follow on each other."""
    target: Indices | None
    """Which of them lie inside of the file; None if all do."""

    @classmethod
    def of(cls, places: Indices, size: int) -> tuple[int, int, _Axis] | None:
        """The first pixel and the length of the window, and the places in it."""
        target = np.flatnonzero((places >= 0) & (places < size))
        if not len(target):
            return None
        inside = places[target]
        first, last = int(inside.min()), int(inside.max())
        length = last - first + 1
        source: slice | Indices = inside - first
        if length == len(inside) and bool((np.diff(inside) == 1).all()):
            source = slice(None)
        return first, length, cls(len(places), source, target if len(target) < len(places) else None)


def pick(block: npt.NDArray[Any], rows: Indices, cols: Indices, outside: int) -> npt.NDArray[Any]:
    """The values of a block at some rows and columns, (rows, cols); beyond it, `outside`."""
    height, width = block.shape
    places = Places.of(rows, cols, (height, width))
    if places is None:
        return np.full((len(rows), len(cols)), outside, dtype=block.dtype)
    window = places.window
    part = block[window.row : window.row + window.height, window.col : window.col + window.width]
    return places.pick(part, outside)
