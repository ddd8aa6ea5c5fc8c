"""Files that may lie in a zip: `/data/product.zip!/folder/file.jp2` names one that is not unpacked.

Such a name can be joined and compared as any other path; to open the file, use the functions here.
"""

from __future__ import annotations

import hashlib
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple

from pipeline.errors import SceneError

_INSIDE = re.compile(r"\.zip!/", re.IGNORECASE)
"""What stands between the name of a zip and that of a file in it."""
PERMIT = "give yourself the permission, or copy it"
"""What to do about a file that may not be read."""
_JP2 = b"\x00\x00\x00\x0cjP  "
_VECTORS = (".fgb", ".geojson", ".gpkg", ".kml", ".shp")
_DAMAGED = (
    zipfile.BadZipFile, zlib.error, struct.error, EOFError, NotImplementedError, UnicodeDecodeError,
    OverflowError,
)  # fmt: skip
"""What reading a zip may end in."""


def split(path: Path | str) -> tuple[Path, str | None]:
    """The zip and the name of the file in it; the path itself and None of a file on disk."""
    text = str(path)
    if (mark := _INSIDE.search(text)) is None:
        return Path(path), None
    return Path(text[: mark.end() - 2]), text[mark.end() :]


def is_zip(path: Path) -> bool:
    """Whether a path is that of a zip by its name, whatever the case."""
    return path.suffix.lower() == ".zip"


def is_of_macos(name: str) -> bool:
    """Whether a file is none of its folder or zip, but one that macOS puts beside each (`._x.jp2`)."""
    return any(part == "__MACOSX" or part.startswith("._") for part in PurePosixPath(name).parts)


class FileState(NamedTuple):
    """What is known of a file that is not read."""

    size: int
    """Bytes, unpacked."""
    touched_ns: int
    """When it, or its zip, was last changed or put in its place."""

    @classmethod
    def of(cls, path: Path | str) -> FileState | None:
        """That of a file on disk or in its zip; None where there is none."""
        outer, inner = split(path)
        try:
            status = outer.stat()
        except (OSError, ValueError):
            return None
        if not stat.S_ISREG(status.st_mode):
            return None
        touched_ns = max(status.st_mtime_ns, status.st_ctime_ns)  # a copy may keep the first one
        if inner is None:
            return cls(status.st_size, touched_ns)
        with opened_zip(outer) as archive:
            entry = archive.NameToInfo.get(inner)
        return None if entry is None else cls(entry.file_size, touched_ns)


def size_of(path: Path | str) -> int:
    """Bytes of a file, unpacked.

    Raises:
        FileNotFoundError: when there is none.
    """
    if (state := FileState.of(path)) is None:
        raise FileNotFoundError(path)
    return state.size


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


def layer_problem(wanted: str | None, layers: Sequence[str], kind: str = "") -> str | None:
    """What a file has instead of one layer, or of the one that is wanted, and what to do about it.

    `kind` says which of its layers are meant. None where all is well.
    """
    if wanted in layers or (wanted is None and len(layers) == 1):
        return None
    if not layers:
        return f"no layer{kind}; give another file"
    has = "several layers" if wanted is None else f"no layer {wanted!r}{kind}"
    return f"{has}; name one of {', '.join(layers)} as `layer`"


def vectors_for_gdal(path: str) -> str:
    """What GDAL calls a vector file: of a zip the only one in it, or the folder of its Shapefiles.

    Raises:
        SceneError: when a zip is damaged, or holds vector files of several folders or formats.
    """
    if not is_zip(Path(path)) or not Path(path).is_file():
        return path
    with opened_zip(Path(path)) as archive:
        entries = archive.namelist()
    if path.endswith(".zip") and not any("/" in entry for entry in entries):
        return path  # GDAL looks at the top, and knows best how names are encoded
    files = sorted(
        entry for entry in entries if entry.lower().endswith(_VECTORS) and not is_of_macos(entry)
    )
    folders = {PurePosixPath(file).parent.as_posix() for file in files}
    if len(files) == 1:
        inner = files[0]
    elif len(folders) == 1 and all(file.lower().endswith(".shp") for file in files):
        inner = folders.pop().removeprefix(".")
    elif not files:
        return path
    else:
        more = f" and {len(files) - 5} more" if len(files) > 5 else ""
        raise SceneError(
            f"{path} holds the vector files {', '.join(files[:5])}{more}; unpack it and name one of "
            "them."
        )
    return for_gdal(f"{Path(path).absolute()}!/{inner}").rstrip("/")


@contextmanager
def opened_zip(path: Path) -> Iterator[zipfile.ZipFile]:
    """A zip, open for reading.

    Raises:
        SceneError: when it may not be read, is no zip, or is damaged, also while files in it are read.
    """
    try:
        with _opened(path) as stream, zipfile.ZipFile(stream) as archive:
            yield archive
    except _DAMAGED as error:
        raise SceneError(
            f"{path} is no whole zip ({str(error).rstrip('.')}); download it again."
        ) from error


def require_whole(path: Path | str) -> None:
    """Refuse a JPEG 2000 file that was cut off.

    Its boxes state their length (ISO/IEC 15444-1, annex I.4), so a missing end shows without decoding.

    Raises:
        SceneError: when the file ends before its last box does.
    """
    if (state := FileState.of(path)) is None:
        return
    size, start = state.size, 0
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
