"""A scene, opened from its STAC Item: windows of chosen bands on one 10 m grid."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pystac

from pipeline.errors import SceneError
from pipeline.geo.bands import BANDS, harmonise
from pipeline.geo.blockcache import BlockCache, Decode, Need
from pipeline.geo.grid import Indices, SceneGrid, Window, mirror_index
from pipeline.geo.raster import nearest_index, opened, pick, read_decimated
from pipeline.store import SceneInfo

CATALOG = "catalog.json"
PIXEL_M = 10.0
MASK = "mask"
"""Key of the mask asset of an Item."""
INVALID_VALUES = "lenscape:invalid_values"
"""Field of the mask asset: the values that mark a pixel as invalid."""
ETAG = "lenscape:etag"
"""Field of a remote asset, which has no checksum: the ETag that its server states."""
_ROWS = 32
"""Rows that are put together at a time, so that they stay in the processor's cache."""
_BROKEN = (ValueError, KeyError, TypeError, AttributeError, OSError)
"""What reading a file of another form than promised may end in."""


@dataclass(frozen=True)
class BandFile:
    """One band of a scene: where its pixels lie and how they become reflectance."""

    href: str
    """Absolute path or URL."""
    grid: SceneGrid
    """Its own grid, at its native resolution."""
    scale: float
    offset: float


@dataclass(frozen=True)
class MaskFile:
    """The raster that says which pixels of a scene are not to be used."""

    href: str
    grid: SceneGrid
    invalid: tuple[int, ...]


