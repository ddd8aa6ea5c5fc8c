"""The files of a scene and its metadata, as every source gives them.

A raster layer with a meaning is a `BandLayer` or a `MaskLayer`: they differ in what their values are,
reflectance by scale and offset or classes, and no layer is both. Both name a `Layer`, the key of the
block cache. Its grid and data type are measured by `inspect`, not stated by a source.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from pipeline.bands import NO_DN, SATURATED, harmonise
from pipeline.config.record import NAMES_ARE, is_name
from pipeline.config.sources import MaskClass, MaskConf
from pipeline.errors import SceneError
from pipeline.geo.raster.area_of_interest import AreaOfInterest
from pipeline.geo.raster.raster_file import Layer

SCENE_CLASSIFICATION: Mapping[int, MaskClass] = {
    0: "no_data",
    1: "saturated",
    3: "cloud_shadow",
    8: "cloud_medium",
    9: "cloud_high",
    10: "cirrus",
    11: "snow",
}
"""The values of the scene classification (SCL) of L2A that a mask can use:
Sentinel-2 L2A Algorithm Theoretical Basis Document, S2-PDGS-MPC-ATBD-L2A."""

CLOUD_POLYGONS: Mapping[str, MaskClass] = {"OPAQUE": "cloud_opaque", "CIRRUS": "cirrus"}
"""The kinds of polygons (`maskType` of `MSK_CLOUDS`) of L1C; a product lists those that occur."""

USER_MASK = "mask"
"""The class of all masked pixels of a mask of the user."""

type Origin = Literal["conf", "search", "file", "item", "baseline", "product"]
"""Who says scale and offset: the conf of a scene or of a search, the file, the Item of a catalog, its
processing baseline alone, or the metadata of a product."""


@dataclass(frozen=True)
class BandLayer:
    """A raster layer of a band: reflectance = value * scale + offset."""

    layer: Layer
    scale: float
    offset: float
    reflectance: bool = False
    """Whether its values are reflectance in floats, of which 0 is as dark as any; else whole DN."""
    nodata: float | None = None
    """The value that stands for none, beside 0 and 65535 of DN, NaN and infinity of floats."""
    dark_zeros: bool = False
    """Of DN: whether 0 is dark instead, and a mask of the scene says where there are no data."""
    origin: Origin = "conf"
    """Where scale and offset are from; an Item does not keep it."""

    @property
    def none(self) -> tuple[float, ...]:
        """The values that stand for none."""
        own = () if self.nodata is None else (self.nodata,)
        if self.reflectance:
            return own
        return (*((SATURATED,) if self.dark_zeros else NO_DN), *own)

    def harmonised(self, values: npt.NDArray[Any]) -> npt.NDArray[np.uint16]:
        """The harmonised DN of pixels of the layer."""
        return harmonise(values, self.scale, self.offset, self.none)


@dataclass(frozen=True)
class MaskLayer:
    """A raster layer with the masked pixels of a scene."""

    layer: Layer
    classes: Mapping[int, str]
    """By value, the class of a masked pixel; a pixel of any other value is clear."""

    @classmethod
    def of_user(cls, conf: MaskConf | Literal["none"] | None) -> MaskLayer | None:
        """The mask that an entry of the conf names, where it names one."""
        if not isinstance(conf, MaskConf):
            return None
        return cls(Layer(conf.path), dict.fromkeys(conf.invalid, USER_MASK))


@dataclass(frozen=True)
class PolygonMask:
    """Polygons of the source itself, all of one class, such as cloud."""

    origin: str
    """Their file; for people."""
    shapes: npt.NDArray[np.object_]
    """Shapely polygons."""
    epsg: int
    """Their CRS, that of the scene."""
    meaning: MaskClass


@dataclass(frozen=True)
class SceneFiles:
    """One scene before its pixels are looked at; nothing in it is guessed."""

    id: str
    origin: str
    """Where it comes from, as the conf names it; for people."""
    datetime: datetime
    """Time of acquisition, with its zone."""
    bands: Mapping[str, BandLayer]
    """By band name, in the order of `BANDS`."""
    mask: MaskLayer | None = None
    """A mask of the user, in place of the source's own; its only class is `USER_MASK`."""
    platform: str | None = None
    """Satellite, such as `sentinel-2a`."""
    level: str | None = None
    """`L1C` or `L2A`."""
    baseline: str | None = None
    """Processing baseline, such as `05.09`."""
    area: AreaOfInterest | None = None
    """The ground of its files that is the scene; all of it where there is none."""
    masks: tuple[MaskLayer | PolygonMask, ...] = ()
    """The masks of the source itself; the conf selects classes of them."""
    sizes: Mapping[float, tuple[int, int]] = field(default_factory=dict)
    """By pixel size in m, the rows and columns that its metadata state of its files."""
    unused: tuple[str, ...] = ()
    """The rasters in its folder that are neither bands nor masks."""


def require_name(name: object, where: str, remedy: str) -> str:
    """The name of a scene, which becomes that of its folder and of its files.

    Raises:
        SceneError: when it could lead out of a folder.
    """
    if is_name(name):
        return name
    text = repr(name)
    shown = text if len(text) <= 80 else f"{text[:77]}..."
    raise SceneError(
        f"{where} has a scene {shown}, which cannot name a folder ({NAMES_ARE}); {remedy}."
    )
