"""Scenes of a STAC API: the search, and the files of the scenes that it finds, local or remote."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import pystac_client
import requests
from pystac_client.exceptions import APIError
from pystac_client.stac_api_io import StacApiIO
from shapely.geometry.base import BaseGeometry

from pipeline.bands import BANDS
from pipeline.config.area import BoxConf
from pipeline.config.opening import opening
from pipeline.config.sources import StacConf
from pipeline.errors import ConfigError, SceneError
from pipeline.geo.raster import remote
from pipeline.geo.raster.area import Area, area_around
from pipeline.geo.raster.area_of_interest import AreaOfInterest
from pipeline.geo.raster.raster_file import Layer
from pipeline.geo.scenes.scene_files import (
    SCENE_CLASSIFICATION,
    BandLayer,
    MaskLayer,
    SceneFiles,
    require_name,
)
from pipeline.geo.sources.download import Downloads
from pipeline.geo.sources.stac_choice import CLOUD_COVER, chosen, moment_of
from pipeline.geo.sources.stac_names import (
    band_assets,
    classification,
    level,
    processing_baseline,
    radiometry,
    states_offset,
)

MOST_FOUND = 2000
"""With more Items than that, a search is too wide to take the least cloudy ones from it."""
_PAGE = 100

type Item = Mapping[str, Any]


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
    area = AreaOfInterest.read(conf.area)
    in_degrees = area.in_degrees
    bounds, scenes = area_around(in_degrees), []
    for item in search(conf, in_degrees):
        with described(conf.stac, f"the Item {item['id']} of {conf.stac}"):
            scenes.append(_files(item, conf, area))
    return [_kept(files, conf, bounds, downloads) for files in scenes]


def _files(item: Item, conf: StacConf, area: AreaOfInterest) -> SceneFiles:
    """The files of the scene of an Item, on the web."""
    name = require_name(item["id"], conf.stac, "use another catalog")
    fields = item["properties"]
    stated = None if conf.scale is None or conf.offset is None else (conf.scale, conf.offset)
    bands = {
        band: BandLayer(
            _layer(item, asset),
            *(stated or radiometry(item, asset)),
            origin="search" if stated else "item" if states_offset(item, asset) else "baseline",
        )
        for band, asset in band_assets(item, conf.bands).items()
    }
    classes, platform = classification(item), fields.get("platform")
    if classes is None:
        print(f"{name} comes without a scene classification: its clouds are not left out", flush=True)
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
        if conf.keep == "remote" and remote.look_up(layer.href).ranges:
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


def search(conf: StacConf, area: BaseGeometry) -> list[Item]:
    """The least cloudy Items in an area, a time and a collection, in the order of their time.

    Raises:
        SceneError: when the API cannot be reached, is none, or finds nothing or too much.
    """
    named = conf.area.bbox if isinstance(conf.area, BoxConf) else conf.area.path
    where = f"{conf.collection} of {conf.stac}, {conf.datetime}, in the area {named}"
    with described(conf.stac, f"the answer of {conf.stac}"):
        items = _search_results(conf, area)
        if len(items) > MOST_FOUND:
            raise SceneError(
                f"{where}: there are over {MOST_FOUND} scenes; narrow the time or the area."
            )
        found = chosen(items, conf)
    if not found:
        raise SceneError(
            f"{where}: there is no scene with at most {conf.cloud_cover:g} % cloud; widen the search."
        )
    return found


@contextmanager
def described(url: str, subject: str) -> Iterator[None]:
    """Turn errors of an API, and of answers in another form, into a `SceneError` in one sentence."""
    with opening(
        lambda why: SceneError(
            f"{subject} is not what a STAC API sends ({why}); check the address in a browser: it must "
            "lead to JSON that lists `conformsTo`."
        )
    ):
        try:
            # it warns where an API does not declare what it may be able to do all the same
            with warnings.catch_warnings(action="ignore"):
                yield
        except (requests.RequestException, APIError) as error:
            reason = " ".join(str(error).split())[:200].rstrip(".")
            raise SceneError(
                f"{url} cannot be searched ({type(error).__name__}: {reason}); check the address, the "
                "collection and the connection."
            ) from error


def _search_results(conf: StacConf, area: BaseGeometry) -> list[Item]:
    """The Items that the API returns: at most one more than `MOST_FOUND`."""
    stac_io = StacApiIO(timeout=remote.TIMEOUT_S, max_retries=remote.retries())
    # a login or a token stands in the environment rather than in a file that dvc.lock repeats
    client = pystac_client.Client.open(os.path.expandvars(conf.stac), stac_io=stac_io)
    query: dict[str, Any] = {"bbox": area.bounds}
    # a box across the antimeridian, too: not every server takes a west above its east
    if not isinstance(conf.area, BoxConf) or area.geom_type != "Polygon":
        query = {"intersects": area}
    if conf.cloud_cover < 100 and client.conforms_to("QUERY"):
        query |= {"query": {CLOUD_COVER: {"lte": conf.cloud_cover}}}
    results = client.search(
        collections=[conf.collection],
        datetime=conf.datetime,
        limit=_PAGE,
        max_items=MOST_FOUND + 1,
        **query,
    )
    return list(results.items_as_dicts())
