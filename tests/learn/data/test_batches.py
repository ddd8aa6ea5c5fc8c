from __future__ import annotations

import gc
import json
import os
import pickle
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lightning.pytorch import LightningModule, Trainer

from pipeline.errors import StoreError
from pipeline.learn.data import batches as batching
from pipeline.learn.data.batches import (
    Batches,
    BatchRows,
    DeviceRows,
    PatchDataModule,
    StoredRows,
    open_rows,
    prefetch,
)
from pipeline.learn.data.training_data import TrainingData
from pipeline.store import PatchStore
from tests.support.examples import examples
from tests.support.learners import BANDS
from tests.support.stores import make_split, make_store

CPU = torch.device("cpu")
CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
LONG_S = 60
"""After this time something hangs."""


@pytest.fixture
def store(tmp_path):
    """60 patches of 4 bands; each pixel holds its row of the store and its band."""
    made = make_store(tmp_path / "store", count=60, bands=BANDS[:4], patch_px=8, cell_px=4)
    values = np.arange(60)[:, None] * 10 + np.arange(4) + 1
    pixels = np.broadcast_to(values[..., None, None], (60, 4, 8, 8))
    np.save(made.folder / "pixels.npy", pixels.astype(np.uint16))
    return PatchStore.open(made.folder)


def data(tmp_path, store, bands=("B01", "B02", "B03", "B04"), parts=None):
    return TrainingData.of_split(store, make_split(tmp_path / "split", store, parts), bands)


def readers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("lenscape-reader")]


def cut(store: PatchStore, patches: int) -> None:
    """Leave the first patches of a store only."""
    path = store.folder / "pixels.npy"
    size = store.pixels[0].nbytes
    os.truncate(path, path.stat().st_size - (len(store) - patches) * size)


def same(first, second) -> bool:
    return all(
        one[key].dtype == other[key].dtype and torch.equal(one[key].cpu(), other[key].cpu())
        for one, other in zip(first, second, strict=True)
        for key in ("image", "label")
    )


def test_a_batch_is_raw_pixels_of_the_chosen_bands_with_their_labels(store):
    batch = StoredRows(store, [2, 0])(np.array([31, 4, 17]))
    assert batch["image"].dtype == torch.uint16
    assert batch["image"].shape == (3, 2, 8, 8)
    assert batch["image"][:, :, 0, 0].tolist() == [[43, 41], [173, 171], [313, 311]]
    assert batch["label"].dtype == torch.int64
    assert batch["label"].tolist() == store.patches["label"][[4, 17, 31]].tolist()


@pytest.mark.parametrize("bands", [[0, 1, 2, 3], [3, 1]])
@pytest.mark.parametrize("loaders", [1, 3, 50])
def test_threads_give_the_same_batches_in_the_same_order(store, bands, loaders):
    rows = StoredRows(store, bands)
    alone, ahead = (Batches(rows, BatchRows(np.arange(60), 7, 0), count) for count in (0, loaders))
    assert len(ahead) == len(list(ahead)) == 9
    assert same(alone, ahead)
    assert not readers()


def test_each_thread_reads_a_batch_ahead_and_no_more():
    started = threading.Semaphore(0)

    def read(rows):
        started.release()
        return {"label": torch.from_numpy(rows)}

    batches = prefetch(read, [np.array([number]) for number in range(10)], 2)
    for taken in range(1, 9):
        assert next(batches)["label"].item() == taken - 1
        # two more than were taken begin, whoever waits for them
        for _ in range(3 if taken == 1 else 1):
            assert started.acquire(timeout=LONG_S)
        assert not started.acquire(blocking=False)
    batches.close()


@pytest.mark.parametrize("leave", ["close", "forget", "raise"])
def test_threads_end_with_an_epoch_that_ends_early(store, leave):
    batches = iter(Batches(StoredRows(store, [0]), BatchRows(np.arange(60), 4), 3))
    next(batches)
    assert readers()
    if leave == "close":
        batches.close()
    elif leave == "forget":
        del batches
    else:
        with pytest.raises(ValueError, match="too many"):
            (_,) = batches
        del batches
        gc.collect()
    assert not readers()


def test_threads_end_with_the_last_batch_though_nobody_asks_for_another(store):
    batches = iter(Batches(StoredRows(store, [0]), BatchRows(np.arange(60), 20), 2))
    threads = set()
    for _ in range(3):
        next(batches)
        threads |= set(readers())
    assert threads
    for thread in threads:
        thread.join(LONG_S)
    assert not readers()