@dataclass(frozen=True)
class Scene:
    """A scene on the 10 m grid of its finest band; it holds no open file and can be pickled."""

    id: str
    path: Path
    """Its Item."""
    grid: SceneGrid
    files: dict[str, BandFile]
    """By band name, in the order of `BANDS`."""
    mask: MaskFile | None
    info: SceneInfo

    @classmethod
    def open(cls, path: Path | str) -> Scene:
        """Open a scene from its Item.

        Raises:
            SceneError: when the Item is missing or lacks what a scene needs, or when a file is
                missing or is not the one that was fetched.
        """
        path = Path(path)
        with _described(path, "STAC Item of a scene"):
            return cls._from_item(pystac.Item.from_dict(_json(path)), path)

    @classmethod
    def _from_item(cls, item: pystac.Item, path: Path) -> Scene:
        epsg = int(item.properties["proj:code"].removeprefix("EPSG:"))
        files = {}
        for name in BANDS:
            if (asset := item.assets.get(name)) is not None:
                fields = asset.extra_fields
                files[name] = BandFile(
                    _present(asset, path),
                    _asset_grid(asset, epsg),
                    fields["raster:scale"],
                    fields["raster:offset"],
                )
        if not files:
            raise SceneError(f"{path} has no band asset; run `fetch` again.")
        mask = None
        if (asset := item.assets.get(MASK)) is not None:
            values = tuple(asset.extra_fields[INVALID_VALUES])
            mask = MaskFile(_present(asset, path), _asset_grid(asset, epsg), values)
        return cls(item.id, path, ten_metre_grid(files.values()), files, mask, _info(item, epsg))

    @property
    def item(self) -> pystac.Item:
        """Its STAC Item, read anew."""
        return pystac.Item.from_dict(_json(self.path))

    @property
    def bands(self) -> tuple[str, ...]:
        """Names of its bands, in the order of `BANDS`."""
        return tuple(self.files)

    def cache(self, bands: Sequence[str], windows: Iterable[Window] = ()) -> BlockCache:
        """Source blocks of some bands, of which `read` decodes each once for all of the windows."""
        decode: dict[str, Decode] = {}
        for file in (self.files[band] for band in bands):
            decode[file.href] = partial(harmonise, scale=file.scale, offset=file.offset)
        if self.mask is not None:
            decode[self.mask.href] = partial(np.isin, test_elements=self.mask.invalid)
        plan = ([need for need, *_ in self._needs(window, bands) if need] for window in windows)
        return BlockCache(decode, plan)

    def read(
        self,
        window: Window,
        bands: Sequence[str],
        cache: BlockCache | None = None,
        out: npt.NDArray[np.uint16] | None = None,
    ) -> npt.NDArray[np.uint16]:
        """Harmonised DN of a window, uint16 (C, H, W), 0 where there is no valid value.

        Bands of 20 and 60 m come to the 10 m grid by nearest neighbour, by geotransform. What of the
        window lies outside of the scene is mirrored. A masked pixel is 0 in all bands.

        Args:
            window: In pixels of the scene.
            bands: Names, in the order wanted.
            cache: Of these bands; without it, files are opened and blocks decoded for this call alone.
            out: Where the pixels go, of any memory order; a new array, band after band, without it.

        Raises:
            SceneError: when a file is missing or damaged.
        """
        if cache is None:
            with self.cache(bands) as own:
                return self.read(window, bands, own, out)
        needs = self._needs(window, bands)
        values = iter(cache.read([need for need, *_ in needs if need]))
        blocks = [next(values) if need else None for need, *_ in needs]
        shape = len(bands), window.height, window.width
        pixels = np.empty(shape, dtype=np.uint16) if out is None else out
        for start in range(0, window.height, _ROWS):
            rows = slice(start, start + _ROWS)
            for (_, row, col), block, plane in zip(needs, blocks, pixels, strict=False):
                plane[rows] = 0 if block is None else pick(block, row[rows], col, outside=0)
            if self.mask is not None and blocks[-1] is not None:
                # where there is no mask, a pixel stays as the bands have it
                _, row, col = needs[-1]
                pixels[:, rows][:, pick(blocks[-1], row[rows], col, outside=0)] = 0
        return pixels

    def _needs(
        self, window: Window, bands: Sequence[str]
    ) -> list[tuple[Need | None, Indices, Indices]]:
        """Of each band, then of the mask: what to read of its file, and the places in it."""
        # centres of the pixels, in pixels of the scene
        rows = mirror_index(window.rows, self.grid.height) + 0.5
        cols = mirror_index(window.cols, self.grid.width) + 0.5
        files: list[BandFile | MaskFile] = [self.files[band] for band in bands]
        if self.mask is not None:
            files.append(self.mask)
        return [_need(file, *self._indices(file.grid, rows, cols)) for file in files]

    def _indices(
        self, source: SceneGrid, rows: npt.NDArray[np.floating], cols: npt.NDArray[np.floating]
    ) -> tuple[Indices, Indices]:
        """The pixels of another grid that hold some places, given in pixels of the scene."""
        x = self.grid.x0 + cols * self.grid.pixel_m
        # northings grow upwards, rows downwards: both are measured from the top
        below = source.y0 - (self.grid.y0 - rows * self.grid.pixel_m)
        return nearest_index(0.0, source.pixel_m, below), nearest_index(source.x0, source.pixel_m, x)

    def read_decimated(self, bands: Sequence[str], max_px: int) -> npt.NDArray[np.uint16]:
        """The whole scene, small, for pictures: harmonised DN, uint16 (C, h, w) with h, w <= max_px.

        By nearest neighbour; masked pixels, such as clouds, are shown.
        """
        factor = max(1.0, max(self.grid.height, self.grid.width) / max_px)
        height, width = (round(side / factor) or 1 for side in (self.grid.height, self.grid.width))
        rows = (np.arange(height) + 0.5) * (self.grid.height / height)
        cols = (np.arange(width) + 0.5) * (self.grid.width / width)
        small = np.empty((len(bands), height, width), dtype=np.uint16)
        for band, plane in zip(bands, small, strict=True):
            file = self.files[band]
            with opened(file.href) as dataset:
                dn = read_decimated(dataset, max(height, width))
            source_rows, source_cols = self._indices(file.grid, rows, cols)
            # floor division keeps -1, before the edge, before the edge
            places = (
                source_rows * dn.shape[0] // file.grid.height,
                source_cols * dn.shape[1] // file.grid.width,
            )
            plane[:] = harmonise(pick(dn, *places, outside=0), file.scale, file.offset)
        return small


