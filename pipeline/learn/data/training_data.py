"""The training and the validation patches of a store."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from pyproj import Transformer
from scipy.spatial import cKDTree

from pipeline.errors import SplitError
from pipeline.learn.data.reader import PatchReader, Pixels, Rows
from pipeline.split_folder import SplitFolder
from pipeline.store import PatchStore
from pipeline.store_meta import Statistics

_COARSEST_M = 60.0
"""Pixel of the coarsest bands: windows grown by it on each side share none when they are apart."""
_FAR_M = 1e12


@dataclass(frozen=True)
class TrainingData:
    """Training patches and validation patches, which choose the epoch; no test patches."""

    store: PatchStore
    train: Rows
    """Rows of the store."""
    validation: Rows
    """Rows of the store."""
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
        parts, meta = (split.rows("train"), split.rows("validation")), split.split
        return cls(store, *parts, meta.statistics, bands, split.sha256, meta.block_m)

    def __post_init__(self) -> None:
        """Refuse an empty part and a class without training patches."""
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
    def band_indexes(self) -> list[int]:
        """Positions of the input bands on the C axis of the store."""
        return [self.store.meta.bands.index(band) for band in self.bands]

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


@dataclass(frozen=True)
class HeldOut:
    """Training data without a share of its blocks, and the patches of these blocks."""

    data: TrainingData
    rows: Rows
    """Patches of the cell grid in the blocks left out."""


def hold_out_blocks(data: TrainingData, folds: int, seed: int) -> Iterator[HeldOut]:
    """The training data `folds` times, each time without another share of its blocks (cross-fitting).

    The validation part is a few blocks and a network fits its training patches too well. Networks
    trained without some blocks predict these as the final network predicts new ground. Patches that
    share ground with the blocks left out are left out of training, too. A share is skipped if a class
    has no patches in the other blocks. The validation part stays; below 2 folds there is no share.
    """
    block = data.blocks(data.train)
    names = np.unique(block)
    if min(folds, len(names)) < 2:
        return
    drawn = np.random.default_rng(seed).permutation(len(names)) % folds
    share = drawn[np.searchsorted(names, block)]
    classes = len(data.store.meta.classes)
    labels, on_grid = (data.store.patches[name] for name in ("label", "on_grid"))
    for fold in range(folds):
        out, rest = data.train[share == fold], data.train[share != fold]
        train = rest[_apart(data, rest, out)]
        held = out[on_grid[out]]
        if len(held) and len(np.unique(labels[train])) == classes:
            yield HeldOut(replace(data, train=train, statistics=data.store.statistics(train)), held)


def _apart(data: TrainingData, rows: Rows, others: Rows) -> npt.NDArray[np.bool_]:
    """Which of `rows` share no pixel of any resolution with any of `others`, of any UTM zone."""
    patches, geometry = data.store.patches, data.store.meta.geometry
    reach = geometry.patch_px * geometry.pixel_m + 2 * _COARSEST_M
    epsg, centers = patches["epsg"], np.stack([patches["x"], patches["y"]], axis=1).astype(np.float64)
    apart = np.ones(len(rows), dtype=bool)
    for home in np.unique(epsg[others]).tolist():
        tree = cKDTree(centers[others[epsg[others] == home]])
        for zone in np.unique(epsg[rows]).tolist():
            here = epsg[rows] == zone
            seen, least = centers[rows[here]], reach
            if zone != home:
                change = Transformer.from_crs(zone, home, always_xy=True)
                # a place that cannot be projected is far away; a square of another zone stands askew
                seen = np.nan_to_num(np.stack(change.transform(*seen.T), axis=1), posinf=_FAR_M)
                least = reach * 2**0.5
            nearest, _ = tree.query(seen, p=np.inf)
            apart[here] &= nearest >= least
    return apart