@pytest.mark.parametrize("loaders", [0, 1, 3])
def test_a_store_cut_short_in_an_epoch_is_an_error_where_its_batch_was_due(store, loaders):
    batches = iter(Batches(StoredRows(store, [0, 1, 2, 3]), BatchRows(np.arange(60), 4), loaders))
    seen = [next(batches)["image"][:, 0, 0, 0].tolist()]
    cut(store, 40)
    with pytest.raises(StoreError, match=r"pixels\.npy ends at byte \d+, .* run `tile` again"):
        seen.extend(batch["image"][:, 0, 0, 0].tolist() for batch in batches)
    assert seen == [[row * 10 + 1 for row in range(first, first + 4)] for first in range(0, 40, 4)]
    assert not readers()


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["", "raise SystemExit(3)", "raise KeyError"])
def test_nothing_hangs_where_the_process_ends_in_an_epoch(store, ending):
    script = (
        "import numpy as np, pathlib, sys\n"
        "from pipeline.learn.data.batches import StoredRows, prefetch\n"
        "from pipeline.store import PatchStore\n"
        "store = PatchStore.open(pathlib.Path(sys.argv[1]))\n"
        "batches = prefetch(StoredRows(store, [0]), np.arange(60).reshape(15, 4), 3)\n"
        f"print(len(next(batches)['label']))\n{ending}\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(store.folder)], check=False, text=True, timeout=LONG_S,
        cwd=Path(batching.__file__).parents[3], capture_output=True,
    )  # fmt: skip
    assert done.stdout == "4\n"
    assert done.returncode == {"": 0, "raise SystemExit(3)": 3}.get(ending, 1)


@pytest.mark.parametrize("loaders", [0, 2])
@pytest.mark.parametrize("piece_bytes", [1, 5000, 2**20])
def test_rows_on_a_device_are_read_once_and_give_the_same_batches(
    store, monkeypatch, loaders, piece_bytes
):
    monkeypatch.setattr(batching, "PIECE_BYTES", piece_bytes)
    rows, stored = np.arange(1, 60, 2), StoredRows(store, [3, 0])
    sampler = BatchRows(rows, 8, 4)
    expected = list(Batches(stored, sampler))
    torch.manual_seed(1)
    before = torch.get_rng_state()
    device = DeviceRows(stored, rows[::-1].copy(), CPU, loaders)
    assert torch.equal(torch.get_rng_state(), before)
    cut(store, 0)  # whoever reads the file again fails
    assert same(Batches(device, sampler), expected)
    assert device.image.shape == (30, 2, 8, 8)


def test_a_store_cut_short_on_its_way_to_a_device_is_an_error(store):
    stored = StoredRows(store, [0])
    cut(store, 20)
    with pytest.raises(StoreError, match=r"pixels\.npy ends at byte"):
        DeviceRows(stored, np.arange(60), CPU, 2)
    assert not readers()


def test_without_cuda_batches_come_from_the_file(store):
    stored = open_rows(store, [0, 1], np.arange(60), CPU, 1)
    assert isinstance(stored, StoredRows)
    assert not stored(np.array([0]))["image"].is_pinned()


@CUDA
def test_on_cuda_a_store_that_fits_is_put_there_once(store):
    device = torch.device("cuda", 0)
    rows = open_rows(store, [3, 0], np.arange(60), device, 2)
    sampler = BatchRows(np.arange(60), 8, 4)
    expected = list(Batches(StoredRows(store, [3, 0]), sampler))
    cut(store, 0)
    batches = list(Batches(rows, sampler))
    assert {value.device for batch in batches for value in batch.values()} == {device}
    assert same(batches, expected)


@CUDA
def test_on_cuda_a_store_that_does_not_fit_comes_from_pinned_memory(store, monkeypatch):
    monkeypatch.setattr(batching, "DEVICE_SHARE", 0.0)
    rows = open_rows(store, [3, 0], np.arange(60), torch.device("cuda", 0), 2)
    sampler = BatchRows(np.arange(60), 8, 4)
    batches = list(Batches(rows, sampler, 2))
    assert all(batch["image"].is_pinned() for batch in batches)
    assert same(batches, Batches(StoredRows(store, [3, 0]), sampler))


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


@pytest.mark.parametrize("processes", [2, 3, 4])
def test_processes_share_the_batches_that_one_would_take(processes):
    one = list(BatchRows(np.arange(100), 16, 7))
    shares = [
        list(BatchRows(np.arange(100), 16, 7, (number, processes))) for number in range(processes)
    ]
    together = [np.concatenate(pieces) for pieces in zip(*shares, strict=True)]
    assert [sorted(batch) for batch in together] == [sorted(batch) for batch in one]


@examples(60)
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
        "from pipeline.split_folder import SplitFolder\n"
        "from tests.learn.data import test_batches as here\n"
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
        # four batches of nine rows, shared by the two
        assert [len(batch) for batch in one] == [5] * 4
        assert [len(batch) for batch in other] == [4] * 4
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
