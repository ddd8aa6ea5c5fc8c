"""Patches, cells and blocks that fit the labels: tried as `tile` and `split` will use them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import gcd
from typing import Any

import numpy as np

from pipeline.config.split import SplitConf
from pipeline.config.tile import TileConf
from pipeline.errors import LabelError
from pipeline.geo.split.blocks import Blocks, Patches, largest_block_m

_MOST_PATCHES = 100_000
"""More are not cut: training patches then stand side by side, or some of each class are drawn."""
_WIDER = 4.0
"""How much larger than the conf's a block is tried, where none of its size or smaller works."""
_SHARES = 0.2, 0.3
"""Of validation and of test, where those of the conf leave a class out whatever the blocks."""
_FEWER_FOLDS = 3, 2
_FINER = (4, 2)
"""Sides of a cell that are tried where polygons are too few or too small for larger ones."""
_LARGEST_CELL, LARGEST_PATCH = 32, 48


@dataclass(frozen=True)
class Sizes:
    """Sides of patch and cell, and the distance of training patches, in pixels of 10 m."""

    patch_px: int
    cell_px: int
    stride_px: int


@dataclass(frozen=True)
class Proposal:
    """Sizes with which every class reaches every part."""

    sizes: Sizes
    split: SplitConf
    cells: list[int]
    """Of each class, the cells on the cell grid."""
    max_per_class: int | None
    """Where there are too many."""

    def split_keys(self, now: SplitConf) -> dict[str, Any]:
        """The keys of `split.yaml` that are not as they are."""
        new = {key: getattr(self.split, key) for key in ("folds", "block_m", "validation", "test")}
        changed = {key: value for key, value in new.items() if getattr(now, key) != value}
        return changed | {"lists": None}

    def say(self) -> None:
        """Print patches and blocks that work."""
        sizes, split = self.sizes, self.split
        how = f"{split.folds} folds: every class is tested, and trains in each"
        if split.folds is None:
            how = (
                f"{split.validation:.0%} for validation, {split.test:.0%} for test: every class "
                "reaches each part"
            )
        print(
            f"patches of {sizes.patch_px} px, cells of {sizes.cell_px} px, a training patch every "
            f"{sizes.stride_px} px\n"
            f"blocks of {split.block_m:g} m, {how}"
        )


def sizes_of_polygons(tile: TileConf) -> list[Sizes]:
    """The sizes to try: those of the conf, then finer cells."""
    first = Sizes(tile.patch_px, tile.cell_px, tile.stride_px)
    if not (1 < first.cell_px <= _LARGEST_CELL and first.patch_px <= LARGEST_PATCH):
        first = Sizes(16, 8, 4)
    finer = [cell for cell in _FINER if cell < first.cell_px and (first.patch_px - cell) % 2 == 0]
    return [first, *(Sizes(first.patch_px, cell, gcd(cell, first.stride_px)) for cell in finer)]


def propose(
    cut: Callable[[Sizes], Patches], sizes: Sequence[Sizes], split: SplitConf, names: Sequence[str]
) -> Proposal | int:
    """The first of some sizes with which every class reaches every part, with blocks for it.

    `cut` gives the cells on the cell grid. Where no size works, the class is returned that lies in the
    fewest blocks.

    Raises:
        LabelError: when that class is one of two.
    """
    patches: Patches = {}
    for size in sizes:
        patches, patch_m = cut(size), 10.0 * size.patch_px
        if len(patches["x"]) and (found := _fitting(patches, split, patch_m, names)) is not None:
            return _proposal(size, found, patches, names)
    if len(names) <= 2:
        raise LabelError(
            f"of {' and '.join(names)}, the cells lie too close together for training and test ground "
            "apart from each other; label more of the scene, in three places or more a class."
        )
    of_patch = Blocks.of(patches, 2 * patch_m).of_patch
    return int(np.argmin([len(np.unique(of_patch[patches["label"] == k])) for k in range(len(names))]))


def _fitting(
    patches: Patches, conf: SplitConf, patch_m: float, names: Sequence[str]
) -> SplitConf | None:
    """The conf with blocks of its side, or the largest smaller ones that work, or larger ones.

    Fewer folds, or other shares of validation and test, are tried last. None where nothing works.
    """
    others: list[dict[str, Any]] = [{"validation": share, "test": share} for share in _SHARES]
    if conf.folds is not None:
        others = [{"folds": count} for count in _FEWER_FOLDS if count < conf.folds]
    for keys in ({}, *others):
        for largest_m in (conf.block_m, _WIDER * conf.block_m):
            tried = conf.model_copy(update=keys | {"block_m": largest_m})
            if (block_m := largest_block_m(patches, tried, patch_m, names)) is not None:
                return tried.model_copy(update={"block_m": block_m})
    return None


def _proposal(sizes: Sizes, conf: SplitConf, patches: Patches, names: Sequence[str]) -> Proposal:
    cells = np.bincount(patches["label"], minlength=len(names))
    if cells.sum() * (sizes.cell_px / sizes.stride_px) ** 2 > _MOST_PATCHES:
        sizes = Sizes(sizes.patch_px, sizes.cell_px, sizes.cell_px)
    most = _MOST_PATCHES // len(names) if cells.sum() > _MOST_PATCHES else None
    return Proposal(sizes, conf, cells.tolist(), most)
