"""The masks that come with a granule of a SAFE product: clouds, cirrus, snow.

L2A has its scene classification. L1C has polygons of cloud (`MSK_CLOUDS`, GML) before processing
baseline 04.00 and since then three layers of 60 m (`MSK_CLASSI`): Sentinel-2 Products Specification
Document, S2-PDGS-TAS-DI-PSD.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from xml.etree import ElementTree as ET

import numpy as np
import shapely

from pipeline.config.sources import MaskClass
from pipeline.errors import SceneError
from pipeline.geo.raster.raster_file import Layer
from pipeline.geo.scenes.scene_files import (
    CLOUD_POLYGONS,
    SCENE_CLASSIFICATION,
    MaskLayer,
    PolygonMask,
)
from pipeline.geo.sources.product import Product, every, granule_of

_LAYERS: tuple[MaskClass, ...] = ("cloud_opaque", "cirrus", "snow")
"""Of `MSK_CLASSI`, each 1 where there is such, else 0."""
_CLASSI = re.compile(r"MSK_CLASSI[^/]*\.(jp2|tif)$")
_CLOUDS = re.compile(r"MSK_CLOUDS[^/]*\.gml$")
_EPSG = re.compile(r"EPSG:.*?(\d{4,6})$")


def masks_of(product: Product, images: Mapping[str, str]) -> tuple[MaskLayer | PolygonMask, ...]:
    """The masks of a granule; none where the product came without them and its metadata list none.

    `images` are the names of the granule's image files by band, `SCL` for the scene classification.

    Raises:
        SceneError: when a mask cannot be read, or is missing though the metadata list one.
    """
    if "SCL" in images:
        return (MaskLayer(Layer(product.href(images["SCL"])), SCENE_CLASSIFICATION),)
    first = next(iter(images.values()))
    granule = granule_of(first)
    quality_files = sorted(name for name in product.names if name.startswith(f"{granule}/QI_DATA/"))
    if layers := next(filter(_CLASSI.search, quality_files), None):
        href = product.href(layers)
        return tuple(
            MaskLayer(Layer(href, number), {1: meaning})
            for number, meaning in enumerate(_LAYERS, start=1)
        )
    if polygons := next(filter(_CLOUDS.search, quality_files), None):
        return _polygon_masks(product, polygons)
    if (lost := _listed(product, first)) is not None:
        raise SceneError(
            f"{product.path} lacks {lost}, the cloud mask that its metadata list; unpack or download "
            "the product again, or state a `mask` for it in the conf (`mask: none`: clouds stay)."
        )
    print(f"{product.path} comes without a cloud mask: its clouds are not left out", flush=True)
    return ()


def _listed(product: Product, image: str) -> str | None:
    """The mask of clouds that the manifest, or the metadata of the granule of an image, list."""
    tile = product.tile_xml(image)
    named = [] if tile is None else [element.text or "" for element in every(tile, "MASK_FILENAME")]
    inside = (name for name in product.listed() if name.startswith(f"{granule_of(image)}/"))
    masks = (name.strip() for name in (*named, *inside))
    return next((name for name in masks if _CLASSI.search(name) or _CLOUDS.search(name)), None)


def _polygon_masks(product: Product, name: str) -> tuple[PolygonMask, ...]:
    root, href = product.xml(name), product.href(name)
    shapes_by_class: dict[MaskClass, list[shapely.Polygon]] = {}
    for feature in every(root, "MaskFeature"):
        mask_type = next((element.text or "" for element in every(feature, "maskType")), "").strip()
        if mask_type in CLOUD_POLYGONS:
            shapes_by_class.setdefault(CLOUD_POLYGONS[mask_type], []).extend(_shapes(feature, href))
    if not shapes_by_class:
        return ()
    codes = {
        code[1]
        for element in root.iter()
        if (code := _EPSG.search(element.get("srsName", ""))) is not None
    }
    if len(codes) != 1:
        raise SceneError(f"{href} does not state one CRS of its polygons; download the product again.")
    epsg = int(codes.pop())
    return tuple(
        PolygonMask(href, np.array(shapes, dtype=np.object_), epsg, meaning)
        for meaning, shapes in shapes_by_class.items()
    )


def _shapes(feature: ET.Element, href: str) -> Iterator[shapely.Polygon]:
    for polygon in every(feature, "Polygon"):
        try:
            outer, *interiors = (_ring(ring) for ring in every(polygon, "LinearRing"))
            yield shapely.Polygon(outer, interiors)
        except ValueError as error:
            raise SceneError(
                f"{href} holds a polygon whose corners are none; download the product again."
            ) from error


def _ring(ring: ET.Element) -> list[tuple[float, float]]:
    """Corners (x, y), m."""
    (positions,) = every(ring, "posList")
    values = [float(value) for value in (positions.text or "").split()]
    # GML of the detector footprints has heights, and some clouds do
    size = int(positions.get("srsDimension", "2"))
    return list(zip(values[::size], values[1::size], strict=True))
