"""docs/howto/accuracy.md as it stands, with a person who labels in QGIS between its commands."""

from __future__ import annotations

import csv
import json
import shutil
from collections import Counter
from itertools import pairwise
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import rasterio

from pipeline.commands import accuracy, sample
from pipeline.errors import ConfigError, LabelError, SceneError
from pipeline.learn.stats.area_estimation import adjusted
from tests.support.pages import HOWTO, follow
from tests.support.projects import Project
from tests.support.viewers import label_in_qgis

pytestmark = pytest.mark.slow

PAGE = HOWTO / "accuracy.md"
NAMES = ["open", "wood", "wet"]


@pytest.fixture(scope="module")
def project(finished_project: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    return finished_project.copy(tmp_path_factory.mktemp("accuracy"))


@pytest.fixture(scope="module")
def class_map(project: Project) -> Path:
    return project.path / "data" / "maps" / "east" / "east_classmap.tif"


@pytest.fixture(scope="module")
def said(project: Project, class_map: Path) -> tuple[dict[int, str], str, dict[str, object]]:
    """The page followed: what was labelled, what was printed, what QGIS saw."""
    first, second = PAGE.read_text(encoding="utf-8").split("## 2. Label")
    pages = [project.home / "first.md", project.home / "second.md"]
    for page, text in zip(pages, (first, second), strict=True):
        page.write_text(text, encoding="utf-8")
    follow(pages[0], project, {"MAP": str(class_map)})
    sheet = project.path / "sheet.gpkg"
    key = key_of(sheet)
    random = np.random.default_rng(0)
    other = {name: NAMES[(at + 1) % 3] for at, name in enumerate(NAMES)}
    labels = {at: name if random.random() < 0.8 else other[name] for at, name in key.items()}
    labels[1] = labels[2] = "cannot tell"
    seconds = {at: labels[at] for at in range(1, 11)} | {2: key[2], 3: other[labels[3]]}
    seen = label_in_qgis(sheet, {"class": labels, "class_second": seconds})
    printed = follow(pages[1], project, {"MAP": str(class_map)})
    return labels | {2: key[2]}, printed, seen


def key_of(sheet: Path) -> dict[int, str]:
    with sheet.with_name(f"{sheet.stem}_key.csv").open(encoding="utf-8") as stream:
        return {int(row["id"]): row["map_class"] for row in csv.DictReader(stream)}


def areas_of(class_map: Path) -> list[float]:
    lines = (class_map.parent / "areas.csv").read_text().splitlines()
    rows = csv.DictReader(line for line in lines if not line.startswith("#"))
    found = {row["name"]: float(row["mapped_ha"]) for row in rows}
    return [found[name] for name in NAMES]


def test_the_sample_lies_on_the_map_and_does_not_tell_its_class(project, class_map, said):
    del said
    sheet = gpd.read_file(project.path / "sheet.gpkg", layer="sheet")
    key = key_of(project.path / "sheet.gpkg")
    with rasterio.open(class_map) as dataset:
        assert sheet.crs == dataset.crs
        centres = sheet.geometry.centroid
        values = [value for (value,) in dataset.sample(zip(centres.x, centres.y, strict=True))]
        assert set(sheet.geometry.area) == {dataset.res[0] ** 2}
    assert [NAMES[value - 1] for value in values] == [key[at] for at in sheet["id"]]
    assert not set(sheet.columns) - {"id", "class", "class_second", "note", "geometry"}
    assert len(set(zip(centres.x, centres.y, strict=True))) == len(sheet)
    # an order that tells nothing: neighbours in the list are not of one class
    runs = sum(first == second for first, second in pairwise(values))
    shares = np.array(list(Counter(values).values())) / len(values)
    assert runs / len(values) == pytest.approx((shares**2).sum(), abs=0.1)


def test_the_form_of_qgis_offers_the_classes(said):
    forms = said[2]["forms"]
    titles = [
        {"Open land": "open"}, {"Wald und Gebüsch": "wood"}, {"Wet": "wet"},
        {"Cannot tell": "cannot tell"},
    ]  # fmt: skip
    assert forms["class"] == ["ValueMap", titles]
    assert forms["class_second"] == ["ValueMap", titles]
    assert forms["note"][0] == "TextEdit"
    assert said[2]["id_is_fixed"]


def test_what_comes_back_is_olofssons_estimate_of_the_sample(project, class_map, said):
    labels, printed, _ = said
    key = key_of(project.path / "sheet.gpkg")
    counts = np.zeros((3, 3), dtype=int)
    for at, name in key.items():
        if labels[at] != "cannot tell":
            counts[NAMES.index(name), NAMES.index(labels[at])] += 1
    expected = adjusted(counts, areas_of(class_map))
    found = json.loads((project.path / "sheet_accuracy.json").read_text())
    assert found["counts_map_in_rows"] == counts.tolist()
    assert found["overall_accuracy"] == pytest.approx(float(expected.overall.value), abs=1e-4)
    assert (found["cannot_tell"], found["labelled_twice"], found["disagreements"]) == (1, 8, 1)
    with (project.path / "sheet_accuracy.csv").open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["name"] for row in rows] == NAMES
    for at, row in enumerate(rows):
        assert float(row["adjusted_ha"]) == pytest.approx(expected.areas.value[at], abs=0.01)
        low, high = float(row["adjusted_low_ha"]), float(row["adjusted_high_ha"])
        assert low < float(row["adjusted_ha"]) < high
        assert float(row["users_accuracy"]) == pytest.approx(expected.users.value[at], abs=1e-4)
    assert "1 of 8 pixels labelled twice differ" in printed
    assert "overall accuracy 0." in printed


