"""Scenes that the conf describes: values stated there and in the files, which must not differ."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.bands import NO_DN
from pipeline.config.sources import StatedConf
from pipeline.errors import ConfigError, RadiometryError
from pipeline.geo.raster.archive import require_whole
from pipeline.geo.raster.raster_file import Layer, opened
from pipeline.geo.scenes.scene_files import (
    SCENE_CLASSIFICATION,
    BandLayer,
    MaskLayer,
    Origin,
    SceneFiles,
)

CLASSIFICATION = "SCL"
"""The name of the scene classification among the names of bands."""


@dataclass(frozen=True)
class BandMetadata:
    """What a file states of one layer beside its pixels."""

    description: str | None
    """Its name."""
    scale: float | None
    """Reflectance per value; None where not stated, for GDAL the same as 1."""
    offset: float | None
    """Reflectance at 0; None where not stated, for GDAL the same as 0."""
    nodata: float | None
    """The number that stands for none."""


def band_metadata(href: str) -> list[BandMetadata]:
    """What a file states of each of its layers.

    Raises:
        SceneError: when it is missing, unreadable, cut off, or neither GeoTIFF nor JPEG 2000.
    """
    require_whole(href)
    with opened(href, pixels_only=True) as dataset:
        in_file = zip(
            dataset.descriptions, dataset.scales, dataset.offsets, dataset.nodatavals, strict=True
        )
        return [
            BandMetadata(
                description or None,
                None if scale == 1 else scale,
                None if offset == 0 else offset,
                None if nodata is None or math.isnan(nodata) else nodata,
            )
            for description, scale, offset, nodata in in_file
        ]


def stated_scene(
    conf: StatedConf, origin: str, layers: Mapping[str, tuple[Layer, BandMetadata]]
) -> SceneFiles:
    """The scene that a conf describes, whose files lie at `origin`, as the conf names it.

    `layers` has, by name of the band in the order of `BANDS`, or `CLASSIFICATION`, where the pixels are
    and what their file states.

    Raises:
        ConfigError: when the conf chooses classes of a scene classification that there is not.
        RadiometryError: when scale or offset is unknown, or conf and file contradict each other.
    """
    bands = {
        name: _band(conf, origin, layer, metadata)
        for name, (layer, metadata) in layers.items()
        if name != CLASSIFICATION
    }
    masks: tuple[MaskLayer, ...] = ()
    if CLASSIFICATION in layers:
        masks = (MaskLayer(layers[CLASSIFICATION][0], SCENE_CLASSIFICATION),)
    elif conf.mask_classes or conf.mask_grow_m:
        key = "mask_classes" if conf.mask_classes else "mask_grow_m"
        raise ConfigError(
            f"scene {conf.id}: its key '{key}' is of a scene classification, but {origin} has none "
            f"({CLASSIFICATION}); drop it, or name a raster of what to leave out as `mask`."
        )
    return SceneFiles(
        conf.id,
        origin,
        conf.datetime,
        bands,
        MaskLayer.of_user(conf.mask),
        conf.platform,
        conf.level,
        conf.baseline,
        masks=masks,
    )


def _band(conf: StatedConf, scene: str, layer: Layer, metadata: BandMetadata) -> BandLayer:
    """A band with its scale and offset: reflectance = value * scale + offset."""
    scale = _agreed("scale", conf.scale, metadata.scale, conf, layer)
    offset = _agreed("offset", conf.offset, metadata.offset, conf, layer)
    pairs = ((conf.scale, metadata.scale), (conf.offset, metadata.offset))
    conf_alone = any(stated is not None and in_file is None for stated, in_file in pairs)
    file_too = any(in_file is not None for _, in_file in pairs)
    origin: Origin = "file" if file_too and not conf_alone else "conf"
    if conf.values == "reflectance":
        nodata = _agreed("nodata", conf.nodata, metadata.nodata, conf, layer)
        return BandLayer(
            layer, 1.0 if scale is None else scale, offset or 0.0, True, nodata, origin=origin
        )
    # a file that declares 0 says what is so of all DN, one that declares another value says more
    declared = None if metadata.nodata in NO_DN else metadata.nodata
    nodata = _agreed("nodata", conf.nodata, declared, conf, layer)
    if offset is None and metadata.scale is not None:
        offset = 0.0  # of a file that states the one, GDAL takes the other for 0
    missing = [key for key, value in (("scale", scale), ("offset", offset)) if value is None]
    if scale is None or offset is None:
        raise RadiometryError(
            f"scene {conf.id} ({scene}): its radiometry is unknown; add {' and '.join(missing)} to "
            "it in the conf (scale: 0.0001; offset: 0 before baseline 04.00, -0.1 from then on)."
        )
    return BandLayer(layer, scale, offset, nodata=nodata, origin=origin)


def _agreed(
    key: str, stated: float | None, in_file: float | None, conf: StatedConf, layer: Layer
) -> float | None:
    """The value that conf or file state, one of them or both alike.

    Raises:
        RadiometryError: when they differ.
    """
    if stated is None or in_file is None:
        return in_file if stated is None else stated
    # a file may keep it in a few digits
    if abs(stated - in_file) > 1e-6 * max(abs(stated), abs(in_file)):
        raise RadiometryError(
            f"{layer.href} says that its {key} is {in_file:g}, but scene {conf.id} in the conf says "
            f"{stated:g}; correct the one that is wrong."
        )
    return stated
