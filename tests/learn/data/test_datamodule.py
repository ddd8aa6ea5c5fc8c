from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lightning.pytorch import LightningModule, Trainer

from pipeline.errors import SplitError
from pipeline.learn.data.datamodule import BatchRows, PatchDataModule, TrainingData
from pipeline.store import PatchStore
from tests.support.learners import BANDS
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


@pytest.mark.parametrize("loaders", [0, 2])
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


class Rows(LightningModule):
    """Notes which rows of the store each batch of each epoch holds, and learns nothing."""

    def __init__(self, notes: Path) -> None:
        super().__init__()
        self.notes, self.epochs = notes, []
        self.weight = torch.nn.Parameter(torch.zeros(()))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)

    def training_step(self, batch, batch_idx):
        if batch_idx == 0:
            self.epochs.append([])
        self.epochs[-1].append(self.rows(batch))
        return self.weight * 0

    def validation_step(self, batch):
        first, processes = 3 + 5 * self.global_rank, self.trainer.world_size
        assert self.rows(batch) == list(range(first, 60, 5 * processes))

    @staticmethod
    def rows(batch):
        return ((batch["image"][:, 0, 0, 0].long() - 1) // 10).tolist()

    def on_train_end(self):
        (self.notes / f"{self.global_rank}.json").write_text(json.dumps(self.epochs))


def train(data: TrainingData, loaders: int, notes: Path, **trainer: Any) -> None:
    """Two epochs in batches of 10."""
    notes.mkdir(exist_ok=True)
    module = PatchDataModule(data, batch_size=10, seed=3, loaders=loaders)
    quiet = {"enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
    Trainer(
        accelerator="cpu", max_epochs=2, num_sanity_val_steps=0, logger=False,
        use_distributed_sampler=False, **quiet, **trainer,
    ).fit(Rows(notes), module)  # fmt: skip


# of Lightning 2.6 with torch 2.15
@pytest.mark.filterwarnings("ignore:.*LeafSpec.*is deprecated:FutureWarning")
@pytest.mark.parametrize("loaders", [0, 2])
def test_lightning_shuffles_anew_each_epoch(tmp_path, store, loaders):
    chosen = data(tmp_path, store)
    train(chosen, loaders, tmp_path / "notes", devices=1)
    batches = BatchRows(chosen.train, 10, 3)
    expected = []
    for epoch in (0, 1):
        batches.set_epoch(epoch)
        expected.append([sorted(rows.tolist()) for rows in batches])
    assert expected[0] != expected[1]
    assert json.loads((tmp_path / "notes" / "0.json").read_text()) == expected


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp_spawn", "ddp_fork"])
def test_processes_read_their_shares_of_a_store(tmp_path, store, strategy):
    data(tmp_path, store)
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from pipeline.store import SplitFolder\n"
        "from tests.learn.data import test_datamodule as here\n"
        "if __name__ == '__main__':\n"
        "    folder = Path(sys.argv[1])\n"
        "    store = here.PatchStore.open(folder / 'store')\n"
        "    split = SplitFolder.open(folder / 'split', store)\n"
        "    data = here.TrainingData.of_split(store, split, ('B01', 'B02'))\n"
        f"    here.train(data, 2, folder / 'notes', devices=2, strategy='{strategy}')\n"
    )
    (tmp_path / "script.py").write_text(script)
    root = Path(__file__).parents[3]
    subprocess.run(
        [sys.executable, tmp_path / "script.py", str(tmp_path)], check=True, timeout=300,
        env=os.environ | {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"},
        capture_output=True, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    first, second = (json.loads((tmp_path / "notes" / f"{rank}.json").read_text()) for rank in (0, 1))
    for one, other in zip(first, second, strict=True):
        assert [len(batch) for batch in one] == [9, 9] == [len(batch) for batch in other]
        rows = sorted(row for share in (one, other) for batch in share for row in batch)
        assert rows == [row for row in range(60) if row % 5 < 3]


def test_a_store_reaches_another_process_without_its_pixels(tmp_path):
    store = make_store(tmp_path / "store", count=500)
    assert store.pixels.nbytes > 500_000
    chosen = data(tmp_path, store, bands=("B02", "B04"))
    sent = pickle.dumps(PatchDataModule(chosen, batch_size=100, seed=0, loaders=1))
    assert len(sent) < 20_000
    received = next(iter(pickle.loads(sent).val_dataloader()))["image"]
    assert np.array_equal(received.numpy(), store.pixels[chosen.validation][:, [0, 2]])
