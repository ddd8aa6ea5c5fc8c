"""Sources of labels in `conf/tile.yaml`: their common keys, and one record per form of entry."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BeforeValidator, Discriminator, Tag, model_validator

from pipeline.config.record import Conf, EpsgCode, Name, Positive


def _day(value: Any) -> Any:
    """A day from its text."""
    if isinstance(value, date) and not isinstance(value, datetime):
        return value
    try:
        return date.fromisoformat(value)
    except (TypeError, ValueError):
        raise ValueError(f"{value!r} is no day; write it as '2021-05-06'") from None


def _encoding(value: str) -> str:
    """A name of an encoding that Python knows."""
    try:
        "a".encode(value)
    except (LookupError, ValueError):
        raise ValueError(f"{value!r} is no encoding; write one such as cp1252 or UTF-8") from None
    return value


Day = Annotated[date, BeforeValidator(_day)]
Encoding = Annotated[str, AfterValidator(_encoding)]


class LabelConf(Conf):
    """The keys that every source of labels may have."""

    KEY: ClassVar[str]
    """The key that names its file."""

    scenes: list[Name] | None = None
    """The ids of the scenes that these labels describe; all of them where absent."""
    valid_from: Day | None = None
    """The first day (UTC) of which they are true; scenes acquired before it are passed over."""
    valid_to: Day | None = None
    """The last day of which they are true."""
    credit: str | None = None
    """Their credit, beside the one in `classes.yaml`."""

    @model_validator(mode="after")
    def _days_are_in_order(self) -> LabelConf:
        if (self.valid_from or date.min) > (self.valid_to or date.max):
            raise ValueError(f"valid_to {self.valid_to} lies before valid_from {self.valid_from}")
        return self

    @property
    def file(self) -> str:
        """The path of its file."""
        return str(getattr(self, self.KEY))

    def names(self, scene: str) -> bool:
        """Whether a scene is among those that it names, or it names none and means all."""
        return self.scenes is None or scene in self.scenes

    def holds(self, day: date) -> bool:
        """Whether a day is among those of which it is true."""
        return (self.valid_from or date.min) <= day <= (self.valid_to or date.max)


class VectorLabelConf(LabelConf):
    """Polygons or points with an attribute."""

    KEY = "path"

    path: str
    """A vector file that geopandas reads, or a table of points such as a CSV file."""
    attribute: str
    """The attribute that holds the class value."""
    layer: str | None = None
    """The layer, where the file has several."""
    x: str | None = None
    """Of a table, the column of eastings or longitudes; `longitude` and the like where absent."""
    y: str | None = None
    """The column of northings or latitudes."""
    crs: EpsgCode | None = None
    """The CRS of the coordinates, where the file does not say it."""
    encoding: Encoding | None = None
    """The encoding of its texts, where the file does not say it, or not the right one."""

    @model_validator(mode="after")
    def _coordinates_are_two(self) -> VectorLabelConf:
        if (self.x is None) != (self.y is None):
            raise ValueError("of the columns x and y one is missing; name both or none")
        return self


class RasterLabelConf(LabelConf):
    """A raster of codes, such as a land-cover map."""

    KEY = "raster"

    raster: str
    """A raster file of whole numbers, in any CRS."""
    layer: Positive | None = None
    """The layer that holds the codes, from 1, where the file has several."""
    nodata: float | None = None
    """The value that stands for none, where the file does not say it."""


def _form(raw: Any) -> str:
    """The name of the record that an entry is meant to be."""
    if isinstance(raw, Conf):
        return type(raw).__name__
    is_raster = isinstance(raw, dict) and RasterLabelConf.KEY in raw
    return "RasterLabelConf" if is_raster else "VectorLabelConf"


LabelSourceConf = Annotated[
    Annotated[VectorLabelConf, Tag("VectorLabelConf")]
    | Annotated[RasterLabelConf, Tag("RasterLabelConf")],
    Discriminator(_form),
]
"""One entry of `labels`."""
