"""Source blocks of raster files: each is decoded once, however many windows need it.

What will be read is known beforehand. A chunk, some whole blocks of a file, is decoded by the first
worker that needs it and kept until the last window that needs it was read; workers that need the same
chunks share out the decoding.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from pipeline.geo.raster.grid import Window
from pipeline.geo.raster.raster_file import Layer, OpenFile
from pipeline.geo.raster.remote import AT_ONCE, is_remote

CHUNK_PX = (512, 1024)
"""Height and width of a chunk in pixels of its file, about: whole blocks, one at least."""
REMOTE_PX = (256, 256)
"""The same of a file behind HTTP: smaller, since pixels that are not needed are transferred too."""

Values = npt.NDArray[Any]
Decode = Callable[[Values], Values]
Shown = Callable[[Layer, Window, Values], None]
Mark = Callable[[Values], bool]


@dataclass(frozen=True)
class Need:
    """A window of a layer, inside of it; a chunk is one that is decoded and kept."""

    layer: Layer
    window: Window


class BlockCache:
    """Decoded chunks of some files, shared by the threads of this process."""

    def __init__(
        self,
        decode: Mapping[Layer, Decode],
        plan: Iterable[Sequence[Need]] = (),
        shown: Shown | None = None,
        mark: Mark | None = None,
    ) -> None:
        """Plan what will be read.

        Args:
            decode: What becomes of the pixels of a layer when they are read.
            plan: The calls of `read` to come, in any order; others are served too, but not kept for.
            shown: Gets the values of each chunk with its layer and window, from any thread.
            mark: Says by its values whether to remember a chunk for `marked`.
        """
        self._decode, self._shown, self._mark = decode, shown, mark
        self._marked: set[Need] = set()
        self._own = threading.local()
        self._open: list[OpenFile] = []
        # threads that wait for servers: more than this machine has cores to decode
        self._waiting = ThreadPoolExecutor(AT_ONCE)
        self._lock = threading.Lock()
        self._slots: dict[Need, Future[Values]] = {}
        """Chunks that a thread decodes, or has decoded."""
        self._spare: dict[str, OpenFile] = {}
        self._due = Counter(
            chunk for needs in plan for chunk in {c for need in needs for c in self._chunks(need)}
        )
        # the first thread that reads takes over what was opened for the plan
        self._spare = self._own.__dict__.pop("files", {})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._waiting.shutdown(cancel_futures=True)
        for file in self._open:
            file.close()

    def read(self, needs: Sequence[Need], into: Mapping[Layer, Values] | None = None) -> list[Values]:
        """The decoded values (H, W) of each window; those of some layers go `into` arrays that exist.

        Raises:
            SceneError: when a file is missing or damaged.
        """
        chunks = list(dict.fromkeys(chunk for need in needs for chunk in self._chunks(need)))
        values = self._decoded(chunks)
        windows = [self._joined(need, values, (into or {}).get(need.layer)) for need in needs]
        with self._lock:
            for chunk in chunks:
                self._due[chunk] -= 1
                if self._due[chunk] <= 0:
                    self._slots.pop(chunk, None)
        return windows

    def marked(self, needs: Sequence[Need]) -> bool:
        """Whether a chunk that some windows touch, which were read before, was to be remembered."""
        return any(chunk in self._marked for need in needs for chunk in self._chunks(need))

    def scratch(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Values:
        """An array of this thread with anything in it, the same one at each call for this shape."""
        own: dict[Any, Values] = self._own.__dict__.setdefault("scratch", {})
        if shape not in own:
            own[shape] = np.empty(shape, dtype=dtype)
        return own[shape]

    def _chunks(self, need: Need) -> list[Need]:
        """The chunks that a window touches."""
        file = self._file(need.layer.href)
        about = REMOTE_PX if is_remote(file.href) else CHUNK_PX
        shape, chunk = (file.height, file.width), _chunk_shape(file.block_px, about)
        return [Need(need.layer, part) for part in _parts(need.window, shape, chunk)]

    def _decoded(self, chunks: Sequence[Need]) -> dict[Need, Values]:
        """Decode the chunks that no thread has begun, then wait for those that others have."""
        slots = {}
        remote: list[Future[None]] = []
        for chunk in chunks:
            with self._lock:
                begun = chunk in self._slots
                slots[chunk] = self._slots.setdefault(chunk, Future())
            if begun:
                continue
            if is_remote(chunk.layer.href):
                remote.append(self._waiting.submit(self._fill, chunk, slots[chunk]))
            else:
                self._fill(chunk, slots[chunk])
        for arriving in remote:
            arriving.result()
        return {chunk: slot.result() for chunk, slot in slots.items()}

    def _fill(self, chunk: Need, slot: Future[Values]) -> None:
        try:
            values = self._decode[chunk.layer](
                self._file(chunk.layer.href).read(chunk.window, chunk.layer.number)
            )
            if self._shown is not None:
                self._shown(chunk.layer, chunk.window, values)
            if self._mark is not None and self._mark(values):
                self._marked.add(chunk)
        except BaseException as error:
            slot.set_exception(error)
            raise
        slot.set_result(values)

    def _joined(self, need: Need, values: Mapping[Need, Values], into: Values | None) -> Values:
        """A window, put together from its chunks; a view where one holds it all."""
        chunks, window = self._chunks(need), need.window
        if len(chunks) == 1 and into is None:
            return values[chunks[0]][_inside(window, chunks[0].window)]
        size = window.height, window.width
        joined = np.empty(size, dtype=values[chunks[0]].dtype) if into is None else into
        for chunk in chunks:
            part = _common(window, chunk.window)
            joined[_inside(part, window)] = values[chunk][_inside(part, chunk.window)]
        return joined

    def _file(self, href: str) -> OpenFile:
        """The file, open for this thread."""
        files: dict[str, OpenFile] = self._own.__dict__.setdefault("files", {})
        if href not in files:
            with self._lock:
                spare = self._spare.pop(href, None)
            files[href] = spare or OpenFile(href)
            if spare is None:
                with self._lock:
                    self._open.append(files[href])
        return files[href]


def _chunk_shape(block: tuple[int, int], about: tuple[int, int]) -> tuple[int, int]:
    height, width = (side * max(1, wanted // side) for side, wanted in zip(block, about, strict=True))
    return height, width


# Bands of one resolution are cut up alike.
@lru_cache(maxsize=128)
def _parts(window: Window, shape: tuple[int, int], chunk: tuple[int, int]) -> tuple[Window, ...]:
    """The chunks of a file of (height, width) that a window touches."""
    (height, width), (high, wide) = shape, chunk
    return tuple(
        Window(row, col, min(high, height - row), min(wide, width - col))
        for row in range(window.row // high * high, window.row + window.height, high)
        for col in range(window.col // wide * wide, window.col + window.width, wide)
    )


def _common(one: Window, other: Window) -> Window:
    """The pixels that two windows share."""
    row, col = max(one.row, other.row), max(one.col, other.col)
    return Window(
        row,
        col,
        min(one.row + one.height, other.row + other.height) - row,
        min(one.col + one.width, other.col + other.width) - col,
    )


def _inside(part: Window, whole: Window) -> tuple[slice, slice]:
    """Where a part of a window lies in its pixels."""
    row, col = part.row - whole.row, part.col - whole.col
    return slice(row, row + part.height), slice(col, col + part.width)
