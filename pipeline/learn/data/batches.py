"""Batches of a store for Lightning: read ahead by threads, or gathered on the device if they fit.

Not by torch's DataLoader, which reads ahead in processes only: each of them starts anew and hands its
batches over by a copy, where a thread reads into the batch itself.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from itertools import islice
from typing import Any

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


class StoredRows:
    """Reads batches from the file of a store."""

    def __init__(self, store: PatchStore, bands: list[int], *, pinned: bool = False) -> None:
        """Read the bands of these indexes, into memory that a CUDA device can fetch from if `pinned`.

        Raises:
            StoreError: when the store cannot be opened.
        """
        self.labels = store.patches["label"]
        self.reader, self.pinned = PatchReader(store, bands), pinned

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
    """Takes batches from the memory of a device, to which the rows are copied once."""

    def __init__(self, stored: StoredRows, rows: Rows, device: torch.device, loaders: int = 0) -> None:
        """Copy `rows` to `device`, read by `loaders` threads.

        Raises:
            StoreError: as `stored` does.
        """
        self.rows, self.device = np.unique(rows), device
        shape = (len(self.rows), *stored.reader.shape)
        # int16 with the same bits, because torch selects uint16 on few devices only
        self.image = torch.empty(shape, dtype=torch.int16, device=device)
        self.label = torch.empty(len(self.rows), dtype=torch.int64, device=device)
        count = max(1, PIECE_BYTES // stored.nbytes(1))
        pieces = np.split(self.rows, range(count, len(self.rows), count))
        start = 0
        for batch in prefetch(stored, pieces, loaders):
            end = start + len(batch["label"])
            self.image[start:end] = batch["image"].view(torch.int16)
            self.label[start:end] = batch["label"]
            start = end

    def __call__(self, rows: Rows) -> Batch:
        """As `StoredRows` gives it, on the device."""
        indexes = torch.from_numpy(np.searchsorted(self.rows, np.sort(rows))).to(self.device)
        image = self.image.index_select(0, indexes).view(torch.uint16)
        return {"image": image, "label": self.label.index_select(0, indexes)}


class Batches:
    """Batches in the order of a sampler, which Lightning finds here to set its epoch."""

    batch_sampler = None
    """Lightning reads this attribute, too."""

    def __init__(self, read: Callable[[Rows], Batch], sampler: BatchRows, loaders: int = 0) -> None:
        """Read the batches of `sampler` by `read`, prefetched by `loaders` threads."""
        self.read, self.sampler, self.loaders = read, sampler, loaders

    def __len__(self) -> int:
        return len(self.sampler)

    def __iter__(self) -> Iterator[Batch]:
        yield from prefetch(self.read, self.sampler, self.loaders)


def prefetch(read: Callable[[Rows], Batch], batches: Iterable[Rows], loaders: int) -> Iterator[Batch]:
    """The batches that `read` reads, in order, prefetched by `loaders` threads, each one batch ahead.

    Without threads a batch is read when it is needed. An error in a thread is raised in the place of
    its batch. The threads end with the iterator, or earlier when all batches are read.
    """
    if not loaders:
        yield from map(read, batches)
        return
    rows = iter(batches)
    # results wait in futures, so no thread blocks when the iterator is not continued
    readers = ThreadPoolExecutor(loaders, thread_name_prefix="lenscape-reader")
    try:
        pending = deque(readers.submit(read, batch) for batch in islice(rows, loaders))
        while pending:
            following = [readers.submit(read, batch) for batch in islice(rows, 1)]
            if not following:  # the iterator may not be continued after its last batch
                readers.shutdown(wait=False)
            pending.extend(following)
            yield pending.popleft().result()
    finally:
        readers.shutdown(wait=True, cancel_futures=True)


def open_rows(
    store: PatchStore, bands: list[int], rows: Rows, device: torch.device, loaders: int
) -> StoredRows | DeviceRows:
    """The fastest source of batches of `rows`: the memory of a CUDA device if they fit, or the file.

    Raises:
        StoreError: when the store cannot be opened or read.
    """
    cuda = device.type == "cuda"
    stored = StoredRows(store, bands, pinned=cuda)
    if not cuda:
        return stored
    free, _ = torch.cuda.mem_get_info(device)
    fits = stored.nbytes(len(rows)) <= DEVICE_SHARE * free
    return DeviceRows(stored, rows, device, loaders) if fits else stored


class BatchRows(Sampler[Rows]):
    """Rows in batches of nearly equal size, shuffled each epoch in the same way in every process."""

    def __init__(self, rows: Rows, size: int, seed: int | None = None, share: tuple[int, int] = (0, 1)):
        """Take `rows` in their order, or shuffled if there is a seed.

        A batch has at most `size` patches. Of each a process takes its `share`, by its index and the
        number of processes: at least two patches, because batch norm needs their spread.
        """
        self.rows, self.seed, self.epoch = rows, seed, 0
        self.first, self.step = share
        # of the batch that all processes take together: their number must not change what is learnt
        self.batches = max(1, min(-(-len(rows) // size), len(rows) // self.step // 2))

    def set_epoch(self, epoch: int) -> None:
        """Set the shuffle; Lightning calls it when an epoch begins."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.batches

    def __iter__(self) -> Iterator[Rows]:
        rows = self.rows
        if self.seed is not None:
            rows = np.random.default_rng((self.seed, self.epoch)).permutation(rows)
        yield from (batch[self.first :: self.step] for batch in np.array_split(rows, self.batches))


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
        """Free the memory of the device."""
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
