"""STAC Items of maps and their static catalog: what lies where, what values mean, what it came from.

No wall clock and no absolute path stand in them: the same maps give the same bytes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

import pystac
from pystac.extensions.classification import Classification
from shapely.geometry import mapping

from pipeline import __version__
from pipeline.files import relative_href
from pipeline.geo.maps import class_map
from pipeline.geo.maps.areas import Tally
from pipeline.geo.maps.catalog import asset, grid_properties, publish_item
from pipeline.geo.maps.class_map import Provenance
from pipeline.geo.maps.folder import MapFolder
from pipeline.geo.maps.postprocessing import UNCLASSIFIED
from pipeline.geo.maps.raster_writer import MapGrid
from pipeline.geo.maps.sidecars import sidecars_of
from pipeline.geo.scenes.stac import footprint
from pipeline.store import ClassInfo

EXTENSIONS = [
    "https://stac-extensions.github.io/classification/v2.0.0/schema.json",
    "https://stac-extensions.github.io/file/v2.1.0/schema.json",
    "https://stac-extensions.github.io/processing/v1.2.0/schema.json",
    "https://stac-extensions.github.io/projection/v2.0.0/schema.json",
    "https://stac-extensions.github.io/raster/v2.0.0/schema.json",
]

_COG = pystac.MediaType.COG
_QML = "application/xml"
_JUDGED = (
    "The figures of `evaluate` are those of the network; this map was changed after it. A sample drawn "
    "from the map itself, read back by `lenscape accuracy`, judges the map as delivered."
)
VRT = "application/x-gdal-vrt"
_SIDECARS = (
    ("sld", "application/vnd.ogc.sld+xml", "Style for GeoServer"),
    ("qmd", _QML, "Metadata for QGIS"),
    ("attribute_table", "application/x-dbf", "Attribute table for ArcGIS"),
    ("attribute_table_encoding", "text/plain", "Encoding of the attribute table"),
)


class Content(Protocol):
    """What the assets of a map say of its values, beside its files."""

    @property
    def grid(self) -> MapGrid:
        """Where its cells lie."""

    @property
    def classes(self) -> Sequence[ClassInfo]:
        """Its classes."""

    @property
    def tally(self) -> Tally:
        """The cells and the ground of each value."""


@dataclass(frozen=True)
class MapRecord:
    """What the Item of a map says beside its files."""

    provenance: Provenance
    grid: MapGrid
    classes: Sequence[ClassInfo]
    tally: Tally
    scene_item: Path
    """The Item of the scene that was mapped."""
    unlike: float | None = None
    """The share of the mapped cells that are unlike the training data, where it is known."""


def write_item(files: MapFolder, record: MapRecord, place: Path) -> None:
    """Write the Item of a folder of maps, which will lie at `place`.

    Raises:
        OutputError: when a file is missing from the folder.
    """
    origin = record.provenance
    outline = footprint(record.grid.epsg, record.grid.bounds)
    item = pystac.Item(
        files.scene,
        mapping(outline),
        list(outline.bounds),
        datetime.fromisoformat(origin.datetime),
        _properties(record),
        stac_extensions=EXTENSIONS,
    )
    scene = relative_href(record.scene_item, place)
    item.add_link(pystac.Link("derived_from", scene, pystac.MediaType.GEOJSON, "The scene mapped"))
    publish_item(item, map_assets(files, record), files.item)


def _properties(record: MapRecord) -> dict[str, Any]:
    origin = record.provenance
    properties = {
        "title": f"Class map of {origin.scene}",
        "description": origin.attribution,
        **grid_properties(record.grid),
        **lineage(origin),
    }
    optional = {
        "platform": origin.platform,
        "s2:processing_baseline": origin.baseline,
        "lenscape:scene_level": origin.level,
        "lenscape:note": origin.note,
    }
    if record.unlike is not None:
        properties["lenscape:unlike_training_percent"] = round(100 * record.unlike, 4)
    return properties | {key: value for key, value in optional.items() if value}


def lineage(origin: Provenance) -> dict[str, Any]:
    """Which model made a map out of what, and whose data are in it."""
    properties: dict[str, Any] = {
        "processing:level": "L4",
        "processing:software": {"lenscape": __version__},
        "processing:lineage": f"Patches of the bands {', '.join(origin.bands)} classified by the "
        f"network with the weights sha256:{origin.hashes.get('weights', '')}.",
        "providers": [
            {"name": "European Union/ESA/Copernicus", "roles": ["producer", "licensor"]},
        ],
    }
    optional = {
        "lenscape:label_credit": origin.credit,
        **{f"lenscape:{what}": int(value) for what, value in origin.postprocessing.items()},
        "lenscape:accuracy": _JUDGED if origin.postprocessing else "",
        **{f"lenscape:{what}_sha256": value for what, value in origin.hashes.items()},
    }
    return properties | {key: value for key, value in optional.items() if value}


def map_assets(files: MapFolder, record: Content) -> dict[str, pystac.Asset]:
    """The files of a folder of maps, by key.

    Raises:
        OutputError: when one is missing.
    """
    grid = record.grid
    placed = {
        "gsd": grid.transform.a,
        "proj:shape": [grid.rows, grid.cols],
        "proj:transform": list(grid.transform)[:6],
        "data_type": "uint8",
        "raster:spatial_resolution": grid.transform.a,
    }
    class_fields = {
        "bands": [{"name": "class", "description": "land cover class"}],
        "nodata": class_map.NODATA,
        "classification:classes": class_list(record.classes, record.tally),
    }
    per_cent = placed | {"nodata": class_map.CONFIDENCE_NODATA, "unit": "%"}
    confidence = [{"name": "confidence", "description": class_map.CONFIDENCE.bands[0].description}]
    names = [files.class_map.with_name(f"{files.class_map.name}{end}") for end in class_map.NAME_ENDS]
    assets = {
        "classmap": asset(files.class_map, _COG, "data", "Class map", placed | class_fields),
        "style": asset(files.class_map.with_suffix(".qml"), _QML, "style", "QGIS style"),
        "category_names": asset(names[1], _QML, "metadata", "GDAL category names"),
        "category_index": asset(
            names[0], "application/octet-stream", "metadata", "Leads GDAL to the category names"
        ),
        "areas": asset(files.areas, "text/csv", "metadata", "Ground by class, no area estimates"),
        "preview": asset(files.preview, pystac.MediaType.PNG, "overview", "Preview"),
    }
    for path, (key, media, title) in zip(sidecars_of(files.class_map), _SIDECARS, strict=True):
        assets[key] = asset(path, media, "style" if key == "sld" else "metadata", title)
    assets |= _styled("confidence", files.confidence, per_cent | {"bands": confidence})
    if files.dissimilarity.is_file():
        of_limit = class_map.DISSIMILARITY.bands[0].description
        bands = [{"name": "dissimilarity", "description": of_limit}]
        assets |= _styled("dissimilarity", files.dissimilarity, per_cent | {"bands": bands})
    if files.probabilities.is_file():
        bands = [
            {"name": info.name, "description": info.title}
            for info in record.classes
            if info.name != UNCLASSIFIED
        ]
        assets |= _styled("probabilities", files.probabilities, per_cent | {"bands": bands})
    if files.polygons.is_file():
        media, title = pystac.MediaType.GEOPACKAGE, "Class map as polygons"
        assets["polygons"] = asset(files.polygons, media, "data", title)
    return assets | _true_colour(files)


def _true_colour(files: MapFolder) -> dict[str, pystac.Asset]:
    """The scene under the map and its style, where there is one."""
    media = {".vrt": VRT, ".tif": pystac.MediaType.GEOTIFF}
    for end, kind in media.items():
        path = files.true_colour.with_name(f"{files.true_colour.name}{end}")
        if path.is_file():
            title = "The scene in colour" if end == ".vrt" else "The scene in colour, small"
            style = asset(path.with_suffix(".qml"), _QML, "style", "QGIS style of the scene")
            return {"truecolour": asset(path, kind, "visual", title), "truecolour_style": style}
    return {}


def _styled(key: str, path: Path, fields: dict[str, Any]) -> dict[str, pystac.Asset]:
    """A map in per cent and its style."""
    style = asset(path.with_suffix(".qml"), _QML, "style", f"QGIS style of the {key}")
    title = f"{key.capitalize()}, per cent"
    return {key: asset(path, _COG, "data", title, fields), f"{key}_style": style}


def class_list(classes: Sequence[ClassInfo], tally: Tally | None = None) -> list[dict[str, Any]]:
    """The classes in the form of the STAC extension, nodata first; with their counts, where known."""
    nodata = Classification.create(0, description="no data", name="nodata", nodata=True)
    result = [nodata.to_dict()]
    for value, info in enumerate(classes, start=1):
        counted = {} if tally is None else _counted(tally, value)
        made = Classification.create(
            value,
            description=info.description or info.title,
            name=re.sub(r"[^0-9A-Za-z_-]", "_", info.name),  # the extension's own alphabet
            title=info.title,
            color_hint=info.color[1:].upper(),
            **counted,
        )
        # the extension has no field of its own for the code of another nomenclature
        result.append(made.to_dict() | ({"lenscape:code": info.code} if info.code else {}))
    return result


def _counted(tally: Tally, value: int) -> dict[str, Any]:
    share = round(100 * float(tally.shares()[value]), 4)
    return {"percentage": share, "count": int(tally.cells[value])}
