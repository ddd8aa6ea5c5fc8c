"""docs/howto/eurosat.md as it stands, on a few images made up in the form of EuroSAT."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.eurosats import make_eurosat, turns, write_lists
from tests.support.pages import HOWTO, follow
from tests.support.projects import Project

pytestmark = pytest.mark.slow


def test_from_images_to_a_report(finished_project: Project, tmp_path: Path) -> None:
    project = finished_project.copy(tmp_path, outputs=False)
    images = make_eurosat(tmp_path / "as I named it", 4)
    write_lists(images, turns(images))
    project.conf("train", "epochs: 2\nbatch_size: 20\nbands: all\nseed: 0\n")
    printed = follow(HOWTO / "eurosat.md", project, {"EUROSAT": str(images)})
    assert "train: EuroSAT, 40 images of 10 classes (data/own/scenes/eurosat)" in printed
    assert "parts as in the list 'official', not by blocks: they share no ground" in printed
    assert "there is no scene to map" in printed
    assert "All of EuroSAT" not in printed
    metrics = json.loads((project.path / "reports" / "metrics.json").read_text())
    assert metrics["test"]["patches"] == 10
    assert len(metrics["classes"]) == 10
    assert (project.path / "reports" / "errors.gpkg").is_file()
    assert json.loads((project.path / "data" / "maps" / "catalog.json").read_text())["id"] == "maps"
    assert not project.repro()
