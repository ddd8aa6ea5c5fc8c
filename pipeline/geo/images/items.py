"""Writes a collection of labelled images: its STAC files and the table of its Items."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import batched
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pystac
from pystac.utils import str_to_datetime
from stac_geoparquet.arrow import parse_stac_items_to_arrow, to_parquet

from pipeline.bands import QUANTIFICATION
from pipeline.geo.images.collection import (
    ASSET,
    COLLECTION,
    IMAGES,
    LABEL,
    PARTS,
    PIXEL_M,
    SUMMARY,
    About,
    Image,
)
from pipeline.geo.images.image_file import ImageFile
from pipeline.geo.images.published_splits import PartLists
from pipeline.geo.raster.area import enclosing
from pipeline.geo.scenes.stac import (
    extensions,
    file_fields,
    footprint,
    href_of,
    link_to_catalog,
    placed,
    write_catalog_file,
    write_stac,
)

_EXTENSIONS = extensions("file/v2.1.0", "processing/v1.2.0", "projection/v2.0.0", "raster/v2.0.0")
_PARQUET = "application/vnd.apache.parquet"
_ROWS = 4096
"""Items as objects at a time."""


def write_collection(
    folder: Path, base: Path, images: Iterable[Image], about: About, lists: PartLists
) -> None:
    """Write `catalog.json`, `collection.json` and `images.parquet` to an empty folder.

    The same images give the same bytes; their hrefs are relative to `base`. There is at least one
    image, and they come in the order of the rows.
    """
    collection = _collection(about)
    to_parquet(
        _table(images, base, about, lists),
        folder / IMAGES,
        collections={about.id: collection.to_dict(False, False)},
        compression="zstd",
    )
    table = pq.read_table(folder / IMAGES, columns=["bbox"])
    collection.extent.spatial = pystac.SpatialExtent([_bounds(table)])
    collection.extra_fields[SUMMARY] = {
        "count": table.num_rows,
        "level": about.level,
        "bands": list(about.bands),
        "whole": about.whole,
        "lists": sorted(lists.parts),
        "published_lists": sorted(lists.published),
    }
    collection.add_asset(
        "items",
        pystac.Asset(f"./{IMAGES}", media_type=_PARQUET, roles=["collection-mirror"]),
    )
    link_to_catalog(collection, ".")
    write_stac(folder / COLLECTION, collection)
    child = pystac.Link("child", f"./{COLLECTION}", pystac.MediaType.JSON)
    write_catalog_file(folder, "train", "lenscape: images to train on", [child])


def _collection(about: About) -> pystac.Collection:
    start, end = (str_to_datetime(moment) for moment in about.interval)
    extent = pystac.Extent(
        pystac.SpatialExtent([[-180.0, -90.0, 180.0, 90.0]]), pystac.TemporalExtent([[start, end]])
    )
    return pystac.Collection(
        about.id, about.description, extent, title=about.title, license=about.license
    )


def _bounds(table: pa.Table) -> list[float]:
    boxes = table.column("bbox").combine_chunks()
    corners = (boxes.field(name).to_numpy() for name in ("xmin", "ymin", "xmax", "ymax"))
    return list(enclosing(np.stack(list(corners), axis=1)))


def _item(image: Image, folder: Path, about: About, lists: PartLists) -> dict[str, Any]:
    a, _, x0, _, e, y0 = image.transform
    height, width = image.shape
    ground = (x0, y0 + height * e, x0 + width * a, y0)
    start, end = about.interval
    properties: dict[str, Any] = {
        "datetime": None,
        "start_datetime": start,
        "end_datetime": end,
        "instruments": ["msi"],
        "gsd": PIXEL_M,
        "processing:level": about.level,
        "proj:code": f"EPSG:{image.epsg}",
        "proj:shape": list(image.shape),
        "proj:transform": list(image.transform),
        LABEL: image.file.label,
    }
    properties |= {f"{PARTS}{name}": parts.get(image.file.name) for name, parts in lists.parts.items()}
    asset = {
        "href": href_of(Path(image.file.path), folder),
        "type": str(pystac.MediaType.GEOTIFF),
        "roles": ["data"],
        "bands": [{"name": name} for name in about.bands],
        "data_type": "uint16",
        "nodata": 0,
        "raster:scale": 1 / QUANTIFICATION,
        "raster:offset": 0.0,
    } | file_fields(image.sha256, image.size)
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": _EXTENSIONS,
        "id": image.file.name,
        "collection": about.id,
        **placed(footprint(image.epsg, ground)),
        "properties": properties,
        "links": [],
        "assets": {ASSET: asset},
    }


def _table(images: Iterable[Image], folder: Path, about: About, lists: PartLists) -> pa.Table:
    """The Items as rows: about 1 kB each, where an Item as objects of Python takes ten times that."""
    schema = _schema(about, lists)
    batches = [
        # a column without any value, of a list with none of these images, has no type of its own
        parse_stac_items_to_arrow([_item(image, folder, about, lists) for image in batch])
        .read_next_batch()
        .cast(schema)
        for batch in batched(images, _ROWS)
    ]
    # not a reader that asks for one batch after the other: Arrow hides errors that come up inside
    return pa.Table.from_batches(batches, schema)


def _schema(about: About, lists: PartLists) -> pa.Schema:
    """The columns, which must not depend on whether the first images are in a list."""
    file = ImageFile("a", "b", "a/b.tif")
    example = Image(file, 1, "0", 32633, (10.0, 0.0, 5e5, 0.0, -10.0, 5e6), (1, 1))
    listed = PartLists({name: {"a": "train"} for name in lists.parts})
    return parse_stac_items_to_arrow([_item(example, Path(), about, listed)]).schema
