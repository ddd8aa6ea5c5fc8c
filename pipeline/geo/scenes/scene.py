"""A scene, opened from its STAC Item: windows of chosen bands on one 10 m grid."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pystac
from shapely.geometry.base import BaseGeometry

from pipeline.bands import BANDS
from pipeline.geo.raster.area_of_interest import mirrored_inside
from pipeline.geo.raster.block_cache import BlockCache, Decode, Need, Shown
from pipeline.geo.raster.grid import PixelGrid, Window, mirror_index
from pipeline.geo.raster.nearest_lookup import Axis, NearestPixels, nearest_cols, nearest_rows
from pipeline.geo.raster.raster_file import Layer
from pipeline.geo.scenes.item import (
    EMPTY,
    MASK,
    band_layer,
    epsg_of,
    grid_of,
    mask_layer,
    outline_of,
    raster_layers,
    read_item,
    scene_info,
)
from pipeline.geo.scenes.scene_files import BandLayer, MaskLayer, require_name
from pipeline.geo.scenes.stac import CATALOG, beside, described, own_item, read_json
from pipeline.store_meta import SceneInfo


@dataclass(frozen=True)
class Scene:
    """A scene on the 10 m grid of its finest band; it holds no open file and can be pickled."""

    id: str
    path: Path
    """Its Item."""
    grid: PixelGrid
    files: dict[str, BandLayer]
    """By band name, in the order of `BANDS`."""
    masks: tuple[MaskLayer, ...]
    """Each of them empties all bands where it says so."""
    grids: dict[Layer, PixelGrid]
    """Of each of these layers, at its native resolution."""
    info: SceneInfo
    outline: BaseGeometry | None = None
    """Polygons in its CRS, outside of which all bands are empty."""

    @classmethod
    def open(cls, path: Path | str) -> Scene:
        """Open a scene from its Item.

        Raises:
            SceneError: when the Item is missing or lacks what a scene needs, or when a file is
                missing or is not the one that was fetched.
        """
        path = Path(path)
        with described(path, "STAC Item of a scene"):
            item = read_item(path)
            epsg, assets = epsg_of(item), item.assets
            layers = raster_layers(item, path)
            bands = {name: band_layer(assets[name], layers[name]) for name in BANDS if name in layers}
            masks = tuple(
                mask_layer(assets[key], layers[key]) for key in (MASK, EMPTY) if key in layers
            )
            grids = {layer: grid_of(assets[key].extra_fields, epsg) for key, layer in layers.items()}
            grid = grid_of(item.properties, epsg)
            name = require_name(item.id, str(path), "run `fetch` again")
            info = scene_info(item, epsg)
            return cls(name, path, grid, bands, masks, grids, info, outline_of(item))

    @property
    def item(self) -> pystac.Item:
        """Its STAC Item, read anew."""
        return own_item(read_json(self.path))

    @property
    def bands(self) -> tuple[str, ...]:
        """Names of its bands, in the order of `BANDS`."""
        return tuple(self.files)

    def cache(
        self, bands: Sequence[str], windows: Iterable[Window] = (), shown: Shown | None = None
    ) -> BlockCache:
        """Source blocks of some bands, of which `read` decodes each once for all of the windows.

        `shown` is called with each.
        """
        decode: dict[Layer, Decode] = {
            self.files[band].layer: self.files[band].harmonised for band in bands
        }
        for mask in self.masks:
            decode[mask.layer] = partial(np.isin, test_elements=list(mask.classes))
        plan = (_needs(self._nearest(window, bands)) for window in windows)
        return BlockCache(decode, plan, shown, _has_nodata)

    def read(
        self,
        window: Window,
        bands: Sequence[str],
        cache: BlockCache | None = None,
        out: npt.NDArray[np.uint16] | None = None,
    ) -> npt.NDArray[np.uint16]:
        """Harmonised DN of a window, uint16 (C, H, W), 0 where there is no valid value.

        Bands of 20 and 60 m come to the 10 m grid by nearest neighbour, by geotransform. What of the
        window lies outside of the scene is mirrored. A pixel that is masked, or lies outside of its
        outline, is 0 in all bands.

        Args:
            window: In pixels of the scene.
            bands: Names, in the order wanted.
            cache: Of these bands; without it, files are opened and blocks decoded for this call alone.
            out: The array to fill, of any memory order; a new array, band after band, without it.

        Raises:
            SceneError: when a file is missing or damaged.
        """
        if cache is None:
            with self.cache(bands) as own:
                return self.read(window, bands, own, out)
        nearest_of = self._nearest(window, bands)
        needs = _needs(nearest_of)
        shape = len(bands), window.height, window.width
        pixels = np.empty(shape, dtype=np.uint16) if out is None else out
        planes = dict(zip((self.files[band].layer for band in bands), pixels, strict=True))
        # a window that is read as it is in its file goes into `pixels` at once
        plain = {layer: planes[layer] for layer in planes if (n := nearest_of[layer]) and n.plain}
        blocks = dict(zip((need.layer for need in needs), cache.read(needs, plain), strict=True))
        for layer, plane in planes.items():
            if (nearest := nearest_of[layer]) is None:
                plane[:] = 0
            elif layer not in plain:
                nearest.put(blocks[layer], plane, outside=0)
        for mask in self.masks:
            # where there is no mask, a pixel stays as the bands have it
            if (nearest := nearest_of[mask.layer]) is not None:
                pixels[:, nearest.pick(blocks[mask.layer], outside=0)] = 0
        if self.outline is not None:
            pixels[:, ~mirrored_inside(self.outline, self.grid, window)] = 0
        return pixels

    def bands_with_nodata(self, window: Window, bands: Sequence[str], cache: BlockCache) -> list[int]:
        """Indices of those bands that may have nodata pixels in a window that was read by a cache."""
        nearest_of = self._nearest(window, bands)
        marked = {layer for layer, n in nearest_of.items() if cache.marked(_needs({layer: n}))}
        if self.outline is not None or any(mask.layer in marked for mask in self.masks):
            return list(range(len(bands)))
        outside = {layer for layer, n in nearest_of.items() if n is None or not n.inside}
        layers = [self.files[band].layer for band in bands]
        return [index for index, layer in enumerate(layers) if layer in marked | outside]

    def _nearest(self, window: Window, bands: Sequence[str]) -> dict[Layer, NearestPixels | None]:
        """By layer of some bands and the masks, its pixels nearest to those of a window."""
        layers = [self.files[band].layer for band in bands]
        layers += [mask.layer for mask in self.masks]
        by_grid = {
            grid: NearestPixels.of(
                _rows_in(grid, self.grid, window.row, window.height),
                _cols_in(grid, self.grid, window.col, window.width),
            )
            for grid in {self.grids[layer] for layer in layers}
        }
        return {layer: by_grid[self.grids[layer]] for layer in layers}


def _has_nodata(values: npt.NDArray[Any]) -> bool:
    """Whether there are invalid pixels among the harmonised DN of a band, or those of a mask."""
    return bool(values.any() if values.dtype == bool else values.min() == 0)


# Windows beside and below each other share their rows and columns.
@lru_cache(maxsize=128)
def _rows_in(source: PixelGrid, scene: PixelGrid, first: int, count: int) -> Axis | None:
    """Some rows of a scene, which may lie outside of it, along the rows of a file."""
    rows = mirror_index(np.arange(first, first + count), scene.height) + 0.5
    return Axis.of(nearest_rows(source, scene, rows), source.height)


@lru_cache(maxsize=128)
def _cols_in(source: PixelGrid, scene: PixelGrid, first: int, count: int) -> Axis | None:
    """Some columns of a scene, which may lie outside of it, along the columns of a file."""
    cols = mirror_index(np.arange(first, first + count), scene.width) + 0.5
    return Axis.of(nearest_cols(source, scene, cols), source.width)


def _needs(nearest_of: Mapping[Layer, NearestPixels | None]) -> list[Need]:
    """The windows to read of the layers that have pixels in a window of the scene."""
    return [Need(layer, nearest.window) for layer, nearest in nearest_of.items() if nearest is not None]


def open_catalog(folder: Path) -> list[Scene]:
    """The scenes of a static catalog, in its order.

    Raises:
        SceneError: when the catalog is missing or broken, or a scene is.
    """
    path = folder / CATALOG
    with described(path, "STAC catalog"):
        catalog = pystac.Catalog.from_dict(read_json(path))
        items = [beside(path, str(link.href)) for link in catalog.get_item_links()]
    return [Scene.open(item) for item in items]
