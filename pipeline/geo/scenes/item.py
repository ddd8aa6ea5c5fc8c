"""The STAC Item of a scene: its files, their grids and radiometry, their identity."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

import pystac
from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter
from pyproj import CRS
from shapely.geometry import shape
from shapely.geometry.base import BaseGeometry

from pipeline.bands import BANDS
from pipeline.config.record import Conf, Positive, Times
from pipeline.errors import SceneError
from pipeline.geo.raster.archive import FileState, checksum_of
from pipeline.geo.raster.grid import PixelGrid
from pipeline.geo.raster.raster_file import FLOATS, Layer
from pipeline.geo.raster.remote import is_remote, look_up
from pipeline.geo.scenes.scene_files import USER_MASK, BandLayer, MaskLayer
from pipeline.geo.scenes.stac import beside, multihash, own_item, read_json
from pipeline.store_meta import SceneInfo

PIXEL_M = 10.0
MASK = "mask"
"""Key of the mask asset of an Item."""
INVALID_VALUES = "lenscape:invalid_values"
"""Field of the mask asset: the values that mark a pixel as invalid."""
LAYER = "lenscape:layer"
"""Field of an asset whose file has several layers: the number of its own, from 1."""
ETAG = "lenscape:etag"
"""Field of a remote asset, which has no checksum: the ETag that its server states."""
OUTLINE = "proj:geometry"
"""Property of a scene that is no rectangle: its polygons in its CRS, outside of which is nodata."""
EMPTY = "nodata"
"""Key of the mask of a scene with dark zeros: where it has no data, if there is such ground."""
DARK_ZEROS = "lenscape:dark_zeros"
"""Field of a band: whether DN 0 is dark, so that `EMPTY` alone says where there are no data."""
VALUES = "lenscape:values"
"""Field of a band of floats that are not reflectance: `dn`."""
NAN = "nan"
"""The `nodata` of a band of floats without a number for it, as STAC writes it."""
_READ_AS = (LAYER, "raster:scale", "raster:offset", INVALID_VALUES)
"""Fields of an asset on which the meaning of its bytes depends."""
_READ_AS_TOO = ("nodata", VALUES, DARK_ZEROS)
"""The same, of those that say more than that DN 0 is nodata."""


class _Fields(Conf):
    """What is read of an Item; it may hold more."""

    model_config = ConfigDict(extra="ignore")


def _north_up(transform: list[float]) -> list[float]:
    width, _, x0, _, height, y0 = transform[:6]
    if not (0 < width < 1e5 and -1e5 < height < 0 and max(abs(x0), abs(y0)) < 1e9):
        raise ValueError("no transform of a north-up raster in metres")
    return transform


def _ground(outline: dict[str, Any] | None) -> dict[str, Any] | None:
    if outline is not None and not shape(outline).area > 0:
        raise ValueError("no polygon")
    return outline


type _Transform = Annotated[list[float], Field(min_length=6), AfterValidator(_north_up)]
type _Side = Annotated[int, Field(gt=0, le=1_000_000)]
type _Shape = Annotated[list[_Side], Field(min_length=2, max_length=2)]


class _Properties(_Fields):
    datetime: Times
    code: Annotated[str, Field(alias="proj:code", pattern=r"^EPSG:\d{4,6}$")]
    transform: Annotated[_Transform, Field(alias="proj:transform")]
    shape: Annotated[_Shape, Field(alias="proj:shape")]
    platform: str | None = None
    level: Annotated[str | None, Field(alias="processing:level")] = None
    baseline: Annotated[str | None, Field(alias="s2:processing_baseline")] = None
    outline: Annotated[dict[str, Any] | None, Field(alias=OUTLINE), AfterValidator(_ground)] = None


class _Asset(_Fields):
    href: str
    data_type: str
    transform: Annotated[_Transform, Field(alias="proj:transform")]
    shape: Annotated[_Shape, Field(alias="proj:shape")]
    layer: Annotated[Positive | None, Field(alias=LAYER)] = None
    size: Annotated[int, Field(alias="file:size", ge=0)]
    checksum: Annotated[str | None, Field(alias="file:checksum")] = None
    etag: Annotated[str | None, Field(alias=ETAG)] = None


class _Band(_Asset):
    scale: Annotated[float, Field(alias="raster:scale", gt=0)]
    offset: Annotated[float, Field(alias="raster:offset")]
    nodata: float | Literal["nan"] | None = None


class _Mask(_Asset):
    values: Annotated[list[int], Field(alias=INVALID_VALUES)]


class _Item(_Fields):
    id: Annotated[str, Field(min_length=1)]
    properties: _Properties
    assets: dict[str, Any]


_BANDS = TypeAdapter(dict[str, _Band])
_MASKS = TypeAdapter(dict[str, _Mask])


def read_item(path: Path) -> pystac.Item:
    """The Item of a scene, of which what is read has the type that it should.

    Raises:
        ValidationError: when it has not; other errors where the file is no Item.
    """
    content = read_json(path)
    assets = _Item.model_validate(content).assets
    _BANDS.validate_python({key: asset for key, asset in assets.items() if key in BANDS})
    _MASKS.validate_python({key: asset for key, asset in assets.items() if key == MASK})
    return own_item(content)


def raster_layers(item: pystac.Item, path: Path) -> dict[str, Layer]:
    """The layers of the bands of an Item that lies at `path`, in the order of `BANDS`, then its masks.

    Raises:
        SceneError: when there is no band, or a file is missing or is not the one that was fetched.
    """
    written_ns = path.stat().st_mtime_ns
    layers = {
        key: Layer(_present(asset, path, written_ns), asset.extra_fields.get(LAYER))
        for key in (*BANDS, MASK, EMPTY)
        if (asset := item.assets.get(key)) is not None
    }
    if not layers.keys() & BANDS.keys():
        raise SceneError(f"{path} has no band asset; run `fetch` again.")
    return layers


def outline_of(item: pystac.Item) -> BaseGeometry | None:
    """The polygons, in the CRS of an Item, outside of which it has no data; None where all has."""
    stated = item.properties.get(OUTLINE)
    return None if stated is None else shape(stated)


def band_layer(asset: pystac.Asset, layer: Layer) -> BandLayer:
    """The band that an asset describes."""
    fields = asset.extra_fields
    declared: Any = fields.get("nodata")
    reflectance = fields["data_type"] in FLOATS and VALUES not in fields
    none = (None, NAN) if reflectance else (None, NAN, 0)
    return BandLayer(
        layer,
        fields["raster:scale"],
        fields["raster:offset"],
        reflectance,
        None if declared in none else float(declared),
        bool(fields.get(DARK_ZEROS)),
    )


def mask_layer(asset: pystac.Asset, layer: Layer) -> MaskLayer:
    """The mask that an asset describes."""
    return MaskLayer(layer, dict.fromkeys(asset.extra_fields[INVALID_VALUES], USER_MASK))


def ten_metre_grid(grids: Iterable[PixelGrid]) -> PixelGrid:
    """The 10 m grid of a scene: the ground of the finest of its bands' grids."""
    finest = min(grids, key=lambda grid: grid.pixel_m)
    factor = round(finest.pixel_m / PIXEL_M)
    return PixelGrid(
        finest.epsg, finest.x0, finest.y0, finest.height * factor, finest.width * factor, PIXEL_M
    )


