"""Labelled images in the form of EuroSAT: their classes, and who trains and tests."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pipeline.commands.start.classes import ClassTable
from pipeline.commands.start.given import WHERE, Given
from pipeline.commands.start.plan import Plan, say_sizes, split_keys
from pipeline.commands.start.scenes import Found
from pipeline.commands.start.sizes import Proposal, Sizes, propose, require_two
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
    table = _table(images, given)
    lists = _usable_lists(images, table)
    sizes = Sizes(images.side_px, images.side_px, images.side_px)
    proposal = None if lists else _by_blocks(images, table, split, sizes)
    while isinstance(proposal, int):
        require_two([str(value) for value in table.values], images.id)
        print(f"  ignored, because too few images: {table.values[proposal]}")
        table = table.without(table.values[proposal])
        proposal = _by_blocks(images, table, split, sizes)
    classes = images.table["class"].to_pylist()
    for one in table.raw["classes"]:
        value = one.get("values", [one["name"]])[0]
        print(f"  {one.get('title', one['name']):<24} {classes.count(value):>8} images  {one['color']}")
    if proposal is None:
        print(f"parts as in the list '{lists[0]}'")
    else:
        say_sizes(proposal)
    keys = {"lists": lists[0]} if proposal is None else split_keys(split, proposal)
    return Plan([], table.raw, sizes.keys, keys, images=True)


def _table(images: ImageSet, given: Given) -> ClassTable:
    values = sorted(set(images.table["class"].to_pylist()))
    return ClassTable(values, [], {}, given.credit or _CREDIT)


def _by_blocks(images: ImageSet, table: ClassTable, split: SplitConf, sizes: Sizes) -> Proposal | int:
    """Blocks, as large as those of the conf or larger, that bring every class to each part."""
    labels = classes_of(images, table.conf, "conf/classes.yaml")
    rows = labels >= 0
    patches: Patches = {
        **{name: images.table[name].to_numpy()[rows] for name in ("epsg", "x", "y")},
        "label": labels[rows],
        "on_grid": np.ones(int(rows.sum()), dtype=bool),
    }
    apart = split.model_copy(update={"block_m": max(split.block_m, 9600.0)})
    return propose(lambda _: patches, [sizes], apart, [str(value) for value in table.values])


def _usable_lists(images: ImageSet, table: ClassTable) -> list[str]:
    """The published lists by which every class trains and no part is empty."""
    labels = classes_of(images, table.conf, "conf/classes.yaml")
    usable = []
    for name in images.parts.column_names:
        part = np.array(images.parts[name].to_pylist(), dtype=object)
        trains = np.unique(labels[part == "train"])
        if all((part == each).any() for each in PARTS[:3]) and len(trains) == len(table.values):
            usable.append(name)
    return usable
