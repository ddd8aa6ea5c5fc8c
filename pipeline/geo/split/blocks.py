"""The spatial split into blocks, with a buffer between parts.

A block is (EPSG, floor(x / block_m), floor(y / block_m)) of the centre of a patch: ground, not
scene. Its part follows from the seed and the block alone, by a hash, so that by the same seed another
scene, date or label moves no block. Validation and test hold cells of the cell grid only.

Where blocks of different parts meet, windows overlap, and patches are excluded by the buffer: those
of validation that overlap test, then those of training that overlap either. They are `unused`, and so
are the patches off the cell grid in blocks of validation and test. A test patch is never excluded.

With folds, each block is in the test part of one fold and trains in all others (block
cross-validation; Roberts et al. 2017, doi:10.1111/ecog.02881); there is no validation part.

Of the seeds `seed`, `seed + 1000`, ... the first is taken by which, after that, every class trains,
validates and tests. With folds every class has to train in each of them and to be tested in one at
least; of the first `BALANCED` seeds that by which the classes spread most evenly over the folds is
tried first.
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
from pipeline.geo.split.shared_ground import COARSE_M, Ground
from pipeline.store import PARTS

SEED_STEP = 1000
CANDIDATES = 1000
"""Seeds tried before the split is called impossible."""
SEEDS_A_SIDE = 25
"""Seeds tried with each side of a block when one is looked for that would do."""
BALANCED = 100
"""Seeds of which, with folds, the most balanced is tried first."""
_FEWEST_FOLDS = 2
_WIDER = 4.0
"""How much larger than the conf's a side is tried at most."""

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
        # `np.unique` of columns takes several times as long
        order = np.lexsort(keys[::-1])
        keys = keys[:, order]
        first = np.ones(keys.shape[1], dtype=bool)
        first[1:] = (keys[:, 1:] != keys[:, :-1]).any(axis=0)
        of_patch = np.empty(len(order), dtype=np.intp)
        of_patch[order] = np.cumsum(first) - 1
        epsg, col, row = keys[:, first]
        return cls(epsg, col, row, of_patch)

    def __len__(self) -> int:
        return len(self.epsg)

    @cached_property
    def names(self) -> list[str]:
        """`EPSG:col:row`, what the hash is taken of."""
        return [f"{e}:{c}:{r}" for e, c, r in zip(self.epsg, self.col, self.row, strict=True)]

    def parts(self, conf: SplitConf, seed: int) -> list[Codes]:
        """The part of each block, training, validation or test: once, or for each fold."""
        if conf.folds is not None:
            of_block = self.folds(conf.folds, seed)
            tested = (of_block == fold for fold in range(conf.folds))
            return [np.where(tests, TEST, TRAIN).astype(np.int8) for tests in tested]
        draw = uniform(f"{seed}:{name}" for name in self.names)
        validates, tests = draw < conf.test + conf.validation, draw < conf.test
        return [np.select([tests, validates], [TEST, VALIDATION], TRAIN).astype(np.int8)]

    def folds(self, count: int, seed: int) -> npt.NDArray[np.intp]:
        """The fold of each block, from 0."""
        draw = uniform(f"{seed}:{name}" for name in self.names)
        return np.floor(draw * count).astype(np.intp)


@dataclass(frozen=True)
class Assignment:
    """The part of each patch, and how it was found."""

    part: npt.NDArray[np.str_]
    """One of `PARTS` for each patch; with folds, all train the final network."""
    seed: int
    """The seed that was used: the first one that fits."""
    blocks: Blocks
    block_part: npt.NDArray[np.str_]
    """The part of each block, before the buffer excludes some of its patches, or `fold 1`, ..."""
    lists: str | None = None
    """The published list that the parts are taken from, in place of blocks."""
    fold_parts: tuple[npt.NDArray[np.str_], ...] = ()
    """With folds: for each of them, one of `PARTS` for each patch."""


def split_patches(
    patches: Patches, conf: SplitConf, patch_m: float, classes: Sequence[str]
) -> Assignment:
    """Split patches whose windows are `patch_m` wide; `classes` are the names of the labels.

    Raises:
        SplitError: when no seed brings every class to every part; it names the class and the part.
    """
    for name, count in zip(classes, np.bincount(patches["label"], minlength=len(classes)), strict=True):
        if not count:
            raise SplitError(
                f"Class '{name}' has no patches at all; add labels for it, lower min_purity in the "
                "conf of tile, or take it out of the classes."
            )
    search = _Search.over(patches, conf, patch_m, len(classes))
    lacks: Counter[_Lack] = Counter()
    if not (few := search.in_few_blocks(classes)):
        seed = search.first_seed(CANDIDATES, lacks)
        if seed is not None:
            return search.assignment(seed)
    failure, by_buffer = (few, False) if few else _most_frequent(lacks, search, classes)
    # where blocks would do and the buffer takes too much, they are too small
    largest_m = _WIDER * conf.block_m if by_buffer else conf.block_m - 1
    block_m = largest_block_m(patches, conf.model_copy(update={"block_m": largest_m}), patch_m, classes)
    remedy = f"make block_m {block_m:g}, " if block_m else "no other block_m would do: "
    if not few and (conf.folds or 0) > _FEWEST_FOLDS:
        remedy += "take fewer folds, "
    raise SplitError(f"{failure}; {remedy}merge classes or add labels.")


