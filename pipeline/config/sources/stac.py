"""Scenes of a STAC API, found by area, time and cloud cover."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from pipeline.config.record import Positive
from pipeline.config.sources.masking import MaskingConf

Degrees = Annotated[list[float], Field(min_length=4, max_length=4)]


class StacConf(MaskingConf):
    """A search for scenes and what becomes of their pixels."""

    id: ClassVar[None] = None
    """The scenes are named by the catalog."""
    stac: Annotated[str, Field(pattern=r"^https?://")]
    """Address of the API, such as `https://earth-search.aws.element84.com/v1`."""
    collection: str
    """Collection of Sentinel-2 scenes of one level, such as `sentinel-2-l2a`."""
    area: str | Degrees
    """Path of a vector file, or [west, south, east, north] in degrees."""
    datetime: str
    """A time or a range as STAC writes it: `2023-06-01/2023-08-31`, `2023-06`."""
    cloud_cover: Annotated[float, Field(ge=0, le=100)] = 100.0
    """Largest share of cloud that the catalog states for a scene, per cent."""
    max_scenes: Positive = 1
    """Of more scenes than that the least cloudy are taken."""
    bands: list[str] | None = None
    """Names of the bands wanted (`B02`); all that the catalog has where absent."""
    keep: Literal["download", "remote"] = "download"
    """`download`: the area's pixels are fetched; `remote`: they are read where they lie."""
    scale: Annotated[float, Field(gt=0)] | None = None
    """Reflectance per DN, in place of what the catalog states."""
    offset: float | None = None
    """Reflectance at DN 0, in place of what the catalog states."""

    @model_validator(mode="after")
    def _whole(self) -> StacConf:
        if (self.scale is None) != (self.offset is None):
            raise ValueError("of scale and offset one is missing; state both or none")
        if isinstance(self.area, list):
            west, south, east, north = self.area
            if not (-180 <= west < east <= 180 and -90 <= south < north <= 90):
                raise ValueError(
                    f"area {self.area} is no [west, south, east, north] in degrees; correct it"
                )
        return self
