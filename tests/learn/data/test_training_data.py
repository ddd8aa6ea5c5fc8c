from __future__ import annotations

import numpy as np
import pytest

from pipeline.errors import SplitError
from pipeline.learn.data.training_data import TrainingData, hold_out_blocks
from pipeline.store import PatchStore
from tests.support.learners import BANDS, training_data
from tests.support.stores import make_split, make_store


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
