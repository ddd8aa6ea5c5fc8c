"""Which bytes of a TIFF hold which of its pixels, from its header alone (TIFF 6.0 and BigTIFF)."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.errors import SceneError
from pipeline.geo.raster.grid import Window

type Read = Callable[[int, int], bytes]
"""Some bytes of a file: the place of the first, and how many."""
type Span = tuple[int, int]
"""Place of the first byte, and how many."""

_WIDTH, _HEIGHT, _TILE_WIDTH, _TILE_HEIGHT = 256, 257, 322, 323
_STRIP_ROWS = 278
_OFFSETS, _COUNTS = (324, 273), (325, 279)
"""Tags of places and lengths, of tiles and of strips."""
_SIZES = {
    1: 1,
    2: 1,
    3: 2,
    4: 4,
    5: 8,
    6: 1,
    7: 1,
    8: 2,
    9: 4,
    10: 8,
    11: 4,
    12: 8,
    13: 4,
    16: 8,
    17: 8,
}
"""Bytes of a value by its type."""
_NUMBERS = {1: "u1", 3: "u2", 4: "u4", 16: "u8"}
_MOST_DIRECTORIES = 64
_MOST_BYTES = 1 << 26
_MARGIN = 4
"""Bytes before and after a tile that GDAL reads too: a COG repeats its length and last bytes there."""


@dataclass(frozen=True)
class TiffIndex:
    """Where the tiles of the full image of a TIFF lie; strips are tiles as wide as the image."""

    height: int
    width: int
    tile: tuple[int, int]
    """Height and width of a tile in pixels."""
    offsets: npt.NDArray[np.uint64]
    """Place of the first byte of each tile: rows of tiles one after the other, then further planes."""
    counts: npt.NDArray[np.uint64]
    """Bytes of each tile."""

    def spans(self, window: Window) -> list[Span]:
        """The bytes of the tiles that a window inside the image touches, by place."""
        (high, wide), across = self.tile, -(-self.width // self.tile[1])
        rows = range(window.row // high, -(-(window.row + window.height) // high))
        cols = range(window.col // wide, -(-(window.col + window.width) // wide))
        plane = across * -(-self.height // high)
        found = []
        for first in range(0, len(self.offsets), plane):
            for number in (first + row * across + col for row in rows for col in cols):
                if count := int(self.counts[number]):
                    found.append((int(self.offsets[number]), count))
        return sorted(found)


def with_margin(spans: list[Span], size: int) -> list[Span]:
    """The bytes that a reader of some tiles of a file of `size` bytes needs."""
    return [
        (max(0, first - _MARGIN), min(size, first + count + _MARGIN) - max(0, first - _MARGIN))
        for first, count in spans
    ]


def read_index(read: Read, href: str) -> TiffIndex | None:
    """The index of a TIFF; none for a file of another kind.

    Every byte that is needed to open the file is read: those of all of its directories.

    Raises:
        SceneError: when the file is damaged.
    """
    head = read(0, 16)
    if head[:4] not in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return None
    try:
        return _Directories(read, head).full_image()
    except (struct.error, ValueError, KeyError, IndexError) as error:
        raise SceneError(f"{href} is a damaged TIFF; fetch or export it again.") from error


class _Directories:
    """The directories of a TIFF."""

    def __init__(self, read: Read, head: bytes) -> None:
        self._read = read
        self._order = "<" if head[:2] == b"II" else ">"
        self._big = head[2:4] in (b"+\0", b"\0+")
        self._first = self._unpack("Q", head[8:16]) if self._big else self._unpack("I", head[4:8])

    def full_image(self) -> TiffIndex:
        """The index of the first directory; the others are read too."""
        place, seen = self._first, 0
        tags: dict[int, npt.NDArray[np.uint64]] = {}
        while place:
            seen += 1
            if seen > _MOST_DIRECTORIES:
                raise ValueError("too many directories")
            found, place = self._directory(place)
            tags = tags or found
        return _index(tags)

    def _directory(self, place: int) -> tuple[dict[int, npt.NDArray[np.uint64]], int]:
        """The numbers of a directory by tag, and the place of the next directory."""
        head, entry, link = (8, 20, 8) if self._big else (2, 12, 4)
        count = self._unpack("Q" if self._big else "H", self._read(place, head))
        if count > 4096:
            raise ValueError("too many entries")
        body = self._read(place + head, count * entry + link)
        tags = {}
        for start in range(0, count * entry, entry):
            tag, values = self._entry(body[start : start + entry])
            if values is not None:
                tags[tag] = values
        return tags, self._unpack("Q" if self._big else "I", body[-link:])

    def _entry(self, raw: bytes) -> tuple[int, npt.NDArray[np.uint64] | None]:
        """The tag of an entry and its values, where they are whole numbers."""
        tag, kind = struct.unpack(f"{self._order}HH", raw[:4])
        inline = 8 if self._big else 4
        count = self._unpack("Q" if self._big else "I", raw[4 : 4 + inline])
        size = count * _SIZES.get(kind, 1)
        if size > _MOST_BYTES:
            raise ValueError("too many values")
        content = raw[4 + inline :][:size]
        if size > inline:
            content = self._read(self._unpack("Q" if self._big else "I", raw[-inline:]), size)
        if kind not in _NUMBERS:
            return tag, None
        return tag, np.frombuffer(content, f"{self._order}{_NUMBERS[kind]}").astype(np.uint64)

    def _unpack(self, kind: str, raw: bytes) -> int:
        (value,) = struct.unpack(f"{self._order}{kind}", raw)
        return int(value)


def _index(tags: dict[int, npt.NDArray[np.uint64]]) -> TiffIndex:
    height, width = int(tags[_HEIGHT][0]), int(tags[_WIDTH][0])
    if _TILE_WIDTH in tags:
        tile = int(tags[_TILE_HEIGHT][0]), int(tags[_TILE_WIDTH][0])
    else:
        tile = min(height, int(tags.get(_STRIP_ROWS, tags[_HEIGHT])[0])), width
    offsets, counts = (
        next(tags[tag] for tag in either if tag in tags) for either in (_OFFSETS, _COUNTS)
    )
    whole = -(-height // tile[0]) * -(-width // tile[1])
    if len(offsets) != len(counts) or len(offsets) % whole:
        raise ValueError("tiles are missing")
    return TiffIndex(height, width, tile, offsets, counts)
