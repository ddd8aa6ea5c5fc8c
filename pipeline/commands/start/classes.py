"""What the values of labels become in `classes.yaml`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pipeline.commands.start.given import free_name, slug
from pipeline.config.classes import ClassesConf
from pipeline.config.reading import parse
from pipeline.geo.style.class_colors import class_colors

type Value = str | int
"""An attribute value or a code."""


@dataclass(frozen=True)
class ClassTable:
    """What the values of the labels become in `classes.yaml`."""

    values: list[Value]
    """One a class, in the order of the classes."""
    ignored: list[Value]
    titles: dict[Value, dict[str, Any]]
    """Entries of classes that are known by other means than their value."""
    credit: str

    def without(self, value: Value) -> ClassTable:
        """The same with one value ignored."""
        values = [other for other in self.values if other != value]
        return ClassTable(values, [*self.ignored, value], self.titles, self.credit)

    @property
    def raw(self) -> dict[str, Any]:
        """`classes.yaml`."""
        named = [self.titles.get(value, {}).get("title", str(value)) for value in self.values]
        entries: dict[str, dict[str, Any]] = {}
        for value, title, color in zip(self.values, named, class_colors(named), strict=True):
            if (known := self.titles.get(value)) is not None:
                entries[known["name"]] = known
                continue
            name = free_name(slug(title, "class"), entries)
            entries[name] = {"name": name, "color": color}
            if name != value:
                entries[name] = {"name": name, "title": title, "color": color, "values": [value]}
        return {"classes": list(entries.values()), "ignore": self.ignored, "credit": self.credit}

    @property
    def conf(self) -> ClassesConf:
        """The record of it."""
        return parse(self.raw, ClassesConf, "classes.yaml")

    def title(self, number: int) -> str:
        """What people call a class."""
        return str(self.titles.get(self.values[number], {}).get("title", self.values[number]))
