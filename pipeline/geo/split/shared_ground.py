"""Which windows overlap, for half a million of them at a time.

A window is grown to whole pixels of 60 m, the coarsest of Sentinel-2: two patches that lie 30 m
apart may still be cut from the same pixel of B01. Windows that touch along an edge do not overlap.

A grown window is a rectangle of 60 m squares, and each square has an integer key: windows overlap
where they have a key in common. Memory depends on the number of windows, not on the area between them.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.geo.raster.area import transformer

COARSE_M = 60.0
"""Side of the coarsest pixel of Sentinel-2, of which every window is taken to be made."""
_NOISE_M = 1e-3
"""Coordinates are sums of floats: what lies this close to an edge of a square lies on it."""
_SAFETY_M = 1.0
"""Added on each side of a window seen from another zone, whose edges are bent by some cm there."""

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
Rows = npt.NDArray[np.intp]
Rects = npt.NDArray[np.int64]
"""(n, 4): left, bottom, right, top in squares of 60 m; right and top are the first ones outside."""


class _Windows(NamedTuple):
    """Some of the windows, as rectangles in one CRS."""

    rows: Rows
    rects: Rects


@dataclass(frozen=True)
class Ground:
    """The ground that the windows of patches cover, in however many CRSs."""

    count: int
    pairs: list[tuple[_Windows, _Windows]]
    """Sets of windows in one CRS of which the first may overlap the second."""

    @classmethod
    def of(cls, x: Floats, y: Floats, epsg: npt.NDArray[Any], side_m: float) -> Ground:
        """The ground of the windows of `side_m` around centres (x, y), m in the CRS of each."""
        zones: dict[int, _Windows] = {}
        half = side_m / 2 - _NOISE_M
        for code in np.unique(epsg).tolist():
            rows = np.flatnonzero(epsg == code)
            west, south = x[rows] - half, y[rows] - half
            bounds = np.stack([west, south, x[rows] + half, y[rows] + half], axis=1)
            zones[code] = _Windows(rows, _squares_under(bounds))
        pairs = [(windows, windows) for windows in zones.values()]
        for home, away in combinations(zones, 2):
            near, rects = _seen_from(zones[away].rects, away, zones[home].rects, home)
            if len(near):
                seen = _Windows(zones[away].rows[near], rects)
                pairs += [(zones[home], seen), (seen, zones[home])]
        return cls(len(x), pairs)

    def overlaps(self, candidates: Mask, others: Mask) -> Mask:
        """Which of the `candidates` overlap any of the `others`."""
        hit = np.zeros(self.count, dtype=bool)
        for first, second in self.pairs:
            asked, given = candidates[first.rows], others[second.rows]
            hit[first.rows[asked]] |= _overlapping(first.rects[asked], second.rects[given])
        return hit


def _squares_under(bounds: Floats) -> Rects:
    """The squares that rectangles (left, bottom, right, top) in m lie on, wholly or in part."""
    edges = bounds / COARSE_M
    return np.concatenate([np.floor(edges[:, :2]), np.ceil(edges[:, 2:])], axis=1).astype(np.int64)


def _seen_from(rects: Rects, epsg: int, home_rects: Rects, home: int) -> tuple[Rows, Rects]:
    """The windows of another CRS that come near those of `home`: their rows, and their rectangles.

    A square of one zone stands askew in another: its rectangle is the upright one around it.
    """
    to_home = transformer(epsg, home)
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
    return near, _squares_under(np.concatenate([low_m, high_m], axis=1))


def _overlapping(asked: Rects, given: Rects) -> Mask:
    """Which of the asked rectangles have a square in common with any of the given ones."""
    if not len(asked) or not len(given):
        return np.zeros(len(asked), dtype=bool)
    taken = np.sort(_keys(given, step=1), axis=None)
    # a rectangle that is `step` squares wide or more cannot lie between squares that are `step` apart
    step = int((given[:, 2:] - given[:, :2]).min())
    keys = _keys(asked, step)
    at = np.searchsorted(taken, keys).clip(max=len(taken) - 1)
    shared: Mask = (taken[at] == keys).any(axis=1)
    return shared


def _keys(rects: Rects, step: int) -> npt.NDArray[np.int64]:
    """Keys (n, k) of squares of rectangles: the first, every `step`-th and the last each way."""
    (wide, tall), last = (rects[:, 2:] - rects[:, :2]).max(axis=0).tolist(), rects[:, 2:] - 1
    cols = np.minimum(rects[:, :1] + np.arange(0, wide - 1 + step, step), last[:, :1])
    rows = np.minimum(rects[:, 1:2] + np.arange(0, tall - 1 + step, step), last[:, 1:])
    return ((cols[:, :, None] << 32) + rows[:, None, :]).reshape(len(rects), -1)
