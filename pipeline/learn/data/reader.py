"""Reads patches of a store from its file, in the order of the disk.

By hand and not by a memory map, which reads a patch page by page, one after the other, and ends the
process when the file became shorter. Here all reads of a batch are announced to the system first, so
that the disk works on many at a time; neighbouring patches are one read; a failed read is an error.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterator
from contextlib import suppress

import numpy as np
import numpy.typing as npt

from pipeline.errors import StoreError
from pipeline.store import PatchStore

_PIECE_BYTES = 32_000_000

Rows = npt.NDArray[np.intp]
Pixels = npt.NDArray[np.uint16]


class PatchReader:
    """Reads rows of a store's pixels; several threads may share one."""

    shape: tuple[int, int, int]
    """(C, P, P) of the patches it reads."""

    def __init__(self, store: PatchStore, bands: list[int]) -> None:
        """Open the pixels of a store, to read the bands of these indexes in that order.

        Raises:
            StoreError: when the file cannot be opened or is no uint16 array in C order.
        """
        pixels = store.pixels
        self.path = store.folder / "pixels.npy"
        if pixels.dtype != np.dtype(np.uint16) or not pixels.flags.c_contiguous:
            order = "C" if pixels.flags.c_contiguous else "Fortran"
            raise StoreError(
                f"{self.path} holds {pixels.dtype} in {order} order where uint16 in C order is read; "
                "run `tile` again."
            )
        try:
            self._file = os.open(self.path, os.O_RDONLY)
        except OSError as error:
            raise StoreError(f"{self.path} cannot be opened ({error}); run `tile` again.") from error
        weakref.finalize(self, os.close, self._file)
        _, count, *sides = pixels.shape
        # one read reaches from the first to the last of the bands
        first, last = min(bands), max(bands)
        self._bands = np.asarray(bands) - first
        self._span = (last - first + 1, *sides)
        self._direct = list(bands) == list(range(first, last + 1))
        self._joined = last - first + 1 == count
        self._row_bytes, band_bytes = pixels[:1].nbytes, pixels[:1, :1].nbytes
        self._start = int(getattr(pixels, "offset", 0)) + first * band_bytes
        self._size = (last - first + 1) * band_bytes
        self.shape = (len(bands), sides[0], sides[1])

    def read(self, rows: Rows, out: Pixels) -> None:
        """Fill `out`, uint16 (n, C, P, P), with the bands of `rows`, which ascend.

        Raises:
            StoreError: when the file has become shorter or the disk fails.
        """
        block = out if self._direct else np.empty((len(rows), *self._span), dtype=np.uint16)
        reads = self._reads(rows)
        if hasattr(os, "posix_fadvise"):
            with suppress(OSError):  # only advice: an error is raised by the read itself
                for offset, size in reads:
                    os.posix_fadvise(self._file, offset, size, os.POSIX_FADV_WILLNEED)
        buffer = memoryview(block).cast("B")
        for offset, size in reads:
            self._fill(buffer[:size], offset)
            buffer = buffer[size:]
        if block is not out:
            # numpy writes into `out` without a buffer only with `clip`
            np.take(block, self._bands, axis=1, out=out, mode="clip")

    def pieces(self, rows: Rows) -> Iterator[Pixels]:
        """The bands of `rows`, which ascend, uint16 (n, C, P, P) with any n of at most 32 MB.

        Raises:
            StoreError: when the file has become shorter or the disk fails.
        """
        size = max(1, _PIECE_BYTES // (2 * int(np.prod(self.shape))))
        for start in range(0, len(rows), size):
            piece = rows[start : start + size]
            out = np.empty((len(piece), *self.shape), dtype=np.uint16)
            self.read(piece, out)
            yield out

    def _reads(self, rows: Rows) -> list[tuple[int, int]]:
        """Offset and size in bytes of each read; that of neighbouring patches is one."""
        firsts = np.arange(len(rows))
        if self._joined:
            firsts = np.flatnonzero(np.diff(rows, prepend=-2) != 1)
        counts = np.diff(firsts, append=len(rows))
        offsets = rows[firsts] * self._row_bytes + self._start
        return list(zip(offsets.tolist(), (counts * self._size).tolist(), strict=True))

    def _fill(self, part: memoryview, offset: int) -> None:
        while part:
            try:
                count = os.preadv(self._file, [part], offset)
            except OSError as error:
                raise StoreError(
                    f"{self.path} cannot be read at byte {offset} ({error}); check the disk, "
                    "then run `tile` again."
                ) from error
            if not count:
                raise StoreError(
                    f"{self.path} ends at byte {offset}, in the middle of its patches: it was cut "
                    "short while it was read; run `tile` again, then this command."
                )
            part, offset = part[count:], offset + count
