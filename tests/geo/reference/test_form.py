"""Labelling forms and their keys, of a small class map made by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pipeline.commands import sample
from pipeline.errors import LenscapeError, OutputError, SceneError
from pipeline.geo.raster.grid import PixelGrid
from pipeline.geo.reference.form import key_path, read_form
from pipeline.geo.reference.sample import MapFrame
from tests.support.labelled import make_labels
from tests.support.limits import file_limit
from tests.support.worlds import write_raster

CELLS = PixelGrid(32633, 300_000.0, 5_800_000.0, height=20, width=20, pixel_m=80.0)


def make_map(folder: Path, values: np.ndarray, grid: PixelGrid = CELLS) -> Path:
    """A class map of two classes with what `lenscape sample` reads beside it."""
    classes = [{"value": 0, "name": "nodata"}]
    lines = ["# made up", "value,name,code,pixels,mapped_ha"]
    for value, name in ((1, "wood"), (2, "water")):
        classes.append({"value": value, "title": name.title(), "color_hint": "1B9E77"})
        count = int((values == value).sum())
        lines.append(f"{value},{name},,{count},{count * 0.64}")
    path = write_raster(folder / "s_classmap.tif", values.astype(np.uint8), grid, nodata=0)
    (folder / "areas.csv").write_text("\n".join(lines) + "\n")
    item = {
        "properties": {"lenscape:cell_m": 80, "lenscape:patch_m": 160},
        "assets": {"classmap": {"classification:classes": classes}},
    }
    (folder / "s.json").write_text(json.dumps(item))
    return path


@pytest.fixture
def class_map(tmp_path: Path) -> Path:
    return make_map(tmp_path, 1 + np.arange(400).reshape(20, 20) % 2)


def test_a_map_without_data_has_no_sample(tmp_path: Path) -> None:
    path = make_map(tmp_path, np.zeros((20, 20)))
    with pytest.raises(SceneError, match=r"s_classmap\.tif has no pixel with a class"):
        sample.run(path, tmp_path / "sheet.gpkg", 0.1, 2, 0)
    assert not list(tmp_path.glob("sheet*"))


def test_ids_that_a_spreadsheet_wrote_are_read(class_map: Path, tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.gpkg"
    sample.run(class_map, sheet, 0.2, 2, 0)
    header, *rows = key_path(sheet).read_text().splitlines()
    key_path(sheet).write_text("\n".join([header, *(row.replace(",", ".0,") for row in rows)]))
    with pytest.raises(LenscapeError, match="have no class yet"):  # which is what is read next
        read_form(sheet, MapFrame.open(class_map).classes)
    key_path(sheet).write_text("\n".join([header, "one,wood"]))
    with pytest.raises(LenscapeError, match=r"no reference sample .*ValueError: .*'one'.*; draw one"):
        read_form(sheet, MapFrame.open(class_map).classes)


def test_of_a_form_that_cannot_be_written_there_is_no_key(class_map: Path, tmp_path: Path) -> None:
    with file_limit(20_000), pytest.raises(OutputError, match="cannot be written"):
        sample.run(class_map, tmp_path / "sheet.gpkg", 0.1, 2, 0)
    assert not list(tmp_path.glob("*sheet*"))


def test_a_file_of_something_else_is_no_sample(class_map: Path, tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.gpkg"
    make_labels(sheet, [])
    with pytest.raises(LenscapeError, match=r"are no reference sample of `lenscape sample` \("):
        read_form(sheet, MapFrame.open(class_map).classes)
