"""Training data without some of its own ground, to hear what a network says of ground it never saw.

The validation part of a split is a few blocks, and the training part is known by heart. Networks of
the same conf, each trained without a share of the training blocks, say of those blocks what the
network itself would say of new ground (cross-fitting).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from pipeline.learn.data.datamodule import TrainingData
from pipeline.learn.data.reader import Rows

_COARSEST_M = 60.0
"""Pixel of the coarsest bands: windows grown by it on each side share none when they are apart."""


@dataclass(frozen=True)
class HeldOut:
    """Training data without a share of their blocks, and what lies in these."""

    data: TrainingData
    rows: Rows
    """Patches of the cell grid in the blocks that were left out."""


def without_blocks(data: TrainingData, folds: int, seed: int) -> Iterator[HeldOut]:
    """The training data `folds` times, each time without another share of its blocks.

    Patches that share ground with what is left out do not train either. Where a class has no patches
    in the other blocks, that share is not left out.

    Args:
        data: Training and validation part; validation stays what it is.
        folds: Shares; below 2 there are none.
        seed: Of the draw of blocks.
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
    """Which of the patches share no pixel of any resolution with any of the others."""
    patches, geometry = data.store.patches, data.store.meta.geometry
    reach = geometry.patch_px * geometry.pixel_m + 2 * _COARSEST_M
    epsg, place = patches["epsg"], np.stack([patches["x"], patches["y"]], axis=1).astype(np.float64)
    apart = np.ones(len(rows), dtype=bool)
    for code in np.unique(epsg[others]):
        mine = epsg[rows] == code
        nearest, _ = cKDTree(place[others[epsg[others] == code]]).query(place[rows[mine]], p=np.inf)
        apart[mine] = nearest >= reach
    return apart
