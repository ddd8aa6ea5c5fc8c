"""The spatial split into blocks, with a buffer between parts.

A block is (EPSG, floor(x / block_m), floor(y / block_m)) of the centre of a patch: ground, not
scene. Its part follows from the seed and the block alone, by a hash, so that another scene, date or
label moves no block. Validation and test hold cells of the cell grid only.

Where blocks of different parts meet, windows overlap, and patches are excluded by the buffer: those
of validation that overlap test, then those of training that overlap either. They are `unused`, and so
are the patches off the cell grid in blocks of validation and test. A test patch is never excluded.

Of the seeds `seed`, `seed + 1000`, ... the first is taken by which, after that, every class trains
(in fold mode in each of the folds), and every class validates and tests (in fold mode in one fold
at least, and in no fold does a part stay empty). Folds are looked at together, whichever one is
asked for: all of them use one seed, and each patch of the cell grid is tested in exactly one.
Validation in every fold is not asked of each class, because a class of few fields cannot do it.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.config.split import SplitConf
from pipeline.errors import SplitError
from pipeline.geo.raster.grid import block_of
from pipeline.geo.split.shared_ground import Ground
from pipeline.store import PARTS

SEED_STEP = 1000
CANDIDATES = 1000
"""Seeds tried before the split is called impossible."""

TRAIN, VALIDATION, TEST, UNUSED = range(len(PARTS))

type Patches = Mapping[str, npt.NDArray[Any]]
"""Columns of N values: `epsg`, `x`, `y`, `label`, `on_grid`, as a store's table has them."""
Codes = npt.NDArray[np.int8]
"""Parts by their index in `PARTS`."""
_Lack = tuple[int | None, int, bool]
"""A class, or None for all of them, the part that it does not reach, and whether for the buffer."""


@dataclass(frozen=True)
class Blocks:
    """The blocks that patches lie in."""

    epsg: npt.NDArray[np.int64]
    col: npt.NDArray[np.int64]
    """floor(x / block_m) of each block."""
    row: npt.NDArray[np.int64]
    """floor(y / block_m) of each block."""
    of_patch: npt.NDArray[np.intp]
    """The block of each patch: its index in the arrays above."""

    @classmethod
    def of(cls, patches: Patches, block_m: float) -> Blocks:
        """The blocks of patches, sorted."""
        cols, rows = block_of(patches["x"], patches["y"], block_m)
        keys = np.stack([patches["epsg"].astype(np.int64), cols, rows])
        (epsg, col, row), of_patch = np.unique(keys, axis=1, return_inverse=True)
        return cls(epsg, col, row, of_patch.reshape(-1))

    def __len__(self) -> int:
        return len(self.epsg)

    @cached_property
    def names(self) -> list[str]:
        """`EPSG:col:row`, what the hash is taken of."""
        return [f"{e}:{c}:{r}" for e, c, r in zip(self.epsg, self.col, self.row, strict=True)]

    def parts(self, conf: SplitConf, seed: int, fold: int | None) -> Codes:
        """The part of each block: training, validation or test."""
        draw = uniform(f"{seed}:{name}" for name in self.names)
        if conf.folds is None:
            validates, tests = draw < conf.test + conf.validation, draw < conf.test
        else:
            # another draw a fold: one for all would keep some ground from ever training
            again = uniform(f"{seed}:{name}:validation:{fold}" for name in self.names)
            validates, tests = again < conf.validation, np.floor(draw * conf.folds) == fold
        return np.select([tests, validates], [TEST, VALIDATION], TRAIN).astype(np.int8)


@dataclass(frozen=True)
class Assignment:
    """The part of each patch, and how it was found."""

    part: npt.NDArray[np.str_]
    """One of `PARTS` for each patch."""
    seed: int
    """The seed that was used: the first one that fits."""
    blocks: Blocks
    block_part: npt.NDArray[np.str_]
    """The part of each block, before the buffer excludes some of its patches."""
    lists: str | None = None
    """The published list that the parts are taken from, in place of blocks."""


def split_patches(
    patches: Patches, conf: SplitConf, patch_m: float, classes: Sequence[str]
) -> Assignment:
    """Split patches whose windows are `patch_m` wide; `classes` are the names of the labels.

    Raises:
        SplitError: when no seed brings every class to every part; it names the class and the part.
    """
    search = _Search.over(patches, conf, patch_m, len(classes))
    _require_blocks(search, classes)
    lacks: Counter[_Lack] = Counter()
    for seed in range(conf.seed, conf.seed + SEED_STEP * CANDIDATES, SEED_STEP):
        missing = search.missing(seed)
        if not missing:
            block_part = search.blocks.parts(conf, seed, conf.fold)
            parts = np.array(PARTS)
            return Assignment(
                parts[search.exclude_overlaps(block_part)], seed, search.blocks, parts[block_part]
            )
        lacks.update(missing)
    raise SplitError(_sentence(lacks, search, classes))


