"""The leakage audit against areas and distances worked out by hand."""

import json
from dataclasses import replace

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
    assert seen["smallest_distance_m"] == {"train_test": pytest.approx(500.0)}
    seen = figures(("train", 60, 60), ("validation", 60 + 120 + 300, 60 + 120 + 400))
    assert seen["smallest_distance_m"] == {
        "train_validation": pytest.approx(500.0),
        "train_test": None,
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
    assert "label polygon or point is also in training: 50%" in table(seen)


def test_rasters_have_no_polygons_to_count():
    seen = figures(("train", 60, 60, 0, -1), ("test", 3000, 60, 0, -1))
    assert "test_polygons_in_training" not in seen
    assert "polygon" not in table(seen)


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
    assert "train to test -" in table(figures(("train", 60, 60, 0), ("validation", 900, 60, 1)))
    assert "also in training: 0%" in text


def folded(folds, *patches, side=120.0):
    """Figures of patches given as (parts by fold, x, y[, label, polygon])."""
    columns, assignment = world(*(("train", *patch[1:]) for patch in patches))
    fold_parts = tuple(np.array([patch[0][fold] for patch in patches]) for fold in range(folds))
    tested = np.array([patch[0].index("test") + 1 for patch in patches])
    blocks = assignment.blocks
    block_part = np.array(
        [f"fold {tested[blocks.of_patch == block][0]}" for block in range(len(blocks))]
    )
    found = replace(assignment, block_part=block_part, fold_parts=fold_parts)
    return audit(columns, found, side, ("field", "wood"))


A, B = ("test", "train"), ("train", "test")
"""A patch that the first fold tests and the second trains on, and the other way round."""


def test_of_folds_the_shared_ground_is_the_sum_and_the_distance_the_smallest():
    apart = folded(2, (A, 60, 60), (B, 3000, 60))
    assert apart["shared_ground_m2"] == 0
    assert apart["smallest_distance_m"] == {"train_test": 2820}
    assert folded(2, (A, 60, 60), (B, 170, 60))["shared_ground_m2"] == 2 * 60 * 120
    # of three folds in the first alone: in the others one of the two is excluded
    one = folded(
        3,
        (("test", "train", "unused"), 60, 60),
        (("train", "unused", "test"), 170, 60),
        (("train", "test", "train"), 3000, 60),
    )
    assert one["shared_ground_m2"] == 60 * 120
    assert one["smallest_distance_m"] == {"train_test": 0}


def test_figures_by_fold():
    seen = folded(
        2,
        (A, 60, 60, 0, 3),
        (A, 60, 600, 1, 4),
        (A, 60, 1200, 0, 5),
        (B, 3000, 60, 0, 3),
        (B, 3000, 600, 1, -1),
        (("unused", "test"), 3000, 1200, 1, 5),
    )
    assert seen["folds"] == 2
    assert seen["patches"] == {"fold 1": 3, "fold 2": 3}
    assert seen["blocks"] == {"fold 1": 1, "fold 2": 1}
    assert seen["classes"] == {
        "field": {"fold 1": 2, "fold 2": 1},
        "wood": {"fold 1": 1, "fold 2": 2},
    }
    assert seen["training_patches"] == {"fold 1": 2, "fold 2": 3}
    assert seen["largest_share"] == pytest.approx(2 / 3, abs=1e-4)
    # polygon 3 in the first fold, 3 and 5 in the second, which tests three
    assert seen["test_polygons_in_training"] == pytest.approx(2 / 3)
    assert json.loads(json.dumps(seen)) == seen
    text = table(seen)
    assert text.startswith("leakage audit: cells that each of 2 folds tests\n")
    assert text.splitlines()[1].split() == ["fold", "1", "fold", "2"]
    assert "patches                    3           3" in text
    assert "training patches           2           3" in text
    assert "largest share of a class in one fold: 67% (50% would be even)" in text
    assert "also in training: 67% in the fold with most of them" in text
    assert "train to test 2820 m" in text
