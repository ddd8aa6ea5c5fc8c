"""What a raster file says of its layers beside their pixels: names, scale and offset, nodata."""

from __future__ import annotations

import math
from dataclasses import dataclass

from pipeline.geo.raster.raster_file import opened, require_driver, require_whole


@dataclass(frozen=True)
class LayerNotes:
    """What is said of one layer."""

    description: str | None
    """Its name."""
    scale: float | None
    """Reflectance per value; None where nothing is said, for GDAL the same as 1."""
    offset: float | None
    """Reflectance at 0; None where nothing is said, for GDAL the same as 0."""
    nodata: float | None
    """The number that stands for none."""


def notes_of(href: str) -> list[LayerNotes]:
    """What a file says of each of its layers.

    Raises:
        SceneError: when it is missing, unreadable, cut off, or neither GeoTIFF nor JPEG 2000.
    """
    require_whole(href)
    with opened(href) as dataset:
        require_driver(dataset, href)
        said = zip(
            dataset.descriptions, dataset.scales, dataset.offsets, dataset.nodatavals, strict=True
        )
        return [
            LayerNotes(
                description or None,
                None if scale == 1 else scale,
                None if offset == 0 else offset,
                None if nodata is None or math.isnan(nodata) else nodata,
            )
            for description, scale, offset, nodata in said
        ]
