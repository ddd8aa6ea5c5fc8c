"""Batches of a store for Lightning: read ahead by threads, or gathered on the device if they fit."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sized
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from itertools import islice
from typing import Any, Protocol

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import Sampler

from pipeline.learn.data.reader import PatchReader, Rows
from pipeline.learn.data.training_data import TrainingData
from pipeline.store import PatchStore

Batch = dict[str, Tensor]
DEVICE_SHARE = 0.5
"""Share of the free memory of a device that patches may take; the rest is the network's."""
PIECE_BYTES = 64 * 2**20
"""Patches on their way to the device at a time."""


class RowsInTurn(Sized, Iterable[Rows], Protocol):
    """Rows of a store, batch after batch."""


class StoredRows:
    """Rows of a store to a batch, from its file."""

    def __init__(self, store: PatchStore, places: list[int], *, pinned: bool = False) -> None:
        """Read the bands at `places`, into memory that a CUDA device can fetch from when `pinned`.

        Raises:
            StoreError: when the store cannot be opened.
        """
        self.labels = store.patches["label"]
        self.reader, self.pinned = PatchReader(store, places), pinned

    def nbytes(self, count: int) -> int:
        """Bytes of the pixels of `count` patches."""
        return count * int(math.prod(self.reader.shape)) * 2

    def __call__(self, rows: Rows) -> Batch:
        """`image`: uint16 (n, C, P, P), raw; `label`: int64 (n,); both in the order of the store.

        Raises:
            StoreError: when the file has become shorter or the disk fails.
        """
        rows = np.sort(rows)  # in the order of the disk; the order within a batch means nothing
        shape = (len(rows), *self.reader.shape)
        image = torch.empty(shape, dtype=torch.uint16, pin_memory=self.pinned)
        self.reader.read(rows, image.numpy())
        return {"image": image, "label": torch.from_numpy(self.labels[rows].astype(np.int64))}