def epsg_of(item: pystac.Item) -> int:
    """The EPSG code of the CRS of an Item.

    Raises:
        CRSError: when there is none of that code.
    """
    code = int(item.properties["proj:code"].removeprefix("EPSG:"))
    CRS.from_epsg(code)
    return code


def _present(asset: pystac.Asset, item: Path, written_ns: int) -> str:
    """The absolute href of an asset whose file is still the one that was fetched.

    A file of the same size is read through, as `fetch` does, only where it was touched since its Item
    was written.
    """
    fields = asset.extra_fields
    if is_remote(asset.href):
        href, file = asset.href, look_up(asset.href)
        same = (file.etag, file.size) == (fields[ETAG], fields["file:size"])
    else:
        href = str(beside(item, asset.href))
        if (state := FileState.of(href)) is None:
            raise SceneError(f"{href} does not exist any more; run `fetch` again.")
        same = state.size == fields["file:size"] and (
            state.touched_ns < written_ns
            or fields["file:checksum"] == multihash(_checksum(href, state.touched_ns))
        )
    if not same:
        raise SceneError(f"{href} has changed since it was fetched; run `fetch` again.")
    return href


@lru_cache(maxsize=1024)
def _checksum(href: str, _touched_ns: int) -> str:
    """The checksum of a file, read once for all of its layers until it is touched again."""
    return checksum_of(href)


def grid_of(fields: dict[str, Any], epsg: int) -> PixelGrid:
    """The grid that fields of the extension `projection` describe, of an Item or an asset.

    The one of an Item is the 10 m grid of its scene, which may be a part of its files' ground.
    """
    pixel_m, _, x0, _, _, y0 = fields["proj:transform"][:6]
    height, width = fields["proj:shape"]
    return PixelGrid(epsg, x0, y0, height, width, pixel_m)


def _identity(asset: pystac.Asset) -> str:
    """Changes when the pixels do: the checksum, or of a remote file its URL, ETag and size."""
    fields: dict[str, Any] = asset.extra_fields
    if "file:checksum" in fields:
        return str(fields["file:checksum"])
    return f"{asset.href} {fields[ETAG]} {fields['file:size']}"


def scene_info(item: pystac.Item, epsg: int) -> SceneInfo:
    """The record of a scene in a store and a model, from its Item.

    The checksum is of its files, of how they are read, and of the part of their ground that it is.
    """
    fields = item.properties
    digest = hashlib.sha256()
    for key in sorted({*BANDS, MASK, EMPTY} & item.assets.keys()):
        asset = item.assets[key]
        read_as = [asset.extra_fields.get(field) for field in _READ_AS]
        more = [asset.extra_fields.get(field) for field in _READ_AS_TOO]
        read_as += [value for value in more if value not in (None, 0)]
        digest.update(f"{key} {_identity(asset)} {json.dumps(read_as)}\n".encode())
    bands = [item.assets[name].extra_fields for name in BANDS if name in item.assets]
    if grid_of(fields, epsg) != ten_metre_grid(grid_of(band, epsg) for band in bands):
        digest.update(json.dumps([fields["proj:shape"], fields["proj:transform"]]).encode())
    if OUTLINE in fields:
        digest.update(json.dumps(fields[OUTLINE]).encode())
    return SceneInfo(
        id=item.id,
        epsg=epsg,
        datetime=fields["datetime"],
        platform=fields.get("platform"),
        level=fields.get("processing:level"),
        baseline=fields.get("s2:processing_baseline"),
        checksum=digest.hexdigest(),
    )
