"""Patches of a store as batches: whole batches from the memory map, no work per patch in Python."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from pipeline.errors import SplitError
from pipeline.store import PatchStore, SplitFolder, Statistics

Rows = npt.NDArray[np.intp]


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

    @classmethod
    def of_split(cls, store: PatchStore, split: SplitFolder, bands: tuple[str, ...]) -> TrainingData:
        """The training and the validation part of a split.

        Raises:
            SplitError: when a part is empty or a class has no training patches.
        """
        parts = split.rows("train"), split.rows("validation")
        return cls(store, *parts, split.split.statistics, bands, split.sha256)

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


class PatchRows(Dataset[dict[str, Tensor]]):
    """Rows of a store; an index is an array of rows, an item is a batch."""

    def __init__(self, store: PatchStore, places: list[int]) -> None:
        self.store = store
        self.places = np.asarray(places)

    def __getitem__(self, rows: Rows) -> dict[str, Tensor]:
        """`image`: uint16 (n, C, P, P), raw; `label`: int64 (n,)."""
        rows = np.sort(rows)  # in the order of the disk; the order within a batch means nothing
        pixels = self.store.pixels[rows[:, None], self.places]
        labels = self.store.patches["label"][rows].astype(np.int64)
        return {"image": torch.from_numpy(pixels), "label": torch.from_numpy(labels)}


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

    def train_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        """Training batches, shuffled each epoch."""
        return self._loader(self.data.train, self.batch_size, self.seed)

    def val_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        """Validation batches, in the order of the store."""
        return self._loader(self.data.validation, 1024, None)

    def _loader(self, rows: Rows, size: int, seed: int | None) -> DataLoader[dict[str, Tensor]]:
        trainer: Any = self.trainer
        share = (trainer.global_rank, trainer.world_size) if trainer else (0, 1)
        return DataLoader(
            PatchRows(self.data.store, self.data.places),
            batch_size=None,  # the sampler gives whole batches
            sampler=BatchRows(rows, size, seed, share),
            num_workers=self.loaders,
            persistent_workers=self.loaders > 0,
        )
