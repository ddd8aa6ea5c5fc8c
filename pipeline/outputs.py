"""Who writes to an output, and what is said where it cannot be written.

An output belongs to one process at a time, by a lock of the operating system that ends with its
process: what a kill leaves needs no cleaning by hand. It is a POSIX record lock, which the children
of a process do not inherit, and which NFS keeps between hosts. A file system without locks is used
all the same, with a warning. `filelock` leaves its files behind and does not say who holds a lock.
"""

from __future__ import annotations

import errno
import fcntl
import os
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pipeline.errors import OutputError

_REMEDIES = {
    errno.ENOSPC: "the disk is full; free some space and run the command again",
    errno.EDQUOT: "the disk quota is used up; free some space and run the command again",
    errno.EFBIG: "a file would be larger than may be (ulimit -f, or the file system); raise the limit",
    errno.EACCES: "permission denied; make the folder writable or choose another one",
    errno.EPERM: "permission denied; make the folder writable or choose another one",
    errno.EROFS: "the file system is read-only; choose another folder",
    errno.ENOTDIR: "a file lies where a folder is needed; choose another folder",
    errno.EEXIST: "a file lies where a folder is needed; choose another folder",
}
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}

_OWNED: set[Path] = set()
"""The outputs that this process owns, as absolute paths."""


@contextmanager
def writable(path: Path, partial: Path | None = None) -> Iterator[None]:
    """Turn errors of the operating system about an output or its folder into an `OutputError`.

    `partial` is where the output is written first, which no message names: it is gone then.
    """
    try:
        yield
    except OutputError as error:
        if partial is None:
            raise
        raise OutputError(str(error).replace(str(partial), str(path))) from error
    except OSError as error:
        remedy = _REMEDIES.get(error.errno or 0)
        if remedy is None or not _concerns(error, path):
            raise
        raise OutputError(f"{path} cannot be written: {remedy}.") from error


def _concerns(error: OSError, path: Path) -> bool:
    """Whether an error is about `path` or its folder, not about some input read meanwhile."""
    if error.filename is None:
        return True
    named, path = Path(str(error.filename)).absolute(), path.absolute()
    return named.is_relative_to(path.parent) or path.is_relative_to(named)


@contextmanager
def owned(path: Path, *, inside: bool = False) -> Iterator[None]:
    """Keep other processes of lenscape from writing to a file or folder until the end of the block.

    With a folder all that lies in it is owned.

    Args:
        path: The output.
        inside: Whether the lock lies in it, a folder then, and nothing has to be written beside it.

    Raises:
        OutputError: when another process writes to it, or the lock cannot be written.
    """
    place = path.absolute()
    if not _OWNED.isdisjoint((place, *place.parents)):
        yield
        return
    file = place / ".lock" if inside else _lock_beside(place)
    new = not file.parent.exists()
    with writable(path):
        file.parent.mkdir(parents=True, exist_ok=True)
        lock = _locked(file, path)
    _OWNED.add(place)
    try:
        with writable(path):
            os.ftruncate(lock, 0)
            os.write(lock, f"process {os.getpid()} on {platform.node()}".encode())
        yield
    finally:
        _OWNED.remove(place)
        file.unlink(missing_ok=True)  # before another process can have it
        os.close(lock)
        if new:
            with suppress(OSError):  # something was written
                file.parent.rmdir()


def remove_lock(path: Path) -> None:
    """Remove the lock that a process which was killed left of an output; one that is held stays."""
    file = _lock_beside(path)
    # to close the file of a lock that this process holds would end that lock
    if path.absolute() in _OWNED or not file.exists():
        return
    with suppress(OutputError), writable(path):
        lock = _locked(file, path)
        file.unlink()
        os.close(lock)


def _lock_beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.lock")


def _locked(path: Path, output: Path) -> int:
    """A file that is locked for an output; closed, by the end of the process too, it is unlocked."""
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            _lock(file, output)
            if _is_there(file, path):
                return file
        except BaseException:
            os.close(file)
            raise
        os.close(file)  # its owner has removed it meanwhile


def _lock(file: int, output: Path) -> None:
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        owner = os.pread(file, 1000, 0).decode(errors="replace") or "another process"
        raise OutputError(
            f"{output} is being written by {owner}; wait until that has ended, or end it."
        ) from None
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        print(
            f"warning: the file system of {output} has no locks; write to it by one command at a time.",
            file=sys.stderr,
        )


def _is_there(file: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except FileNotFoundError:
        return False
