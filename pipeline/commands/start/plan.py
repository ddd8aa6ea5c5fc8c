"""From scenes and labels to the conf of tile and split: classes, sizes, blocks; says what it found."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import shapely

from pipeline.bands import BANDS, select
from pipeline.commands.start.classes import ClassTable, class_table
from pipeline.commands.start.given import Given, listed
from pipeline.commands.start.labels import parsed
from pipeline.commands.start.sizes import (
    LARGEST_PATCH,
    Proposal,
    Sizes,
    propose,
    sizes_of_polygons,
)
from pipeline.config.compute import ComputeConf
from pipeline.config.reading import load
from pipeline.config.split import SplitConf
from pipeline.config.tile import TileConf
from pipeline.config.train import TrainConf, resolve
from pipeline.errors import ConfigError
from pipeline.geo.labels.points import Points
from pipeline.geo.labels.sources import read_sources
from pipeline.geo.patches.scene_store import scene_content
from pipeline.geo.patches.store_writer import TileInputs
from pipeline.geo.scenes.scene import Scene, open_catalog
from pipeline.geo.split.blocks import Patches
from pipeline.learn.network.layers import fits

_CLASSES = Path("conf/classes.yaml")
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


def scene_plan(
    entries: list[dict[str, Any]],
    catalog: Path,
    given: Given,
    confs: tuple[TileConf, SplitConf],
    root: Path,
) -> Plan:
    """The conf for the scenes of a catalog with labels, tried as `tile` and `split` will use it.

    `confs` are those of tile and split as they are, `root` is the folder of `conf/`.

    Raises:
        LenscapeError: when the labels cannot be used.
    """
    scenes, (tile, split) = open_catalog(catalog), confs
    bands = _bands(tile, scenes)
    tile = tile.model_copy(update={"labels": parsed(entries)} | bands)
    print(f"labels {listed(given.labels)}")
    grids = [scene.grid for scene in scenes]
    table = class_table(tile.labels, grids, given, root / "conf" / "examples")
    sizes = sizes_of_polygons(tile)
    sources = read_sources(tile.labels, table.conf, str(_CLASSES))
    if points := all(isinstance(source, Points) for source in sources):
        sizes = [_size_of_points(root / "conf" / "train.yaml")]
    table, proposal, warnings = _proposed(table, catalog, (tile, split), sizes)
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)
    table.say(proposal.cells, "cells")
    cell_m = 10.0 * proposal.sizes.cell_px
    ground = sum(float(shapely.box(*grid.bounds).area) for grid in grids)
    share = sum(proposal.cells) * cell_m**2 / ground
    # points say nothing of the ground around them
    cover = "" if points else f", {share:.1%} of the scenes"
    print(f"  {sum(proposal.cells)} cells of {cell_m:g} m have a class{cover}")
    proposal.say()
    keys = asdict(proposal.sizes)
    if tile.max_per_class is None:
        keys["max_per_class"] = proposal.max_per_class
    keys = {key: value for key, value in keys.items() if getattr(tile, key) != value}
    return Plan(entries, table.raw, keys | bands, proposal.split_keys(split))


def _size_of_points(train: Path) -> Sizes:
    """One pixel as the cell, and the smallest odd patch that the network takes."""
    network = resolve((load(train, TrainConf) if train.exists() else TrainConf()).network)[1]
    odd = range(_SMALLEST_PATCH, LARGEST_PATCH, 2)
    return Sizes(next((side for side in odd if fits(network, side)), odd[-1]), 1, 1)


def _proposed(
    table: ClassTable, catalog: Path, confs: tuple[TileConf, SplitConf], sizes: Sequence[Sizes]
) -> tuple[ClassTable, Proposal, list[str]]:
    """Classes and sizes that work, and why scenes have no labels.

    A class that no size brings to every part is ignored, which is said.
    """
    tile, split = confs
    while True:
        warnings: list[str] = []
        cut = partial(_cells, catalog, tile, table, warnings)
        found = propose(cut, sizes, split, table.titles)
        if isinstance(found, Proposal):
            return table, found, list(dict.fromkeys(warnings))
        print(
            f"warning: {table.titles[found]!r} lies in too few places for training and test "
            f"ground apart from each other: it stands under `ignore` in {_CLASSES}; label more "
            "of it, or list its value with another class (docs/howto/polygons.md).",
            file=sys.stderr,
        )
        table = table.without(table.values[found])


def _cells(
    catalog: Path, tile: TileConf, table: ClassTable, warnings: list[str], size: Sizes
) -> Patches:
    """The labelled cells of the cell grid that have pixels in a band; adds to the warnings."""
    bands = set.intersection(*(set(scene.bands) for scene in open_catalog(catalog)))
    # the coarsest band is read fastest; where it has no pixels, the others seldom have any
    band = max(sorted(bands), key=lambda name: (name != "B10", BANDS[name].native_m))
    update = asdict(size) | {"stride_px": size.cell_px, "bands": [band], "max_per_class": None}
    inputs = TileInputs(Path("conf/tile.yaml"), tile.model_copy(update=update), _CLASSES, table.conf)
    content = scene_content(inputs, catalog, (), ComputeConf())
    warnings += content.warnings
    with TemporaryDirectory() as work:
        columns = [patches.columns for patches in content.patches(Path(work) / "patches")]
    if not columns:
        return {name: np.empty(0, dtype=np.int64) for name in _COLUMNS}
    return {name: np.concatenate([part[name] for part in columns]) for name in _COLUMNS}


def _bands(tile: TileConf, scenes: Sequence[Scene]) -> dict[str, Any]:
    """`bands` of `tile.yaml`, where those that stand there are not in all scenes."""
    try:
        for scene in scenes:
            select(tile.bands, scene.bands, "")
    except ConfigError:
        return {"bands": "all"}
    return {}
