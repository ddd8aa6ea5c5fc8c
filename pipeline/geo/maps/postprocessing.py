"""What is made of a class map after the network: unclassified pixels, smoothing, polygons.

They change the map and not the network: what `evaluate` says of the network does not hold for such a
map. Its tags and its Item state the options; a sample drawn from the map itself evaluates it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import geopandas as gpd
import numpy as np
import rasterio
from rasterio.features import shapes, sieve
from shapely.geometry import shape

from pipeline.errors import MismatchError
from pipeline.geo.maps import class_map
from pipeline.geo.maps.areas import Tally
from pipeline.geo.maps.map_ground import MapGround
from pipeline.geo.maps.raster_writer import Cells, RasterWriter
from pipeline.geo.raster.grid import square_sums
from pipeline.geo.style.geopackage import categorized_qml, write_layer
from pipeline.store_meta import ClassInfo

UNCLASSIFIED = "unclassified"
"""Name of the class of pixels whose confidence is too low."""
POLYGONS = "polygons"
"""Name of the layer."""
_GREYS = ("#9e9e9e", "#616161", "#c7c7c7")
_SIDE = 1024
"""Side of the squares of pixels that are smoothed at a time, beside the pixels around them."""


@dataclass(frozen=True)
class PostProcessing:
    """What is made of the maps; nothing by default."""

    min_confidence: int = 0
    """Per cent; pixels below it are unclassified. 0 leaves every pixel its class."""
    smoothing_pixels: int = 0
    """Side of the square of pixels, odd, whose most frequent class a pixel takes. 0 is off."""
    polygons_m2: float | None = None
    """The smallest area of a polygon; None writes no polygons."""

    def legend(self, classes: Sequence[ClassInfo]) -> list[ClassInfo]:
        """The classes of the map: those of the model, then `unclassified` where it is wanted.

        Raises:
            MismatchError: when a map has no value left for it, or the model has a class of that name.
        """
        if self.min_confidence == 0:
            return list(classes)
        if len(classes) >= class_map.CONFIDENCE_NODATA - 1:
            raise MismatchError(
                f"a map holds 254 classes and the model has {len(classes)}, which leaves none for "
                "unclassified pixels; write `min_confidence: 0` into the conf of predict."
            )
        if any(info.name == UNCLASSIFIED for info in classes):
            raise MismatchError(
                f"the model has a class {UNCLASSIFIED!r} of its own; rename it, or write "
                "`min_confidence: 0` into the conf of predict."
            )
        taken = {info.color.lower() for info in classes}
        color = next((grey for grey in _GREYS if grey not in taken), _GREYS[0])
        description = f"The network's most probable class has less than {self.min_confidence} %."
        title = "Unclassified (low confidence)"
        unclassified = ClassInfo(name=UNCLASSIFIED, title=title, color=color, description=description)
        return [*classes, unclassified]

    def facts(self) -> dict[str, str]:
        """What the tags of a map and its Item say of it; nothing where nothing was done."""
        stated = {
            "min_confidence": str(self.min_confidence or ""),
            "smoothing_pixels": str(self.smoothing_pixels or ""),
        }
        return {key: value for key, value in stated.items() if value}


def smooth(
    source: RasterWriter, target: RasterWriter, ground: MapGround, count: int, side: int
) -> Tally:
    """Write the majority of each pixel's surroundings; squares of pixels are in memory, never the map.

    Args:
        source: The class map.
        target: An empty map of the same pixels.
        ground: Its pixels, for the ground under them.
        count: As in `majority`.
        side: Of the square around a pixel, odd.

    Returns:
        The pixels and the ground of each value of the smoothed map.
    """
    tally, reach = Tally.empty(), side // 2
    for square in source.grid.window.parts(_SIDE, _SIDE):
        cells = majority(source.read_around(square, reach), count, reach)
        target.write(square.row, square.col, cells)
        rows = range(square.row, square.row + square.height)
        cols = range(square.col, square.col + square.width)
        tally = tally.plus(cells, ground.ground_px(rows, cols))
    return tally


def majority(around: Cells, count: int, reach: int) -> Cells:
    """The most frequent class within `reach` pixels of each; its own among equals, else the lowest.

    Args:
        around: uint8 (h + 2 reach, w + 2 reach); 0 where there is no map.
        count: Classes, values 1 to `count`; other values neither vote nor change.
        reach: Pixels on each side.

    Returns:
        uint8 (h, w).
    """
    height, width = (length - 2 * reach for length in around.shape)
    own = around[reach : reach + height, reach : reach + width]
    votes_own = np.zeros(own.shape, dtype=np.int32)
    best, votes_best = own.copy(), np.zeros(own.shape, dtype=np.int32)
    for value in np.unique(around[(around > 0) & (around <= count)]):
        votes = square_sums(around == value, 2 * reach + 1)
        np.copyto(votes_own, votes, where=own == value)
        more = votes > votes_best
        best[more], votes_best[more] = value, votes[more]
    keep = (own == 0) | (own > count) | (votes_own == votes_best)
    smoothed: Cells = np.where(keep, own, best)
    return smoothed


def write_polygons(source: Path, path: Path, classes: Sequence[ClassInfo], min_area_m2: float) -> int:
    """Write a class map as polygons: a GeoPackage of value, class, title, code, area in hectares.

    They follow the edges of the pixels. Patches smaller than a minimum mapping unit go to the largest
    patch beside them (GDAL's sieve, 4 neighbours), so that areas differ from those of the raster.
    GDAL needs to see patches whole: the map is in memory once or twice, a byte a pixel, and the
    polygons with it.

    Returns:
        How many there are; no file is written where the map has no class at all.

    Raises:
        OutputError: when the place cannot be written.
    """
    with rasterio.open(source) as dataset:
        cells, transform, crs = dataset.read(1), dataset.transform, dataset.crs
    mapped = cells != class_map.NODATA
    if not mapped.any():
        return 0
    least = math.ceil(min_area_m2 / abs(transform.a * transform.e))
    if least > 1:
        cells = sieve(cells, least, mask=mapped, connectivity=4)
    outlines, polygon_values = zip(
        *shapes(cells, mapped, connectivity=4, transform=transform), strict=True
    )
    values = np.array(polygon_values, dtype=int)
    geometry = gpd.GeoSeries([shape(outline) for outline in outlines], crs=crs)
    infos = [classes[value - 1] for value in values]
    frame = gpd.GeoDataFrame(
        {
            "value": values,
            "class": [info.name for info in infos],
            "title": [info.title for info in infos],
            "code": [info.code or "" for info in infos],
            "area_ha": (geometry.area / 1e4).round(4),
        },
        geometry=geometry,
    )
    legend = [(info.name, info.title, info.color) for info in classes]
    write_layer(path, POLYGONS, frame, categorized_qml("class", legend, opacity=1))
    return len(frame)