@dataclass(frozen=True)
class _Search:
    """What every candidate seed is tried on."""

    conf: SplitConf
    blocks: Blocks
    ground: Ground
    label: npt.NDArray[np.intp]
    on_grid: npt.NDArray[np.bool_]
    trains: npt.NDArray[np.bool_]
    """(B, K): whether a block holds a class."""
    scores: npt.NDArray[np.bool_]
    """(B, K): whether a block holds a class on the cell grid."""

    @classmethod
    def over(cls, patches: Patches, conf: SplitConf, patch_m: float, classes: int) -> _Search:
        blocks = Blocks.of(patches, conf.block_m)
        label, on_grid = patches["label"].astype(np.intp), patches["on_grid"].astype(bool)
        trains, scores = np.zeros((2, len(blocks), classes), dtype=bool)
        trains[blocks.of_patch, label] = True
        scores[blocks.of_patch[on_grid], label[on_grid]] = True
        ground = Ground.of(patches["x"], patches["y"], patches["epsg"], patch_m)
        return cls(conf, blocks, ground, label, on_grid, trains, scores)

    def missing(self, seed: int) -> set[_Lack]:
        """What a seed leaves without patches: by whole blocks, and if nothing, by patches."""
        folds = [None] if self.conf.folds is None else list(range(self.conf.folds))
        of_blocks = [self.blocks.parts(self.conf, seed, fold) for fold in folds]
        missing = _lacking([self._reached_by_blocks(parts) for parts in of_blocks])
        if missing:  # the buffer is looked at last: it takes the time
            return {(label, part, False) for label, part in missing}
        missing = _lacking([self._reached(self.exclude_overlaps(parts)) for parts in of_blocks])
        return {(label, part, True) for label, part in missing}

    def exclude_overlaps(self, of_blocks: Codes) -> Codes:
        """The part of each patch, from those of the blocks."""
        part = of_blocks[self.blocks.of_patch]
        part[(part != TRAIN) & ~self.on_grid] = UNUSED
        part[self.ground.overlaps(part == VALIDATION, part == TEST)] = UNUSED
        part[self.ground.overlaps(part == TRAIN, (part == VALIDATION) | (part == TEST))] = UNUSED
        return part

    def _reached_by_blocks(self, parts: Codes) -> npt.NDArray[np.bool_]:
        """(3, K): which classes have a patch in a block of each part, the buffer aside."""
        held = (self.trains, self.scores, self.scores)
        return np.stack([has[parts == part].any(axis=0) for part, has in enumerate(held)])

    def _reached(self, parts: Codes) -> npt.NDArray[np.bool_]:
        """(3, K): which classes have a patch in each part."""
        reached = np.zeros((len(PARTS), self.trains.shape[1]), dtype=bool)
        reached[parts, self.label] = True
        return reached[:UNUSED]


def _lacking(reached: list[npt.NDArray[np.bool_]]) -> set[tuple[int | None, int]]:
    """Classes and parts that the rule of the module's head misses, from (3, K) per fold (or once)."""
    folds = np.stack(reached)  # (F, 3, K)
    reached_by = np.stack([folds[:, TRAIN].all(axis=0), *folds[:, VALIDATION:].any(axis=0)])  # (3, K)
    lacking: set[tuple[int | None, int]] = {(int(k), int(part)) for part, k in np.argwhere(~reached_by)}
    filled = folds.any(axis=2).all(axis=0)  # (3,)
    return lacking | {(None, int(part)) for part in np.flatnonzero(~filled)}


def _require_blocks(search: _Search, classes: Sequence[str]) -> None:
    """Refuse at once what no seed can split."""
    needed = 3 if search.conf.folds is None else 2
    for name, lies_in in zip(classes, search.trains.sum(axis=0).tolist(), strict=True):
        if not lies_in:
            raise SplitError(
                f"Class '{name}' has no patches at all; add labels for it, lower min_purity in the "
                "conf of tile, or take it out of the classes."
            )
        if lies_in < needed:
            raise SplitError(
                f"Class '{name}' lies in {_blocks(lies_in, search.conf)}, but a split needs "
                f"{needed}; {_REMEDY}."
            )


_REMEDY = "make block_m smaller, merge classes or add labels"


def _sentence(lacks: Counter[_Lack], search: _Search, classes: Sequence[str]) -> str:
    """What failed most often; of the seeds that whole blocks would allow, if there are any."""
    conf = search.conf
    lack, times = min(lacks.items(), key=lambda item: (not item[0][2], -item[1], str(item[0])))
    label, part, by_buffer = lack
    if label is None:
        failure, lies_in = f"the {PARTS[part]} part of a fold stays empty", len(search.blocks)
    else:
        held = search.trains if part == TRAIN else search.scores
        failure = f"class '{classes[label]}' has no {PARTS[part]} patches"
        lies_in = int(held[:, label].sum())
    how = "patches are excluded by the buffer, and " if by_buffer else ""
    remedy = _REMEDY.replace("smaller", "larger") if by_buffer else _REMEDY
    return (
        f"None of the seeds {conf.seed}, {conf.seed + SEED_STEP}, ... brings every class to every "
        f"part: with {times} of {CANDIDATES} of them {how}{failure}; its patches lie in "
        f"{_blocks(lies_in, conf)}; {remedy}."
    )


def _blocks(count: int, conf: SplitConf) -> str:
    return f"{count} block{'' if count == 1 else 's'} of {conf.block_m:g} m"


def uniform(keys: Iterable[str]) -> npt.NDArray[np.float64]:
    """A number from 0 to below 1 for each key, evenly spread: 8 bytes of its SHA-256."""
    heads = b"".join(hashlib.sha256(key.encode()).digest()[:8] for key in keys)
    # of the 64 bits the 53 that a float holds, or the largest would be rounded to 1
    return (np.frombuffer(heads, dtype=">u8") >> 11).astype(np.float64) / 2.0**53
