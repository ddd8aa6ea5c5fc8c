"""The database of a store on this disk: made by one process, and there whole or not at all.

MLflow makes its tables one by one in the file itself, so that a second process, or one that comes after
a kill, finds half of them and fails for ever.
"""

from __future__ import annotations

import fcntl
import sqlite3
from contextlib import closing
from importlib import import_module
from pathlib import Path

from pipeline.files import remove, work_folder

_SQLITE = "sqlite:///"
_BESIDE = ("-journal", "-wal", "-shm")
"""What sqlite keeps beside a database; that of a former one must not be read into a new one."""


def sqlite_file(uri: str) -> Path | None:
    """The file of a store in sqlite; None of any other store."""
    path = uri.removeprefix(_SQLITE).partition("?")[0]
    return Path(path) if uri.startswith(_SQLITE) and path not in ("", ":memory:") else None


def require_database(path: Path, artifacts: str) -> None:
    """Make the database of a store where there is none, while other processes wait.

    Args:
        path: The file.
        artifacts: URI of the folder for the files of runs.

    Raises:
        sqlite3.Error: when a file is there that is no database.
        OutputError: when it cannot be written.
    """
    if not _is_empty(path):
        with closing(sqlite3.connect(path)) as database:
            database.execute("PRAGMA schema_version")  # MLflow would try to open it for hours
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f"{path.name}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if _is_empty(path):
            _make(path, artifacts)


def _is_empty(path: Path) -> bool:
    return not path.exists() or (path.is_file() and path.stat().st_size == 0)


def _make(path: Path, artifacts: str) -> None:
    with work_folder(path) as folder:
        folder.mkdir()
        made = folder / path.name
        # imported here, where its warnings are not shown
        tables = import_module("mlflow.store.tracking.sqlalchemy_store")
        store = tables.SqlAlchemyStore(f"{_SQLITE}{made}", artifacts)
        store.engine.dispose()
        for suffix in _BESIDE:
            remove(path.with_name(path.name + suffix))
        made.replace(path)
