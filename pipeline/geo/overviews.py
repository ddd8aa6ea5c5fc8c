"""Overviews of maps: reduced rasters whose pixels are exact functions of their source cells.

GDAL computes a level from the level above it and on a ratio of sizes that is no whole number where
a side is odd, so its modes are modes of modes of shifted squares. Here pixel (r, c) of the level
`factor` always speaks of the cells [r * factor, (r + 1) * factor) x [c * factor, (c + 1) * factor)
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
    """The most frequent value of each square of cells, uint8 (H, W) -> (ceil(H / f), ceil(W / f)).

    Cells without data do not count, unless a square has no others; of equally frequent values the
    lowest wins.
    """
    squares = _squares(cells, factor, nodata)
    result = np.full((squares.shape[0], squares.shape[2]), nodata, dtype=np.uint8)
    most = np.zeros(result.shape, dtype=np.int64)
    for value in np.unique(cells):  # ascending: a later value must be more frequent to win
        if value == nodata:
            continue
        count = np.count_nonzero(squares == value, axis=(1, 3))
        result[count > most] = value
        np.maximum(most, count, out=most)
    return result


def mean(cells: Cells, factor: int, nodata: int) -> Cells:
    """The mean of each square of cells, uint8 (H, W) -> (ceil(H / f), ceil(W / f)), halves upward.

    Cells without data do not count, unless a square has no others.
    """
    squares = _squares(cells, factor, nodata)
    valid = squares != nodata
    count = valid.sum(axis=(1, 3))
    total = np.where(valid, squares, 0).sum(axis=(1, 3), dtype=np.int64)
    rounded = (2 * total + count) // np.maximum(2 * count, 1)
    return np.where(count > 0, rounded, nodata).astype(np.uint8)


def _squares(cells: Cells, factor: int, nodata: int) -> Cells:
    """The cells as (rows, factor, cols, factor), filled up with `nodata` at the far edges."""
    rows, cols = (-(-side // factor) for side in cells.shape)
    padding = [(0, rows * factor - cells.shape[0]), (0, cols * factor - cells.shape[1])]
    padded = np.pad(cells, padding, constant_values=nodata)
    return padded.reshape(rows, factor, cols, factor)
