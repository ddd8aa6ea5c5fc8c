"""Scenes of a STAC API: from the Items of a search to the files of scenes, local or remote."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from pipeline.bands import BANDS
from pipeline.config.sources import StacConf
from pipeline.errors import ConfigError, SceneError
from pipeline.geo.raster.area import Area
from pipeline.geo.raster.raster_file import Layer
from pipeline.geo.raster.remote import look_up
from pipeline.geo.scenes.scene_files import (
    SCENE_CLASSIFICATION,
    BandLayer,
    MaskLayer,
    SceneFiles,
)
from pipeline.geo.sources.download import Downloads
from pipeline.geo.sources.stac_names import (
    band_assets,
    classification,
    level,
    processing_baseline,
    radiometry,
)
from pipeline.geo.sources.stac_search import Item, area_of, described, moment_of, search

_NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,199}"


def scene_files(conf: StacConf, downloads: Downloads) -> list[SceneFiles]:
    """The scenes that a search finds, by time; pixels are downloaded where the conf says so.

    Raises:
        ConfigError: when a band that is wanted is none.
        SceneError: when the API or a file cannot be read, nothing is found, or an Item lacks a band.
        RadiometryError: when scale and offset of an Item are unknown.
    """
    for name in conf.bands or ():
        if name not in BANDS:
            raise ConfigError(f"{name!r} is no Sentinel-2 band; choose from {', '.join(BANDS)}.")
    area = area_of(conf)
    scenes = []
    for item in search(conf, area):
        with described(conf.stac, f"the Item {item['id']} of {conf.stac}"):
            scenes.append(_files(item, conf, area.bounds))
    return [_kept(files, conf, area.bounds, downloads) for files in scenes]


def _files(item: Item, conf: StacConf, area: Area) -> SceneFiles:
    """The files of the scene of an Item, on the web."""
    name, fields = str(item["id"]), item["properties"]
    if not re.fullmatch(_NAME, name):  # it names a folder
        raise SceneError(f"{conf.stac} has a scene {name!r}, which cannot name a folder; use another.")
    stated = None if conf.scale is None or conf.offset is None else (conf.scale, conf.offset)
    bands = {
        band: BandLayer(_layer(item, asset), *(stated or radiometry(item, asset)))
        for band, asset in band_assets(item, conf.bands).items()
    }
    classes, platform = classification(item), fields.get("platform")
    return SceneFiles(
        name,
        conf.stac,
        moment_of(item),
        bands,
        platform=None if platform is None else str(platform).lower(),
        level=level(item),
        baseline=processing_baseline(item),
        area=area,
        masks=() if classes is None else (MaskLayer(_layer(item, classes), SCENE_CLASSIFICATION),),
    )


def _kept(files: SceneFiles, conf: StacConf, area: Area, downloads: Downloads) -> SceneFiles:
    """The scene with local files in place of those that are not to be, or cannot be, read by parts."""

    def local(layer: Layer, name: str) -> Layer:
        if conf.keep == "remote" and look_up(layer.href).ranges:
            return layer
        return Layer(str(downloads.band(layer.href, area, f"{files.id}/{name}")))

    bands = {name: replace(band, layer=local(band.layer, name)) for name, band in files.bands.items()}
    masks = tuple(
        replace(mask, layer=local(mask.layer, "SCL"))
        for mask in files.masks
        if isinstance(mask, MaskLayer)
    )
    return replace(files, bands=bands, masks=masks)


def _layer(item: Item, asset: Mapping[str, Any]) -> Layer:
    """An asset by its HTTP address, unsigned; an object store is addressed as its Item says."""
    href = str(asset["href"])
    parts = urlsplit(href)
    if parts.scheme in ("http", "https"):
        return Layer(href)
    if parts.scheme != "s3":
        raise SceneError(
            f"the Item {item['id']} names {href}, which is no address on the web; use another catalog."
        )
    schemes = item["properties"].get("storage:schemes", {})
    for reference in asset.get("storage:refs", ()):
        if platform := schemes.get(reference, {}).get("platform"):
            return Layer(f"{platform}/{parts.netloc}{parts.path}")
    return Layer(f"https://{parts.netloc}.s3.amazonaws.com{parts.path}")
