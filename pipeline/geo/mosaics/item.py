"""Where mosaics come from, in the tags of their TIFFs and in their STAC Items."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pystac
from shapely.geometry import mapping
from shapely.geometry.base import BaseGeometry

from pipeline import __version__
from pipeline.geo.maps.areas import Tally
from pipeline.geo.maps.catalog import grid_properties, publish_item
from pipeline.geo.maps.class_map import Provenance
from pipeline.geo.maps.folder import MapFolder
from pipeline.geo.maps.item import EXTENSIONS, lineage, map_assets
from pipeline.geo.maps.raster_writer import MapGrid
from pipeline.geo.scenes.stac import footprint
from pipeline.store import ClassInfo


@dataclass(frozen=True)
class Origins:
    """What a mosaic comes from: the scenes whose maps are in it, of one model."""

    scenes: Sequence[Provenance]

    @property
    def ids(self) -> list[str]:
        """The names of the scenes, in alphabetical order."""
        return sorted(origin.scene for origin in self.scenes)

    @property
    def times(self) -> tuple[str, str]:
        """The first and the last acquisition, RFC 3339, UTC."""
        times = sorted(datetime.fromisoformat(origin.datetime) for origin in self.scenes)
        first, last = (time.astimezone(UTC).isoformat() for time in (times[0], times[-1]))
        return first.replace("+00:00", "Z"), last.replace("+00:00", "Z")

    @property
    def attribution(self) -> str:
        """The sentence that Copernicus asks for with all years, then the credit of the labels."""
        years = ", ".join(sorted({origin.datetime[:4] for origin in self.scenes}))
        credit = self.scenes[0].credit.strip()
        parts = (f"Contains modified Copernicus Sentinel data {years}", credit)
        return ". ".join(part.rstrip(".") for part in parts if part) + "."

    @property
    def notes(self) -> str:
        """The warnings that belong to the maps, each after the name of its scene."""
        noted = sorted((origin.scene, origin.note) for origin in self.scenes if origin.note)
        return "; ".join(f"{scene}: {note}" for scene, note in noted)

    def tags(self) -> dict[str, str]:
        """The tags of the TIFF, without those that have nothing to say."""
        model = self.scenes[0]
        tags = {
            "ATTRIBUTION": self.attribution,
            "LENSCAPE_VERSION": __version__,
            "LENSCAPE_SCENES": " ".join(self.ids),
            "LENSCAPE_DATETIME": "/".join(dict.fromkeys(self.times)),
            "LENSCAPE_PLATFORM": _distinct(origin.platform for origin in self.scenes),
            "LENSCAPE_LEVEL": _distinct(origin.level for origin in self.scenes),
            "LENSCAPE_BASELINE": _distinct(origin.baseline for origin in self.scenes),
            "LENSCAPE_BANDS": " ".join(model.bands),
            "LENSCAPE_NOTE": self.notes,
            **{f"LENSCAPE_{what.upper()}": value for what, value in model.postprocessing.items()},
            **{f"LENSCAPE_{what.upper()}_SHA256": value for what, value in model.hashes.items()},
        }
        return {key: tags[key] for key in sorted(tags) if tags[key]}


@dataclass(frozen=True)
class MosaicRecord:
    """What the Item of a mosaic says beside its files."""

    origins: Origins
    grid: MapGrid
    classes: Sequence[ClassInfo]
    tally: Tally


def write_mosaic_item(files: MapFolder, record: MosaicRecord) -> None:
    """Write the Item of the mosaic of one zone, whose files are there.

    Raises:
        OutputError: when a file is missing from the folder.
    """
    assets = map_assets(files, record)
    properties = grid_properties(record.grid)
    item = mosaic_item(
        files.scene, footprint(record.grid.epsg, record.grid.bounds), properties, record.origins
    )
    link_maps(item, record.origins.ids)
    publish_item(item, assets, files.item)


def mosaic_item(
    name: str, outline: BaseGeometry, properties: dict[str, Any], origins: Origins
) -> pystac.Item:
    """The Item of a mosaic, without its assets.

    Args:
        name: Of the mosaic.
        outline: In longitude and latitude.
        properties: Where its pixels lie.
        origins: What it comes from.
    """
    first, last = origins.times
    said = {
        "title": f"Mosaic of the class maps of {len(origins.scenes)} scenes",
        "description": origins.attribution,
        "start_datetime": first,
        "end_datetime": last,
        **properties,
        **lineage(origins.scenes[0]),
    }
    said |= {"lenscape:note": origins.notes} if origins.notes else {}
    bounds = list(outline.bounds)
    # STAC: where no moment is right, it is null and the first and the last one stand beside it
    return pystac.Item(name, mapping(outline), bounds, None, said, stac_extensions=EXTENSIONS)


def link_maps(item: pystac.Item, names: Iterable[str]) -> None:
    """Say which maps of the same folder of maps an Item comes from."""
    for name in names:
        href = f"../{name}/{name}.json"
        item.add_link(pystac.Link("derived_from", href, pystac.MediaType.GEOJSON, f"The map {name}"))


def _distinct(values: Iterable[str | None]) -> str:
    return " ".join(sorted({value for value in values if value}))
