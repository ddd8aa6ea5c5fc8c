"""DN 0 in some bands only: dark ground, or the edge of a swath.

Before baseline 04.00, L2A has DN 0 where a reflectance is 0 or less, such as in the infrared over
water, and DN 0 also where there are no data. A pixel has none where all bands are 0. Where some of
them are, it is dark, unless it is connected to such ground: at the edge of a swath the bands end some
pixels apart. A scene with dark zeros gets a mask of its pixels without data, where there are any; in
all others, 0 says so.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pystac
from scipy.ndimage import binary_propagation

from pipeline.bands import BANDS
from pipeline.files import require_space
from pipeline.geo.raster.block_cache import BlockCache, Need
from pipeline.geo.raster.grid import PixelGrid, Window
from pipeline.geo.raster.nearest_lookup import NearestPixels
from pipeline.geo.raster.raster_file import Layer
from pipeline.geo.raster.remote import is_remote
from pipeline.geo.scenes.catalog import add_mask
from pipeline.geo.scenes.item import DARK_ZEROS, EMPTY, LAYER, epsg_of, grid_of
from pipeline.geo.scenes.masks import write_mask
from pipeline.geo.scenes.scene_files import MaskLayer, SceneFiles
from pipeline.parallel import run_pieces

_STRIP_PX = 512
_ALL, _SOME, _EDGE = 1, 2, 3
"""A pixel that is 0 in all bands, in some, and in some beside ground where it is in all."""
_TOUCHING = np.ones((3, 3), dtype=bool)
_NAMES = {0: "data", 1: "no data"}

type _Grids = Mapping[Layer, PixelGrid]


@dataclass(frozen=True)
class Zeros:
    """Pixels of 10 m with DN 0."""

    all_bands: int
    """In all bands: they have no data."""
    edge: int
    """In some bands, connected to those: they have none either."""
    dark: int
    """In some bands elsewhere: dark."""


def tell_zeros(item: pystac.Item, files: SceneFiles, path: Path, workers: int = 1) -> Zeros:
    """Count the pixels with DN 0; where some are dark, the Item says so and gets a mask of the others.

    The mask is written to `path`. Of reflectance, of files on the web and where the conf states
    `nodata: 0`, nothing is counted. `workers` are threads.

    Raises:
        SceneError: when a band cannot be read.
        OutputError: when the mask cannot be written.
    """
    grid, epsg = grid_of(item.properties, epsg_of(item)), epsg_of(item)
    bands = [item.assets[name] for name in BANDS if name in item.assets]
    meant = any(band.reflectance or band.nodata == 0 for band in files.bands.values())
    if meant or any(is_remote(asset.href) for asset in bands):
        return Zeros(0, 0, 0)
    grids = {
        Layer(asset.href, asset.extra_fields.get(LAYER)): grid_of(asset.extra_fields, epsg)
        for asset in bands
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_suffix(".zeros")
    require_space(path, grid.height * grid.width, "a mask of the scene")
    try:
        kinds = _mapped(scratch, grid)
        with closing(_strips(grid, grids, workers)) as strips:
            for row, strip in strips:
                kinds[row : row + len(strip)] = strip
        parts = [kinds[row : row + _STRIP_PX] for row in range(0, grid.height, _STRIP_PX)]
        _mark_edges(kinds)
        counts = np.sum([np.bincount(part.ravel(), minlength=4) for part in parts], axis=0)
        zeros = Zeros(*(int(counts[kind]) for kind in (_ALL, _EDGE, _SOME)))
        if zeros.dark and zeros.all_bands + zeros.edge:
            empty = (np.isin(part, (_ALL, _EDGE)).astype(np.uint8) for part in parts)
            write_mask(path, grid, empty, _NAMES)
            add_mask(item, MaskLayer(Layer(str(path)), {1: _NAMES[1]}), grid, EMPTY)
        if zeros.dark:
            for asset in bands:
                asset.extra_fields[DARK_ZEROS] = True
    finally:
        scratch.unlink(missing_ok=True)
    return zeros


def _mapped(path: Path, grid: PixelGrid) -> npt.NDArray[np.uint8]:
    """A new file of zeros (H, W) as an array; all its space is taken at once.

    A disk that is full when a mapped page is first written would end the process by a signal.
    """
    with path.open("wb") as file:
        for row in range(0, grid.height, _STRIP_PX):
            file.write(bytes(min(_STRIP_PX, grid.height - row) * grid.width))
    return np.memmap(path, np.uint8, "r+", shape=(grid.height, grid.width))


def _strips(
    grid: PixelGrid, grids: _Grids, workers: int
) -> Generator[tuple[int, npt.NDArray[np.uint8]]]:
    """The kind of each pixel of a scene, strip by strip, with the first row of each."""
    rows = range(0, grid.height, _STRIP_PX)
    windows = [Window(row, 0, min(_STRIP_PX, grid.height - row), grid.width) for row in rows]
    strips = [grid.part(window) for window in windows]
    plan = ([need for need, _ in _needs(strip, grids)] for strip in strips)
    with BlockCache(dict.fromkeys(grids, _is_zero), plan) as cache:
        work = partial(_kinds, grids=grids, cache=cache)
        with closing(run_pieces(work, strips, workers)) as kinds:
            yield from zip(rows, kinds, strict=True)


def _is_zero(values: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    zero: npt.NDArray[np.bool_] = values == 0
    return zero


def _needs(strip: PixelGrid, grids: _Grids) -> list[tuple[Need, NearestPixels]]:
    found = ((layer, NearestPixels.between(grid, strip)) for layer, grid in grids.items())
    return [(Need(layer, near.window), near) for layer, near in found if near is not None]


def _kinds(strip: PixelGrid, grids: _Grids, cache: BlockCache) -> npt.NDArray[np.uint8]:
    """The kind of each pixel (H, W) of a strip; a band says nothing of ground beyond its file."""
    needs = _needs(strip, grids)
    blocks = cache.read([need for need, _ in needs])
    every = np.ones((strip.height, strip.width), dtype=bool)
    some = np.zeros_like(every)
    for (_, near), zero in zip(needs, blocks, strict=True):
        if zero.any() or not near.inside:
            every &= near.pick(zero, outside=True)
            some |= near.pick(zero, outside=False)
        else:
            every[:] = False
    return np.where(every, _ALL, np.where(some, _SOME, 0)).astype(np.uint8)


def _mark_edges(kinds: npt.NDArray[np.uint8]) -> None:
    """Mark the pixels (H, W) connected to some without data, strip by strip until none is new."""
    rows = range(0, len(kinds), _STRIP_PX)
    new = True
    while new:
        new = False
        for row in (*rows, *reversed(rows)):
            strip = kinds[max(0, row - 1) : row + _STRIP_PX + 1]
            some = strip == _SOME
            if not some.any():
                continue
            empty = (strip == _ALL) | (strip == _EDGE)
            edge = some & binary_propagation(empty, _TOUCHING, mask=empty | some)
            new |= bool(edge.any())
            strip[edge] = _EDGE