class DeviceRows:
    """Rows of a store to a batch, from the memory of a device, where they were put once."""

    def __init__(self, stored: StoredRows, rows: Rows, device: torch.device, loaders: int = 0) -> None:
        """Put `rows` on `device`, read by `loaders` threads.

        Raises:
            StoreError: as `stored` does.
        """
        self.rows, self.device = np.unique(rows), device
        shape = (len(self.rows), *stored.reader.shape)
        # 16 bits are moved as they are; of uint16 torch gathers on few devices
        self.image = torch.empty(shape, dtype=torch.int16, device=device)
        self.label = torch.empty(len(self.rows), dtype=torch.int64, device=device)
        count = max(1, PIECE_BYTES // stored.nbytes(1))
        pieces = np.split(self.rows, range(count, len(self.rows), count))
        done = 0
        for batch in read_ahead(stored, pieces, loaders):
            end = done + len(batch["label"])
            self.image[done:end] = batch["image"].view(torch.int16)
            self.label[done:end] = batch["label"]
            done = end

    def __call__(self, rows: Rows) -> Batch:
        """As `StoredRows` gives it, on the device."""
        places = torch.from_numpy(np.searchsorted(self.rows, np.sort(rows))).to(self.device)
        image = self.image.index_select(0, places).view(torch.uint16)
        return {"image": image, "label": self.label.index_select(0, places)}


class Batches:
    """Batches in the order of a sampler; Lightning finds it here, to tell it the epoch."""

    batch_sampler = None
    """Lightning asks what has a sampler for this too."""

    def __init__(self, read: Callable[[Rows], Batch], sampler: RowsInTurn, loaders: int = 0) -> None:
        """Batches that `read` makes of the rows of `sampler`, in `loaders` threads."""
        self.read, self.sampler, self.loaders = read, sampler, loaders

    def __len__(self) -> int:
        return len(self.sampler)

    def __iter__(self) -> Iterator[Batch]:
        yield from read_ahead(self.read, self.sampler, self.loaders)


def read_ahead(read: Callable[[Rows], Batch], batches: Iterable[Rows], loaders: int) -> Iterator[Batch]:
    """What `read` makes of each of `batches`, in order, by `loaders` threads, each a batch ahead.

    Without threads a batch is read as it is asked for. An error of a thread is raised where its batch
    was due; the threads end with the iterator, or where there is nothing left for them to do.
    """
    if not loaders:
        yield from map(read, batches)
        return
    rows = iter(batches)
    # threads wait for work, never for room: none can be stuck when nobody takes what it has read
    readers = ThreadPoolExecutor(loaders, thread_name_prefix="lenscape-reader")
    try:
        ahead = deque(readers.submit(read, some) for some in islice(rows, loaders))
        while ahead:
            following = [readers.submit(read, some) for some in islice(rows, 1)]
            if not following:  # who takes the last batch may never ask for another
                readers.shutdown(wait=False)
            ahead.extend(following)
            yield ahead.popleft().result()
    finally:
        readers.shutdown(wait=True, cancel_futures=True)


def open_rows(
    store: PatchStore, places: list[int], rows: Rows, device: torch.device, loaders: int
) -> StoredRows | DeviceRows:
    """Where batches of `rows` are best taken from: a CUDA device that has the room, or the file.

    Raises:
        StoreError: when the store cannot be opened or read.
    """
    cuda = device.type == "cuda"
    stored = StoredRows(store, places, pinned=cuda)
    if not cuda:
        return stored
    free, _ = torch.cuda.mem_get_info(device)
    fits = stored.nbytes(len(rows)) <= DEVICE_SHARE * free
    return DeviceRows(stored, rows, device, loaders) if fits else stored


class BatchRows(Sampler[Rows]):
    """Rows in batches of nearly equal size, shuffled anew and alike by every process each epoch."""

    def __init__(self, rows: Rows, size: int, seed: int | None = None, share: tuple[int, int] = (0, 1)):
        """Take `rows` in their order, or shuffled where there is a seed.

        Args:
            rows: Rows of the store.
            size: Patches a batch, at most; never one alone, which batch norm could not learn from.
            seed: Seed of the shuffling.
            share: Number of this process and of all processes; each takes its share of every batch.
        """
        self.rows, self.seed, self.epoch = rows, seed, 0
        self.first, self.step = share
        most, fewest = -(-len(rows) // self.step), len(rows) // self.step
        self.batches = max(1, min(-(-most // size), fewest // 2))

    def set_epoch(self, epoch: int) -> None:
        """Choose the shuffle; Lightning calls it as an epoch begins."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.batches

    def __iter__(self) -> Iterator[Rows]:
        rows = self.rows
        if self.seed is not None:
            rows = np.random.default_rng((self.seed, self.epoch)).permutation(rows)
        yield from np.array_split(rows[self.first :: self.step], self.batches)


class PatchDataModule(LightningDataModule):
    """Training and validation batches of a store, as `{"image", "label"}`."""

    def __init__(self, data: TrainingData, batch_size: int, seed: int, loaders: int = 0) -> None:
        super().__init__()
        self.data, self.batch_size, self.seed, self.loaders = data, batch_size, seed, loaders

    def train_dataloader(self) -> Batches:
        """Training batches, shuffled each epoch."""
        return self._batches(self.data.train, self.batch_size, self.seed)

    def val_dataloader(self) -> Batches:
        """Validation batches, in the order of the store."""
        return self._batches(self.data.validation, 1024, None)

    def teardown(self, stage: str) -> None:
        """Give back the memory of the device."""
        del stage
        self.__dict__.pop("_source", None)

    def _batches(self, rows: Rows, size: int, seed: int | None) -> Batches:
        trainer: Any = self.trainer
        share = (trainer.global_rank, trainer.world_size) if trainer else (0, 1)
        source = self._source
        loaders = 0 if isinstance(source, DeviceRows) else self.loaders
        return Batches(source, BatchRows(rows, size, seed, share), loaders)

    @cached_property
    def _source(self) -> StoredRows | DeviceRows:
        trainer: Any = self.trainer
        device = trainer.strategy.root_device if trainer else torch.device("cpu")
        both = np.concatenate((self.data.train, self.data.validation))
        return open_rows(self.data.store, self.data.band_indexes, both, device, self.loaders)
