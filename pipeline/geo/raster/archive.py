"""Files that may lie in a zip: `/data/product.zip!/folder/file.jp2` names one that is not unpacked.

Such a name can be joined and compared as any other path; to open the file, use the functions here.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from pipeline.errors import SceneError

INSIDE = ".zip!/"
"""What stands in the name of a file in a zip, behind that of the zip."""
PERMIT = "give yourself the permission, or copy it"
"""What to do about a file that may not be read."""
_JP2 = b"\x00\x00\x00\x0cjP  "


def split(path: Path | str) -> tuple[Path, str | None]:
    """The zip and the name of the file in it; the path itself and None of a file on disk."""
    outer, mark, inner = str(path).partition(INSIDE)
    return (Path(f"{outer}.zip"), inner) if mark else (Path(path), None)


def is_file(path: Path | str) -> bool:
    """Whether a file exists, on disk or in its zip."""
    outer, inner = split(path)
    if inner is None or not outer.is_file():
        return inner is None and outer.is_file()
    with opened_zip(outer) as archive:
        return inner in archive.NameToInfo


def size_of(path: Path | str) -> int:
    """Bytes of a file that exists, unpacked."""
    outer, inner = split(path)
    if inner is None:
        return outer.stat().st_size
    with opened_zip(outer) as archive:
        return archive.getinfo(inner).file_size


@contextmanager
def stream_of(path: Path | str) -> Iterator[IO[bytes]]:
    """The bytes of a file that exists.

    Raises:
        SceneError: when it may not be read, or its zip is damaged.
    """
    outer, inner = split(path)
    if inner is None:
        with _opened(outer) as stream:
            yield stream
        return
    with opened_zip(outer) as archive, archive.open(inner) as stream:
        yield stream


def checksum_of(path: Path | str) -> str:
    """The SHA-256 of the bytes of a file, unpacked, as 64 hexadecimal digits."""
    with stream_of(path) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()  # type: ignore[arg-type]


def for_gdal(href: str) -> str:
    """What GDAL calls a file; URLs and files on disk as they are."""
    outer, inner = split(href)
    return href if inner is None else f"/vsizip/{{{outer}}}/{inner}"


@contextmanager
def opened_zip(path: Path) -> Iterator[zipfile.ZipFile]:
    """A zip, open for reading.

    Raises:
        SceneError: when it may not be read, is no zip, or is damaged, also while files in it are read.
    """
    try:
        with _opened(path) as stream, zipfile.ZipFile(stream) as archive:
            yield archive
    except (zipfile.BadZipFile, EOFError, NotImplementedError) as error:
        raise SceneError(
            f"{path} is no whole zip ({str(error).rstrip('.')}); download it again."
        ) from error


def require_whole(path: Path | str) -> None:
    """Refuse a JPEG 2000 file that was cut off.

    Its boxes state their length (ISO/IEC 15444-1, annex I.4), so a missing end shows without decoding.

    Raises:
        SceneError: when the file ends before its last box does.
    """
    if not is_file(path):
        return
    size, start = size_of(path), 0
    with stream_of(path) as stream:
        if stream.read(len(_JP2)) != _JP2:
            return
        while start < size:
            stream.seek(start)
            head = stream.read(16)
            length = int.from_bytes(head[:4], "big")
            if length == 1:
                length = int.from_bytes(head[8:16], "big")
            if length == 0:
                # the last box reaches to the end of the file; a codestream ends with FF D9
                stream.seek(-2, 2)
                start = size if stream.read() == b"\xff\xd9" else size + 1
                break
            start += max(length, 8)
    if start != size:
        raise SceneError(f"{path} is truncated: it ends before its image does; fetch it again.")


def _opened(path: Path) -> IO[bytes]:
    try:
        return path.open("rb")
    except OSError as error:
        raise SceneError(f"{path} cannot be read ({error.strerror}); {PERMIT}.") from error
