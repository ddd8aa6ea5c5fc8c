"""STAC Items of maps and their static catalog: what lies where, what values mean, what it came from.

No wall clock and no absolute path stand in them: the same maps give the same bytes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pystac
from pyproj import Transformer
from pystac.extensions.classification import Classification
from shapely.geometry import Polygon, mapping

from pipeline import __version__
from pipeline.errors import OutputError
from pipeline.files import canonical_json, relative_href, sha256_of, write_json
from pipeline.geo import classmap
from pipeline.geo.areas import Tally
from pipeline.geo.canvas import MapGrid
from pipeline.geo.classmap import Provenance
from pipeline.store import ClassInfo

EXTENSIONS = [
    "https://stac-extensions.github.io/classification/v2.0.0/schema.json",
    "https://stac-extensions.github.io/file/v2.1.0/schema.json",
    "https://stac-extensions.github.io/processing/v1.2.0/schema.json",
    "https://stac-extensions.github.io/projection/v2.0.0/schema.json",
    "https://stac-extensions.github.io/raster/v2.0.0/schema.json",
]
CATALOG = "catalog.json"

_COG = pystac.MediaType.COG
_QML = "application/xml"


@dataclass(frozen=True)
class MapFolder:
    """The files of one mapped scene: `<scene>/<scene>_classmap.tif` and what belongs to it."""

    folder: Path
    scene: str

    @property
    def class_map(self) -> Path:
        """The class map, a COG."""
        return self.folder / f"{self.scene}_classmap.tif"

    @property
    def confidence(self) -> Path:
        """The confidence, a COG."""
        return self.folder / f"{self.scene}_confidence.tif"

    @property
    def probabilities(self) -> Path:
        """The probabilities of all classes, a COG; only where the conf of `predict` asks for them."""
        return self.folder / f"{self.scene}_probabilities.tif"

    @property
    def areas(self) -> Path:
        """The table of areas."""
        return self.folder / "areas.csv"

    @property
    def preview(self) -> Path:
        """The picture."""
        return self.folder / "preview.png"

    @property
    def item(self) -> Path:
        """The STAC Item."""
        return self.folder / f"{self.scene}.json"


@dataclass(frozen=True)
class MapRecord:
    """What the Item of a map says beside its files."""

    provenance: Provenance
    grid: MapGrid
    classes: Sequence[ClassInfo]
    tally: Tally
    scene_item: Path
    """The Item of the scene that was mapped."""


def write_item(files: MapFolder, record: MapRecord, place: Path) -> None:
    """Write the Item of a folder of maps, which will lie at `place`.

    Raises:
        OutputError: when a file is missing from the folder.
    """
    origin = record.provenance
    footprint = _footprint(record.grid)
    item = pystac.Item(
        files.scene,
        mapping(footprint),
        list(footprint.bounds),
        datetime.fromisoformat(origin.datetime),
        _properties(record),
        stac_extensions=EXTENSIONS,
    )
    for key, asset in _assets(files, record).items():
        item.add_asset(key, asset)
    item.add_link(pystac.Link("root", f"../{CATALOG}", pystac.MediaType.JSON))
    item.add_link(pystac.Link("parent", f"../{CATALOG}", pystac.MediaType.JSON))
    scene = relative_href(record.scene_item, place)
    item.add_link(pystac.Link("derived_from", scene, pystac.MediaType.GEOJSON, "The scene mapped"))
    content = item.to_dict(include_self_link=False, transform_hrefs=False)
    files.item.write_text(canonical_json(content), encoding="utf-8")


def write_catalog(folder: Path, scenes: Sequence[str]) -> None:
    """Write `catalog.json`, which lists the Items `<scene>/<scene>.json` of a folder."""
    catalog = pystac.Catalog("maps", "lenscape: class maps, one Item a scene")
    catalog.add_link(pystac.Link("root", f"./{CATALOG}", pystac.MediaType.JSON))
    for scene in scenes:
        href = f"./{scene}/{scene}.json"
        catalog.add_link(pystac.Link("item", href, pystac.MediaType.GEOJSON, title=scene))
    content = catalog.to_dict(include_self_link=False, transform_hrefs=False)
    write_json(folder / CATALOG, content)


def catalogued(folder: Path) -> list[str]:
    """The scenes that the catalog of a folder lists; none where there is no such catalog."""
    try:
        links = json.loads((folder / CATALOG).read_text(encoding="utf-8"))["links"]
        hrefs = [link["href"] for link in links if link["rel"] == "item"]
    except (OSError, ValueError, KeyError, TypeError):
        return []
    # the alphabet of scene ids: nothing in a file may lead out of the folder
    matches = [re.fullmatch(r"\./([A-Za-z0-9][\w.-]*)/\1\.json", str(href)) for href in hrefs]
    return [match[1] for match in matches if match is not None]


def _properties(record: MapRecord) -> dict[str, Any]:
    origin, grid = record.provenance, record.grid
    properties: dict[str, Any] = {
        "title": f"Class map of {origin.scene}",
        "description": origin.attribution,
        "gsd": grid.transform.a,
        "proj:code": f"EPSG:{grid.epsg}",
        "proj:shape": [grid.rows, grid.cols],
        "proj:transform": list(grid.transform)[:6],
        "proj:bbox": list(grid.bounds),
        "processing:level": "L4",
        "processing:software": {"lenscape": __version__},
        "processing:lineage": f"Patches of the bands {', '.join(origin.bands)} classified by the "
        f"network with the weights sha256:{origin.hashes.get('weights', '')}.",
        "providers": [
            {"name": "European Union/ESA/Copernicus", "roles": ["producer", "licensor"]},
        ],
    }
    optional = {
        "platform": origin.platform,
        "s2:processing_baseline": origin.baseline,
        "lenscape:scene_level": origin.level,
        "lenscape:label_credit": origin.credit,
        "lenscape:note": origin.note,
        **{f"lenscape:{what}_sha256": value for what, value in origin.hashes.items()},
    }
    return properties | {key: value for key, value in optional.items() if value}


def _assets(files: MapFolder, record: MapRecord) -> dict[str, pystac.Asset]:
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
        "nodata": classmap.NODATA,
        "classification:classes": _classes(record),
    }
    per_cent = placed | {"nodata": classmap.CONFIDENCE_NODATA, "unit": "%"}
    confidence = [{"name": "confidence", "description": classmap.CONFIDENCE.bands[0].description}]
    names = [files.class_map.with_name(f"{files.class_map.name}{end}") for end in classmap.NAME_ENDS]
    assets = {
        "classmap": _asset(files.class_map, _COG, "data", "Class map", placed | class_fields),
        "style": _asset(files.class_map.with_suffix(".qml"), _QML, "style", "QGIS style"),
        "category_names": _asset(names[1], _QML, "metadata", "GDAL category names"),
        "category_index": _asset(
            names[0], "application/octet-stream", "metadata", "Leads GDAL to the category names"
        ),
        "areas": _asset(files.areas, "text/csv", "metadata", "Ground by class, no area estimates"),
        "preview": _asset(files.preview, pystac.MediaType.PNG, "overview", "Preview"),
    }
    assets |= _styled("confidence", files.confidence, per_cent | {"bands": confidence})
    if files.probabilities.is_file():
        bands = [{"name": info.name, "description": info.title} for info in record.classes]
        assets |= _styled("probabilities", files.probabilities, per_cent | {"bands": bands})
    return assets


def _styled(key: str, path: Path, fields: dict[str, Any]) -> dict[str, pystac.Asset]:
    """A map in per cent and its style."""
    style = _asset(path.with_suffix(".qml"), _QML, "style", f"QGIS style of the {key}")
    title = f"{key.capitalize()}, per cent"
    return {key: _asset(path, _COG, "data", title, fields), f"{key}_style": style}


def _asset(
    path: Path, media: str, role: str, title: str, fields: dict[str, Any] | None = None
) -> pystac.Asset:
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


def _classes(record: MapRecord) -> list[dict[str, Any]]:
    """The classes in the form of the STAC extension, nodata first."""
    nodata = Classification.create(0, description="no data", name="nodata", nodata=True)
    result = [nodata.to_dict()]
    for value, info in enumerate(record.classes, start=1):
        made = Classification.create(
            value,
            description=info.description or info.title,
            name=re.sub(r"[^0-9A-Za-z_-]", "_", info.name),  # the extension's own alphabet
            title=info.title,
            color_hint=info.color[1:].upper(),
            percentage=round(100 * float(record.tally.shares()[value]), 4),
            count=int(record.tally.cells[value]),
        )
        result.append(made.to_dict())
    return result


def _footprint(grid: MapGrid) -> Polygon:
    """The outline of the map in longitude and latitude, as far as its corners tell."""
    left, bottom, right, top = grid.bounds
    to_degrees = Transformer.from_crs(grid.epsg, "OGC:CRS84", always_xy=True)
    corners = [(left, bottom), (right, bottom), (right, top), (left, top)]
    points = [to_degrees.transform(x, y) for x, y in corners]
    # 1e-7 degrees is a centimetre; the last bits of a projection differ between versions of PROJ
    return Polygon([(round(longitude, 7), round(latitude, 7)) for longitude, latitude in points])
