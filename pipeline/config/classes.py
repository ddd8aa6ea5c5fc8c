"""`conf/classes.yaml`: the classes, and the credit of the labels."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from pipeline.config.record import Color, Conf, Name


class ClassConf(Conf):
    """One class of the class map; its value there is its position in the list, from 1."""

    name: Name
    """Machine name."""
    title: str | None = None
    """The name that people read, in any script; the machine name where absent."""
    color: Color
    """Colour in the class map, `#rrggbb`."""
    description: str = ""
    values: list[str | int] | None = None
    """The attribute values or raster codes that mean this class; the machine name where absent."""
    code: str | int | None = None
    """Code of this class in another nomenclature, such as CORINE's `311`; maps carry it."""

    @property
    def label_values(self) -> list[str | int]:
        """The attribute values or raster codes that mean this class."""
        return [self.name] if self.values is None else self.values


class ClassesConf(Conf):
    """`conf/classes.yaml`: the classes, and the credit of the labels."""

    classes: Annotated[list[ClassConf], Field(min_length=2, max_length=254)]
    ignore: list[str | int] = []
    """Values and codes that are passed over; any other unlisted one is an error."""
    credit: str
    """The credit of the labels, written into every map made with them."""

    @model_validator(mode="after")
    def _names_and_values_are_unique(self) -> ClassesConf:
        names: list[str | int] = [c.name for c in self.classes]
        values = [v for c in self.classes for v in c.label_values] + list(self.ignore)
        for kind, items in (("class name", names), ("label value", values)):
            if twice := sorted({str(i) for i in items if items.count(i) > 1}):
                raise ValueError(f"{kind} {twice[0]!r} stands twice; each may stand once")
        return self
