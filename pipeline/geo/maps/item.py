"""STAC Items of maps and their static catalog: what lies where, what values mean, what it came from.

No wall clock and no absolute path stand in them: the same maps give the same bytes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pystac
from pystac.extensions.classification import Classification
from shapely.geometry.base import BaseGeometry

from pipeline import __version__
from pipeline.geo.maps import class_map
from pipeline.geo.maps.areas import Tally
from pipeline.geo.maps.catalog import FINGERPRINT, MapFolder, asset, grid_properties, publish_item
from pipeline.geo.maps.class_map import MapRecord, Provenance
from pipeline.geo.maps.postprocessing import UNCLASSIFIED
from pipeline.geo.maps.sidecars import SIDECARS, sidecars_of
from pipeline.geo.scenes.stac import extensions, footprint, grid_fields, placed
from pipeline.store_meta import ClassInfo

_EXTENSIONS = extensions(
    "classification/v2.0.0", "file/v2.1.0", "processing/v1.2.0", "projection/v2.0.0", "raster/v2.0.0"
)

OUTSIDE = "lenscape:outside_area_of_applicability_percent"
"""Property: the share of the mapped pixels outside the area of applicability."""
_COG = pystac.MediaType.COG
QML = "application/xml"
_POSTPROCESSED = (
    "The figures of `evaluate` are those of the network; this map was changed after it. A sample drawn "
    "from the map itself, read back by `lenscape accuracy`, evaluates the map after post-processing."
)
VRT = "application/x-gdal-vrt"


def write_item(files: MapFolder, record: MapRecord, scene_href: str) -> None:
    """Write the Item of the map of a scene; `scene_href` is the scene's, as seen from the folder.

    Raises:
        OutputError: when a file is missing from the folder.
    """
    (scene,) = record.origin.scenes
    stated = {
        "title": f"Class map of {files.scene}",
        "platform": scene.platform,
        "s2:processing_baseline": scene.baseline,
        "lenscape:scene_level": scene.level,
        **grid_properties(record.grid),
    }
    if (share := record.outside_share) is not None:
        stated[OUTSIDE] = round(100 * share, 4)
    moment = datetime.fromisoformat(scene.datetime)
    outline = footprint(record.grid.epsg, record.grid.bounds)
    item = map_item(files.scene, outline, record.origin, stated, moment)
    item.add_link(pystac.Link("derived_from", scene_href, pystac.MediaType.GEOJSON, "The scene mapped"))
    publish_item(item, map_assets(files, record), files.item)


def map_item(
    name: str,
    outline: BaseGeometry,
    origin: Provenance,
    stated: Mapping[str, Any],
    moment: datetime | None = None,
) -> pystac.Item:
    """The Item of a map without its assets and links; properties that are empty are left out.

    The outline is in longitude and latitude. `stated` are further properties: without a `moment` of
    acquisition, the first and the last one.
    """
    properties = {
        "description": origin.attribution,
        "lenscape:note": origin.note,
        "processing:level": "L4",
        "processing:software": {"lenscape": __version__},
        "processing:lineage": f"Patches of the bands {', '.join(origin.bands)} classified by the "
        f"network with the weights sha256:{origin.hashes.get('weights', '')}.",
        "providers": [
            {"name": "European Union/ESA/Copernicus", "roles": ["producer", "licensor"]},
        ],
        "lenscape:label_credit": origin.credit,
        "lenscape:cell_m": origin.cell_m,
        "lenscape:patch_m": origin.patch_m,
        **{f"lenscape:{key}": int(value) for key, value in origin.postprocessing.items()},
        "lenscape:accuracy": _POSTPROCESSED if origin.postprocessing else "",
        **{f"lenscape:{key}_sha256": value for key, value in origin.hashes.items()},
        FINGERPRINT: origin.fingerprint,
        **stated,
    }
    properties = {key: value for key, value in properties.items() if value not in (None, "")}
    return pystac.Item(
        name, **placed(outline), datetime=moment, properties=properties, stac_extensions=_EXTENSIONS
    )


def map_assets(files: MapFolder, record: MapRecord) -> dict[str, pystac.Asset]:
    """The files of a folder of maps, by key.

    Raises:
        OutputError: when one is missing.
    """
    fields = grid_fields(record.grid)
    fields |= {"data_type": "uint8", "raster:spatial_resolution": record.grid.pixel_m}
    class_fields = {
        "bands": [{"name": "class", "description": "land cover class"}],
        "nodata": class_map.NODATA,
        "classification:classes": class_list(record.classes, record.tally),
    }
    path = files.class_map
    empty, names = (path.with_name(f"{path.name}{end}") for end in class_map.NAME_ENDS)
    assets = {
        "classmap": asset(path, _COG, "data", "Class map", fields | class_fields),
        "style": asset(path.with_suffix(".qml"), QML, "style", "QGIS style"),
        "category_names": asset(names, QML, "metadata", "GDAL category names"),
        "category_index": asset(
            empty, "application/octet-stream", "metadata", "Leads GDAL to the category names"
        ),
        "areas": asset(files.areas, "text/csv", "metadata", "Ground by class, no area estimates"),
        "preview": asset(files.preview, pystac.MediaType.PNG, "overview", "Preview"),
    }
    for file, (key, media, role, title) in zip(sidecars_of(path), SIDECARS.values(), strict=True):
        assets[key] = asset(file, media, role, title)
    classes = [info for info in record.classes if info.name != UNCLASSIFIED]
    bands = {
        files.confidence: [("confidence", class_map.CONFIDENCE.bands[0].description)],
        files.dissimilarity: [("dissimilarity", class_map.DISSIMILARITY.bands[0].description)],
        files.probabilities: [(info.name, info.title) for info in classes],
    }
    for path, described in bands.items():
        if path == files.confidence or path.is_file():
            own = [{"name": name, "description": text} for name, text in described]
            key = path.stem.removeprefix(f"{files.scene}_")
            assets |= _per_cent_assets(key, path, fields | {"bands": own})
    if files.polygons.is_file():
        media, title = pystac.MediaType.GEOPACKAGE, "Class map as polygons"
        assets["polygons"] = asset(files.polygons, media, "data", title)
    for end, media, size in ((".vrt", VRT, ""), (".tif", pystac.MediaType.GEOTIFF, ", small")):
        path = files.true_colour.with_name(f"{files.true_colour.name}{end}")
        if path.is_file():
            style = asset(path.with_suffix(".qml"), QML, "style", "QGIS style of the scene")
            scene = asset(path, media, "visual", f"The scene in colour{size}")
            assets |= {"truecolour": scene, "truecolour_style": style}
    return assets


def _per_cent_assets(key: str, path: Path, fields: dict[str, Any]) -> dict[str, pystac.Asset]:
    """A map in per cent and its style."""
    fields |= {"nodata": class_map.CONFIDENCE_NODATA, "unit": "%"}
    style = asset(path.with_suffix(".qml"), QML, "style", f"QGIS style of the {key}")
    title = f"{key.capitalize()}, per cent"
    return {key: asset(path, _COG, "data", title, fields), f"{key}_style": style}


def class_list(classes: Sequence[ClassInfo], tally: Tally | None = None) -> list[dict[str, Any]]:
    """The classes in the form of the STAC extension, nodata first; with their counts, where known."""
    nodata = Classification.create(0, description="no data", name="nodata", nodata=True)
    result = [nodata.to_dict()]
    for value, info in enumerate(classes, start=1):
        counted: dict[str, Any] = {}
        if tally is not None:
            share = round(100 * float(tally.shares()[value]), 4)
            counted = {"percentage": share, "count": int(tally.pixels[value])}
        entry = Classification.create(
            value,
            description=info.description or info.title,
            name=re.sub(r"[^0-9A-Za-z_-]", "_", info.name),  # the extension's own alphabet
            title=info.title,
            color_hint=info.color[1:].upper(),
            **counted,
        )
        # the extension has no field of its own for the code of another nomenclature
        result.append(entry.to_dict() | ({"lenscape:code": info.code} if info.code else {}))
    return result
