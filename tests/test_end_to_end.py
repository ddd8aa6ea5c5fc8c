"""`dvc repro` from pixels to maps, and what reruns when something changes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.projects import Project, make_project

STAGES = {"fetch", "tile", "split", "train", "evaluate", "predict"}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project whose stages have all run once, with their outputs committed."""
    project = make_project(tmp_path_factory.mktemp("end_to_end"))
    assert project.repro() == STAGES
    project.commit("dvc repro")
    return project


def test_x(project: Project) -> None:
    print(project.path)
    assert project.repro() == set()
