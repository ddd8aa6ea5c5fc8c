"""The static STAC catalog of the maps in a folder, and what all of its Items have in common."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pystac
from pyproj import Transformer
from shapely.geometry import Polygon

from pipeline.errors import OutputError
from pipeline.files import canonical_json, sha256_of, write_json
from pipeline.geo.maps.raster_writer import MapGrid

CATALOG = "catalog.json"


def write_catalog(folder: Path, maps: Sequence[str]) -> None:
    """Write `catalog.json`, which lists the Items `<map>/<map>.json` of a folder."""
    catalog = pystac.Catalog("maps", "lenscape: class maps, one Item a map")
    catalog.add_link(pystac.Link("root", f"./{CATALOG}", pystac.MediaType.JSON))
    for name in maps:
        href = f"./{name}/{name}.json"
        catalog.add_link(pystac.Link("item", href, pystac.MediaType.GEOJSON, title=name))
    content = catalog.to_dict(include_self_link=False, transform_hrefs=False)
    write_json(folder / CATALOG, content)


def catalogued(folder: Path) -> list[str]:
    """The maps that the catalog of a folder lists; none where there is no such catalog."""
    try:
        links = json.loads((folder / CATALOG).read_text(encoding="utf-8"))["links"]
        hrefs = [link["href"] for link in links if link["rel"] == "item"]
    except (OSError, ValueError, KeyError, TypeError):
        return []
    # the alphabet of scene ids: nothing in a file may lead out of the folder
    matches = [re.fullmatch(r"\./([A-Za-z0-9][\w.-]*)/\1\.json", str(href)) for href in hrefs]
    return [match[1] for match in matches if match is not None]


def publish_item(item: pystac.Item, assets: Mapping[str, pystac.Asset], path: Path) -> None:
    """Write an Item of the catalog with its assets."""
    for key, asset in assets.items():
        item.add_asset(key, asset)
    item.add_link(pystac.Link("root", f"../{CATALOG}", pystac.MediaType.JSON))
    item.add_link(pystac.Link("parent", f"../{CATALOG}", pystac.MediaType.JSON))
    content = item.to_dict(include_self_link=False, transform_hrefs=False)
    path.write_text(canonical_json(content), encoding="utf-8")


def asset(
    path: Path, media: str, role: str, title: str, fields: dict[str, Any] | None = None
) -> pystac.Asset:
    """A file that lies beside its Item.

    Raises:
        OutputError: when it is missing.
    """
    if not path.is_file():
        raise OutputError(f"{path} is missing from its folder; run `predict` again.")
    # multihash: 12 is SHA-256, 20 its length in bytes, both hexadecimal
    identity = {"file:checksum": f"1220{sha256_of(path)}", "file:size": path.stat().st_size}
    return pystac.Asset(
        f"./{path.name}",
        title=title,
        media_type=media,
        roles=[role],
        extra_fields=(fields or {}) | identity,
    )


def grid_properties(grid: MapGrid) -> dict[str, Any]:
    """Where the cells of a map lie, in words of the extension `projection`."""
    return {
        "gsd": grid.transform.a,
        "proj:code": f"EPSG:{grid.epsg}",
        "proj:shape": [grid.rows, grid.cols],
        "proj:transform": list(grid.transform)[:6],
        "proj:bbox": list(grid.bounds),
    }


def footprint(grid: MapGrid) -> Polygon:
    """The outline of the map in longitude and latitude, as far as its corners tell."""
    left, bottom, right, top = grid.bounds
    to_degrees = Transformer.from_crs(grid.epsg, "OGC:CRS84", always_xy=True)
    corners = [(left, bottom), (right, bottom), (right, top), (left, top)]
    points = [to_degrees.transform(x, y) for x, y in corners]
    # 1e-7 degrees is a centimetre; the last bits of a projection differ between versions of PROJ
    return Polygon([(round(longitude, 7), round(latitude, 7)) for longitude, latitude in points])