def test_the_same_seed_draws_the_same_cells_and_nothing_is_overwritten(class_map, tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        sample.run(class_map, tmp_path / f"{name}.gpkg", 0.05, 5, seed)
    assert (tmp_path / "a.gpkg").read_bytes() == (tmp_path / "b.gpkg").read_bytes()
    assert (tmp_path / "a.gpkg").read_bytes() != (tmp_path / "c.gpkg").read_bytes()
    with pytest.raises(ConfigError, match=r"a\.gpkg exists, and may hold somebody's work"):
        sample.run(class_map, tmp_path / "a.gpkg", 0.05, 5, 0)
    with pytest.raises(SceneError, match="is no class map"):
        sample.run(class_map.parent / "areas.csv", tmp_path / "d.gpkg", 0.05, 5, 0)


def test_samples_that_do_not_fit_are_refused(class_map, tmp_path):
    sheet = tmp_path / "sheet.gpkg"
    sample.run(class_map, sheet, 0.05, 5, 0)
    with pytest.raises(LabelError, match=r"pixels of .*sheet\.gpkg have no class yet"):
        accuracy.run(sheet, class_map)
    frame = gpd.read_file(sheet, layer="sheet")
    frame["class"] = "open"
    frame.loc[3, "class"] = "lava"
    frame.to_file(sheet, layer="sheet")
    with pytest.raises(LabelError, match=r"gives pixel 4 the class 'lava' in 'class', which the map"):
        accuracy.run(sheet, class_map)
    frame.drop(index=3).to_file(sheet, layer="sheet")
    with pytest.raises(LabelError, match="pixels were added or deleted"):
        accuracy.run(sheet, class_map)
    with pytest.raises(LabelError, match="are no reference sample of `lenscape sample`"):
        accuracy.run(tmp_path / "none.gpkg", class_map)
    shutil.copy(class_map, tmp_path / "alone_classmap.tif")
    with pytest.raises(SceneError, match="has no Item and table of areas beside it"):
        accuracy.run(sheet, tmp_path / "alone_classmap.tif")
    assert not list(tmp_path.glob("*_accuracy.*"))
