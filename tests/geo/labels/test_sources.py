"""Several sources of labels over several scenes: who wins, which days count, and what is counted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely

from pipeline.config.labels import LabelSourceConf, RasterLabelConf
from pipeline.errors import LabelError
from pipeline.geo.labels.sources import LabelTally, read_sources
from pipeline.geo.raster.grid import PatchGrid
from tests.support.labelled import bare_scene, make_classes, make_labels, px_box
from tests.support.worlds import GRID, write_raster

CELLS = PatchGrid(GRID, 16, 8)
SCENE = bare_scene(GRID).info


def tally_of(*confs: LabelSourceConf, **classes: Any) -> LabelTally:
    made = make_classes("wood", "water", **classes)
    listed = [one.model_copy(update={"values": [one.name, place]}) for place, one in
              enumerate(made.classes, start=1)]  # fmt: skip
    return LabelTally(read_sources(confs, made.model_copy(update={"classes": listed})))


def polygons(folder: Path, name: str, *features: Any, **more: Any) -> LabelSourceConf:
    return make_labels(folder / f"{name}.gpkg", features).model_copy(update=more)


def codes(folder: Path, value: int, **more: Any) -> LabelSourceConf:
    path = write_raster(folder / f"{value}.tif", np.full((132, 120), value, np.uint8), GRID)
    return RasterLabelConf(raster=str(path), **more)


def shown(tally: LabelTally) -> np.ndarray:
    labels = tally.labels_on(CELLS, SCENE)
    assert labels is not None
    return labels.pixels(GRID.window)[0]


def test_the_first_source_wins_whatever_its_kind(tmp_path: Path) -> None:
    lake = polygons(tmp_path, "lake", ("water", px_box(GRID, 0, 0, 40, 40)))
    point = make_labels(tmp_path / "p.gpkg", [("wood", shapely.Point(GRID.x0 + 200, GRID.y0 - 200))])
    found = shown(tally_of(point, lake, codes(tmp_path, 1)))
    assert found[20, 20] == 0
    assert found[2, 2] == 1
    assert found[100, 100] == 0
    found = shown(tally_of(codes(tmp_path, 1), lake, point))
    assert (found == 0).all()


def test_days_of_validity_are_those_of_the_scene(tmp_path: Path) -> None:
    old = codes(tmp_path, 1, valid_to="2021-05-05")
    new = codes(tmp_path, 2, valid_from="2021-05-06", valid_to="2021-05-06")
    tally = tally_of(old, new)
    assert (shown(tally) == 1).all()
    assert [found["scenes_out_of_date"] for found in tally.counts] == [1, 0]
    tally = tally_of(old)
    assert tally.labels_on(CELLS, SCENE) is None
    assert "1.tif) are not valid on 2021-05-06" in tally.missing["s1"]


def test_credits_are_those_of_what_was_used(tmp_path: Path) -> None:
    used = codes(tmp_path, 1, credit="© one")
    far = polygons(tmp_path, "far", ("wood", px_box(GRID, 900, 900, 9, 9)), credit="© far")
    tally = tally_of(used, far, codes(tmp_path, 2, credit="© one"))
    shown(tally)
    assert tally.credits == ["© one"]


def test_features_that_intersect_no_scene_are_counted(tmp_path: Path) -> None:
    boxes = [("wood", px_box(GRID, 900 * out, 5, 9, 9)) for out in (0, 1, 1)]
    ignored = ("road", px_box(GRID, 5, 5, 9, 9))
    tally = tally_of(polygons(tmp_path, "a", *boxes, ignored), ignore=["road"])
    shown(tally)
    (found,) = tally.counts
    assert found == {
        "file": "a.gpkg", "features": 4, "polygons": 3, "ignored": 1, "empty": 0, "other": 0,
        "repaired": 0, "outside": 2, "scenes": 1, "scenes_out_of_date": 0,
    }  # fmt: skip


def test_a_scene_that_no_source_names(tmp_path: Path) -> None:
    tally = tally_of(codes(tmp_path, 1, scenes=["s2"]))
    with pytest.raises(LabelError, match="no labels describe the scene s1; add its id"):
        tally.labels_on(CELLS, SCENE)


def test_duplicates_of_points_are_not_outside_and_count_once(tmp_path: Path) -> None:
    """Three of one cell, one of another, two elsewhere; seen on two days."""
    places = [(5, 5), (6, 6), (7, 7), (50, 50), (900, 5), (5, 900)]
    features = [("wood", shapely.Point(GRID.x0 + 10 * c, GRID.y0 - 10 * r)) for r, c in places]
    tally = tally_of(make_labels(tmp_path / "p.gpkg", features))
    shown(tally)
    shown(tally)
    (found,) = tally.counts
    assert found == {
        "file": "p.gpkg", "features": 6, "points": 6, "ignored": 0, "empty": 0, "other": 0,
        "outside": 2, "duplicates": 2, "scenes": 2, "scenes_out_of_date": 0,
    }  # fmt: skip
