"""A scene as a folder of one file per band."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from pipeline.config.record import Conf, Moment, Name


class MaskConf(Conf):
    """A raster that says which pixels of a scene are not to be used."""

    path: str
    """Path of the raster, of one band, in the scene's CRS; any resolution."""
    invalid: list[int] = [1]
    """The values that mark a pixel as invalid."""


class SceneConf(Conf):
    """One scene: where its pixels lie and what its metadata do not say."""

    id: Name
    """Name of the scene, of its folder and of its class map."""
    path: str
    """A folder of one file per band, each named after its band (`..._B02.jp2`, `B8A.tif`)."""
    datetime: Moment
    """Time of acquisition, with its zone, in quotes (`"2017-02-16T10:21:01Z"`)."""
    scale: Annotated[float, Field(gt=0)] | None = None
    """Reflectance per DN (0.0001 for a quantification of 10,000); reflectance = DN * scale + offset."""
    offset: float | None = None
    """Reflectance at DN 0 (-0.1 for baseline 04.00 and later, 0 before)."""
    platform: str | None = None
    """Satellite, such as `sentinel-2a`."""
    level: Literal["L1C", "L2A"] | None = None
    """Processing level: top of atmosphere (L1C) or surface reflectance (L2A)."""
    baseline: Annotated[str, Field(pattern=r"^\d\d\.\d\d$")] | None = None
    """Processing baseline of the product, such as `05.09`; it is recorded, never used to guess."""
    mask: MaskConf | None = None
    """Pixels to leave out (cloud, shadow)."""
