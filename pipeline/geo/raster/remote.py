"""Files behind HTTP: what their server says of them, and ranges of their bytes.

A server that stalls, cuts an answer off or fails is asked again, a little later each time. Bytes count
only when they are of the file that was looked up: same ETag, same size.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import requests

from pipeline.errors import SceneError
from pipeline.geo.raster.signing import signed

TIMEOUT_S = 30.0
"""How long a server may keep silent."""
TRIES = 6
AT_ONCE = 8
"""Requests in flight."""
WAIT_S = 1.0
"""Before the second try; it doubles with each further one."""
MAY_PASS = {408, 425, 429, 500, 502, 503, 504}
"""Statuses after which it is worth trying again."""
_own = threading.local()


@dataclass(frozen=True)
class RemoteFile:
    """A file as its server described it."""

    href: str
    """Its address, without a signature."""
    size: int
    """Bytes."""
    etag: str
    """What changes when the file does, as the server states it: its ETag, or the time of its change."""
    ranges: bool
    """Whether the server sends parts of it."""


class _Failed(Exception):  # noqa: N818
    """A try that failed in a way that may pass."""


def is_remote(href: str) -> bool:
    """Whether an href is an address on the web rather than a path."""
    return href.startswith(("http://", "https://"))


def gdal_options() -> dict[str, str]:
    """How GDAL reads over HTTP: as patiently as this module, by ranges, several at a time."""
    return {
        "GDAL_HTTP_CONNECTTIMEOUT": f"{TIMEOUT_S:g}",
        "GDAL_HTTP_LOW_SPEED_TIME": f"{TIMEOUT_S:g}",
        "GDAL_HTTP_LOW_SPEED_LIMIT": "1",
        "GDAL_HTTP_MAX_RETRY": str(TRIES - 1),
        "GDAL_HTTP_RETRY_DELAY": f"{WAIT_S:g}",
        # by default a connection that was cut is no reason to try again
        "GDAL_HTTP_RETRY_CODES": "ALL",
        "GDAL_HTTP_MULTIRANGE": "PARALLEL",
        "GDAL_HTTP_MULTIPLEX": "YES",
        "GDAL_INGESTED_BYTES_AT_OPEN": "32768",
    }


def look_up(href: str, count: int = 1) -> tuple[RemoteFile, bytes]:
    """What the server says of a file, and its first bytes, `count` or less; none without ranges.

    Raises:
        SceneError: when it is not there, or the server keeps failing.
    """
    return _patiently(href, lambda: _looked_up(href, count))


def read_range(file: RemoteFile, first: int, size: int) -> bytes:
    """Some bytes of a file whose server sends parts of it.

    Raises:
        SceneError: when the file is not the one that was looked up any more, or the server keeps
            failing.
    """
    return _patiently(file.href, lambda: _ranged(file, first, size))


def read_whole(file: RemoteFile, write: Callable[[int, bytes], None]) -> None:
    """Hand the bytes of a file to `write`, with the place of each part, from the beginning.

    After a failure it begins anew.

    Raises:
        SceneError: as `read_range`.
    """
    _patiently(file.href, lambda: _whole(file, write))


def require_unchanged(href: str, etag: str, size: int) -> None:
    """Refuse a file that is another one than when its Item was made.

    Raises:
        SceneError: when it is, or cannot be reached.
    """
    file, _ = look_up(href)
    if (file.etag, file.size) != (etag, size):
        raise SceneError(f"{href} has changed since it was fetched; run `fetch` again.")


def _patiently[T](href: str, call: Callable[[], T]) -> T:
    reason = ""
    for attempt in range(TRIES):
        if attempt:
            time.sleep(WAIT_S * 2 ** (attempt - 1))
        try:
            return call()
        except _Failed as error:
            reason = str(error)
        except requests.RequestException as error:
            reason = _words(error)
    raise SceneError(
        f"{href} cannot be fetched: {reason}, {TRIES} times in a row; check the connection and run it "
        "again."
    )


def _words(error: requests.RequestException) -> str:
    match error:
        case requests.Timeout():
            return f"no answer within {TIMEOUT_S:g} s"
        case requests.ConnectionError() if "timed out" in str(error):
            return f"no answer within {TIMEOUT_S:g} s"
        case requests.exceptions.ChunkedEncodingError():
            return "the connection was cut"
        case requests.ConnectionError():
            return "no connection"
        case _:
            return type(error).__name__


def _get(href: str, span: str | None) -> requests.Response:
    """The beginning of an answer; its body is not read yet."""
    if not hasattr(_own, "session"):
        _own.session = requests.Session()
    session: requests.Session = _own.session
    headers = {"Accept-Encoding": "identity"} | ({} if span is None else {"Range": f"bytes={span}"})
    response = session.get(signed(href), headers=headers, timeout=TIMEOUT_S, stream=True)
    status = response.status_code
    if status not in (200, 206):
        response.close()
        if status in MAY_PASS:
            raise _Failed(f"its server answers {status}")
        raise SceneError(
            f"{href} cannot be fetched: its server answers {status} ({response.reason}); check the "
            "address and whether you may read it."
        )
    return response


def _looked_up(href: str, count: int) -> tuple[RemoteFile, bytes]:
    with _get(href, f"0-{count - 1}") as response:
        ranges = response.status_code == 206
        try:
            total = response.headers["Content-Range"].rpartition("/")[2] if ranges else ""
            size = int(total or response.headers["Content-Length"])
        except (KeyError, ValueError):
            raise SceneError(
                f"{href}: its server does not say how large it is; fetch it by other means."
            ) from None
        file = RemoteFile(href, size, _tag(response), ranges)
        return file, _body(response, min(count, size)) if ranges else b""


def _ranged(file: RemoteFile, first: int, size: int) -> bytes:
    span = f"{first}-{first + size - 1}"
    with _get(file.href, span) as response:
        _require_same(file, response)
        if response.headers.get("Content-Range") != f"bytes {span}/{file.size}":
            if response.headers.get("Content-Range", "").rpartition("/")[2] not in ("", str(file.size)):
                raise _changed(file)
            raise _Failed("its server sends other bytes than asked for")
        return _body(response, size)


def _whole(file: RemoteFile, write: Callable[[int, bytes], None]) -> None:
    with _get(file.href, None) as response:
        _require_same(file, response)
        at = 0
        for part in response.iter_content(1 << 20):
            write(at, part)
            at += len(part)
        if at != file.size:
            raise _Failed("the connection was cut")


def _body(response: requests.Response, size: int) -> bytes:
    content = response.content
    if len(content) != size:
        raise _Failed("the connection was cut")
    return content


def _tag(response: requests.Response) -> str:
    return response.headers.get("ETag") or response.headers.get("Last-Modified", "")


def _require_same(file: RemoteFile, response: requests.Response) -> None:
    if _tag(response) != file.etag:
        raise _changed(file)


def _changed(file: RemoteFile) -> SceneError:
    return SceneError(f"{file.href} changed while it was fetched; run `fetch` again.")
