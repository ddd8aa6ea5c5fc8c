"""STAC files and what is the same in all of them, of scenes, images and maps.

They are read and written here, because pystac takes a path for a URL and cuts it at a `#` or `?`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import numpy as np
import pystac
import shapely
from pyproj import Transformer
from shapely.geometry import Polygon, mapping
from shapely.geometry.base import BaseGeometry

from pipeline.config.opening import opening
from pipeline.errors import SceneError
from pipeline.files import relative_path, write_json
from pipeline.geo.raster.area import Area, area_around, cut_at_antimeridian, transformer
from pipeline.geo.raster.grid import PixelGrid

CATALOG = "catalog.json"
_SAFE = "/!$&'()*+,;=@"
"""What stands for itself in a path beside letters, digits and `-._~`; `:` may end a scheme."""


def extensions(*names: str) -> list[str]:
    """The schemas of STAC extensions by name and version, such as `file/v2.1.0`."""
    return [f"https://stac-extensions.github.io/{name}/schema.json" for name in names]


@contextmanager
def described(path: Path, kind: str) -> Iterator[None]:
    """Name the file that is missing, or that is not what it should be.

    Raises:
        SceneError: when reading it fails.
    """
    missing = SceneError(f"{path} does not exist; run `fetch` first.")
    with opening(lambda why: SceneError(f"{path} is no {kind} ({why}); run `fetch` again."), missing):
        yield


def read_json(path: Path) -> dict[str, Any]:
    """The content of a STAC file."""
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def own_item(content: dict[str, Any]) -> pystac.Item:
    """The Item of a file that was written here; `content` is given up to it."""
    # no migration from older forms of STAC, which takes longer than all the rest
    return pystac.Item.from_dict(content, migrate=False, preserve_dict=False)


def href_of(path: Path, folder: Path) -> str:
    """The href of a local file in a STAC file of a folder: relative, percent-encoded (RFC 3986)."""
    return quote(relative_path(path, folder), safe=_SAFE)


def beside(described: Path, href: str) -> Path:
    """The path that a local href of a STAC file means; the opposite of `href_of`."""
    return Path(os.path.normpath(described.absolute().parent / unquote(href)))


def write_stac(path: Path, content: pystac.STACObject) -> None:
    """Write a STAC file, its hrefs as they are."""
    write_json(path, content.to_dict(include_self_link=False, transform_hrefs=False))


def write_catalog_file(folder: Path, name: str, description: str, links: Iterable[pystac.Link]) -> None:
    """Write `catalog.json`, the root of the STAC files of a folder, with links to them."""
    catalog = pystac.Catalog(name, description)
    catalog.add_links([pystac.Link("root", f"./{CATALOG}", pystac.MediaType.JSON), *links])
    write_stac(folder / CATALOG, catalog)


def link_to_catalog(content: pystac.STACObject, folder: str = "..") -> None:
    """Link a STAC object to the catalog in a folder, relative to its own."""
    content.add_links(catalog_links(folder))


def catalog_links(folder: str = "..") -> list[pystac.Link]:
    """What links to the catalog in a folder."""
    href = f"{folder}/{CATALOG}"
    return [pystac.Link(relation, href, pystac.MediaType.JSON) for relation in ("root", "parent")]


def file_fields(sha256: str, size: int) -> dict[str, Any]:
    """Checksum and size of a file, as the extension `file` writes them."""
    return {"file:checksum": multihash(sha256), "file:size": size}


def multihash(sha256: str) -> str:
    """A SHA-256 as the extension `file` writes checksums."""
    # 12 is SHA-256, 20 its length in bytes, both hexadecimal
    return f"1220{sha256}"


def grid_fields(grid: PixelGrid) -> dict[str, Any]:
    """Where the pixels of a file lie within their CRS, as the extension `projection` writes it."""
    return {
        "gsd": grid.pixel_m,
        "proj:shape": [grid.height, grid.width],
        "proj:transform": list(grid.transform)[:6],
    }


def footprint(epsg: int, bounds: Area) -> BaseGeometry:
    """The outline of bounds (left, bottom, right, top) of a CRS in longitude and latitude.

    It is cut in two where it crosses the antimeridian.
    """
    left, bottom, right, top = bounds
    corners = [(left, bottom), (right, bottom), (right, top), (left, top)]
    points = [to_degrees(epsg).transform(x, y) for x, y in corners]
    # 1e-7 degrees is a centimetre; the last bits of a projection differ between versions of PROJ
    whole = Polygon([(round(longitude, 7), round(latitude, 7)) for longitude, latitude in points])
    return cut_at_antimeridian(np.array([whole], dtype=np.object_))[0]


def footprint_of(epsg: int, shape: BaseGeometry) -> BaseGeometry:
    """The outline of polygons of a CRS, as `footprint` gives that of bounds."""
    in_degrees = shapely.transform(shape, to_degrees(epsg).transform, interleaved=False)
    rounded = shapely.transform(in_degrees, lambda points: points.round(7))
    return cut_at_antimeridian(np.array([rounded], dtype=np.object_))[0]


def placed(outline: BaseGeometry) -> dict[str, Any]:
    """Geometry and bounding box of an Item on the ground of a footprint."""
    return {"geometry": mapping(outline), "bbox": list(area_around(outline))}


def to_degrees(epsg: int) -> Transformer:
    """From a CRS to longitude and latitude."""
    return transformer(epsg, "OGC:CRS84")