def _need(
    file: BandFile | MaskFile, rows: Indices, cols: Indices
) -> tuple[Need | None, Indices, Indices]:
    """The smallest window of a file that holds some rows and columns, and their places in it."""
    inside_rows = rows[(rows >= 0) & (rows < file.grid.height)]
    inside_cols = cols[(cols >= 0) & (cols < file.grid.width)]
    if not len(inside_rows) or not len(inside_cols):
        return None, rows, cols
    top, left = int(inside_rows.min()), int(inside_cols.min())
    height, width = int(inside_rows.max()) - top + 1, int(inside_cols.max()) - left + 1
    return Need(file.href, Window(top, left, height, width)), rows - top, cols - left


def ten_metre_grid(files: Iterable[BandFile]) -> SceneGrid:
    """The 10 m grid of a scene: the ground of its finest band."""
    finest = min((file.grid for file in files), key=lambda grid: grid.pixel_m)
    factor = round(finest.pixel_m / PIXEL_M)
    return SceneGrid(
        finest.epsg, finest.x0, finest.y0, finest.height * factor, finest.width * factor, PIXEL_M
    )


def open_catalog(folder: Path) -> list[Scene]:
    """The scenes of a static catalog, in its order.

    Raises:
        SceneError: when the catalog is missing or broken, or a scene is.
    """
    path = folder / CATALOG
    with _described(path, "STAC catalog"):
        catalog = pystac.Catalog.from_dict(_json(path))
        items = [_beside(path, str(link.href)) for link in catalog.get_item_links()]
    return [Scene.open(item) for item in items]


@contextmanager
def _described(path: Path, what: str) -> Iterator[None]:
    """Say which file it was that is missing, or that is not what it should be."""
    try:
        yield
    except FileNotFoundError:
        raise SceneError(f"{path} does not exist; run `fetch` first.") from None
    except (*_BROKEN, pystac.STACError, pystac.STACTypeError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise SceneError(f"{path} is no {what} ({reason}); run `fetch` again.") from error


def _json(path: Path) -> dict[str, Any]:
    """Read here, because pystac takes a path for a URL and cuts it at a `#` or `?`."""
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def _present(asset: pystac.Asset, item: Path) -> str:
    """The absolute href of an asset whose file, where it is local, is still the one fetched."""
    if "://" in asset.href:
        return asset.href
    path = _beside(item, asset.href)
    if not path.is_file():
        raise SceneError(f"{path} does not exist any more; run `fetch` again.")
    if path.stat().st_size != asset.extra_fields["file:size"]:
        raise SceneError(f"{path} has changed since it was fetched; run `fetch` again.")
    return str(path)


def _beside(described: Path, href: str) -> Path:
    """The path that a local href of a STAC file means."""
    return Path(os.path.normpath(described.absolute().parent / href))


def _asset_grid(asset: pystac.Asset, epsg: int) -> SceneGrid:
    fields: dict[str, Any] = asset.extra_fields
    pixel_m, _, x0, _, _, y0 = fields["proj:transform"][:6]
    height, width = fields["proj:shape"]
    return SceneGrid(epsg, x0, y0, height, width, pixel_m)


def _identity(asset: pystac.Asset) -> str:
    """What changes when the pixels do: the checksum, or of a remote file its URL, ETag and size."""
    fields: dict[str, Any] = asset.extra_fields
    if "file:checksum" in fields:
        return str(fields["file:checksum"])
    return f"{asset.href} {fields[ETAG]} {fields['file:size']}"


def _info(item: pystac.Item, epsg: int) -> SceneInfo:
    fields = item.properties
    digest = hashlib.sha256()
    for key in sorted({*BANDS, MASK} & item.assets.keys()):
        digest.update(f"{key} {_identity(item.assets[key])}\n".encode())
    return SceneInfo(
        id=item.id,
        epsg=epsg,
        datetime=fields["datetime"],
        platform=fields.get("platform"),
        level=fields.get("processing:level"),
        baseline=fields.get("s2:processing_baseline"),
        checksum=digest.hexdigest(),
    )
