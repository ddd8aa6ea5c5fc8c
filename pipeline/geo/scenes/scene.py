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

from pipeline.geo.raster.block_cache import BlockCache, Decode, Need, Shown
from pipeline.geo.raster.grid import Indices, SceneGrid, Window, mirror_index
from pipeline.geo.raster.nearest_lookup import Axis, Places, nearest_index
from pipeline.geo.raster.raster_file import Layer
from pipeline.geo.scenes.item import (
    CATALOG,
    BandFile,
    MaskFile,
    band_files,
    beside,
    described,
    mask_file,
    read_json,
    scene_grid,
    scene_info,
)
from pipeline.store import SceneInfo


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
        with described(path, "STAC Item of a scene"):
            item = pystac.Item.from_dict(read_json(path))
            epsg = int(item.properties["proj:code"].removeprefix("EPSG:"))
            files = band_files(item, path, epsg)
            mask = mask_file(item, path, epsg)
            return cls(item.id, path, scene_grid(item, epsg), files, mask, scene_info(item, epsg))

    @property
    def item(self) -> pystac.Item:
        """Its STAC Item, read anew."""
        return pystac.Item.from_dict(read_json(self.path))

    @property
    def bands(self) -> tuple[str, ...]:
        """Names of its bands, in the order of `BANDS`."""
        return tuple(self.files)

    def cache(
        self, bands: Sequence[str], windows: Iterable[Window] = (), shown: Shown | None = None
    ) -> BlockCache:
        """Source blocks of some bands, of which `read` decodes each once for all of the windows.

        `shown` gets to see each.
        """
        decode: dict[Layer, Decode] = {}
        for file in (self.files[band] for band in bands):
            decode[file.layer] = file.harmonised
        if self.mask is not None:
            decode[self.mask.layer] = partial(np.isin, test_elements=self.mask.invalid)
        files = self._files(bands)
        plan = (_needs(files, self._places(window, files)) for window in windows)
        return BlockCache(decode, plan, shown, _has_holes)

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
        files = self._files(bands)
        places = self._places(window, files)
        needs = _needs(files, places)
        shape = len(bands), window.height, window.width
        pixels = np.empty(shape, dtype=np.uint16) if out is None else out
        # what lies in its file as it is wanted goes there at once
        there = {
            file.layer: plane
            for file, plane in zip(files, pixels, strict=False)
            if (where := places[file.grid]) is not None and where.plain
        }
        blocks = dict(zip((need.layer for need in needs), cache.read(needs, there), strict=True))
        for file, plane in zip(files, pixels, strict=False):
            where = places[file.grid]
            if where is None:
                plane[:] = 0
            elif not where.plain:
                where.put(blocks[file.layer], plane, outside=0)
        if self.mask is not None and (where := places[self.mask.grid]) is not None:
            # where there is no mask, a pixel stays as the bands have it
            pixels[:, where.pick(blocks[self.mask.layer], outside=0)] = 0
        return pixels

    def holed(self, window: Window, bands: Sequence[str], cache: BlockCache) -> list[int]:
        """The places of those bands that may have invalid pixels in a window that a cache gave."""
        files = self._files(bands)
        places = self._places(window, files)
        if self.mask is not None and cache.marked(_needs([self.mask], places)):
            return list(range(len(bands)))
        found = []
        for place, file in enumerate(files[: len(bands)]):
            where = places[file.grid]
            if where is None or not where.inside or cache.marked(_needs([file], places)):
                found.append(place)
        return found

    def _files(self, bands: Sequence[str]) -> list[BandFile | MaskFile]:
        """The file of each band, then that of the mask."""
        files: list[BandFile | MaskFile] = [self.files[band] for band in bands]
        return files if self.mask is None else [*files, self.mask]

    def _places(
        self, window: Window, files: Sequence[BandFile | MaskFile]
    ) -> dict[SceneGrid, Places | None]:
        """By grid, which pixels of a file hold the centres of the pixels of a window."""
        return {
            grid: Places.of(
                _rows_in(grid, self.grid, window.row, window.height),
                _cols_in(grid, self.grid, window.col, window.width),
            )
            for grid in dict.fromkeys(file.grid for file in files)
        }

    def sampled_places(self, band: str, max_px: int) -> tuple[Indices, Indices]:
        """The rows and columns of a band's file that a picture of at most `max_px` shows, ascending."""
        factor = max(1.0, max(self.grid.height, self.grid.width) / max_px)
        height, width = (round(side / factor) or 1 for side in (self.grid.height, self.grid.width))
        rows = (np.arange(height) + 0.5) * (self.grid.height / height)
        cols = (np.arange(width) + 0.5) * (self.grid.width / width)
        source = self.files[band].grid
        return _row_index(source, self.grid, rows), _col_index(source, self.grid, cols)


def _has_holes(values: npt.NDArray[Any]) -> bool:
    """Whether there are invalid pixels among the harmonised DN of a band, or those of a mask."""
    return bool(values.any() if values.dtype == bool else values.min() == 0)


# Windows beside and below each other share their rows and columns.
@lru_cache(maxsize=1024)
def _rows_in(source: SceneGrid, scene: SceneGrid, first: int, count: int) -> Axis | None:
    """Some rows of a scene, which may lie outside of it, as places along the rows of a file."""
    rows = mirror_index(np.arange(first, first + count), scene.height) + 0.5
    return Axis.of(_row_index(source, scene, rows), source.height)


@lru_cache(maxsize=1024)
def _cols_in(source: SceneGrid, scene: SceneGrid, first: int, count: int) -> Axis | None:
    """Some columns of a scene, which may lie outside of it, as places along the columns of a file."""
    cols = mirror_index(np.arange(first, first + count), scene.width) + 0.5
    return Axis.of(_col_index(source, scene, cols), source.width)


def _row_index(source: SceneGrid, scene: SceneGrid, rows: npt.NDArray[np.floating]) -> Indices:
    """The rows of a file that hold some places, given in pixels of the scene."""
    # northings grow upwards, rows downwards: both are measured from the top
    below = source.y0 - (scene.y0 - rows * scene.pixel_m)
    return nearest_index(0.0, source.pixel_m, below)


def _col_index(source: SceneGrid, scene: SceneGrid, cols: npt.NDArray[np.floating]) -> Indices:
    """The columns of a file that hold some places, given in pixels of the scene."""
    return nearest_index(source.x0, source.pixel_m, scene.x0 + cols * scene.pixel_m)


def _needs(
    files: Sequence[BandFile | MaskFile], places: Mapping[SceneGrid, Places | None]
) -> list[Need]:
    """What to read of the files that have pixels at some places."""
    found = ((file.layer, places[file.grid]) for file in files)
    return [Need(layer, where.window) for layer, where in found if where is not None]


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
