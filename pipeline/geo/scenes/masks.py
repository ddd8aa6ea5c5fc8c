"""The mask of a scene: one raster that lenscape makes of the masks of the product, and its asset.

Its values are the same for all products: 0 clear, then the classes of `MASK_CLASSES` in their order,
of which the first counts where several overlap, then `MARGIN`. Cloud, shadow and cirrus are widened
by a round disk, because their edges are not where a classification draws them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pystac
import rasterio
from pystac.extensions.classification import Classification
from rasterio.crs import CRS
from rasterio.windows import Window as RasterWindow
from scipy.ndimage import distance_transform_edt

from pipeline.config.sources import GROWN, Masking
from pipeline.geo.raster.area import covering
from pipeline.geo.raster.grid import PixelGrid, Window
from pipeline.geo.raster.raster_file import Layer, inspect, writing
from pipeline.geo.scenes.catalog import add_mask
from pipeline.geo.scenes.item import MASK, epsg_of, grid_of
from pipeline.geo.scenes.mask_sources import VALUES, Codes, RasterSource, Source, open_sources
from pipeline.geo.scenes.scene_files import USER_MASK, MaskLayer, PolygonMask, SceneFiles

MASKED_SHARE = "lenscape:masked_share"
"""Property of an Item: the share of the scene that is masked, by class."""
_EXTENSION = "https://stac-extensions.github.io/classification/v2.0.0/schema.json"
MARGIN = len(VALUES) + 1
"""Value of what lies around cloud, shadow and cirrus."""
NAMES: dict[int, str] = {
    0: "clear",
    **{value: name for name, value in VALUES.items()},
    MARGIN: "margin",
}
"""Of all values of the file."""
_SOFT = frozenset(VALUES[name] for name in GROWN)
_STRIP_PX = 512
"""Rows at a time, and side of the tiles of the file."""
_TOUCHING = 1e-9
"""Of a pixel: float noise must not leave out a centre that lies right on the circle."""


def mask_scene(item: pystac.Item, files: SceneFiles, masking: Masking, path: Path) -> dict[str, float]:
    """Make the mask of a scene, add it to the Item and state there which share of the scene is masked.

    A mask of the user, which the Item has already, takes the place of the source's own, which would be
    written to `path`.

    Returns:
        The share of the scene by class; empty where nothing can be masked.

    Raises:
        SceneError: when a mask cannot be used.
        OutputError: when the mask cannot be written.
    """
    grid = grid_of(item.properties, epsg_of(item))
    if files.mask is not None:
        shares = {USER_MASK: _masked_share(files.mask, grid)}
    elif (made := make_mask(files.masks, grid, masking, path)) is not None:
        layer, shares = made
        names = {0: NAMES[0], **layer.classes}
        classes = [
            Classification.create(value, description=name.replace("_", " "), name=name).to_dict()
            for value, name in names.items()
        ]
        add_mask(item, layer, grid)
        item.assets[MASK].extra_fields["classification:classes"] = classes
        item.stac_extensions.append(_EXTENSION)
    else:
        return {}
    item.properties[MASKED_SHARE] = shares
    return shares


def make_mask(
    masks: Sequence[MaskLayer | PolygonMask], scene: PixelGrid, masking: Masking, path: Path
) -> tuple[MaskLayer, dict[str, float]] | None:
    """Write the mask of a scene: uint8, on the finest grid of its sources, strip by strip.

    The scene may be a part of the masks' ground. Clouds outside of it do not reach into it, so that
    downloaded pixels and those read where they lie agree.

    Returns:
        The mask, and the share of its pixels of each class that it can have and of the margin; None
        where no class of `masking` can occur.

    Raises:
        SceneError: when a mask cannot be read, leaves out a part of the scene or has another CRS.
        OutputError: when the file cannot be written.
    """
    with ExitStack() as stack:
        sources = open_sources(masks, scene, masking.classes, stack)
        if not sources:
            return None
        finest = min((source.grid for source in sources), key=lambda grid: grid.pixel_m)
        if (window := covering(finest, scene.bounds)) is None:
            return None
        grid = finest.part(window)
        counts = write_mask(path, grid, _strips(sources, grid, masking.grow_m), NAMES)
        values = sorted(frozenset.union(*(source.values for source in sources)))
    if masking.grow_m and not _SOFT.isdisjoint(values):
        values.append(MARGIN)
    shares = {NAMES[value]: round(int(counts[value]) / int(counts.sum()), 6) for value in values}
    return MaskLayer(Layer(str(path)), {value: NAMES[value] for value in values}), shares


def _masked_share(mask: MaskLayer, scene: PixelGrid) -> float:
    """The share of a scene that a mask of the user leaves out."""
    with closing(RasterSource(inspect(*mask.layer), dict.fromkeys(mask.classes, 1))) as source:
        masked = sum(int(codes.sum()) for codes in _strips([source], scene, grow_m=0))
        return round(masked / (scene.height * scene.width), 6)


def widened(marked: npt.NDArray[np.bool_], radius_px: float) -> npt.NDArray[np.bool_]:
    """The pixels (H, W) whose centre lies within a radius of that of a marked one."""
    if not marked.any():
        return marked
    near: npt.NDArray[np.bool_] = distance_transform_edt(~marked) <= radius_px + _TOUCHING
    return near


def _strips(sources: Sequence[Source], grid: PixelGrid, grow_m: float) -> Iterator[Codes]:
    """The values of a mask from top to bottom: of several sources, the smallest that is not 0.

    Each strip is read with as much around it as its margin takes.
    """
    radius_px = grow_m / grid.pixel_m
    halo = math.ceil(radius_px)
    soft = np.isin(np.arange(256), list(_SOFT))
    for row in range(0, grid.height, _STRIP_PX):
        end = min(row + _STRIP_PX, grid.height)
        first, last = max(0, row - halo), min(end + halo, grid.height)
        strip = grid.part(Window(first, 0, last - first, grid.width))
        # 0 less 1 is 255, the largest of all
        values = [source.codes(strip) - np.uint8(1) for source in sources]
        codes: Codes = np.minimum.reduce(values) + np.uint8(1)
        if radius_px:
            codes[widened(soft[codes], radius_px) & (codes == 0)] = MARGIN
        yield codes[row - first : end - first]


def write_mask(
    path: Path, grid: PixelGrid, strips: Iterator[Codes], names: Mapping[int, str]
) -> npt.NDArray[np.int64]:
    """Write a mask from its strips, top to bottom, with the names of its values; how often each occurs.

    Raises:
        OutputError: when it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    counts, row = np.zeros(256, dtype=np.int64), 0
    with (
        writing(path),
        rasterio.open(
            path, "w", driver="GTiff", count=1, dtype="uint8", height=grid.height, width=grid.width,
            crs=CRS.from_epsg(grid.epsg), transform=grid.transform, compress="DEFLATE", tiled=True,
            blockxsize=_STRIP_PX, blockysize=_STRIP_PX,
        ) as file,
    ):  # fmt: skip
        file.update_tags(values=", ".join(f"{value} {name}" for value, name in names.items()))
        file.set_band_description(1, "mask")
        for codes in strips:
            counts += np.bincount(codes.ravel(), minlength=256)
            file.write(codes, 1, window=RasterWindow(0, row, grid.width, len(codes)))
            row += len(codes)
    return counts
