"""A scene whose files do not say what it is: the conf does."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from pipeline.config.record import Conf, Moment, Name
from pipeline.config.sources.masking import MaskingConf


class MaskConf(Conf):
    """A raster that says which pixels of a scene are not to be used."""

    path: str
    """Path of the raster, of one band, in the scene's CRS; any resolution."""
    invalid: list[int] = [1]
    """The values that mark a pixel as invalid."""


class StatedConf(MaskingConf):
    """One scene: what its files do not say."""

    id: Name
    """Name of the scene, of its folder and of its class map."""
    datetime: Moment
    """Time of acquisition, with its zone, in quotes (`"2017-02-16T10:21:01Z"`)."""
    scale: Annotated[float, Field(gt=0)] | None = None
    """Reflectance per DN (0.0001 for a quantification of 10,000); reflectance = DN * scale + offset.
    That of the files where absent, which must not be another one."""
    offset: float | None = None
    """Reflectance at DN 0 (-0.1 for baseline 04.00 and later, 0 before); as `scale`."""
    values: Literal["dn", "reflectance"] = "dn"
    """What the files hold: whole digital numbers, or reflectance in floats, where scale is 1 and offset
    0 unless stated."""
    nodata: float | None = None
    """Of reflectance: the value that stands for none beside NaN; that of the files where absent."""
    platform: str | None = None
    """Satellite, such as `sentinel-2a`."""
    level: Literal["L1C", "L2A"] | None = None
    """Processing level: top of atmosphere (L1C) or surface reflectance (L2A)."""
    baseline: Annotated[str, Field(pattern=r"^\d\d\.\d\d$")] | None = None
    """Processing baseline of the product, such as `05.09`; it is recorded, never used to guess."""
    mask: MaskConf | None = None
    """Pixels to leave out (cloud, shadow), whatever the files themselves say."""

    @model_validator(mode="after")
    def _nodata_is_of_floats(self) -> StatedConf:
        if self.nodata is not None and self.values == "dn":
            raise ValueError("nodata is stated, but of DN it is 0; drop it, or add values: reflectance")
        return self
