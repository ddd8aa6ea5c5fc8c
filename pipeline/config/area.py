"""An area of interest in a conf: a box with its CRS, or a vector file and its layer."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator

from pipeline.config.record import Conf, EpsgCode

DEGREES = "EPSG:4326"
"""Longitude and latitude; x comes first, whatever the CRS."""


class BoxConf(Conf):
    """A rectangle."""

    bbox: Annotated[list[float], Field(min_length=4, max_length=4)]
    """Smallest x, smallest y, largest x, largest y: [west, south, east, north]."""
    crs: EpsgCode
    """Its CRS."""

    @model_validator(mode="after")
    def _is_a_rectangle(self) -> BoxConf:
        west, south, east, north = self.bbox
        if self.crs == DEGREES:
            # across the antimeridian west is above east; elsewhere they were taken for each other
            wide = east - west + (360 if west > east else 0)
            on_earth = max(abs(west), abs(east)) <= 180 and -90 <= south < north <= 90
            if not on_earth or wide == 0 or (west > east and wide > 180):
                raise ValueError(
                    f"area {self.bbox} is no [west, south, east, north] in degrees, where west is "
                    "above east only across 180 degrees; correct it"
                )
        elif west >= east or south >= north:
            raise ValueError(
                f"area {self.bbox} is no [west, south, east, north] in {self.crs}; correct it"
            )
        return self


class AreaFileConf(Conf):
    """The polygons of a vector file."""

    path: Annotated[str, Field(min_length=1)]
    """A vector file that geopandas reads, in any CRS."""
    layer: str | None = None
    """The layer, where the file has several."""


def _written_out(raw: Any) -> Any:
    """The record that a path alone, or four numbers alone, stand for."""
    if isinstance(raw, str):
        return {"path": raw}
    if isinstance(raw, list):
        return {"bbox": raw, "crs": DEGREES}
    if isinstance(raw, dict | Conf):
        return raw
    raise ValueError(
        f"{raw!r} is no area; write the path of a vector file, [west, south, east, north] in degrees, "
        "or a `bbox` with its `crs`"
    )


def _form(raw: Any) -> str:
    if isinstance(raw, Conf):
        return type(raw).__name__
    return "BoxConf" if isinstance(raw, dict) and "bbox" in raw else "AreaFileConf"


AreaConf = Annotated[
    Annotated[BoxConf, Tag("BoxConf")] | Annotated[AreaFileConf, Tag("AreaFileConf")],
    Discriminator(_form),
    BeforeValidator(_written_out),
]
"""A box or a file; a path alone is a file, four numbers alone are a box in degrees."""