def largest_block_m(
    patches: Patches, conf: SplitConf, patch_m: float, classes: Sequence[str]
) -> float | None:
    """The largest side of a block, m, at most the conf's, by which patches can be split.

    Whole pixels of 60 m are tried, of large blocks each a 64th less than the last, down to the side of
    a patch, `patch_m`, each with `SEEDS_A_SIDE` seeds. None where none will do.
    """
    count = int(conf.block_m // COARSE_M)
    while count * COARSE_M >= patch_m:
        smaller = conf.model_copy(update={"block_m": count * COARSE_M})
        search = _Search.over(patches, smaller, patch_m, len(classes))
        if not search.in_few_blocks(classes) and search.first_seed(SEEDS_A_SIDE, Counter()) is not None:
            return smaller.block_m
        count -= max(1, count // 64)
    return None


@dataclass(frozen=True)
class _Search:
    """What every candidate seed is tried on."""

    conf: SplitConf
    blocks: Blocks
    patches: Patches
    patch_m: float
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
        return cls(conf, blocks, patches, patch_m, label, on_grid, trains, scores)

    @cached_property
    def ground(self) -> Ground:
        """The ground of the windows of all patches."""
        patches = self.patches
        return Ground.of(patches["x"], patches["y"], patches["epsg"], self.patch_m)

    @cached_property
    def cells(self) -> npt.NDArray[np.intp]:
        """(B, K): cells of the cell grid of each class in a block."""
        cells = np.zeros(self.scores.shape, dtype=np.intp)
        np.add.at(cells, (self.blocks.of_patch[self.on_grid], self.label[self.on_grid]), 1)
        return cells

    def in_few_blocks(self, classes: Sequence[str]) -> str | None:
        """The first class that lies in fewer blocks than any split needs; None where none does."""
        needed = 3 if self.conf.folds is None else 2
        for name, lies_in in zip(classes, self.trains.sum(axis=0).tolist(), strict=True):
            if lies_in < needed:
                return (
                    f"Class '{name}' lies in {_blocks(lies_in, self.conf)}, but a split needs {needed}"
                )
        return None

    def first_seed(self, tries: int, lacks: Counter[_Lack]) -> int | None:
        """The first of so many seeds that leaves nothing without patches; counts what others lack."""
        seeds = list(range(self.conf.seed, self.conf.seed + SEED_STEP * tries, SEED_STEP))
        if self.conf.folds is not None:
            seeds[:BALANCED] = sorted(seeds[:BALANCED], key=self.imbalance)
        for seed in seeds:
            if not (missing := self.missing(seed)):
                return seed
            lacks.update(missing)
        return None

    def imbalance(self, seed: int) -> float:
        """Sum over the classes of the squared deviations of their shares by fold from an even share."""
        count = self.conf.folds or 1
        cells = np.zeros((count, self.scores.shape[1]))
        np.add.at(cells, self.blocks.folds(count, seed), self.cells)
        shares = cells / np.maximum(cells.sum(axis=0), 1)
        return float(np.square(shares - 1 / count).sum())

    def assignment(self, seed: int) -> Assignment:
        """The parts by a seed."""
        names, folds = np.array(PARTS), self.conf.folds
        of_blocks = self.blocks.parts(self.conf, seed)
        each = [self.exclude_overlaps(parts) for parts in of_blocks]
        if folds is None:
            return Assignment(names[each[0]], seed, self.blocks, names[of_blocks[0]])
        named = np.array([f"fold {fold}" for fold in range(1, folds + 1)])
        of_block = named[self.blocks.folds(folds, seed)]
        everywhere = np.full(len(self.label), names[TRAIN])
        return Assignment(
            everywhere, seed, self.blocks, of_block, fold_parts=tuple(names[codes] for codes in each)
        )

    def missing(self, seed: int) -> set[_Lack]:
        """What a seed leaves without patches: by whole blocks, and if nothing, by patches."""
        of_blocks = self.blocks.parts(self.conf, seed)
        missing = _lacking([self._reached_by_blocks(parts) for parts in of_blocks])
        if missing:  # the buffer is looked at last: it takes the time
            return {(label, part, False) for label, part in missing}
        reached = []
        for parts in of_blocks:
            reached.append(self._reached(self.exclude_overlaps(parts)))
            trains = reached[-1][TRAIN]
            if len(of_blocks) > 1 and not trains.all():  # no other fold can make up for it
                return {(int(label), TRAIN, True) for label in np.flatnonzero(~trains)}
        return {(label, part, True) for label, part in _lacking(reached)}

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
    filled = folds.any(axis=2).all(axis=0)  # (3,)
    if len(folds) > 1:
        reached_by[VALIDATION] = filled[VALIDATION] = True  # folds have no validation part
    lacking: set[tuple[int | None, int]] = {(int(k), int(part)) for part, k in np.argwhere(~reached_by)}
    return lacking | {(None, int(part)) for part in np.flatnonzero(~filled)}


def _most_frequent(lacks: Counter[_Lack], search: _Search, classes: Sequence[str]) -> tuple[str, bool]:
    """What failed most often, of the seeds that whole blocks would allow if there are any, and whether
    the buffer is why.
    """
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
    return (
        f"None of the seeds {conf.seed}, {conf.seed + SEED_STEP}, ... brings every class to every "
        f"part: with {times} of {CANDIDATES} of them {how}{failure}; its patches lie in "
        f"{_blocks(lies_in, conf)}",
        by_buffer,
    )


def _blocks(count: int, conf: SplitConf) -> str:
    return f"{count} block{'' if count == 1 else 's'} of {conf.block_m:g} m"


def uniform(keys: Iterable[str]) -> npt.NDArray[np.float64]:
    """A number from 0 to below 1 for each key, evenly spread: 8 bytes of its SHA-256."""
    heads = b"".join(hashlib.sha256(key.encode()).digest()[:8] for key in keys)
    # of the 64 bits the 53 that a float holds, or the largest would be rounded to 1
    return (np.frombuffer(heads, dtype=">u8") >> 11).astype(np.float64) / 2.0**53
