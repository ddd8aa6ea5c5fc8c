"""Labelled images in the form of EuroSAT: their classes, and who trains and tests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.commands.start.classes import ClassTable
from pipeline.commands.start.given import WHERE, Given
from pipeline.commands.start.plan import Plan
from pipeline.commands.start.scenes import Found
from pipeline.commands.start.sizes import Proposal, Sizes, propose
from pipeline.config.sources import EurosatConf
from pipeline.config.split import SplitConf
from pipeline.errors import ConfigError
from pipeline.geo.images.collection import ImageSet, open_images
from pipeline.geo.patches.image_store import classes_of
from pipeline.geo.sources.download import Downloads
from pipeline.geo.sources.eurosat import write_images
from pipeline.geo.split.blocks import Patches
from pipeline.store import PARTS

_CREDIT = "EuroSAT (Helber et al. 2019), MIT"
_BLOCK_M = 9600.0
"""Images lie kilometres apart: blocks are tried up to this side at least."""


def image_plan(
    found: Sequence[Found], given: Given, split: SplitConf, downloads: Downloads, work: Path
) -> Plan:
    """The conf for images, which carry their class.

    Raises:
        LenscapeError: when the images cannot be used, or scenes or labels stand beside them.
    """
    conf = found[0].conf
    if len(found) > 1 or given.labels or not isinstance(conf, EurosatConf):
        raise ConfigError(
            f"{WHERE}: EuroSAT is trained on alone, and its images carry their class; leave out other "
            "--scene and --labels, and name scenes to map with --map (docs/howto/eurosat.md)."
        )
    folder = work / "images"
    folder.mkdir()
    print(write_images(conf, folder, folder, downloads))
    images = open_images(folder)
    classes = images.table["class"].to_pylist()
    table = ClassTable(sorted(set(classes)), given.credit or _CREDIT)
    sizes = Sizes(images.side_px, images.side_px, images.side_px)
    if (published := _usable_list(images, table)) is not None:
        keys: dict[str, Any] = {"lists": published, "folds": None}
    else:
        table, proposal = _by_blocks(images, table, split, sizes)
        keys = proposal.split_keys(split)
    table.say(map(classes.count, table.values), "images")
    if published is None:
        proposal.say()
    else:
        print(f"parts as in the list '{published}'")
    return Plan([], table.raw, asdict(sizes), keys, images=True)


def _by_blocks(
    images: ImageSet, table: ClassTable, split: SplitConf, sizes: Sizes
) -> tuple[ClassTable, Proposal]:
    """Blocks that bring every class to each part; a class of too few images is ignored."""
    apart = split.model_copy(update={"block_m": max(split.block_m, _BLOCK_M)})
    while True:
        labels = classes_of(images, table.conf, "conf/classes.yaml")
        rows = labels >= 0
        patches: Patches = {
            **{name: images.table[name].to_numpy()[rows] for name in ("epsg", "x", "y")},
            "label": labels[rows],
            "on_grid": np.ones(int(rows.sum()), dtype=bool),
        }
        found = propose(lambda _, patches=patches: patches, [sizes], apart, table.titles)  # type: ignore[misc]
        if isinstance(found, Proposal):
            return table, found
        print(f"  ignored, because too few images: {table.titles[found]}")
        table = table.without(table.values[found])


def _usable_list(images: ImageSet, table: ClassTable) -> str | None:
    """The first published list by which every class trains and no part is empty."""
    labels = classes_of(images, table.conf, "conf/classes.yaml")
    for name in images.parts.column_names:
        part = np.array(images.parts[name].to_pylist(), dtype=object)
        trains = np.unique(labels[part == "train"])
        if all((part == each).any() for each in PARTS[:3]) and len(trains) == len(table.values):
            return str(name)
    return None
