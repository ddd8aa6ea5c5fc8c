"""The patches around positions, cut out of their scene strip by strip.

Strips are read side by side, each source block decoded once; one thread cuts. Memory is bounded by a
strip of a scene.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from pipeline.config.compute import ComputeConf
from pipeline.geo.blockcache import BlockCache
from pipeline.geo.grid import Window
from pipeline.geo.positions import Positions, runs, square_sums
from pipeline.scale import run_pieces, worker_count

_STRIP_PX = 4_000_000
"""Pixels of a strip, about; it also has at most `_STRIP_ROWS` rows, for several workers to share."""
_STRIP_ROWS = 512
_CHUNK_BYTES = 16_000_000
"""Patches that are cut at a time, about: memory blocks of this size are used again and again."""
_WORK_BYTES = 36
"""Bytes a pixel for the work on one band: native values, harmonised ones, indices."""


@dataclass(frozen=True)
class Cut:
    """Some patches, cut from their scene, in the order of their positions."""

    positions: Positions
    pixels: npt.NDArray[np.uint16]
    """(n, C, P, P)."""
    valid: npt.NDArray[np.float32]
    """Share of the cell's band pixels that is valid."""
    invalid: int
    """How many more there would be, had their cells enough valid band pixels."""


@dataclass(frozen=True)
class _Strip:
    """Positions in a few rows of one scene."""

    positions: Positions
    bands: tuple[str, ...]

    @property
    def windows(self) -> list[Window]:
        """The pixels of their patches, without the columns that none of them sees, left to right."""
        row, grid = self.positions.row, self.positions.grid
        top, margin, side = int(row.min()), grid.margin_px, grid.patch_px
        height = int(row.max()) - top + side
        cols = np.unique(self.positions.col)
        ends = [0, *(np.flatnonzero(np.diff(cols) > 2 * side) + 1).tolist(), len(cols)]
        spans = [(int(cols[first]), int(cols[end - 1])) for first, end in pairwise(ends)]
        return [
            Window(top - margin, left - margin, height, right - left + side) for left, right in spans
        ]


@dataclass(frozen=True)
class _Read:
    """A strip with its pixels."""

    strip: _Strip
    windows: list[Window]
    pixels: list[npt.NDArray[np.uint16]]
    """(C, H, W) of each window."""
    valid: npt.NDArray[np.float64]
    """The share of valid band pixels of each cell."""

    def chunks(self) -> Iterator[tuple[_Read, slice]]:
        """The positions in runs whose patches take about `_CHUNK_BYTES`."""
        each = 2 * len(self.strip.bands) * self.strip.positions.grid.patch_px**2
        size = max(1, _CHUNK_BYTES // each)
        return ((self, slice(start, start + size)) for start in range(0, len(self.valid), size))

    def window_of(self, positions: Positions) -> npt.NDArray[np.intp]:
        """The number of the window in which each position lies."""
        starts = [window.col + positions.grid.margin_px for window in self.windows]
        return np.searchsorted(starts, positions.col, side="right") - 1


def _read(strip: _Strip, cache: BlockCache | None) -> _Read:
    windows, positions = strip.windows, strip.positions
    pixels = [positions.scene.read(window, strip.bands, cache) for window in windows]
    read = _Read(strip, windows, pixels, np.zeros(len(positions)))
    size, numbers = positions.grid.cell_px, read.window_of(positions)
    for number, (window, values) in enumerate(zip(windows, pixels, strict=True)):
        mine = numbers == number
        row, col = positions.row[mine] - window.row, positions.col[mine] - window.col
        valid = square_sums(np.count_nonzero(values, axis=0), row, col, size)
        read.valid[mine] = valid / (len(strip.bands) * size**2)
    return read


def _crew(pixels: int, bands: int, compute: ComputeConf) -> int:
    """As many workers as are asked for and as the memory for pixels in flight holds."""
    # for each worker a strip in work and one that waits for its turn to be written
    each = pixels * (2 * 2 * bands + _WORK_BYTES)
    return max(1, min(worker_count(compute), compute.memory_mb * 1_000_000 // each))


def read_patches(
    positions: Positions, bands: tuple[str, ...], min_valid: float, compute: ComputeConf
) -> Iterator[Cut]:
    """The patches of those positions whose cell has `min_valid` of valid band pixels, in order.

    They come a few at a time. Context outside of the scene is mirrored, invalid pixels are 0.

    Raises:
        SceneError: when the pixels cannot be read.
    """
    width = positions.scene.grid.width
    span = max(1, min(_STRIP_ROWS, _STRIP_PX // width))
    strips = [_Strip(positions[run], bands) for run in runs(positions.row, span)]
    workers = _crew((span + positions.grid.patch_px) * width, len(bands), compute)
    here = compute.scheduler is None
    windows = (window for strip in strips for window in strip.windows) if here else ()
    with positions.scene.cache(bands, windows) as cache:
        work = partial(_read, cache=cache if here else None)
        # closed before the cache is, also when nobody wants the rest
        with closing(run_pieces(work, strips, workers, compute.scheduler)) as read:
            chunks = (chunk for strip in read for chunk in strip.chunks())
            with closing(run_pieces(partial(_cut, min_valid=min_valid), chunks, workers=1)) as cuts:
                yield from cuts


def _cut(chunk: tuple[_Read, slice], min_valid: float) -> Cut:
    """Patches of some positions of a strip, out of the pixels of its windows."""
    read, some = chunk
    share = read.valid[some]
    enough = share >= min_valid
    kept = read.strip.positions[some][enough]
    side, margin = kept.grid.patch_px, kept.grid.margin_px
    patches = np.empty((len(kept), len(read.strip.bands), side, side), dtype=np.uint16)
    numbers = read.window_of(kept)
    for number in np.unique(numbers):
        window, mine = read.windows[number], numbers == number
        views = sliding_window_view(read.pixels[number], (side, side), axis=(1, 2))
        row, col = kept.row[mine] - margin - window.row, kept.col[mine] - margin - window.col
        # axis order (rows, cols, C, P, P): a view, of which only the patches are copied
        patches[mine] = views.transpose(1, 2, 0, 3, 4)[row, col]
    return Cut(kept, patches, share[enough].astype(np.float32), int((~enough).sum()))
