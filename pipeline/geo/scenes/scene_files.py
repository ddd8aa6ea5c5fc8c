"""What every source gives: the files of a scene and what its metadata say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.config.sources.masking import MaskClass
from pipeline.geo.raster.area import Area
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
"""What the values of the scene classification (SCL) of L2A mean, as far as a mask asks:
Sentinel-2 L2A Algorithm Theoretical Basis Document, S2-PDGS-MPC-ATBD-L2A."""


@dataclass(frozen=True)
class BandSource:
    """Where the pixels of a band lie and how they become reflectance: DN * scale + offset."""

    layer: Layer
    scale: float
    offset: float
    floats: bool = False
    """Whether its values are floats, reflectance as a rule, not DN."""
    nodata: float | None = None
    """Of floats: the value that stands for none, beside NaN and infinity."""


@dataclass(frozen=True)
class MaskSource:
    """A layer that says which pixels of a scene are not to be used."""

    layer: Layer
    invalid: tuple[int, ...]
    """The values that mark a pixel as invalid."""


@dataclass(frozen=True)
class RasterMask:
    """A layer of the source itself whose values say what its pixels are."""

    layer: Layer
    meanings: Mapping[int, MaskClass]
    """Of the values that mean one of these; the others are clear."""


@dataclass(frozen=True)
class PolygonMask:
    """Polygons of the source itself that say what the ground in them is."""

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
    bands: Mapping[str, BandSource]
    """By band name, in the order of `BANDS`."""
    mask: MaskSource | None = None
    """A mask of the user, in place of the source's own."""
    platform: str | None = None
    """Satellite, such as `sentinel-2a`."""
    level: str | None = None
    """`L1C` or `L2A`."""
    baseline: str | None = None
    """Processing baseline, such as `05.09`."""
    properties: Mapping[str, Any] = field(default_factory=dict)
    """Further properties of its Item."""
    area: Area | None = None
    """The part of its files that is the scene; all of them where there is none."""
    masks: tuple[RasterMask | PolygonMask, ...] = ()
    """What the source itself says of its pixels; the conf says which classes of it count."""
