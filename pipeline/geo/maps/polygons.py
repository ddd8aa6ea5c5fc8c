"""A class map as polygons: a GeoPackage for those who work with vectors.

The polygons follow the edges of the cells. Patches smaller than a minimum mapping unit go to the
largest patch beside them (GDAL's sieve, 4 neighbours), so that areas differ from those of the raster.
Both GDAL's sieve and its polygons need to see patches whole: the map is in memory once or twice, a
byte a cell, and the polygons with it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import geopandas as gpd
import numpy as np
import rasterio
from rasterio.features import shapes, sieve
from shapely.geometry import shape

from pipeline.geo.maps.class_map import NODATA
from pipeline.geo.style.geopackage import categorized_qml, write_layer
from pipeline.store import ClassInfo

LAYER = "polygons"


def write_polygons(
    class_map: Path, path: Path, classes: Sequence[ClassInfo], min_area_m2: float
) -> int:
    """Write the polygons of a class map: value, class, title, code, area in hectares.

    Returns:
        How many there are; no file is written where the map has no class at all.

    Raises:
        OutputError: when the place cannot be written.
    """
    with rasterio.open(class_map) as dataset:
        cells, transform, crs = dataset.read(1), dataset.transform, dataset.crs
    mapped = cells != NODATA
    if not mapped.any():
        return 0
    least = math.ceil(min_area_m2 / abs(transform.a * transform.e))
    if least > 1:
        cells = sieve(cells, least, mask=mapped, connectivity=4)
    found = list(shapes(cells, mapped, connectivity=4, transform=transform))
    values = np.array([int(value) for _, value in found])
    geometry = gpd.GeoSeries([shape(outline) for outline, _ in found], crs=crs)
    of = [classes[value - 1] for value in values]
    frame = gpd.GeoDataFrame(
        {
            "value": values,
            "class": [info.name for info in of],
            "title": [info.title for info in of],
            "code": [info.code or "" for info in of],
            "area_ha": (geometry.area / 1e4).round(4),
        },
        geometry=geometry,
    )
    legend = [(info.name, info.title, info.color) for info in classes]
    write_layer(path, LAYER, frame, categorized_qml("class", legend, opacity=1))
    return len(frame)
