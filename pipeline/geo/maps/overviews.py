"""Overviews of maps: reduced rasters whose pixels are exact functions of their source pixels.

GDAL computes a level from the level above it and on a ratio of sizes that is no whole number where
a side is odd, so its modes are modes of modes of shifted squares. Here pixel (r, c) of the level
`factor` always speaks of the pixels [r * factor, (r + 1) * factor) x [c * factor, (c + 1) * factor)
of the map itself; at the right and bottom edge of those that are there.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Cells = npt.NDArray[np.uint8]


def factors(rows: int, cols: int, smallest: int) -> list[int]:
    """The levels 2, 4, 8, ... of a map, the last one the first that fits `smallest` x `smallest`."""
    levels = []
    factor = 1
    while max(-(-rows // factor), -(-cols // factor)) > smallest:
        factor *= 2
        levels.append(factor)
    return levels


def mode(cells: Cells, factor: int, nodata: int) -> Cells:
    """The most frequent value of each square of pixels, uint8 (H, W) -> (ceil(H / f), ceil(W / f)).

    Pixels without data do not count, unless a square has no others; of equally frequent values the
    lowest wins.
    """
    padded = _padded(cells, factor, nodata)
    result = np.full([side // factor for side in padded.shape], nodata, dtype=np.uint8)
    most = np.zeros(result.shape, dtype=np.int64)
    present = np.flatnonzero(np.bincount(cells.ravel(), minlength=256)).astype(np.uint8)
    for value in present[present != nodata]:  # ascending: a later one must be more frequent to win
        count = _sums(padded == value, factor)
        np.copyto(result, value, where=count > most)
        np.maximum(most, count, out=most)
    return result


def mean(cells: Cells, factor: int, nodata: int) -> Cells:
    """The mean of each square of pixels, uint8 (H, W) -> (ceil(H / f), ceil(W / f)), halves upward.

    Pixels without data do not count, unless a square has no others.
    """
    padded = _padded(cells, factor, nodata)
    valid = padded != nodata
    count = _sums(valid, factor)
    total = _sums(padded * valid, factor)
    rounded = (2 * total + count) // np.maximum(2 * count, 1)
    return np.where(count > 0, rounded, nodata).astype(np.uint8)


def _padded(cells: Cells, factor: int, nodata: int) -> Cells:
    """The pixels, filled up with `nodata` at the far edges to whole squares."""
    return np.pad(cells, [(0, -side % factor) for side in cells.shape], constant_values=nodata)


def _sums(values: npt.NDArray[np.bool_ | np.uint8], factor: int) -> npt.NDArray[np.int64]:
    """Sums of squares of side `factor`, a power of 2: (H, W) -> (H / f, W / f).

    Whole rows are added to whole rows, halving by halving: many times as fast as a sum over axes
    of length `factor`.
    """
    width = np.uint16 if factor <= 16 else np.uint32  # 255 * factor**2 fits
    sums: npt.NDArray[np.unsignedinteger] = values.astype(width)
    while factor > 1:
        sums = sums[0::2] + sums[1::2]
        sums = sums[:, 0::2] + sums[:, 1::2]
        factor //= 2
    return sums.astype(np.int64)
