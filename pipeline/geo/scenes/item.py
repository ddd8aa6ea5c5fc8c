"""What a STAC Item says of a scene: its files, their grids and radiometry, their identity."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pystac

from pipeline.bands import BANDS, harmonise
from pipeline.errors import SceneError
from pipeline.geo.raster.archive import is_file, size_of
from pipeline.geo.raster.grid import SceneGrid
from pipeline.geo.raster.raster_file import Layer
from pipeline.geo.raster.remote import is_remote, require_unchanged
from pipeline.store import SceneInfo

CATALOG = "catalog.json"
PIXEL_M = 10.0
MASK = "mask"
"""Key of the mask asset of an Item."""
INVALID_VALUES = "lenscape:invalid_values"
"""Field of the mask asset: the values that mark a pixel as invalid."""
LAYER = "lenscape:layer"
"""Field of an asset whose file has several layers: the number of its own, from 1."""
ETAG = "lenscape:etag"
"""Field of a remote asset, which has no checksum: the ETag that its server states."""
NAN = "nan"
"""The `nodata` of a band of floats without a number for it, as STAC writes it."""
_READ_AS = (LAYER, "raster:scale", "raster:offset", INVALID_VALUES)
"""Fields of an asset that say what its bytes mean."""
_BROKEN = (ValueError, KeyError, TypeError, AttributeError, OSError)
"""What reading a file of another form than promised may end in."""


@dataclass(frozen=True)
class BandFile:
    """One band of a scene: where its pixels lie and how they become reflectance."""

    layer: Layer
    """Of a file with an absolute path, or of a URL."""
    grid: SceneGrid
    """Its own grid, at its native resolution."""
    scale: float
    offset: float
    nodata: float | None = None
    """Of floats: the value that stands for none, beside NaN and infinity."""

    def harmonised(self, dn: npt.NDArray[Any]) -> npt.NDArray[np.uint16]:
        """The harmonised DN of pixels of the file."""
        return harmonise(dn, self.scale, self.offset, self.nodata)


@dataclass(frozen=True)
class MaskFile:
    """The raster that says which pixels of a scene are not to be used."""

    layer: Layer
    grid: SceneGrid
    invalid: tuple[int, ...]


def band_files(item: pystac.Item, path: Path, epsg: int) -> dict[str, BandFile]:
    """The bands of an Item that lies at `path`, by name, in the order of `BANDS`.

    Raises:
        SceneError: when there is none, or a file is missing or is not the one that was fetched.
    """
    files = {}
    for name in BANDS:
        if (asset := item.assets.get(name)) is not None:
            fields = asset.extra_fields
            files[name] = BandFile(
                _layer(asset, path),
                _asset_grid(asset, epsg),
                fields["raster:scale"],
                fields["raster:offset"],
                _nodata(fields),
            )
    if not files:
        raise SceneError(f"{path} has no band asset; run `fetch` again.")
    return files


def _nodata(fields: dict[str, Any]) -> float | None:
    """The value for none of a band of floats, where it is a number."""
    declared = fields.get("nodata")
    return None if declared is None or declared == NAN else float(declared)


def mask_file(item: pystac.Item, path: Path, epsg: int) -> MaskFile | None:
    """The mask of an Item that lies at `path`, where it has one.

    Raises:
        SceneError: when its file is missing or is not the one that was fetched.
    """
    if (asset := item.assets.get(MASK)) is None:
        return None
    values = tuple(asset.extra_fields[INVALID_VALUES])
    return MaskFile(_layer(asset, path), _asset_grid(asset, epsg), values)


def ten_metre_grid(grids: Iterable[SceneGrid]) -> SceneGrid:
    """The 10 m grid of a scene: the ground of the finest of its bands' grids."""
    finest = min(grids, key=lambda grid: grid.pixel_m)
    factor = round(finest.pixel_m / PIXEL_M)
    return SceneGrid(
        finest.epsg, finest.x0, finest.y0, finest.height * factor, finest.width * factor, PIXEL_M
    )


def scene_grid(item: pystac.Item, epsg: int) -> SceneGrid:
    """The 10 m grid of the scene of an Item, which may be a part of its files' ground."""
    return _grid(item.properties, epsg)


@contextmanager
def described(path: Path, what: str) -> Iterator[None]:
    """Say which file it was that is missing, or that is not what it should be."""
    try:
        yield
    except FileNotFoundError:
        raise SceneError(f"{path} does not exist; run `fetch` first.") from None
    except (*_BROKEN, pystac.STACError, pystac.STACTypeError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise SceneError(f"{path} is no {what} ({reason}); run `fetch` again.") from error


def read_json(path: Path) -> dict[str, Any]:
    """A STAC file, read here, because pystac takes a path for a URL and cuts it at a `#` or `?`."""
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def _layer(asset: pystac.Asset, item: Path) -> Layer:
    return Layer(_present(asset, item), asset.extra_fields.get(LAYER))


def _present(asset: pystac.Asset, item: Path) -> str:
    """The absolute href of an asset whose file is still the one that was fetched."""
    if is_remote(asset.href):
        require_unchanged(asset.href, asset.extra_fields[ETAG], asset.extra_fields["file:size"])
        return asset.href
    path = beside(item, asset.href)
    if not is_file(path):
        raise SceneError(f"{path} does not exist any more; run `fetch` again.")
    if size_of(path) != asset.extra_fields["file:size"]:
        raise SceneError(f"{path} has changed since it was fetched; run `fetch` again.")
    return str(path)


def beside(described: Path, href: str) -> Path:
    """The path that a local href of a STAC file means."""
    return Path(os.path.normpath(described.absolute().parent / href))


def _asset_grid(asset: pystac.Asset, epsg: int) -> SceneGrid:
    return _grid(asset.extra_fields, epsg)


def _grid(fields: dict[str, Any], epsg: int) -> SceneGrid:
    """The grid that fields of the extension `projection` describe."""
    pixel_m, _, x0, _, _, y0 = fields["proj:transform"][:6]
    height, width = fields["proj:shape"]
    return SceneGrid(epsg, x0, y0, height, width, pixel_m)


def _identity(asset: pystac.Asset) -> str:
    """What changes when the pixels do: the checksum, or of a remote file its URL, ETag and size."""
    fields: dict[str, Any] = asset.extra_fields
    if "file:checksum" in fields:
        return str(fields["file:checksum"])
    return f"{asset.href} {fields[ETAG]} {fields['file:size']}"


def scene_info(item: pystac.Item, epsg: int) -> SceneInfo:
    """What a store and a model remember of the scene of an Item."""
    fields = item.properties
    digest = hashlib.sha256()
    for key in sorted({*BANDS, MASK} & item.assets.keys()):
        asset = item.assets[key]
        read_as = [asset.extra_fields.get(field) for field in _READ_AS]
        if (nodata := asset.extra_fields.get("nodata")) not in (None, 0):
            read_as.append(nodata)
        digest.update(f"{key} {_identity(asset)} {json.dumps(read_as)}\n".encode())
    if any(is_remote(asset.href) for asset in item.assets.values()):
        # of a remote file the scene may be a part
        digest.update(json.dumps([fields["proj:shape"], fields["proj:transform"]]).encode())
    return SceneInfo(
        id=item.id,
        epsg=epsg,
        datetime=fields["datetime"],
        platform=fields.get("platform"),
        level=fields.get("processing:level"),
        baseline=fields.get("s2:processing_baseline"),
        checksum=digest.hexdigest(),
    )
