"""Scenes of a STAC API: a search, and where the pixels of the Items that it found lie."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import geopandas as gpd
import numpy as np
import pystac_client
import requests
from pyproj.exceptions import ProjError
from pystac import STACError
from pystac_client.exceptions import APIError
from pystac_client.stac_api_io import StacApiIO
from pystac_client.warnings import PystacClientWarning
from shapely.geometry import box
from shapely.geometry.base import BaseGeometry
from urllib3 import Retry

from pipeline.config.sources.stac import StacConf
from pipeline.errors import ConfigError, SceneError
from pipeline.geo import remote
from pipeline.geo.area import Area
from pipeline.geo.bands import BANDS
from pipeline.geo.raster import Layer
from pipeline.geo.sources.download import Downloads
from pipeline.geo.sources.scenefiles import BandSource, MaskSource, SceneFiles
from pipeline.geo.sources.stacnames import (
    band_assets,
    classification,
    level,
    processing_baseline,
    radiometry,
)

MOST_FOUND = 2000
"""Of more Items than that nobody can say that the least cloudy are the right ones."""
_PAGE = 100
_CLOUD = "eo:cloud_cover"
_CLOUDED = (0, 1, 3, 8, 9, 10)
"""Of a scene classification: no data, saturated, cloud shadow, medium and high cloud, cirrus."""
_NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,199}"
_BROKEN = (ValueError, KeyError, TypeError, AttributeError, IndexError)
"""What reading an answer of another form than promised may end in."""


def scene_files(conf: StacConf, downloads: Downloads) -> list[SceneFiles]:
    """The scenes that a search finds, by time; pixels are downloaded where the conf says so.

    Raises:
        SceneError: when the API or a file cannot be read, nothing is found, or an Item lacks a band.
        RadiometryError: when scale and offset of an Item are unknown.
    """
    area = area_of(conf)
    found = []
    for item in _chosen(search(conf, area), conf.max_scenes):
        with _described(conf.stac, f"the Item {item.get('id')} of {conf.stac}"):
            found.append(_files(item, conf, area.bounds, downloads))
    return found


def area_of(conf: StacConf) -> BaseGeometry:
    """The area of a search, in degrees.

    Raises:
        SceneError: when its file cannot be read or holds no area.
    """
    if isinstance(conf.area, list):
        return box(*conf.area)
    try:
        frame = gpd.read_file(conf.area)
        shape = frame.to_crs("OGC:CRS84").union_all()
    except (OSError, RuntimeError, *_BROKEN, ProjError) as error:
        # what pyogrio raises is a RuntimeError
        reason = " ".join(str(error).split()).rstrip(".")
        raise SceneError(
            f"the area {conf.area} cannot be read ({reason}); give a vector file with a CRS, or "
            "[west, south, east, north] in degrees."
        ) from error
    if shape.is_empty or shape.area == 0 or not np.isfinite(shape.bounds).all():
        raise SceneError(f"the area {conf.area} holds no polygon; draw one and save it again.")
    return shape


def search(conf: StacConf, area: BaseGeometry) -> list[dict[str, Any]]:
    """The Items in an area, a time and a collection, none cloudier than the conf allows.

    Raises:
        SceneError: when the API cannot be reached, is none, or finds nothing or too much.
    """
    with _described(conf.stac, f"the answer of {conf.stac}"):
        client = pystac_client.Client.open(conf.stac, stac_io=_patient())
        cloudy: dict[str, Any] = {}
        if conf.cloud_cover < 100 and client.conforms_to("QUERY"):
            cloudy = {"query": {_CLOUD: {"lte": conf.cloud_cover}}}
        shape = {"bbox": area.bounds} if isinstance(conf.area, list) else {"intersects": area}
        found = client.search(
            collections=[conf.collection], datetime=conf.datetime, limit=_PAGE,
            max_items=MOST_FOUND + 1, **shape, **cloudy,
        )  # fmt: skip
        # an API that does not know the query passes over it
        items = [item for item in found.items_as_dicts() if _cloud(item) <= conf.cloud_cover]
    where = f"{conf.collection} of {conf.stac}, {conf.datetime}, in the area {conf.area}"
    if len(items) > MOST_FOUND:
        raise SceneError(f"{where}: there are over {MOST_FOUND} scenes; narrow the time or the area.")
    if not items:
        raise SceneError(
            f"{where}: there is no scene with at most {conf.cloud_cover:g} % cloud; widen the search."
        )
    return items


def _chosen(items: Sequence[dict[str, Any]], most: int) -> list[dict[str, Any]]:
    """The least cloudy, in the order of their time."""
    cloudless = sorted(items, key=lambda item: (_cloud(item), _moment(item), item["id"]))
    return sorted(cloudless[:most], key=lambda item: (_moment(item), item["id"]))


def _files(item: Mapping[str, Any], conf: StacConf, area: Area, to: Downloads) -> SceneFiles:
    """The files of the scene of an Item."""
    name, fields = str(item["id"]), item["properties"]
    if not re.fullmatch(_NAME, name):  # it names a folder
        raise SceneError(f"{conf.stac} has a scene {name!r}, which cannot name a folder; use another.")
    bands = {}
    for band, asset in band_assets(item, _known(conf.bands)).items():
        href = _address(item, asset)
        scale, offset = (
            (conf.scale, conf.offset)
            if conf.scale is not None and conf.offset is not None
            else radiometry(item, asset)
        )
        bands[band] = BandSource(_layer(href, f"{name}/{band}", conf, area, to), scale, offset)
    mask = None
    if (classes := classification(item)) is not None:
        layer = _layer(_address(item, classes), f"{name}/SCL", conf, area, to)
        mask = MaskSource(layer, _CLOUDED)
    platform = fields.get("platform")
    return SceneFiles(
        name,
        conf.stac,
        _moment(item),
        bands,
        mask,
        platform=None if platform is None else str(platform).lower(),
        level=level(item),
        baseline=processing_baseline(item),
        area=area,
    )


def _layer(href: str, name: str, conf: StacConf, area: Area, to: Downloads) -> Layer:
    """Where a file is read: on the web, or a local COG of it."""
    if conf.keep == "download" or not remote.look_up(href)[0].ranges:
        href = str(to.band(href, area, name))
    return Layer(href)


def _known(names: Sequence[str] | None) -> Sequence[str] | None:
    for name in names or ():
        if name not in BANDS:
            raise ConfigError(f"{name!r} is no Sentinel-2 band; choose from {', '.join(BANDS)}.")
    return names


def _address(item: Mapping[str, Any], asset: Mapping[str, Any]) -> str:
    """The HTTP address of an asset, unsigned; an object store is addressed as its Item says."""
    href = str(asset["href"])
    parts = urlsplit(href)
    if parts.scheme in ("http", "https"):
        return href
    if parts.scheme != "s3":
        raise SceneError(
            f"the Item {item['id']} names {href}, which is no address on the web; use another catalog."
        )
    schemes = item["properties"].get("storage:schemes", {})
    for reference in asset.get("storage:refs", ()):
        if platform := schemes.get(reference, {}).get("platform"):
            return f"{platform}/{parts.netloc}{parts.path}"
    return f"https://{parts.netloc}.s3.amazonaws.com{parts.path}"


def _patient() -> StacApiIO:
    """The connection to an API, as patient as `remote` is with files."""
    again = Retry(
        remote.TRIES - 1, backoff_factor=remote.WAIT_S, status_forcelist=sorted(remote.MAY_PASS),
        allowed_methods=None,
    )  # fmt: skip
    return StacApiIO(timeout=remote.TIMEOUT_S, max_retries=again)


@contextmanager
def _described(url: str, what: str) -> Iterator[None]:
    """Say in a sentence what is wrong with an API or with what it answered."""
    try:
        # it warns of what an API does not promise and may be able to do all the same
        with warnings.catch_warnings(action="ignore"):
            yield
    except (requests.RequestException, APIError) as error:
        reason = " ".join(str(error).split())[:200].rstrip(".")
        raise SceneError(
            f"{url} cannot be searched ({type(error).__name__}: {reason}); check the address, the "
            "collection and the connection."
        ) from error
    except (STACError, NotImplementedError, PystacClientWarning, *_BROKEN) as error:
        raise SceneError(
            f"{what} is not what a STAC API sends ({type(error).__name__}); check the address in a "
            "browser: it must lead to JSON that lists `conformsTo`."
        ) from error


def _cloud(item: Mapping[str, Any]) -> float:
    """The share of cloud of a scene, per cent; 100 where nobody says."""
    stated = item["properties"].get(_CLOUD)
    return 100.0 if stated is None else float(stated)


def _moment(item: Mapping[str, Any]) -> datetime:
    fields = item["properties"]
    moment = datetime.fromisoformat(fields.get("datetime") or fields["start_datetime"])
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def watched(conf: StacConf) -> dict[str, Path]:
    """The file that a source names, with the folder that DVC must watch."""
    return {conf.area: Path(conf.area).parent} if isinstance(conf.area, str) else {}
