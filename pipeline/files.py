"""Bytes on disk: outputs that appear whole or not at all, canonical JSON, and hashes."""

from __future__ import annotations

import csv
import ctypes
import errno
import hashlib
import io
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.errors import OutputError

_REMEDIES = {
    errno.ENOSPC: "the disk is full; free some space and run the command again",
    errno.EDQUOT: "the disk quota is used up; free some space and run the command again",
    errno.EACCES: "permission denied; make the folder writable or choose another one",
    errno.EPERM: "permission denied; make the folder writable or choose another one",
    errno.EROFS: "the file system is read-only; choose another folder",
    errno.ENOTDIR: "a file lies where a folder is needed; choose another folder",
    errno.EEXIST: "a file lies where a folder is needed; choose another folder",
}

_HERE = -100
"""`AT_FDCWD` of linux/fcntl.h."""
_RENAME_EXCHANGE = 2
"""Of linux/fs.h."""


@contextmanager
def publish(path: Path) -> Iterator[Path]:
    """Yield a path to write a file or a folder to; on success it takes the place of `path`.

    The yielded path lies in the folder of `path`, so that the last step is a rename. It does not
    exist yet: the caller creates a file or a folder there. Whatever fails, `path` stays as it was
    and nothing half-written stays behind.

    Raises:
        OutputError: when the disk is full or `path` cannot be written.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        remove(partial)
        if not path.exists() and _old(path).is_dir():
            _old(path).rename(path)  # a run was killed between two renames
        yield partial
        _replace(partial, path)
    except OSError as error:
        remedy = _REMEDIES.get(error.errno or 0)
        if remedy is None or not _concerns(error, path):
            raise
        raise OutputError(f"{path} cannot be written: {remedy}.") from error
    finally:
        remove(partial)


def _concerns(error: OSError, path: Path) -> bool:
    """Whether an error is about `path` or its folder, not about some input read meanwhile."""
    if error.filename is None:
        return True
    named, path = Path(str(error.filename)).absolute(), path.absolute()
    return named.is_relative_to(path.parent) or path.is_relative_to(named)


def _replace(partial: Path, path: Path) -> None:
    if not path.is_dir() or path.is_symlink():
        partial.replace(path)
    elif _exchange(partial, path):
        remove(partial)
    else:
        old = _old(path)
        remove(old)
        path.rename(old)
        try:
            partial.rename(path)
        except BaseException:
            old.rename(path)
            raise
        remove(old)


def _exchange(first: Path, second: Path) -> bool:
    """Exchange two paths in one step, which leaves both names taken at any time; whether it could.

    Linux can since 3.15, on most file systems; Python has no function for it.
    """
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError, TypeError):  # macOS, Windows, an older C library
        return False
    one, other = (os.fsencode(path.absolute()) for path in (first, second))
    return bool(renameat2(_HERE, one, _HERE, other, _RENAME_EXCHANGE) == 0)


def _old(path: Path) -> Path:
    """Where a folder is put aside while another one takes its place."""
    return path.with_name(f".{path.name}.old")


def remove(path: Path) -> None:
    """Remove a file or a folder with all it holds; nothing happens where there is none."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    elif path.exists() or path.is_symlink():
        path.unlink()


@contextmanager
def work_folder(path: Path) -> Iterator[Path]:
    """A folder beside `path` for temporary files, which is removed at the end.

    Raises:
        OutputError: when it cannot be written.
    """
    folder = path.with_name(f".{path.name}.work")
    remove(folder)
    try:
        yield folder
    finally:
        remove(folder)


def linked(path: Path, target: Path) -> None:
    """Make a file appear at another path too: by a link, or a copy where there can be none."""
    try:
        os.link(path, target)
    except OSError:  # another disk, or a file system without links
        shutil.copyfile(path, target)


def free_bytes(path: Path) -> int:
    """Free bytes of the disk that holds `path`, which need not exist yet."""
    while not path.exists():
        path = path.absolute().parent
    return shutil.disk_usage(path).free


def require_space(path: Path, needed: int, output: str) -> None:
    """Refuse to begin an output that cannot fit.

    Raises:
        OutputError: when fewer than `needed` bytes are free where `path` lies.
    """
    free = free_bytes(path)
    if needed > free:
        raise OutputError(
            f"{output} at {path} needs {needed / 1e9:.2f} GB but only {free / 1e9:.2f} GB are free; "
            "free some space or choose another folder."
        )


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and a final newline: the same value gives the same bytes."""
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def write_json(path: Path, value: Any) -> None:
    """Write `value` as canonical JSON, whole or not at all."""
    write_text(path, canonical_json(value))


def write_text(path: Path, text: str) -> None:
    """Write a text, whole or not at all."""
    with publish(path) as partial:
        partial.write_text(text, encoding="utf-8", newline="\n")


def csv_text(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table as CSV, a line for the header and one for each row."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([_plain(value) for value in row] for row in rows)
    return text.getvalue()


def _plain(value: object) -> object:
    """A value that no spreadsheet takes for a formula: a text that looks like one has a ' before it.

    So OWASP says, CSV Injection.
    """
    if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")):
        try:
            float(value)
        except ValueError:
            return f"'{value}"
    return value


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a table as CSV, whole or not at all."""
    write_text(path, csv_text(header, rows))


def sha256_of(path: Path) -> str:
    """The SHA-256 of the bytes of a file, as 64 hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def sha256_of_value(value: Any) -> str:
    """The SHA-256 of a value's canonical JSON."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def relative_path(target: Path, folder: Path) -> str:
    """The POSIX path from `folder` to `target`, which survives a moved repository.

    A `target` that is a link keeps its own place: what it points to may lie outside the repository.
    """
    return Path(os.path.relpath(target, folder)).as_posix()


def unwatched(folder: Path, sources: Sequence[Path]) -> str | None:
    """Why DVC, which watches `sources`, would not notice a change of a file in `folder`.

    It follows linked files in a source, but no linked folders. None where it would notice, or where
    there are no sources.
    """
    if not sources:
        return None
    lexical = Path(os.path.normpath(folder.absolute()))
    if not any(lexical.is_relative_to(os.path.normpath(source.absolute())) for source in sources):
        folders = " or ".join(str(source) for source in sources)
        return (
            f"lies outside of {folders}, where DVC would not notice that it changes; put or link it "
            f"under {sources[-1]}"
        )
    if not any(lexical.resolve().is_relative_to(source.resolve()) for source in sources):
        return (
            "goes through a linked folder, where DVC would not notice that it changes; make it a real "
            "folder with links to the files"
        )
    return None


def open_edits(path: Path) -> str | None:
    """A warning where another program has a database open and keeps edits beside it; None if none has.

    QGIS writes the edits of a GeoPackage into `<file>-wal` and moves them into the file when it closes
    it. They are read, but the file is unchanged: DVC does not notice them.
    """
    log = path.resolve()  # SQLite follows links
    log = log.with_name(f"{log.name}-wal")
    if not log.is_file() or not log.stat().st_size:
        return None
    return (
        f"{path} is open in another program, which keeps edits in {log.name}, where DVC does not "
        "notice them; save them, close it there (in QGIS: remove the layer or close the project) "
        "and run `dvc repro` again."
    )
