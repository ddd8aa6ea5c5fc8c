"""What every source gives: the files of a scene and what its metadata say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pipeline.geo.area import Area
from pipeline.geo.raster import Layer


@dataclass(frozen=True)
class BandSource:
    """Where the pixels of a band lie and how they become reflectance: DN * scale + offset."""

    layer: Layer
    scale: float
    offset: float


@dataclass(frozen=True)
class MaskSource:
    """A layer that says which pixels of a scene are not to be used."""

    layer: Layer
    invalid: tuple[int, ...]
    """The values that mark a pixel as invalid."""


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
