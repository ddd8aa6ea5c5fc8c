"""Files behind HTTP: size and ETag, whole downloads, and the settings by which GDAL reads parts.

A server that stalls, cuts an answer off or fails is asked again, a little later each time: by urllib3's
`Retry` here, by GDAL where pixels are read. Bytes count only when they are of the file that was looked
up: same ETag, same size.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import requests
from requests.adapters import HTTPAdapter
from urllib3 import Retry
from urllib3.exceptions import MaxRetryError

from pipeline.errors import SceneError
from pipeline.files import remove
from pipeline.geo.raster.signing import signed

TIMEOUT_S = 30.0
"""How long a server may send nothing."""
TRIES = 6
AT_ONCE = 8
"""Requests in flight."""
WAIT_S = 1.0
"""Doubled before the third try and before each further one; the second comes at once."""
_CHUNK = 1 << 14
RETRIED = (408, 425, 429, 500, 502, 503, 504)
"""Statuses after which a request is sent again."""


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

    @property
    def key(self) -> str:
        """Sixteen digits that differ between files and between versions of a file."""
        return hashlib.sha256(repr((self.href, self.etag, self.size)).encode()).hexdigest()[:16]


def is_remote(href: str) -> bool:
    """Whether an href is an address on the web rather than a path."""
    return href.startswith(("http://", "https://"))


def gdal_options() -> dict[str, str]:
    """How GDAL reads over HTTP: with the same retries as this module, by ranges, several at a time."""
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


def retries() -> Retry:
    """When a request is sent again; afterwards its last answer counts, whatever its status."""
    return Retry(
        TRIES - 1, backoff_factor=WAIT_S, status_forcelist=RETRIED, allowed_methods=None,
        raise_on_status=False, retry_after_max=60,
    )  # fmt: skip


def look_up(href: str) -> RemoteFile:
    """Size and ETag of a file, and whether its server sends parts of it.

    Raises:
        SceneError: when it does not exist, or the server keeps failing.
    """
    with requests.Session() as session, _answer(session, href, {"Range": "bytes=0-0"}) as response:
        ranges = response.status_code == 206
        try:
            total = response.headers["Content-Range"].rpartition("/")[2] if ranges else ""
            size = int(total or response.headers["Content-Length"])
        except (KeyError, ValueError):
            raise SceneError(
                f"{href}: its server does not say how large it is; fetch it by other means."
            ) from None
        return RemoteFile(href, size, _tag(response), ranges)


def download(file: RemoteFile, path: Path) -> None:
    """Fetch a whole file.

    What has arrived is kept beside `path`, and the next call continues from there; without an ETag, or
    where the server sends no parts, it begins anew.

    Raises:
        SceneError: when the file has changed since it was looked up, or the server keeps failing.
    """
    partial = path.with_name(f"{path.name}.{file.key}.part")
    path.parent.mkdir(parents=True, exist_ok=True)
    if not file.etag:
        remove(partial)
    partial.touch()
    left = retries()
    with requests.Session() as session:
        while (held := partial.stat().st_size) < file.size:
            try:
                _append(session, file, partial)
            except requests.RequestException as error:
                if file.ranges and partial.stat().st_size > held:
                    left = retries()
                try:
                    left = left.increment(error=error)
                except MaxRetryError:
                    raise _failed(file.href, _reason(error)) from error
                left.sleep()
    partial.replace(path)


def _answer(session: requests.Session, href: str, headers: dict[str, str]) -> requests.Response:
    """The beginning of an answer; its body is not read yet."""
    adapter = HTTPAdapter(max_retries=retries())
    session.mount("http://", adapter)
    session.mount("https://", adapter)
    headers = {"Accept-Encoding": "identity"} | headers
    try:
        response = session.get(signed(href), headers=headers, timeout=TIMEOUT_S, stream=True)
    except requests.RequestException as error:
        raise _failed(href, _reason(error)) from error
    status = response.status_code
    if status in (200, 206):
        return response
    response.close()
    if status in RETRIED:
        raise _failed(href, f"its server answers {status}")
    raise SceneError(
        f"{href} cannot be fetched: its server answers {status} ({response.reason}); check the "
        "address and whether you may read it."
    )


def _append(session: requests.Session, file: RemoteFile, partial: Path) -> None:
    """Fetch what is missing of a file, or all of it where its server sends no parts."""
    held = partial.stat().st_size if file.ranges else 0
    with _answer(session, file.href, {"Range": f"bytes={held}-"} if held else {}) as response:
        span = f"bytes {held}-{file.size - 1}/{file.size}"
        if _tag(response) != file.etag or (held and response.headers.get("Content-Range") != span):
            raise changed(file)
        with partial.open("ab" if held else "wb") as stream:
            # of an answer that is cut, the last of these is lost
            for content in response.iter_content(_CHUNK):
                stream.write(content)


def _reason(error: requests.RequestException) -> str:
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


def _failed(href: str, reason: str) -> SceneError:
    return SceneError(
        f"{href} cannot be fetched: {reason}, {TRIES} times in a row; check the connection and run it "
        "again."
    )


def _tag(response: requests.Response) -> str:
    return response.headers.get("ETag") or response.headers.get("Last-Modified", "")


def changed(file: RemoteFile) -> SceneError:
    """The error of a file that is another one than the one that was looked up."""
    return SceneError(f"{file.href} changed while it was fetched; run `fetch` again.")
