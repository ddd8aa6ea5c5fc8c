"""Bytes on disk: outputs that appear whole or not at all, canonical JSON, and hashes."""

from __future__ import annotations

import csv
import ctypes
import hashlib
import io
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from pipeline.errors import OutputError
from pipeline.outputs import owned, remove_lock, writable

_HERE = -100
"""`AT_FDCWD` of linux/fcntl.h."""
_RENAME_EXCHANGE = 2
"""Of linux/fs.h."""
_LEFT = ("partial", "partial.gpkg", "partial.gpkg-journal", "old", "work")
"""What the names of an output end with while it is made; a kill may leave them."""


@contextmanager
def publish(path: Path) -> Iterator[Path]:
    """Yield a path to write a file or a folder to; on success it takes the place of `path`.

    The yielded path lies in the folder of `path`, so that the last step is a rename. It does not
    exist yet: the caller creates a file or a folder there. Whatever fails, `path` stays as it was
    and nothing half-written stays behind; what a run that was killed left there goes first.

    Raises:
        OutputError: when the disk is full, `path` cannot be written or replaced, or another process
            writes to it.
    """
    partial = path.with_name(f".{path.name}.partial")
    _require_no_mount(path)
    with writable(path, partial), owned(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _clear(path)
        try:
            yield partial
            _replace(partial, path)
        finally:
            remove(partial)


@contextmanager
def publish_files(folder: Path) -> Iterator[Path]:
    """Yield a folder to write files to; on success each takes its place in `folder`.

    What else lies in `folder` stays. Whatever fails, all of it stays as it was.

    Raises:
        OutputError: when the disk is full, `folder` cannot be written, or another process writes to it.
    """
    partial = folder / ".files.partial"
    with writable(folder, partial), owned(folder, inside=True):
        remove(partial)
        try:
            partial.mkdir(parents=True)
            yield partial
            for file in sorted(partial.iterdir()):
                file.replace(folder / file.name)
        finally:
            remove(partial)


def _require_no_mount(path: Path) -> None:
    """Refuse before the work what cannot be replaced after it."""
    if not path.is_dir() or path.is_symlink():
        return
    import psutil  # noqa: PLC0415  # the dense form does without

    place = str(path.resolve())
    if any(mount.mountpoint == place for mount in psutil.disk_partitions(all=True)):
        raise OutputError(
            f"{path} is a mount point, which cannot be replaced as a whole; mount the folder above it, "
            "or name a folder inside of it."
        )


def remove_leftovers(folder: Path) -> None:
    """Remove what runs that were killed left in a folder of outputs; what they put aside comes back."""
    outputs = {
        left.with_name(left.name[1:].removesuffix(f".{end}"))
        for left in folder.glob(".?*")
        for end in (*_LEFT, "lock")
        if left.name[1:].endswith(f".{end}")
    }
    for path in sorted(outputs):
        _clear(path)
        remove_lock(path)


def _clear(path: Path) -> None:
    """Remove what a kill left of one output; its folder is not listed, as many lie in one."""
    old = _old(path)
    if old.exists() and not path.exists():
        old.rename(path)
    for end in _LEFT:
        remove(path.with_name(f".{path.name}.{end}"))


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


@cache
def code_sha256() -> str:
    """The SHA-256 of the code and the templates of lenscape."""
    package = Path(__file__).parent
    files = (path for path in package.rglob("*") if path.suffix in (".py", ".j2"))
    return sha256_of_value({relative_path(path, package): sha256_of(path) for path in files})


def relative_path(target: Path, folder: Path) -> str:
    """The POSIX path from `folder` to `target`, which survives a moved repository.

    A `target` that is a link keeps its own place: what it points to may lie outside the repository.
    """
    return Path(os.path.relpath(target, folder)).as_posix()
