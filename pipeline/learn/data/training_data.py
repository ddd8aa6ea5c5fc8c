"""The training and the validation patches of a store, and those of the folds of its split."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from pipeline.errors import SplitError
from pipeline.learn.data.reader import PatchReader, Pixels, Rows
from pipeline.split_folder import SplitFolder
from pipeline.store import PatchStore
from pipeline.store_meta import Statistics


@dataclass(frozen=True)
class TrainingData:
    """Training patches, and those that the network is validated on in each epoch."""

    store: PatchStore
    train: Rows
    """Rows of the store."""
    validation: Rows
    """Rows of the store; with folds none, or what the fold tests."""
    known_statistics: Statistics | None
    """The statistics below, where somebody has them already."""
    bands: tuple[str, ...]
    """Input bands, in the order of the network's C axis."""
    split_sha256: str = ""
    """Identity of the split; empty where it was never written."""
    block_m: float = 1920.0
    """Side of the blocks of ground that the parts consist of."""
    validation_chooses: bool = True
    """Whether the epoch that validates best is kept; else the last one of the schedule."""

    @classmethod
    def of_split(cls, store: PatchStore, split: SplitFolder, bands: tuple[str, ...]) -> TrainingData:
        """The training and the validation part of a split; with folds, all patches train.

        Raises:
            SplitError: when a part is empty or a class has no training patches.
        """
        parts, meta = (split.rows("train"), split.rows("validation")), split.split
        if meta.folds is None and not len(parts[1]):
            raise _empty("validation", store)
        chooses = meta.folds is None
        return cls(store, *parts, meta.statistics, bands, split.sha256, meta.block_m, chooses)

    def __post_init__(self) -> None:
        """Refuse training data without patches, or without some class."""
        folder = self.store.folder
        if not len(self.train):
            raise _empty("training", self.store)
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
    def band_indexes(self) -> list[int]:
        """Positions of the input bands on the C axis of the store."""
        return [self.store.meta.bands.index(band) for band in self.bands]

    @cached_property
    def statistics(self) -> Statistics:
        """Of the training rows, per band of the store; a pass over their pixels where not known."""
        return self.known_statistics or self.store.statistics(self.train)

    @property
    def input_statistics(self) -> Statistics:
        """The statistics of the input bands."""
        both = self.statistics.mean, self.statistics.std
        mean, std = ([values[index] for index in self.band_indexes] for values in both)
        return Statistics(mean=mean, std=std)

    def pixels(self, rows: Rows) -> Iterator[Pixels]:
        """The input bands of `rows`, which ascend, uint16 (n, C, P, P), in pieces."""
        return PatchReader(self.store, self.band_indexes).pieces(rows)

    def blocks(self, rows: Rows) -> npt.NDArray[np.integer]:
        """The number of the block of ground that each patch lies in."""
        epsg, x, y = (self.store.patches[name][rows] for name in ("epsg", "x", "y"))
        blocks = np.stack([epsg, np.floor(x / self.block_m), np.floor(y / self.block_m)])
        return np.unique(blocks, axis=1, return_inverse=True)[1].reshape(-1)

    def on_share_of_blocks(self, share: float, seed: int) -> TrainingData:
        """The same with a share of the training blocks, drawn at random; a larger share adds blocks.

        Of a class that they lack, the next block of the draw that has it is added.
        """
        blocks, labels = self.blocks(self.train), self.store.patches["label"][self.train]
        order = np.random.default_rng(seed).permutation(blocks.max() + 1)
        taken = set(order[: math.ceil(share * len(order))].tolist())
        for label in np.unique(labels):
            having = set(blocks[labels == label].tolist())
            if not having & taken:
                taken.add(next(block for block in order.tolist() if block in having))
        train = self.train[np.isin(blocks, list(taken))]
        return replace(self, train=train, known_statistics=None)

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


def _empty(part: str, store: PatchStore) -> SplitError:
    return SplitError(
        f"the {part} part of {store.folder} has no patches; give it more blocks or make them smaller "
        "(conf/split.yaml: validation, block_m), then run `split` again."
    )


@dataclass(frozen=True)
class Fold:
    """The training data of a fold, and the cells that it tests."""

    number: int
    """From 0."""
    data: TrainingData
    """Its validation patches are those that it tests: they are reported and choose nothing."""

    @property
    def tested(self) -> Rows:
        """Rows of the store, ascending."""
        return self.data.validation


def folds_of(store: PatchStore, split: SplitFolder, bands: tuple[str, ...]) -> list[Fold]:
    """The folds of a split; none where it has three parts.

    Raises:
        SplitError: when a fold has no training patches, or none of some class.
    """
    folds = []
    for number in range(split.split.folds or 0):
        train, tested = (split.rows(part, number) for part in ("train", "test"))
        own = bands, split.sha256, split.split.block_m
        folds.append(
            Fold(number, TrainingData(store, train, tested, None, *own, validation_chooses=False))
        )
    return folds


def pooled[T: np.generic](folds: Sequence[Fold], values: Sequence[npt.NDArray[T]]) -> npt.NDArray[T]:
    """What each fold has for the cells it tests, (n, ...), of all folds in the order of the store."""
    order = np.argsort(np.concatenate([fold.tested for fold in folds]))
    together: npt.NDArray[T] = np.concatenate(values)[order]
    return together
