"""What a network learns from: the parts of a split, and their rows in batches for Lightning."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from lightning.pytorch import LightningDataModule
from torch.utils.data import Sampler

from pipeline.errors import SplitError
from pipeline.learn.data.feed import Batches, DeviceRows, StoredRows, open_rows
from pipeline.learn.data.reader import Rows
from pipeline.store import PatchStore, SplitFolder, Statistics


@dataclass(frozen=True)
class TrainingData:
    """What a network learns from and what chooses its epoch; the test part is not among it."""

    store: PatchStore
    train: Rows
    """Rows of the store that train."""
    validation: Rows
    """Rows of the store that choose."""
    statistics: Statistics
    """Of the training rows, per band of the store."""
    bands: tuple[str, ...]
    """Input bands, in the order of the network's C axis."""
    split_sha256: str = ""
    """Identity of the split; empty where it was never written."""
    block_m: float = 1920.0
    """Side of the blocks of ground that the parts consist of."""

    @classmethod
    def of_split(cls, store: PatchStore, split: SplitFolder, bands: tuple[str, ...]) -> TrainingData:
        """The training and the validation part of a split.

        Raises:
            SplitError: when a part is empty or a class has no training patches.
        """
        parts = split.rows("train"), split.rows("validation")
        parting = split.split
        return cls(store, *parts, parting.statistics, bands, split.sha256, parting.block_m)

    def __post_init__(self) -> None:
        """Refuse what cannot be learnt from."""
        folder = self.store.folder
        for part, rows in (("training", self.train), ("validation", self.validation)):
            if not len(rows):
                raise SplitError(
                    f"the {part} part of {folder} has no patches; give it more blocks or make them "
                    "smaller (conf/split.yaml: validation, block_m), then run `split` again."
                )
        counts = self.class_counts
        missing = [
            info.name for info, count in zip(self.store.meta.classes, counts, strict=True) if not count
        ]
        if missing:
            raise SplitError(
                f"class {', '.join(missing)} of {folder} has no training patches; try another seed or "
                "smaller blocks (conf/split.yaml: seed, block_m), add labels, or drop the class from "
                "conf/classes.yaml."
            )

    @property
    def places(self) -> list[int]:
        """The places of the input bands in the store."""
        return [self.store.meta.bands.index(band) for band in self.bands]

    @property
    def input_statistics(self) -> Statistics:
        """The statistics of the input bands."""
        both = self.statistics.mean, self.statistics.std
        mean, std = ([values[place] for place in self.places] for values in both)
        return Statistics(mean=mean, std=std)

    def blocks(self, rows: Rows) -> npt.NDArray[np.integer]:
        """The block of ground of each of some patches, by a number."""
        epsg, x, y = (self.store.patches[name][rows] for name in ("epsg", "x", "y"))
        places = np.stack([epsg, np.floor(x / self.block_m), np.floor(y / self.block_m)])
        return np.unique(places, axis=1, return_inverse=True)[1].reshape(-1)

    @property
    def class_counts(self) -> list[int]:
        """Training patches per class."""
        labels = self.store.patches["label"][self.train]
        return np.bincount(labels, minlength=len(self.store.meta.classes)).tolist()

    def class_weights(self, exponent: float) -> list[float]:
        """(N / (K n_c)) ** exponent per class: 0 weighs none, 1 by inverse frequency."""
        counts = np.asarray(self.class_counts, dtype=np.float64)
        weights = (counts.sum() / (len(counts) * counts)) ** exponent
        return [float(weight) for weight in weights]


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
        return open_rows(self.data.store, self.data.places, both, device, self.loaders)
