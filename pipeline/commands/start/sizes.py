"""Patches, cells and blocks that fit the labels: tried as `tile` and `split` will use them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pipeline.config.split import SplitConf
from pipeline.errors import LabelError
from pipeline.geo.split.blocks import Blocks, Patches, largest_block_m

MOST_PATCHES = 100_000
"""More are not cut: training patches then stand side by side, or some of each class are drawn."""
_WIDER = 4.0
"""How much larger than the conf's a block is tried, where none of its size or smaller works."""
_SHARES = (0.2, 0.2), (0.3, 0.3)
"""Of validation and test, where those of the conf leave a class out whatever the blocks."""
_FOLDS = 5


@dataclass(frozen=True)
class Sizes:
    """Sides of patch and cell, and the distance of training patches, in pixels of 10 m."""

    patch_px: int
    cell_px: int
    stride_px: int

    @property
    def keys(self) -> dict[str, Any]:
        """Keys of `tile.yaml`."""
        return {"patch_px": self.patch_px, "cell_px": self.cell_px, "stride_px": self.stride_px}


@dataclass(frozen=True)
class Proposal:
    """Sizes with which every class reaches every part."""

    sizes: Sizes
    split: SplitConf
    cells: list[int]
    """Of each class, the cells on the cell grid."""
    folds_block_m: float | None
    """The largest blocks, up to those of the split, with which five folds work; None where none do."""
    tile: dict[str, Any] = field(default_factory=dict)
    """Further keys of `tile.yaml`, which bound the number of patches."""


def propose(
    cut: Callable[[Sizes], Patches], sizes: Sequence[Sizes], split: SplitConf, names: Sequence[str]
) -> Proposal | int:
    """The first of some sizes with which every class reaches every part, with blocks for it.

    `cut` gives the cells on the cell grid. Where no size works, the class is returned that lies in the
    fewest blocks.
    """
    patches: Patches = {}
    for size in sizes:
        patches, patch_m = cut(size), 10.0 * size.patch_px
        if len(patches["x"]) and (found := _fitting(patches, split, patch_m, names)) is not None:
            return _proposal(size, found, patches, names)
    if not len(patches["x"]):
        return 0
    of_patch = Blocks.of(patches, 2 * patch_m).of_patch
    return int(np.argmin([len(np.unique(of_patch[patches["label"] == k])) for k in range(len(names))]))


def _fitting(
    patches: Patches, conf: SplitConf, patch_m: float, names: Sequence[str]
) -> SplitConf | None:
    """The conf with blocks of its side, or the largest smaller ones that work, or larger ones.

    Other shares of validation and test are tried last. None where nothing works.
    """
    shares = [(conf.validation, conf.test), *(_SHARES if conf.folds is None else ())]
    for validation, test in dict.fromkeys(shares):
        for largest_m in (conf.block_m, _WIDER * conf.block_m):
            keys = {"validation": validation, "test": test, "block_m": largest_m}
            tried = conf.model_copy(update=keys)
            if (block_m := largest_block_m(patches, tried, patch_m, names)) is not None:
                return tried.model_copy(update={"block_m": block_m})
    return None


def _proposal(sizes: Sizes, conf: SplitConf, patches: Patches, names: Sequence[str]) -> Proposal:
    cells = np.bincount(patches["label"], minlength=len(names))
    folds = conf.model_copy(update={"folds": _FOLDS, "fold": 0})
    bounds: dict[str, Any] = {}
    if cells.sum() * (sizes.cell_px / sizes.stride_px) ** 2 > MOST_PATCHES:
        sizes = Sizes(sizes.patch_px, sizes.cell_px, sizes.cell_px)
    if cells.sum() > MOST_PATCHES:
        bounds["max_per_class"] = MOST_PATCHES // len(names)
    folds_block_m = largest_block_m(patches, folds, 10.0 * sizes.patch_px, names)
    return Proposal(sizes, conf, cells.tolist(), folds_block_m, bounds)


def require_two(names: Sequence[str], files: str) -> None:
    """Refuse to leave out one class more where only two are left.

    Raises:
        LabelError: when there are only two.
    """
    if len(names) <= 2:
        raise LabelError(
            f"{files}: of {' and '.join(names)}, the cells lie too close together for training, "
            "validation and test ground apart from each other; label more of the scene, in three "
            "places or more a class."
        )
