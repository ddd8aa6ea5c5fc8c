"""docs/howto/active.md as it stands, with a person who labels in QGIS between its commands."""

from __future__ import annotations

import csv
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest

from pipeline.geo.reference.form import key_path
from tests.support.pages import HOWTO, follow
from tests.support.projects import Project
from tests.support.viewers import label_in_qgis

pytestmark = pytest.mark.slow

PAGE = HOWTO / "active.md"


def test_from_a_map_to_labels_to_the_next_map(finished_project: Project, tmp_path: Path) -> None:
    project = finished_project.copy(tmp_path)
    class_map = project.path / "data" / "maps" / "east" / "east_classmap.tif"
    before = class_map.read_bytes()
    first, second = PAGE.read_text(encoding="utf-8").split("## 2. Label")
    pages = [project.home / "first.md", project.home / "second.md"]
    for page, text in zip(pages, (first, second), strict=True):
        page.write_text(text, encoding="utf-8")
    assert "no basis for accuracy or areas" in follow(pages[0], project, {"MAP": str(class_map)})
    form = project.path / "next.gpkg"
    with key_path(form).open(encoding="utf-8") as stream:
        labels = {int(row["id"]): row["map_class"] for row in csv.DictReader(stream)}
    labels = dict.fromkeys(labels, "wet") | {1: "cannot tell"}
    del labels[2]  # left without a class
    label_in_qgis(form, {"class": labels})
    follow(pages[1], project)
    patches = gpd.read_parquet(project.path / "data" / "patches" / "patches.parquet")
    places = {(round(x), round(y)): label for x, y, label in
              zip(patches["x"], patches["y"], patches["label"], strict=True)}  # fmt: skip
    cells = gpd.read_file(form, layer="sheet")
    labelled = cells[cells["class"] == "wet"].geometry.centroid
    assert len(labelled) == 38
    found = [places.get((round(cell.x), round(cell.y))) for cell in labelled]
    assert np.all(np.array(found) == 2), "each is a patch of the class that was chosen"
    assert class_map.read_bytes() != before
