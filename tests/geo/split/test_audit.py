"""The leakage audit against areas and distances worked out by hand."""

import json

import numpy as np
import pytest
from pyproj import Transformer

from pipeline.geo.split.audit import audit, table
from pipeline.geo.split.blocks import Assignment, Blocks

X0, Y0 = 330_000.0, 5_820_000.0  # multiples of 60


def world(*patches):
    """Columns of patches given as (part, x, y[, label, polygon, epsg]) with x, y from X0, Y0."""
    rows = [(*patch, *(0, 0, 32633)[len(patch) - 3 :]) for patch in patches]
    part, x, y, label, polygon, epsg = (np.array(column) for column in zip(*rows, strict=True))
    home = epsg == 32633
    columns = {
        "epsg": epsg,
        "x": x + np.where(home, X0, 0.0),
        "y": y + np.where(home, Y0, 0.0),
        "label": label,
        "polygon": polygon,
        "on_grid": np.ones(len(x), dtype=bool),
    }
    blocks = Blocks.of(columns, 1920.0)
    return columns, Assignment(part, 7, blocks, np.full(len(blocks), "train"))


def figures(*patches, side=120.0, classes=("field", "wood")):
    columns, assignment = world(*patches)
    return audit(columns, assignment, side, classes)


def test_a_shared_coarse_pixel_counts_with_its_whole_area():
    # windows 0..120 and 130..250, grown to 0..120 and 120..300; the third one reaches back to 60
    seen = figures(("train", 60, 60), ("unused", 190, 60), ("test", 190, 60))
    assert seen["shared_ground_m2"] == 0
    assert seen["smallest_distance_m"]["train_test"] == 10
    seen = figures(("train", 60, 60), ("test", 170, 60))  # 110..230, grown to 60..240
    assert seen["shared_ground_m2"] == 60 * 120
    assert seen["smallest_distance_m"]["train_test"] == 0
    seen = figures(("train", 60, 60), ("test", 80, 80))  # 20..140, grown to 0..180, both ways
    assert seen["shared_ground_m2"] == 120 * 120


@pytest.mark.parametrize("chunk", [1, 20_000])
def test_ground_shared_by_many_pairs_counts_once_and_every_pair_of_parts_is_seen(chunk, monkeypatch):
    monkeypatch.setattr("pipeline.geo.split.audit._CHUNK", chunk)
    first, second = ("train", 60, 60), ("test", 110, 60)
    once = figures(first, second)["shared_ground_m2"]
    assert once == 120 * 120
    assert figures(first, first, second, second, ("test", 120, 60))["shared_ground_m2"] == once
    assert figures(("validation", 60, 60), second)["shared_ground_m2"] == once
    assert figures(first, ("validation", 110, 60))["shared_ground_m2"] == once
    assert figures(first, ("unused", 110, 60))["shared_ground_m2"] == 0


@pytest.mark.parametrize("chunk", [1, 20_000])
def test_distances_are_those_of_the_nearest_windows_and_nothing_is_said_of_empty_parts(
    chunk, monkeypatch
):
    monkeypatch.setattr("pipeline.geo.split.audit._CHUNK", chunk)
    seen = figures(
        ("train", 60, 60),
        ("train", 960, 60),
        ("test", 60 + 120 + 300, 60 + 120 + 400),
        ("test", 9000, 60),
    )
    assert seen["smallest_distance_m"] == {
        "train_validation": None,
        "train_test": pytest.approx(500.0),
        "validation_test": None,
    }


def test_ground_and_distance_are_measured_across_zones():
    to_32 = Transformer.from_crs(32633, 32632, always_xy=True)
    x, y = to_32.transform(X0 + 600, Y0 + 600)
    seen = figures(("train", 600, 600), ("test", x, y, 0, 0, 32632))
    assert 0.9 * 120**2 < seen["shared_ground_m2"] < 180.0**2 * 1.01
    assert seen["smallest_distance_m"]["train_test"] == 0
    x, y = to_32.transform(X0 + 600, Y0 + 1600)
    for pair in [("train", "test"), ("test", "train")]:
        seen = figures((pair[0], 600, 600), (pair[1], x, y, 0, 0, 32632))
        assert seen["shared_ground_m2"] == 0
        assert seen["smallest_distance_m"]["train_test"] == pytest.approx(1000 - 120, abs=15)


def test_zones_that_cannot_be_seen_from_each_other_share_nothing():
    seen = figures(("train", 60, 60), ("test", 5e5, 5e6, 0, 0, 32610), ("test", 960, 60))
    assert seen["shared_ground_m2"] == 0
    assert seen["smallest_distance_m"]["train_test"] == 780


def test_test_patches_of_polygons_in_training_are_counted():
    seen = figures(
        ("train", 60, 60, 0, 3),
        ("unused", 60, 600, 0, 5),
        ("test", 3000, 60, 0, 3),
        ("test", 3000, 600, 0, 3),
        ("test", 3000, 1200, 0, 5),
        ("test", 3000, 1800, 0, -1),
        ("train", 60, 1200, 0, -1),
    )
    assert seen["test_polygons_in_training"] == 0.5


def test_patches_are_counted_by_part_and_class():
    seen = figures(
        ("train", 60, 60, 0), ("train", 60, 180, 1), ("validation", 900, 60, 1), ("unused", 600, 60, 1)
    )
    assert seen["patches"] == {"train": 2, "validation": 1, "test": 0, "unused": 1}
    assert seen["classes"] == {
        "field": {"train": 1, "validation": 0, "test": 0, "unused": 0},
        "wood": {"train": 1, "validation": 1, "test": 0, "unused": 1},
    }
    assert seen["blocks"] == {"train": 2, "validation": 0, "test": 0}
    assert seen["seed"] == 7
    assert json.loads(json.dumps(seen)) == seen


def test_the_table_says_it_all():
    seen = figures(("train", 60, 60, 0), ("train", 60, 180, 1), ("test", 900, 60, 1, 4))
    text = table(seen)
    assert text.splitlines()[1].split() == ["train", "validation", "test", "unused"]
    assert "patches           2           0           1           0" in text
    assert "field             1           0           0           0" in text
    assert "seed: 7" in text
    assert "ground shared by parts: 0 m2" in text
    assert "train to test 720 m" in text
    assert "train to validation -" in text
    assert "also in training: 0%" in text
