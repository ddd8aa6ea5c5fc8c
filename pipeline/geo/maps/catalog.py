"""The files of mapped scenes, their static STAC catalog, and what all of its Items have in common."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pystac

from pipeline.config.record import is_name
from pipeline.errors import OutputError
from pipeline.files import sha256_of
from pipeline.geo.raster.grid import PixelGrid
from pipeline.geo.scenes.stac import (
    CATALOG,
    file_fields,
    grid_fields,
    link_to_catalog,
    write_catalog_file,
    write_stac,
)

FINGERPRINT = "lenscape:fingerprint"
"""Property of the Item of a map, see `Provenance.fingerprint`."""


class MapFolder:
    """The files of one mapped scene: `<scene>/<scene>_classmap.tif` and what belongs to it."""

    def __init__(self, folder: Path, scene: str) -> None:
        self.folder, self.scene = folder, scene
        self.class_map = folder / f"{scene}_classmap.tif"
        self.confidence = folder / f"{scene}_confidence.tif"
        self.dissimilarity = folder / f"{scene}_dissimilarity.tif"
        """To the training data; unless the conf of `predict` leaves it out."""
        self.probabilities = folder / f"{scene}_probabilities.tif"
        """Of all classes; only where the conf of `predict` asks for them."""
        self.polygons = folder / f"{scene}_polygons.gpkg"
        """The class map as polygons; only where the conf of `predict` asks for them."""
        self.true_colour = folder / f"{scene}_truecolour"
        """The scene in true colour, without the ending: `.vrt` or `.tif`."""
        self.areas = folder / "areas.csv"
        self.preview = folder / "preview.png"
        self.item = folder / f"{scene}.json"


def write_catalog(folder: Path, maps: Sequence[str]) -> None:
    """Write `catalog.json`, which lists the Items `<map>/<map>.json` of a folder."""
    links = (
        pystac.Link("item", f"./{name}/{name}.json", pystac.MediaType.GEOJSON, title=name)
        for name in maps
    )
    write_catalog_file(folder, "maps", "lenscape: class maps, one Item a map", links)


def catalogued(folder: Path) -> list[str]:
    """The maps that the catalog of a folder lists; none where there is no such catalog."""
    try:
        links = json.loads((folder / CATALOG).read_text(encoding="utf-8"))["links"]
        hrefs = [link["href"] for link in links if link["rel"] == "item"]
    except (OSError, ValueError, KeyError, TypeError):
        return []
    matches = [re.fullmatch(r"\./(.+)/\1\.json", str(href)) for href in hrefs]
    return [match[1] for match in matches if match is not None and is_name(match[1])]


def made_maps(folder: Path) -> list[str]:
    """The maps that earlier runs of `predict` have left in a folder, also those that did not end."""
    items = sorted(folder.glob("*/*.json")) if folder.is_dir() else []
    return [
        item.stem
        for item in items
        if item.stem == item.parent.name and FINGERPRINT in stated_properties(item)
    ]


def is_kept(files: MapFolder, fingerprint: str) -> bool:
    """Whether a map was made from the same inputs and all of its files are there."""
    try:
        item = json.loads(files.item.read_text(encoding="utf-8"))
        return item["properties"][FINGERPRINT] == fingerprint and all(
            (files.folder / asset["href"]).stat().st_size == asset["file:size"]
            for asset in item["assets"].values()
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def stated_properties(item: Path) -> dict[str, Any]:
    """The properties of an Item; none where it is missing or broken."""
    try:
        return dict(json.loads(item.read_text(encoding="utf-8"))["properties"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def publish_item(item: pystac.Item, assets: Mapping[str, pystac.Asset], path: Path) -> None:
    """Write an Item of the catalog with its assets."""
    for key, asset in assets.items():
        item.add_asset(key, asset)
    link_to_catalog(item)
    write_stac(path, item)


def asset(
    path: Path, media: str, role: str, title: str, fields: dict[str, Any] | None = None
) -> pystac.Asset:
    """A file that lies beside its Item.

    Raises:
        OutputError: when it is missing.
    """
    if not path.is_file():
        raise OutputError(f"{path} is missing from its folder; run `predict` again.")
    identity = file_fields(sha256_of(path), path.stat().st_size)
    return pystac.Asset(
        f"./{path.name}",
        title=title,
        media_type=media,
        roles=[role],
        extra_fields=(fields or {}) | identity,
    )


def grid_properties(grid: PixelGrid) -> dict[str, Any]:
    """Where the pixels of a map lie, in words of the extension `projection`."""
    placed = {"proj:code": f"EPSG:{grid.epsg}", "proj:bbox": list(grid.bounds)}
    return grid_fields(grid) | placed
