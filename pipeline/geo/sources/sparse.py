"""A file behind HTTP, of which a local copy holds the parts that were needed so far.

The copy has the size of the file and holes where nothing was fetched. A journal beside it lists what it
holds, so that a run that was stopped goes on where it stopped.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.files import remove
from pipeline.geo.raster.remote import AT_ONCE, RemoteFile, read_range, read_whole
from pipeline.geo.raster.tiffindex import Span

PIECE = 1 << 20
"""Bytes of a request, about: neighbouring parts are fetched together up to here."""
GAP = 1 << 13
"""Bytes between two parts that are rather fetched than asked around."""


@dataclass
class Traffic:
    """What went over the line."""

    fetched: int = 0
    """Bytes of answers that were of use."""
    needed: int = 0
    """Bytes of the tiles that hold the pixels wanted, whether fetched now or before."""
    requests: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def count(self, size: int) -> None:
        """One more answer, of `size` bytes."""
        with self._lock:
            self.fetched += size
            self.requests += 1

    def need(self, size: int) -> None:
        """So many bytes of tiles are wanted of a file."""
        with self._lock:
            self.needed += size


class SparseCopy:
    """The local copy of a remote file."""

    def __init__(self, file: RemoteFile, path: Path, traffic: Traffic) -> None:
        """Go on with the copy at `path`, or begin one.

        A file whose server gives no ETag is always begun anew: nobody could say that it is the same.
        """
        self.file, self.path = file, path
        self._journal = path.with_suffix(".journal")
        self._traffic, self._lock = traffic, threading.Lock()
        path.parent.mkdir(parents=True, exist_ok=True)
        if not file.etag or not self._journal.exists():
            self.discard()
        with path.open("ab") as stream:
            stream.truncate(file.size)
        self._held = _merged(_noted(self._journal), 0)

    def discard(self) -> None:
        """Give the copy up."""
        remove(self._journal)
        remove(self.path)

    def read(self, first: int, size: int) -> bytes:
        """Some bytes of the file, fetched where they are missing; none beyond its end."""
        size = min(size, self.file.size - first)
        self.ensure([(first, size)])
        with self.path.open("rb") as stream:
            stream.seek(first)
            return stream.read(size)

    def put(self, first: int, content: bytes) -> None:
        """Keep bytes that were fetched."""
        self._write(first, content)
        self._note(first, len(content))

    def ensure(self, spans: Iterable[Span]) -> None:
        """Fetch what is missing of some parts, several at a time; what arrived stays, whatever fails.

        Raises:
            SceneError: when the server keeps failing, or the file has changed meanwhile.
        """
        missing = _missing(_merged(spans, GAP), self._held)
        if missing and not self.file.ranges:
            read_whole(self.file, self._write)
            self._note(0, self.file.size)
            self._traffic.count(self.file.size)
            return
        pool = ThreadPoolExecutor(AT_ONCE)
        try:
            for done in [pool.submit(self._fetch, piece) for piece in _pieces(missing)]:
                done.result()
        finally:
            pool.shutdown(cancel_futures=True)

    def _fetch(self, span: Span) -> None:
        self.put(span[0], read_range(self.file, *span))
        self._traffic.count(span[1])

    def _note(self, first: int, size: int) -> None:
        with self._lock:
            with self._journal.open("a", encoding="ascii") as stream:
                stream.write(f"{first} {size}\n")
            self._held = _merged([*self._held, (first, size)], 0)

    def _write(self, first: int, content: bytes) -> None:
        with self.path.open("r+b") as stream:
            os.pwrite(stream.fileno(), content, first)


def _noted(journal: Path) -> list[Span]:
    """What a journal lists; its last line may have been cut."""
    if not journal.exists():
        return []
    text = journal.read_text(encoding="ascii", errors="replace")
    lines = [line.split() for line in text.split("\n")[:-1]]
    return [(int(line[0]), int(line[1])) for line in lines]


def _merged(spans: Iterable[Span], gap: int) -> list[Span]:
    """The same bytes in as few spans as can be, by place; gaps of so many bytes are filled."""
    found: list[Span] = []
    for first, size in sorted(span for span in spans if span[1] > 0):
        if found and first <= sum(found[-1]) + gap:
            begin = found[-1][0]
            found[-1] = begin, max(sum(found[-1]), first + size) - begin
        else:
            found.append((first, size))
    return found


def _missing(wanted: Iterable[Span], held: list[Span]) -> list[Span]:
    """What of some spans is not held; both by place and without overlap."""
    found = []
    for first, size in wanted:
        at, end = first, first + size
        for begin, count in held:
            if begin + count <= at or begin >= end:
                continue
            if begin > at:
                found.append((at, begin - at))
            at = max(at, begin + count)
        if at < end:
            found.append((at, end - at))
    return found


def _pieces(spans: Iterable[Span]) -> list[Span]:
    """The spans in parts of one request each."""
    return [
        (at, min(PIECE, first + size - at))
        for first, size in spans
        for at in range(first, first + size, PIECE)
    ]
