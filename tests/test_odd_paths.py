"""A project in a folder whose name holds what means something in URLs, SQL, XML and to shells.

All tests of the finished project run in one (`ODD_NAME`); these look at what no other test opens.
For QGIS see `tests/geo/qgis/test_project.py`.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from pipeline.learn.tracking.run import run_record
from tests.support.projects import ODD_NAME, Project

pytestmark = pytest.mark.slow


def test_mlflow_has_the_run_and_no_other_folder_was_made(finished_project: Project) -> None:
    path = finished_project.path
    assert path.name == ODD_NAME
    with closing(sqlite3.connect(path / "mlflow.db")) as store:
        runs = store.execute("SELECT name, status FROM runs").fetchall()
    assert {status for _, status in runs} == {"FINISHED"}
    assert sorted(name for name, _ in runs if name.startswith("fold ")) == ["fold 1", "fold 2"]
    assert len(runs) == 3
    (run,) = [entry for entry in (path / "mlartifacts").iterdir() if entry.name != "models"]
    assert list(run.rglob("model_card.md"))
    assert {entry.name for entry in path.parent.iterdir()} <= {ODD_NAME, "home", "finished"}


def test_commands_find_the_model_again(finished_project: Project) -> None:
    words = ("provenance", "data/maps/east/east_classmap.tif")
    said = finished_project.run("python", "-m", "pipeline.cli", *words)
    assert run_record(finished_project.path / "models").run_id in said
