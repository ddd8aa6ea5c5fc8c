from __future__ import annotations

import numpy as np
import pytest

from pipeline.errors import SplitError
from pipeline.learn.data.training_data import TrainingData, folds_of
from pipeline.store import PatchStore
from tests.support.learners import BANDS
from tests.support.stores import make_folds, make_split, make_store


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


def test_with_folds_all_patches_train_and_no_epoch_is_chosen(tmp_path, store):
    split = make_folds(tmp_path / "split", store, 3)
    everything = TrainingData.of_split(store, split, ("B01",))
    assert everything.train.tolist() == list(range(60))
    assert len(everything.validation) == 0
    assert everything.statistics == store.statistics(np.arange(60))
    assert not everything.validation_chooses
    assert TrainingData.of_split(
        store, make_split(tmp_path / "parts", store), ("B01",)
    ).validation_chooses


def test_a_fold_knows_its_own_training_patches_alone(tmp_path, store):
    split = make_folds(tmp_path / "split", store, 3)
    folds = folds_of(store, split, ("B01", "B04"))
    assert [fold.number for fold in folds] == [0, 1, 2]
    rows = np.arange(60)
    for fold in folds:
        data = fold.data
        assert fold.tested.tolist() == rows[(rows % 3 == fold.number) & (rows % 10 != 9)].tolist()
        assert data.train.tolist() == rows[(rows % 3 != fold.number) & (rows % 10 != 2)].tolist()
        assert data.statistics == store.statistics(data.train)
        labels = store.patches["label"][data.train]
        assert data.class_counts == np.bincount(labels, minlength=3).tolist()
        assert not data.validation_chooses
        assert data.split_sha256 == split.sha256
    assert sorted(np.concatenate([fold.tested for fold in folds])) == split.tested.tolist()


def test_a_split_in_three_parts_has_no_folds(tmp_path, store):
    assert folds_of(store, make_split(tmp_path / "split", store), ("B01",)) == []
