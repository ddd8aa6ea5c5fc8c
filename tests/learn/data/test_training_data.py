from __future__ import annotations

import numpy as np
import pytest
from pyproj import Transformer

from pipeline.errors import SplitError
from pipeline.learn.data.training_data import TrainingData, hold_out_blocks
from pipeline.store import PatchStore
from tests.support.learners import BANDS, training_data
from tests.support.stores import join, make_split, make_store, make_table


@pytest.fixture
def store(tmp_path):
    """60 patches of 4 bands; each pixel holds its row of the store and its band."""
    made = make_store(tmp_path / "store", count=60, bands=BANDS[:4], patch_px=8, cell_px=4)
    rows, bands = np.arange(60), np.arange(4)
    pixels = np.broadcast_to((rows[:, None] * 10 + bands + 1)[..., None, None], (60, 4, 8, 8))
    np.save(made.folder / "pixels.npy", pixels.astype(np.uint16))
    return PatchStore.open(made.folder)


def data(tmp_path, store, bands=("B01", "B02", "B03", "B04"), parts=None):
    return TrainingData.of_split(store, make_split(tmp_path / "split", store, parts), bands)


def test_statistics_are_those_of_the_input_bands(tmp_path, store):
    chosen = data(tmp_path, store, bands=("B03", "B01"))
    means = store.statistics(np.flatnonzero(np.arange(60) % 5 < 3)).mean
    assert chosen.input_statistics.mean == [means[2], means[0]]


@pytest.mark.parametrize(
    ("exponent", "expected"), [(0, [1, 1]), (1, [2 / 3, 2]), (0.5, [(2 / 3) ** 0.5, 2**0.5])]
)
def test_class_weights_by_frequency(tmp_path, exponent, expected):
    store = make_store(tmp_path / "store", count=100, classes=2)
    first, second = (np.flatnonzero(store.patches["label"] == label) for label in (0, 1))
    parts = np.full(100, "validation", dtype="U10")
    parts[first[:12]] = parts[second[:4]] = "train"
    assert data(tmp_path, store, ("B02",), parts).class_weights(exponent) == pytest.approx(expected)


@pytest.mark.parametrize(("missing", "other"), [("training", "validation"), ("validation", "train")])
def test_a_part_without_patches_is_refused(tmp_path, store, missing, other):
    with pytest.raises(SplitError, match=f"the {missing} part .* has no patches; give it more blocks"):
        data(tmp_path, store, parts=[other] * 60)


def test_a_class_without_training_patches_is_refused_by_name(tmp_path, store):
    labels = store.patches["label"]
    parts = np.where(labels == 1, "validation", "train")
    with pytest.raises(SplitError, match=r"class class2 .* has no training patches"):
        data(tmp_path, store, parts=parts)


@pytest.fixture
def ground(tmp_path):
    """Training data of several blocks."""
    return training_data(tmp_path, count=400)


def test_every_training_block_is_left_out_once(ground):
    ground.store.patches["on_grid"] = np.arange(len(ground.store)) % 3 > 0  # others only ever train
    actual = list(hold_out_blocks(ground, 3, seed=0))
    assert len(actual) == 3
    on_grid = ground.store.patches["on_grid"]
    held = np.concatenate([one.rows for one in actual])
    assert sorted(held.tolist()) == ground.train[on_grid[ground.train]].tolist()
    for one in actual:
        assert not set(ground.blocks(ground.train)[np.isin(ground.train, one.rows)]) & set(
            ground.blocks(ground.train)[np.isin(ground.train, one.data.train)]
        )
        assert one.data.statistics == ground.store.statistics(one.data.train) != ground.statistics
        assert (one.data.validation == ground.validation).all()


def test_no_training_patch_shares_a_coarse_pixel_with_what_is_left_out(ground):
    x, y, epsg = (ground.store.patches[name] for name in ("x", "y", "epsg"))
    geometry = ground.store.meta.geometry
    side = geometry.patch_px * geometry.pixel_m
    dropped = 0
    for one in hold_out_blocks(ground, 3, seed=0):
        out = np.setdiff1d(ground.train, one.data.train)
        for row in one.data.train:
            near = (
                (epsg[one.rows] == epsg[row])
                & (np.abs(x[one.rows] - x[row]) < side + 60)
                & (np.abs(y[one.rows] - y[row]) < side + 60)
            )
            assert not near.any()
        dropped += len(out) - len(one.rows)
    assert dropped > 0  # or the rule was never needed


@pytest.mark.parametrize("folds", [0, 1])
def test_nothing_is_left_out_unless_asked(ground, folds):
    assert list(hold_out_blocks(ground, folds, seed=0)) == []


@pytest.mark.parametrize(("home", "away"), [(32633, 32632), (32633, 3035), (32601, 32660)])
def test_the_same_ground_in_two_zones_is_not_held_out_and_trained_on(tmp_path, home, away):
    """A scene in each of two CRSs on the same ground, at the 180th meridian too."""
    rng = np.random.default_rng(0)
    corner = (164_000.0, 1_000_000.0) if home == 32601 else (330_000.0, 5_820_000.0)
    here = {
        name: np.resize(values, 400)
        for name, values in make_table(20, 20, epsg=home, cell_px=4).items()
    }
    here["x"], here["y"] = (start + rng.uniform(0, 12_000, 400) for start in corner)
    there = here | {"epsg": np.full(400, away, np.int32), "scene": np.full(400, "s2")}
    change = Transformer.from_crs(home, away, always_xy=True)
    there["x"], there["y"] = change.transform(here["x"], here["y"])
    bands = BANDS[:2]
    store = make_store(tmp_path / "store", join(here, there), bands=bands, patch_px=8, cell_px=4)
    parts = ["train"] * 800
    parts[0], parts[400] = "validation", "test"
    split = make_split(tmp_path / "split", store, parts)
    data = TrainingData.of_split(store, split, tuple(bands))
    x, y = (np.tile(here[name], 2) for name in ("x", "y"))  # of both, in one CRS
    held_out = list(hold_out_blocks(data, 3, seed=0))
    assert len(held_out) == 3
    for one in held_out:
        out = one.rows
        assert {home, away} == set(store.patches["epsg"][out])
        train = one.data.train
        apart = np.maximum(np.abs(x[train, None] - x[out]), np.abs(y[train, None] - y[out]))
        assert apart.min() >= 80 + 60
        assert len(train) > 100
