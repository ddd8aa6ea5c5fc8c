"""The values of labels that become classes: those that some scene shows, with what is there of each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import shapely

from pipeline.commands.start.given import Given, free_name, listed, slug
from pipeline.config.classes import ClassesConf
from pipeline.config.labels import LabelSourceConf, RasterLabelConf, VectorLabelConf
from pipeline.config.reading import load, parse
from pipeline.errors import LabelError
from pipeline.geo.labels.features import Features
from pipeline.geo.labels.rasters import open_raster
from pipeline.geo.labels.sources import read_sources
from pipeline.geo.labels.vector_files import read_frame
from pipeline.geo.raster.grid import PixelGrid
from pipeline.geo.style.class_colors import class_colors

type Value = str | int
"""An attribute value or a code."""

_MOST = 254
_ANY = ClassesConf.model_validate(
    {"credit": "", "classes": [{"name": f"c{i}", "color": "#000000", "values": [i]} for i in (1, 2)]}
)
"""Some classes, with which a raster can be opened before its codes are known."""


@dataclass(frozen=True)
class ClassTable:
    """What the values of the labels become in `classes.yaml`."""

    values: list[Value]
    """One a class, in the order of the classes."""
    credit: str
    ignored: list[Value] = field(default_factory=list)
    known: dict[Value, dict[str, Any]] = field(default_factory=dict)
    """Entries of classes that are known by other means than their value."""
    found: dict[Value, str] = field(default_factory=dict)
    """What the scenes have of each, for people."""

    def without(self, *ignored: Value) -> ClassTable:
        """The same with some values ignored."""
        values = [value for value in self.values if value not in ignored]
        return replace(self, values=values, ignored=[*self.ignored, *ignored])

    @property
    def titles(self) -> list[str]:
        """What people call the classes."""
        return [self.known.get(value, {}).get("title", str(value)) for value in self.values]

    @property
    def raw(self) -> dict[str, Any]:
        """`classes.yaml`."""
        entries: dict[str, dict[str, Any]] = {}  # by name
        titles = self.titles
        for value, title, color in zip(self.values, titles, class_colors(titles), strict=True):
            name = free_name(slug(title, "class"), entries)
            entry: dict[str, Any] = {"name": name, "color": color}
            if name != value:
                entry = {"name": name, "title": title, "color": color, "values": [value]}
            entry = self.known.get(value, entry)
            entries[entry["name"]] = entry
        return {"classes": list(entries.values()), "ignore": self.ignored, "credit": self.credit}

    @property
    def conf(self) -> ClassesConf:
        """The record of it."""
        return parse(self.raw, ClassesConf, "classes.yaml")

    def say(self, counts: Iterable[int], unit: str) -> None:
        """Print a line for each class, with how many it has of what it is trained on."""
        for entry, value, title, count in zip(
            self.raw["classes"], self.values, self.titles, counts, strict=True
        ):
            found = self.found.get(value, "")
            print(f"  {title:<24} {found}{count:>8} {unit}  {entry['color']}")


def class_table(
    confs: Sequence[LabelSourceConf], grids: Sequence[PixelGrid], given: Given, examples: Path
) -> ClassTable:
    """A class for each value of the labels on some scenes; values elsewhere are ignored.

    `examples` is a folder of confs of well-known maps, such as WorldCover, whose names are taken.

    Raises:
        LabelError: when labels cannot be read, do not overlap a scene, or hold fewer than two classes.
    """
    files = ", ".join(conf.file for conf in confs)
    codes: set[Value] = set()
    values: set[Value] = set()
    for conf in confs:
        if isinstance(conf, RasterLabelConf):
            codes |= _checked(_codes(conf, grids), "near the scene, it", conf, least=0)
        else:
            column = read_frame(conf)[conf.attribute].dropna().unique().tolist()
            least = 2 if len(confs) == 1 else 1
            values |= _checked(column, f"attribute {conf.attribute!r}", conf, least)
    values |= codes
    credit, known = _known(confs, values, examples)
    table = ClassTable(
        sorted(values, key=lambda value: (isinstance(value, str), value)),
        given.credit or credit or f"Labels: {', '.join(Path(conf.file).name for conf in confs)}",
        known=known,
    )
    if len(values) > 1:  # else there are no classes with which features could be read
        table = replace(table, found=_features(confs, table, grids))
        elsewhere = [value for value in table.values if value not in codes | table.found.keys()]
        table = table.without(*elsewhere)
        if elsewhere and table.values:
            print(f"  ignored, because not on the scenes: {listed(elsewhere)}")
    if not table.values:
        raise LabelError(
            f"the labels ({files}) do not overlap the scenes; give labels of their ground, or correct "
            "their CRS."
        )
    if len(table.values) == 1:
        raise LabelError(
            f"{files}: on the scene, the class is {table.values[0]!r} everywhere; a classifier "
            "needs at least two classes: label more of the scene."
        )
    return table


def _codes(conf: RasterLabelConf, grids: Iterable[PixelGrid]) -> list[int]:
    """The codes of a raster on some scenes."""
    raster = open_raster(conf, _ANY, "conf/classes.yaml")
    windows = (raster.raster.around(grid) for grid in grids)
    return sorted({code for window in windows if window for code in raster.codes_in(window)[0]})


def _checked(found: list[Any], what: str, conf: LabelSourceConf, least: int) -> set[Value]:
    """Values that can be classes; whole numbers as integers.

    Raises:
        LabelError: when one of them cannot, or there are too few or too many.
    """
    values = [int(v) if isinstance(v, float) and v.is_integer() else v for v in found]
    wrong = [value for value in values if not isinstance(value, str | int) or isinstance(value, bool)]
    if wrong:
        raise LabelError(
            f"{conf.file}: {what} holds {wrong[0]!r}; classes are named by text or whole numbers."
        )
    if not least <= len(values) <= _MOST:
        count = f"{len(values)} value" + "s" * (len(values) != 1)
        raise LabelError(
            f"{conf.file}: {what} has {count}; a class map has 2 to {_MOST} classes: "
            "name another attribute or file."
        )
    return set(values)


def _features(
    confs: Sequence[LabelSourceConf], table: ClassTable, grids: Sequence[PixelGrid]
) -> dict[Value, str]:
    """Of each class the features on some scenes and the hectares of its polygons there, for people."""
    features, hectares = np.zeros((2, len(table.values)))
    vectors = [conf for conf in confs if isinstance(conf, VectorLabelConf)]
    sources = read_sources(vectors, table.conf, "conf/classes.yaml")
    for source in (source for source in sources if isinstance(source, Features)):
        for grid in grids:
            shapes, rows = source.intersecting(grid)
            inside = shapely.intersection(shapes, shapely.box(*grid.bounds))
            np.add.at(features, source.classes[rows], 1)
            np.add.at(hectares, source.classes[rows], shapely.area(inside) / 1e4)
    areas = [f" {area:>9.1f} ha" if hectares.any() else "" for area in hectares]
    counted = zip(table.values, features, areas, strict=True)
    return {value: f"{count:>9.0f} features{area}" for value, count, area in counted if count}


def _known(
    confs: Sequence[LabelSourceConf], values: set[Value], examples: Path
) -> tuple[str | None, dict[Value, dict[str, Any]]]:
    """The credit and the classes of a well-known map, such as WorldCover, by their codes.

    A raster is one by its name and its codes.
    """
    alone = confs[0] if len(confs) == 1 else None
    for path in sorted(examples.glob("*.yaml")) if isinstance(alone, RasterLabelConf) else ():
        example = load(path, ClassesConf)
        known = {value: one for one in example.classes for value in one.label_values}
        single = len(known) == len(example.classes)
        if single and path.stem in Path(confs[0].file).stem.lower() and values <= known.keys():
            print(f"  codes as in {path}")
            raw = {value: known[value].model_dump(exclude_defaults=True) for value in values}
            return example.credit, raw
    return None, {}
