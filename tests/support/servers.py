"""A file server on loopback that serves ranges, counts what it sends, and fails as it is told to."""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, BinaryIO, Literal
from urllib.parse import unquote, urlsplit

type Fault = Literal["stall", "silence", "cut"] | int
"""What goes wrong with an answer: it stops half-way, or before its first byte, and stays open; it stops
half-way and is closed; or it is a status."""


@dataclass(frozen=True)
class Request:
    """What was asked for."""

    method: str
    path: str
    """Without the query, decoded."""
    query: str
    range: tuple[int, int] | None
    """First and last byte."""


@dataclass
class FileServer:
    """The files of a folder over HTTP."""

    folder: Path
    port: int = 0
    ranges: bool = True
    """Whether a range is answered with 206; otherwise with 200 and the whole file."""
    tags: bool = True
    """Whether an answer has an ETag."""
    fault: Callable[[Request], Fault | None] = lambda _: None
    """Asked before each answer."""
    allowed: Callable[[Request], bool] = lambda _: True
    """Whether the request carries what it must; otherwise it is answered with 403."""
    answers: dict[str, tuple[int, str, bytes]] = field(default_factory=dict)
    """Paths with an answer of their own: status, type and body."""
    delay_s: float = 0.0
    """How long an answer waits, so that requests that are made together meet here."""
    requests: list[Request] = field(default_factory=list)
    sent: Counter[str] = field(default_factory=Counter)
    """Bytes of bodies by path."""
    most_at_once: int = 0
    """The largest number of answers in flight at a time."""
    _hashes: dict[tuple[int, ...], str] = field(default_factory=dict)
    _now: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _over: threading.Event = field(default_factory=threading.Event)

    def url(self, name: str = "") -> str:
        """The address of a file below the folder."""
        return f"http://127.0.0.1:{self.port}/{name}"

    def asked(self, path: str) -> list[Request]:
        """The requests for a path that ask for its bytes."""
        return [one for one in self.requests if one.path == f"/{path}" and one.method == "GET"]

    def forget(self) -> None:
        """Count anew."""
        with self._lock:
            self.requests.clear()
            self.sent.clear()
            self.most_at_once = 0

    @contextmanager
    def _counted(self, request: Request) -> Iterator[None]:
        with self._lock:
            self.requests.append(request)
            self._now += 1
            self.most_at_once = max(self.most_at_once, self._now)
        try:
            yield
        finally:
            with self._lock:
                self._now -= 1

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        """Answer one request."""
        request = _read(handler)
        with self._counted(request):
            if self.delay_s:
                self._over.wait(self.delay_s)
            fault = self.fault(request)
            if isinstance(fault, int):
                self._status(handler, fault)
            elif request.path in self.answers:
                status, kind, body = self.answers[request.path]
                self._send(handler, request, status, {"Content-Type": kind}, body)
            elif not self.allowed(request):
                self._status(handler, 403)
            else:
                self._file(handler, request, fault)

    def _file(self, handler: BaseHTTPRequestHandler, request: Request, fault: Fault | None) -> None:
        path = self.folder / request.path.lstrip("/")
        if not path.is_file():
            self._status(handler, 404)
            return
        headers = {"Content-Type": "application/octet-stream"}
        if self.ranges:
            headers["Accept-Ranges"] = "bytes"
        status = 200
        # opened once: meanwhile another file may take the name
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            first, last = 0, size - 1
            if self.tags:
                headers["ETag"] = f'"{self._hash(file)}"'
            if self.ranges and request.range is not None:
                first, last = request.range[0], min(request.range[1], size - 1)
                if first >= size:
                    self._status(handler, 416)
                    return
                status, headers["Content-Range"] = 206, f"bytes {first}-{last}/{size}"
            file.seek(first)
            content = file.read(last + 1 - first)
        self._send(handler, request, status, headers, content, fault)

    def _hash(self, file: BinaryIO) -> str:
        """Digits that differ between contents; a large file is read once for all its requests."""
        state = os.fstat(file.fileno())
        key = (state.st_ino, state.st_mtime_ns, state.st_size)
        # a small file may be written twice within a tick of the clock
        if key not in self._hashes or state.st_size < 1 << 20:
            self._hashes[key] = hashlib.file_digest(file, "sha256").hexdigest()[:16]
        return self._hashes[key]

    def _send(
        self,
        handler: BaseHTTPRequestHandler,
        request: Request,
        status: int,
        headers: dict[str, str],
        body: bytes,
        fault: Fault | None = None,
    ) -> None:
        handler.send_response(status)
        for name, value in (headers | {"Content-Length": str(len(body))}).items():
            handler.send_header(name, value)
        handler.end_headers()
        if request.method == "HEAD":
            return
        part = body if fault is None else b"" if fault == "silence" else body[: len(body) // 2]
        for at in range(0, len(part), 1 << 16):
            some = part[at : at + (1 << 16)]
            # counted first: who has read the bytes may ask for the count at once
            with self._lock:
                self.sent[request.path] += len(some)
            handler.wfile.write(some)
        if fault in ("stall", "silence"):
            handler.wfile.flush()
            self._over.wait(60)
        if fault is not None:
            handler.close_connection = True

    def _status(self, handler: BaseHTTPRequestHandler, status: int) -> None:
        handler.send_response(status)
        handler.send_header("Content-Length", "0")
        handler.end_headers()


def _read(handler: BaseHTTPRequestHandler) -> Request:
    # a proxy is asked for the whole address
    parts = urlsplit(handler.path)
    match = re.fullmatch(r"bytes=(\d+)-(\d*)", handler.headers.get("Range", ""))
    span = None if match is None else (int(match[1]), int(match[2] or 1 << 62))
    handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
    return Request(handler.command, unquote(parts.path), parts.query, span)


@contextmanager
def serving(folder: Path, **settings: Any) -> Iterator[FileServer]:
    """A server of the files of a folder, on a free port."""
    files = FileServer(folder, **settings)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            try:
                files.answer(self)
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True

        do_HEAD = do_POST = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        request_queue_size = 64  # with the usual 5, a connection of many may wait a second to be taken

        def handle_error(self, *_: Any) -> None:
            # a client may drop a connection that it keeps open
            if not isinstance(sys.exception(), ConnectionError):
                super().handle_error(*_)

    server = Server(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    files.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield files
    finally:
        files._over.set()
        server.shutdown()
        server.server_close()
        thread.join()


def faults_of(path: str, faults: Sequence[Fault]) -> Callable[[Request], Fault | None]:
    """The first requests for the bytes of a path fail, in this order."""
    left, lock = list(faults), threading.Lock()

    def fault(request: Request) -> Fault | None:
        with lock:
            hit = request.path == f"/{path}" and request.method == "GET" and left
            return left.pop(0) if hit else None

    return fault


def as_json(value: Any) -> tuple[int, str, bytes]:
    """An answer of a path of its own."""
    return 200, "application/json", json.dumps(value).encode()
