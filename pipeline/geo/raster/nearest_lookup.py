"""Which pixels of a file hold some places, and their values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.geo.raster.grid import Indices, Window


def nearest_index(first: float, step_m: float, centers: npt.NDArray[np.floating]) -> Indices:
    """Along one axis, the pixel of `step_m` metres that holds each coordinate; -1 or less before it."""
    # the guard keeps float noise at an edge between two pixels from choosing the one before
    return np.floor((centers - first) / step_m + 1e-9).astype(np.intp)


@dataclass(frozen=True)
class Places:
    """Some rows and columns of a file, and the smallest window that holds those inside of it."""

    window: Window
    rows: Axis
    cols: Axis

    @classmethod
    def of(cls, rows: Axis | None, cols: Axis | None) -> Places | None:
        """The places at some rows and columns; None where all of an axis are outside."""
        if rows is None or cols is None:
            return None
        return cls(Window(rows.first, cols.first, rows.length, cols.length), rows, cols)

    @property
    def inside(self) -> bool:
        """Whether all of them lie inside of the file."""
        return self.rows.target is None and self.cols.target is None

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
        # `clip` lets take write where it is told to; no place is outside
        np.take(np.take(block, cols, axis=1), rows, axis=0, out=into, mode="clip")

    def pick(self, block: npt.NDArray[Any], outside: int) -> npt.NDArray[Any]:
        """The values of the window's pixels (H, W) at the places, (rows, cols); `outside` beyond."""
        columns = block[:, self.cols.source]
        if self.inside:
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
class Axis:
    """Places along one axis of a file."""

    first: int
    """The first pixel of the window."""
    length: int
    """Of the window."""
    count: int
    """Number of places."""
    source: slice | Indices
    """Where they lie in the window; a slice where they follow on each other."""
    target: Indices | None
    """Which of them lie inside of the file; None if all do."""

    @classmethod
    def of(cls, places: Indices, size: int) -> Axis | None:
        """Some pixels along a file of `size`; None if all are outside."""
        target = np.flatnonzero((places >= 0) & (places < size))
        if not len(target):
            return None
        inside = places[target]
        first, last = int(inside.min()), int(inside.max())
        length = last - first + 1
        source: slice | Indices = inside - first
        if length == len(inside) and bool((np.diff(inside) == 1).all()):
            source = slice(None)
        return cls(first, length, len(places), source, target if len(target) < len(places) else None)
