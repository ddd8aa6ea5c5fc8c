"""The first contact with a store in sqlite, by many at once and after a kill."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from pipeline.errors import TrackingError
from pipeline.learn.tracking.tracking_uri import connect, store_errors

ROOT = Path(__file__).parents[3]
CONNECT = "from pipeline.learn.tracking.tracking_uri import connect; connect()"
KILLED = """
import os
from mlflow.store.db import utils
utils._upgrade_db = lambda engine: os._exit(9)  # half of the tables are there
"""


@pytest.fixture
def database(tmp_path, monkeypatch):
    """The path of a store that is not there yet."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    return tmp_path / "mlflow.db"


def connecting(before: str = "") -> subprocess.Popen[bytes]:
    """A process that makes the first contact."""
    return subprocess.Popen(
        [sys.executable, "-c", before + CONNECT],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def experiments() -> list[str]:
    return [one.name for one in connect().search_experiments()]


@pytest.mark.slow
@pytest.mark.usefixtures("database")
def test_many_processes_at_once_make_one_database():
    processes = [connecting() for _ in range(4)]
    printed = [process.communicate(timeout=240)[0] for process in processes]
    assert printed == [b""] * 4
    assert {process.returncode for process in processes} == {0}
    assert sorted(experiments()) == ["Default", "lenscape"]


@pytest.mark.slow
def test_a_kill_in_between_leaves_nothing_behind(database):
    killed = connecting(KILLED)
    killed.communicate(timeout=120)
    assert killed.returncode == 9
    assert not database.exists()
    assert sorted(experiments()) == ["Default", "lenscape"]
    assert {path.name for path in database.parent.iterdir()} == {"mlflow.db", "mlflow.db.lock"}


def test_what_lies_beside_a_former_database_is_not_read(database):
    database.with_name("mlflow.db-journal").write_bytes(b"of another one")
    database.touch()
    assert sorted(experiments()) == ["Default", "lenscape"]


def test_a_database_that_is_not_whole_is_one_sentence(database):
    with closing(sqlite3.connect(database)) as made:
        made.execute("CREATE TABLE datasets (name TEXT)")
    with pytest.raises(
        TrackingError, match=r"cannot be used \(.*\); it is not whole: move .*mlflow.db away"
    ):
        connect()


@pytest.mark.parametrize(
    "content", [b"no database, but long enough to be read as the header of one" * 9]
)
def test_another_file_is_one_sentence(database, content):
    database.write_bytes(content)
    with pytest.raises(TrackingError, match=r"not a database\); it is not whole: move"):
        connect()


def test_a_folder_is_one_sentence(database):
    database.mkdir()
    with pytest.raises(TrackingError, match=r"unable to open database file\); correct"):
        connect()


def test_a_full_disk_is_named():
    with (
        closing(sqlite3.connect(":memory:")) as small,
        pytest.raises(TrackingError, match=r"failed: the disk is full .*; free some space"),
        store_errors(),
    ):
        small.executescript("PRAGMA max_page_count = 1; CREATE TABLE a (b)")
    with (
        pytest.raises(TrackingError, match=r"the disk is full .*; free"),
        store_errors(),
        Path("/dev/full").open("w") as full,
    ):
        full.write("a")
