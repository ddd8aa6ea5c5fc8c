"""From scenes and labels to the conf of tile and split: classes, sizes, blocks; says what it found."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from math import gcd
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.bands import BANDS, select
from pipeline.commands.start.classes import ClassTable
from pipeline.commands.start.given import Given, listed
from pipeline.commands.start.labels import class_table, features_by_class, parsed
from pipeline.commands.start.sizes import Proposal, Sizes, propose, require_two
from pipeline.config.compute import ComputeConf
from pipeline.config.labels import LabelSourceConf
from pipeline.config.reading import load
from pipeline.config.split import SplitConf
from pipeline.config.tile import TileConf
from pipeline.config.train import TrainConf, resolve
from pipeline.errors import ConfigError
from pipeline.geo.labels.points import Points
from pipeline.geo.labels.sources import LabelSource, LabelTally, read_sources
from pipeline.geo.patches.positions import labelled_positions
from pipeline.geo.patches.scene_patches import read_patches
from pipeline.geo.raster.grid import PatchGrid
from pipeline.geo.scenes.scene import Scene
from pipeline.geo.split.blocks import Patches
from pipeline.learn.network.layers import fits
from pipeline.parallel import worker_count

_CLASSES = "conf/classes.yaml"
_USUAL = Sizes(16, 8, 4)
_FINER = (4, 2)
"""Sides of a cell that are tried where polygons are too few or too small for larger ones."""
_LARGEST_CELL, _LARGEST_PATCH = 32, 48
_SMALLEST_PATCH = 9
_COLUMNS = ("epsg", "x", "y", "label", "on_grid")


@dataclass(frozen=True)
class Plan:
    """What goes into the conf beside the scenes."""

    labels: list[dict[str, Any]]
    """Entries of `tile.yaml`, with paths as they are now."""
    classes: dict[str, Any]
    """`classes.yaml`."""
    tile: dict[str, Any]
    """Other keys of `tile.yaml`."""
    split: dict[str, Any]
    """Keys of `split.yaml`; None for one to leave out."""
    images: bool = False
    """Whether labelled images are trained on."""


@dataclass(frozen=True)
class _Fitting:
    """Classes and sizes that fit each other."""

    table: ClassTable
    proposal: Proposal
    sources: list[LabelSource]
    warnings: list[str]
    """Why scenes have no labels."""


def scene_plan(
    entries: list[dict[str, Any]],
    scenes: Sequence[Scene],
    given: Given,
    confs: tuple[TileConf, SplitConf],
    root: Path,
) -> Plan:
    """The conf for scenes with labels, tried as `tile` and `split` will use it.

    `confs` are those of tile and split as they are, `root` is the folder of `conf/`.

    Raises:
        LenscapeError: when the labels cannot be used.
    """
    labels, (tile, split) = parsed(entries), confs
    grids = [scene.grid for scene in scenes]
    print(f"labels {listed(given.labels)}")
    table = class_table(labels, grids, given, root / "conf" / "examples")
    found = _proposed(table, labels, scenes, confs, root / "conf" / "train.yaml")
    _say(found, scenes)
    table, proposal = found.table, found.proposal
    keys = proposal.sizes.keys | proposal.tile
    if tile.max_per_class is not None:
        keys.pop("max_per_class", None)
    keys = {key: value for key, value in keys.items() if getattr(tile, key) != value}
    return Plan(entries, table.raw, keys | _bands(tile, scenes), split_keys(split, proposal))


def split_keys(now: SplitConf, proposal: Proposal) -> dict[str, Any]:
    """The keys of `split.yaml` that are not as they are."""
    new = proposal.split
    keys = {key: getattr(new, key) for key in ("block_m", "validation", "test")}
    return {key: value for key, value in keys.items() if getattr(now, key) != value} | {"lists": None}


def _sizes(tile: TileConf, *, points: bool, train: Path) -> list[Sizes]:
    """The sizes to try: those of the conf, then finer cells.

    For points they are one pixel as the cell and the smallest odd patch that the network takes.
    """
    if points:
        network = resolve((load(train, TrainConf) if train.exists() else TrainConf()).network)[1]
        odd = range(_SMALLEST_PATCH, _LARGEST_PATCH, 2)
        return [Sizes(next((side for side in odd if fits(network, side)), odd[-1]), 1, 1)]
    first = Sizes(tile.patch_px, tile.cell_px, tile.stride_px)
    if not (1 < first.cell_px <= _LARGEST_CELL and first.patch_px <= _LARGEST_PATCH):
        first = _USUAL
    finer = [cell for cell in _FINER if cell < first.cell_px and (first.patch_px - cell) % 2 == 0]
    return [first, *(Sizes(first.patch_px, cell, gcd(cell, first.stride_px)) for cell in finer)]


def _proposed(
    table: ClassTable,
    labels: Sequence[LabelSourceConf],
    scenes: Sequence[Scene],
    confs: tuple[TileConf, SplitConf],
    train: Path,
) -> _Fitting:
    """Sizes that work; a class that no size brings to every part is ignored, which is said."""
    tile, split = confs
    while True:
        names = [one.name for one in table.conf.classes]
        sources = read_sources(labels, table.conf, _CLASSES, tile.overlap)
        sizes = _sizes(tile, points=all(isinstance(one, Points) for one in sources), train=train)
        missing: dict[str, str] = {}
        cut = partial(_cells, sources, scenes, tile, len(names), missing)
        found = propose(cut, sizes, split, names)
        if isinstance(found, Proposal):
            return _Fitting(table, found, sources, list(missing.values()))
        require_two(names, listed([conf.file for conf in labels]))
        print(
            f"warning: {table.title(found)!r} lies in too few places for training, validation and test "
            f"ground apart from each other: it stands under `ignore` in {_CLASSES}; label more of it, "
            "or list its value with another class (docs/howto/polygons.md).",
            file=sys.stderr,
        )
        table = table.without(table.values[found])


def _cells(
    sources: Sequence[LabelSource],
    scenes: Sequence[Scene],
    tile: TileConf,
    classes: int,
    missing: dict[str, str],
    size: Sizes,
) -> Patches:
    """The labelled cells of the cell grid of all scenes that have pixels in a band.

    Why a scene has no labels goes to `missing`, by its id.
    """
    tile = tile.model_copy(update={**size.keys, "stride_px": size.cell_px})
    tally, columns = LabelTally(sources), []
    workers = worker_count(ComputeConf())
    for scene in scenes:
        grid = PatchGrid(scene.grid, tile.patch_px, tile.cell_px)
        if (on_scene := tally.labels_on(grid, scene.info)) is None:
            continue
        positions = labelled_positions(scene, on_scene, tile, classes, workers)
        if not len(positions):
            continue
        # the coarsest band is read fastest; where it has no pixels, the others seldom have any
        band = max(scene.bands, key=lambda name: (name != "B10", BANDS[name].native_m))
        strips = read_patches(positions, (band,), tile.min_valid, ComputeConf())
        columns += [strip.columns for strip in strips]
    missing.update(tally.missing)
    if not columns:
        return {name: np.empty(0, dtype=np.int64) for name in _COLUMNS}
    return {name: np.concatenate([part[name] for part in columns]) for name in _COLUMNS}


def _bands(tile: TileConf, scenes: Sequence[Scene]) -> dict[str, Any]:
    """`bands` of `tile.yaml`, where those that stand there are not in all scenes."""
    common = [band for band in BANDS if all(band in scene.bands for scene in scenes)]
    try:
        select(tile.bands, common, "")
    except ConfigError:
        return {"bands": "all"}
    return {}


def _say(found: _Fitting, scenes: Sequence[Scene]) -> None:
    """Print the counts of each class, the coverage, and the sizes."""
    table, proposal = found.table, found.proposal
    for reason in found.warnings:
        print(f"warning: {reason}", file=sys.stderr)
    grids = [scene.grid for scene in scenes]
    columns = features_by_class(found.sources, grids, len(table.values))
    colors = [one["color"] for one in table.raw["classes"]]
    for number, cells in enumerate(proposal.cells):
        row = [
            f"{values[number]:>9.{0 if name == 'features' else 1}f} {name}"
            for name, values in columns.items()
        ]
        print(f"  {table.title(number):<24} {' '.join(row)} {cells:>8} cells  {colors[number]}")
    cell_m = 10.0 * proposal.sizes.cell_px
    ground = sum(grid.height * grid.width * grid.pixel_m**2 for grid in grids)
    share = sum(proposal.cells) * cell_m**2 / ground
    print(f"  {sum(proposal.cells)} cells of {cell_m:g} m have a class, {share:.1%} of the scenes")
    say_sizes(proposal)


def say_sizes(proposal: Proposal) -> None:
    """Print patches and blocks that work."""
    sizes, split = proposal.sizes, proposal.split
    print(
        f"patches of {sizes.patch_px} px, cells of {sizes.cell_px} px, a training patch every "
        f"{sizes.stride_px} px"
    )
    print(
        f"blocks of {split.block_m:g} m, {split.validation:.0%} for validation, {split.test:.0%} for "
        "test: every class reaches each part"
    )
    folds = proposal.folds_block_m
    print(
        f"five folds (folds: 5): blocks of up to {folds:g} m" if folds else "five folds: too few labels"
    )
