from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import SplitError
from pipeline.learn.dataset import BatchRows, PatchDataModule, PatchRows, TrainingData
from pipeline.store import PatchStore
from tests.learners import BANDS
from tests.stores import make_split, make_store


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


def test_a_batch_is_raw_pixels_of_the_chosen_bands_with_their_labels(store):
    batch = PatchRows(store, [2, 0])[np.array([31, 4, 17])]
    assert batch["image"].dtype == torch.uint16
    assert batch["image"].shape == (3, 2, 8, 8)
    assert batch["image"][:, :, 0, 0].tolist() == [[43, 41], [173, 171], [313, 311]]
    assert batch["label"].tolist() == store.patches["label"][[4, 17, 31]].tolist()


@pytest.mark.parametrize("loaders", [0, 1])
def test_each_part_gives_its_own_rows_once_an_epoch(tmp_path, store, loaders):
    module = PatchDataModule(data(tmp_path, store), batch_size=16, seed=3, loaders=loaders)
    for loader, turns in ((module.train_dataloader(), {0, 1, 2}), (module.val_dataloader(), {3})):
        seen = torch.cat([batch["image"][:, 0, 0, 0].long() for batch in loader])
        assert sorted(((seen - 1) // 10).tolist()) == [row for row in range(60) if row % 5 in turns]


def test_shuffles_follow_seed_and_epoch():
    def order(seed, epoch):
        batches = BatchRows(np.arange(100), 10, seed)
        batches.set_epoch(epoch)
        return np.concatenate(list(batches)).tolist()

    assert order(0, 0) == order(0, 0)
    assert order(0, 0) != order(0, 1)
    assert order(0, 0) != order(1, 0)
    assert sorted(order(0, 5)) == list(range(100))
    assert np.concatenate(list(BatchRows(np.arange(100), 10))).tolist() == list(range(100))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(count=st.integers(2, 200), size=st.integers(2, 50), processes=st.integers(1, 4))
def test_processes_share_the_rows_in_as_many_batches(count, size, processes):
    if count < 2 * processes:
        return
    rows = np.arange(count) * 3
    shares = [BatchRows(rows, size, 0, (number, processes)) for number in range(processes)]
    batches = [list(share) for share in shares]
    assert {len(share) for share in batches} == {len(shares[0])}
    sizes = [len(batch) for share in batches for batch in share]
    assert min(sizes) >= 2
    assert max(sizes) <= max(size, 4)
    assert sorted(np.concatenate([batch for share in batches for batch in share])) == rows.tolist()


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


def test_a_store_reaches_another_process_without_its_pixels(tmp_path):
    store = make_store(tmp_path / "store", count=500)
    assert store.pixels.nbytes > 500_000
    sent = pickle.dumps(PatchRows(store, [0, 1]))
    assert len(sent) < 10_000
    received = pickle.loads(sent)[np.array([5])]["image"]
    assert torch.equal(received, torch.from_numpy(store.pixels[5:6, :2].copy()))
