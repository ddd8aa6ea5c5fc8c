"""A scene, opened from its STAC Item: windows of chosen bands on one 10 m grid."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pystac

from pipeline.errors import SceneError
from pipeline.geo.bands import BANDS, harmonise
from pipeline.geo.grid import SceneGrid, Window, mirror_index
from pipeline.geo.raster import nearest_index, opened, read, read_decimated
from pipeline.store import SceneInfo

PIXEL_M = 10.0
MASK = "mask"
"""Key of the mask asset of an Item."""
INVALID_VALUES = "lenscape:invalid_values"
"""Field of the mask asset: the values that mark a pixel as invalid."""


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
        try:
            item = pystac.Item.from_file(str(path.absolute()))
            return cls._from_item(item, path)
        except FileNotFoundError:
            raise SceneError(f"{path} does not exist; run `fetch` first.") from None
        except (ValueError, KeyError, TypeError, pystac.STACError) as error:
            raise SceneError(
                f"{path} is no Item of a scene ({type(error).__name__}: {error}); run `fetch` again."
            ) from error

    @classmethod
    def _from_item(cls, item: pystac.Item, path: Path) -> Scene:
        epsg = int(item.properties["proj:code"].removeprefix("EPSG:"))
        files = {}
        for name in BANDS:
            if (asset := item.assets.get(name)) is not None:
                fields = asset.extra_fields
                files[name] = BandFile(
                    _present(asset),
                    _asset_grid(asset, epsg),
                    fields["raster:scale"],
                    fields["raster:offset"],
                )
        if not files:
            raise SceneError(f"{path} has no band asset; run `fetch` again.")
        mask = None
        if (asset := item.assets.get(MASK)) is not None:
            values = tuple(asset.extra_fields[INVALID_VALUES])
            mask = MaskFile(_present(asset), _asset_grid(asset, epsg), values)
        return cls(item.id, path, ten_metre_grid(files.values()), files, mask, _info(item, epsg))

    @property
    def item(self) -> pystac.Item:
        """Its STAC Item, read anew."""
        return pystac.Item.from_file(str(self.path.absolute()))

    @property
    def bands(self) -> tuple[str, ...]:
        """Names of its bands, in the order of `BANDS`."""
        return tuple(self.files)

    def read(self, window: Window, bands: Sequence[str]) -> npt.NDArray[np.uint16]:
        """Harmonised DN of a window, uint16 (C, H, W), 0 where there is no valid value.

        Bands of 20 and 60 m come to the 10 m grid by nearest neighbour, by geotransform. What of the
        window lies outside of the scene is mirrored. A masked pixel is 0 in all bands.

        Raises:
            SceneError: when a file is missing or damaged.
        """
        rows = mirror_index(window.rows, self.grid.height)
        cols = mirror_index(window.cols, self.grid.width)
        pixels = np.empty((len(bands), window.height, window.width), dtype=np.uint16)
        for band, plane in zip(bands, pixels, strict=True):
            file = self.files[band]
            dn = self._nearest(file.href, file.grid, rows, cols, outside=0)
            plane[:] = harmonise(dn, file.scale, file.offset)
        if self.mask is not None:
            # an absent value of the mask is no word on the pixel: it stays as the bands have it
            values = self._nearest(self.mask.href, self.mask.grid, rows, cols, outside=-1)
            pixels[:, np.isin(values, self.mask.invalid)] = 0
        return pixels

    def _nearest(
        self,
        href: str,
        source: SceneGrid,
        rows: npt.NDArray[np.intp],
        cols: npt.NDArray[np.intp],
        outside: int,
    ) -> npt.NDArray[np.int32]:
        """The values of `source` at some rows and columns of the scene, int32 (H, W)."""
        half = self.grid.pixel_m / 2
        x = self.grid.x0 + cols * self.grid.pixel_m + half
        # northings grow upwards, rows downwards: both are measured from the top
        below = source.y0 - (self.grid.y0 - rows * self.grid.pixel_m - half)
        source_rows = nearest_index(0.0, source.pixel_m, below)
        source_cols = nearest_index(source.x0, source.pixel_m, x)
        inside_rows = (source_rows >= 0) & (source_rows < source.height)
        inside_cols = (source_cols >= 0) & (source_cols < source.width)
        values = np.full((len(rows), len(cols)), outside, dtype=np.int32)
        if not inside_rows.any() or not inside_cols.any():
            return values
        chosen_rows, chosen_cols = source_rows[inside_rows], source_cols[inside_cols]
        top, left = int(chosen_rows.min()), int(chosen_cols.min())
        needed = Window(top, left, int(chosen_rows.max()) - top + 1, int(chosen_cols.max()) - left + 1)
        with opened(href) as dataset:
            block = read(dataset, needed)
        values[np.ix_(inside_rows, inside_cols)] = block[np.ix_(chosen_rows - top, chosen_cols - left)]
        return values

    def read_decimated(self, bands: Sequence[str], max_px: int) -> npt.NDArray[np.uint16]:
        """The whole scene, small, for pictures: harmonised DN, uint16 (C, h, w) with h, w <= max_px."""
        factor = max(1.0, max(self.grid.height, self.grid.width) / max_px)
        height, width = (round(side / factor) or 1 for side in (self.grid.height, self.grid.width))
        small = np.empty((len(bands), height, width), dtype=np.uint16)
        for band, plane in zip(bands, small, strict=True):
            file = self.files[band]
            with opened(file.href) as dataset:
                dn = read_decimated(dataset, max(height, width))
            rows = np.arange(height) * dn.shape[0] // height
            cols = np.arange(width) * dn.shape[1] // width
            plane[:] = harmonise(dn[np.ix_(rows, cols)], file.scale, file.offset)
        return small


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
    path = folder / "catalog.json"
    try:
        catalog = pystac.Catalog.from_file(str(path.absolute()))
    except FileNotFoundError:
        raise SceneError(f"{path} does not exist; run `fetch` first.") from None
    except (ValueError, KeyError, pystac.STACError) as error:
        reason = type(error).__name__
        raise SceneError(f"{path} is no STAC catalog ({reason}); run `fetch` again.") from error
    return [Scene.open(link.get_absolute_href() or "") for link in catalog.get_item_links()]


def _present(asset: pystac.Asset) -> str:
    """The absolute href of an asset whose file, where it is local, is still the one fetched."""
    href = asset.get_absolute_href() or asset.href
    if "://" in href:
        return href
    path = Path(href)
    if not path.is_file():
        raise SceneError(f"{path} does not exist any more; run `fetch` again.")
    if path.stat().st_size != asset.extra_fields["file:size"]:
        raise SceneError(f"{path} has changed since it was fetched; run `fetch` again.")
    return href


def _asset_grid(asset: pystac.Asset, epsg: int) -> SceneGrid:
    fields: dict[str, Any] = asset.extra_fields
    pixel_m, _, x0, _, _, y0 = fields["proj:transform"][:6]
    height, width = fields["proj:shape"]
    return SceneGrid(epsg, x0, y0, height, width, pixel_m)


def _info(item: pystac.Item, epsg: int) -> SceneInfo:
    fields = item.properties
    digest = hashlib.sha256()
    for key, asset in sorted(item.assets.items()):
        digest.update(f"{key} {asset.extra_fields['file:checksum']}\n".encode())
    return SceneInfo(
        id=item.id,
        epsg=epsg,
        datetime=fields["datetime"],
        platform=fields.get("platform"),
        level=fields.get("processing:level"),
        baseline=fields.get("s2:processing_baseline"),
        checksum=digest.hexdigest(),
    )
