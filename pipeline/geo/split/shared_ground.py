"""Which windows share ground, for half a million of them at a time.

A window is grown to whole pixels of 60 m, the coarsest of Sentinel-2: two patches that lie 30 m
apart may still be cut from the same pixel of B01. Windows that touch along an edge share nothing.

Grown windows are rectangles of a lattice of 60 m cells. To ask which of them share a cell with
others, the others are painted on the lattice and their cells summed up from the corner (a summed
area table, Crow 1984), so that each question takes four look-ups. The lattice is cut into sheets:
memory depends neither on the area nor on the number of windows at a place.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from pyproj import Transformer

COARSE_M = 60.0
"""Side of the coarsest pixel of Sentinel-2, of which every window is taken to be made."""
_NOISE_M = 1e-3
"""Coordinates are sums of floats: what lies this close to a line of the lattice lies on it."""
_SAFETY_M = 1.0
"""Added on each side of a window seen from another zone, whose edges are bent by some cm there."""
_SHEET = 2048
"""Lattice cells on a side of a sheet: 123 km, 16 MB."""

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
Rows = npt.NDArray[np.intp]
Rects = npt.NDArray[np.int64]
"""(n, 4): left, bottom, right, top in lattice cells; right and top are the first ones outside."""


@dataclass(frozen=True)
class _Meeting:
    """Windows on the lattice of one CRS: two sets that may share ground, or one with itself."""

    first: Rows
    first_rects: Rects
    second: Rows
    second_rects: Rects


@dataclass(frozen=True)
class Ground:
    """The ground that the windows of patches cover, in however many CRSs."""

    count: int
    meetings: list[_Meeting]

    @classmethod
    def of(cls, x: Floats, y: Floats, epsg: npt.NDArray[Any], side_m: float) -> Ground:
        """The ground of the windows of `side_m` around centres (x, y), m in the CRS of each."""
        codes = [int(code) for code in np.unique(epsg)]
        rows = {code: np.flatnonzero(epsg == code) for code in codes}
        rects = {code: _grown(x[rows[code]], y[rows[code]], side_m) for code in codes}
        meetings = [_Meeting(rows[c], rects[c], rows[c], rects[c]) for c in codes]
        for at, home in enumerate(codes):
            for away in codes[at + 1 :]:
                near, seen = _seen_from(rects[away], away, rects[home], home)
                if len(near):
                    met = _Meeting(rows[home], rects[home], rows[away][near], seen)
                    meetings.append(met)
        return cls(len(x), meetings)

    def overlaps(self, candidates: Mask, others: Mask) -> Mask:
        """Which of the `candidates` share ground with any of the `others`."""
        hit = np.zeros(self.count, dtype=bool)
        for met in self.meetings:
            pairs = [(met.first, met.first_rects, met.second, met.second_rects)]
            if met.first is not met.second:
                pairs.append((met.second, met.second_rects, met.first, met.first_rects))
            for mine, my_rects, theirs, their_rects in pairs:
                asked, painted = candidates[mine], others[theirs]
                hit[mine[asked]] |= _overlapping(my_rects[asked], their_rects[painted])
        return hit


def _grown(x: Floats, y: Floats, side_m: float) -> Rects:
    half = side_m / 2 - _NOISE_M
    return _lattice(np.stack([x - half, y - half, x + half, y + half], axis=1))


def _lattice(bounds: Floats) -> Rects:
    """The cells that rectangles (left, bottom, right, top) in m lie on, wholly or in part."""
    cells = bounds / COARSE_M
    return np.concatenate([np.floor(cells[:, :2]), np.ceil(cells[:, 2:])], axis=1).astype(np.int64)


def _seen_from(rects: Rects, epsg: int, home_rects: Rects, home: int) -> tuple[Rows, Rects]:
    """The windows of another CRS that come near those of `home`: their rows, and their rectangles.

    A square of one zone stands askew in another: its rectangle is the upright one around it.
    """
    to_home = Transformer.from_crs(epsg, home, always_xy=True)
    left, bottom, right, top = (rects.T * COARSE_M).astype(np.float64)
    x, y = to_home.transform((left + right) / 2, (bottom + top) / 2)
    reach = 2 * COARSE_M * (rects[:, 2:] - rects[:, :2]).max() + _SAFETY_M
    low, high = home_rects[:, :2].min(axis=0), home_rects[:, 2:].max(axis=0)
    inside = (x > low[0] * COARSE_M - reach) & (x < high[0] * COARSE_M + reach)
    inside &= (y > low[1] * COARSE_M - reach) & (y < high[1] * COARSE_M + reach)
    near = np.flatnonzero(inside)  # what cannot be projected is infinite: not inside
    corners = [(left, bottom), (left, top), (right, bottom), (right, top)]
    seen = np.array([to_home.transform(cx[near], cy[near]) for cx, cy in corners])  # (4, 2, n)
    low_m, high_m = seen.min(axis=0).T - _SAFETY_M, seen.max(axis=0).T + _SAFETY_M
    return near, _lattice(np.concatenate([low_m, high_m], axis=1))


def _overlapping(asked: Rects, painted: Rects) -> Mask:
    """Which of the asked rectangles share a lattice cell with any of the painted ones."""
    hit = np.zeros(len(asked), dtype=bool)
    for low in _sheets(painted):
        mine, theirs = _on_sheet(asked, low), _on_sheet(painted, low)
        rows = np.flatnonzero(mine)
        if len(rows):
            hit[rows] |= _overlapping_on_sheet(asked[rows] - np.tile(low, 2), painted[theirs], low)
    return hit


def _sheets(rects: Rects) -> Iterator[npt.NDArray[np.int64]]:
    """The lower left corners of the sheets that rectangles lie on."""
    low, high = rects[:, :2] // _SHEET, (rects[:, 2:] - 1) // _SHEET
    # a window spans two sheets at most each way, so that its corners name all of its sheets
    ends = [low, high, np.stack([low[:, 0], high[:, 1]], 1), np.stack([high[:, 0], low[:, 1]], 1)]
    yield from np.unique(np.concatenate(ends), axis=0) * _SHEET


def _on_sheet(rects: Rects, low: npt.NDArray[np.int64]) -> Mask:
    inside: Mask = ((rects[:, :2] < low + _SHEET) & (rects[:, 2:] > low)).all(axis=1)
    return inside


def _overlapping_on_sheet(asked: Rects, painted: Rects, low: npt.NDArray[np.int64]) -> Mask:
    painted = (painted - np.tile(low, 2)).clip(0, _SHEET)
    start, stop = painted[:, :2].min(axis=0), painted[:, 2:].max(axis=0)
    sums = _summed_area(painted - np.tile(start, 2), tuple(stop - start))
    left, bottom, right, top = (asked - np.tile(start, 2)).clip(0, np.tile(stop - start, 2)).T
    cells = sums[right, top] - sums[left, top] - sums[right, bottom] + sums[left, bottom]
    hit: Mask = cells > 0
    return hit


def _summed_area(rects: Rects, shape: tuple[int, int]) -> npt.NDArray[np.int32]:
    """Per corner (x, y) of the lattice, the number of painted cells below and left of it."""
    wide, tall = shape[0] + 1, shape[1] + 1
    left, bottom, right, top = rects.T

    def marks(x: npt.NDArray[np.int64], y: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        return np.bincount(x * tall + y, minlength=wide * tall)

    edges = marks(left, bottom) - marks(left, top) - marks(right, bottom) + marks(right, top)
    layers = edges.reshape(wide, tall).cumsum(axis=0).cumsum(axis=1)[:-1, :-1]
    sums = np.zeros((wide, tall), dtype=np.int32)
    sums[1:, 1:] = (layers > 0).cumsum(axis=0, dtype=np.int32).cumsum(axis=1)
    return sums
