"""The patches around positions, cut out of their scene strip by strip.

Strips are read side by side, each source block decoded once; their patches are cut when they are
written. Memory is bounded by a strip of a scene.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import chain, pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.config.compute import ComputeConf
from pipeline.geo.patches.positions import Positions, runs
from pipeline.geo.raster.block_cache import BlockCache
from pipeline.geo.raster.grid import Indices, Window, square_sums
from pipeline.parallel import AHEAD, run_pieces, worker_count

_STRIP_PX = 4_000_000
"""Pixels of a strip, about; it also has at most `_STRIP_ROWS` rows, for several workers to share."""
_STRIP_ROWS = 512
PIECE_BYTES = 250_000
"""Patches that are cut at a time, about: so few that they are written out of the cache of a core."""
_WRITTEN = 2
"""Strips that a writer holds: one whose patches are written, one that waits."""
_WORK_BYTES = 36
"""Bytes a pixel for the work on one band: native values, harmonised ones, indices."""


@dataclass(frozen=True)
class StripPatches:
    """The patches of a strip, in the order of their positions, that are yet to be cut out of it."""

    positions: Positions
    """Those whose cell has enough valid band pixels."""
    valid: npt.NDArray[np.float32]
    """Share of the cell's band pixels that is valid."""
    invalid: int
    """How many more there would be, had their cells enough valid band pixels."""
    windows: list[Window]
    window_pixels: list[npt.NDArray[np.uint16]]
    """(C, H, W) of each window."""

    @property
    def columns(self) -> dict[str, Any]:
        """Their rows of the table of patches, but for the outline."""
        return self.positions.columns(self.valid)

    def pieces(self) -> Iterator[npt.NDArray[np.uint16]]:
        """A few of them at a time, (m, C, P, P), in the same memory again and again."""
        side, margin = self.positions.grid.patch_px, self.positions.grid.margin_px
        bands, count = len(self.window_pixels[0]), len(self.positions)
        buffer = np.empty((max(1, PIECE_BYTES // (2 * bands * side**2)), bands, side, side), np.uint16)
        numbers = _window_of(self.positions, self.windows)
        rows, cols = self.positions.row - margin, self.positions.col - margin
        for start in range(0, count, len(buffer)):
            part = slice(start, min(start + len(buffer), count))
            corners = zip(numbers[part].tolist(), rows[part].tolist(), cols[part].tolist(), strict=True)
            for patch, (number, row, col) in zip(buffer, corners, strict=False):
                top, left = row - self.windows[number].row, col - self.windows[number].col
                patch[:] = self.window_pixels[number][:, top : top + side, left : left + side]
            yield buffer[: part.stop - start]


def read_patches(
    positions: Positions, bands: tuple[str, ...], min_valid: float, compute: ComputeConf
) -> Generator[StripPatches]:
    """The patches of those positions whose cell has `min_valid` of valid band pixels, in order.

    They come a strip at a time. Context outside of the scene is mirrored, invalid pixels are 0.

    Raises:
        SceneError: when the pixels cannot be read.
    """
    span = max(1, min(_STRIP_ROWS, _STRIP_PX // positions.scene.grid.width))
    strips = [positions[run] for run in runs(positions.row, span)]
    windows = [_windows(strip) for strip in strips]
    sizes = (sum(window.height * window.width for window in of_strip) for of_strip in windows)
    workers = _workers(max(sizes, default=0), len(bands), compute)
    local = compute.scheduler is None
    with positions.scene.cache(bands, chain.from_iterable(windows) if local else ()) as cache:
        work = partial(_read, bands=bands, min_valid=min_valid, cache=cache if local else None)
        # closed before the cache is, also when nobody wants the rest
        with closing(run_pieces(work, strips, workers, compute)) as read:
            yield from read


def _workers(pixels: int, bands: int, compute: ComputeConf) -> int:
    """As many workers as are asked for and as the memory for pixels in flight holds."""
    strip = 2 * bands * pixels
    each = AHEAD * strip + _WORK_BYTES * pixels
    left = compute.memory_mb * 1_000_000 - _WRITTEN * strip
    return max(1, min(worker_count(compute), left // max(1, each)))


def _windows(positions: Positions) -> list[Window]:
    """The pixels of the patches of a strip, without the columns that none sees, left to right."""
    row, grid = positions.row, positions.grid
    top, margin, side = int(row.min()), grid.margin_px, grid.patch_px
    height = int(row.max()) - top + side
    cols = np.unique(positions.col)
    ends = [0, *(np.flatnonzero(np.diff(cols) > 2 * side) + 1).tolist(), len(cols)]
    spans = [(int(cols[first]), int(cols[end - 1])) for first, end in pairwise(ends)]
    return [Window(top - margin, left - margin, height, right - left + side) for left, right in spans]


def _read(
    positions: Positions, bands: tuple[str, ...], min_valid: float, cache: BlockCache | None
) -> StripPatches:
    """The patches of a strip: positions in a few rows of one scene."""
    windows = _windows(positions)
    pixels = [positions.scene.read(window, bands, cache) for window in windows]
    numbers = _window_of(positions, windows)
    valid = np.ones(len(positions))
    for number, (window, values) in enumerate(zip(windows, pixels, strict=True)):
        mine = np.flatnonzero(numbers == number)
        row, col = positions.row[mine] - window.row, positions.col[mine] - window.col
        valid[mine] = _valid_share(values, row, col, positions.grid.cell_px)
    enough = valid >= min_valid
    share = valid[enough].astype(np.float32)
    return StripPatches(positions[enough], share, int((~enough).sum()), windows, pixels)


def _window_of(positions: Positions, windows: list[Window]) -> Indices:
    """The number of the window in which each position lies."""
    starts = [window.col + positions.grid.margin_px for window in windows]
    return np.searchsorted(starts, positions.col, side="right") - 1


def _valid_share(
    pixels: npt.NDArray[np.uint16], row: Indices, col: Indices, size: int
) -> npt.NDArray[np.float64]:
    """The share of valid band pixels of the cells at `row`, `col` of a window (C, H, W)."""
    if pixels.size and pixels.min() > 0:
        return np.ones(len(row))
    counts = np.zeros(pixels.shape[1:], dtype=np.uint8)
    for plane in pixels:
        counts += plane != 0
    return square_sums(counts, size)[row, col] / (len(pixels) * size**2)
