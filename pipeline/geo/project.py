"""A QGIS project of the maps of a catalog: a group a map, its scene in true colour underneath.

Written by hand and without QGIS: no clock, no user, paths relative to the project, and layers with ids
that follow from their names, so that the same maps give the same bytes. Each layer has the style that
lies beside its file or in its GeoPackage: what a map looks like is said once.
"""

from __future__ import annotations

import json
import re
import sqlite3
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyproj import CRS, Transformer

from pipeline.errors import SceneError
from pipeline.files import publish, relative_href
from pipeline.geo.mapcatalog import catalogued
from pipeline.geo.style import readable

PROJECT = "lenscape.qgs"
WORLD = "EPSG:3857"
"""CRS of a project whose maps lie in several."""

type Bounds = tuple[float, float, float, float]

_ID = "lenscape_map_layer_"  # QGIS gives an id of its own to a layer whose id has fewer than 18 signs
_DOCTYPE = "<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n"
_VERSION = "3.22.0"
# without the first, QGIS passes over the CRS of the project
_PROPERTIES = (
    ("SpatialRefSys", "ProjectionsEnabled", "int", "1"),
    ("Paths", "Absolute", "bool", "false"),
)
_RASTERS, _VECTORS = (".tif", ".vrt"), (".gpkg",)


@dataclass(frozen=True)
class Known:
    """A layer that may lie in the folder of a map, as `<map>_<what>` with an ending."""

    what: str
    title: str
    shown: bool = False
    """Whether it is ticked when the project opens."""


# from the top; a new raster needs a line here and a `.qml` beside it
KNOWN = (
    Known("polygons", "Class map as polygons"),
    Known("dissimilarity", "Dissimilarity to the training data"),
    Known("confidence", "Confidence, per cent"),
    Known("probabilities", "Probabilities, per cent"),
    Known("classmap", "Class map", shown=True),
    Known("truecolour", "True colour", shown=True),
)


@dataclass(frozen=True)
class ProjectLayer:
    """A layer of a project."""

    id: str
    title: str
    path: Path
    """Where it lies, or will lie, when the project is opened."""
    style: str
    """QML."""
    crs: str
    bounds: Bounds
    """Left, bottom, right, top in its CRS."""
    shown: bool

    @property
    def is_vector(self) -> bool:
        """Whether it is a layer of a GeoPackage."""
        return self.path.suffix in _VECTORS


@dataclass(frozen=True)
class Group:
    """The layers of a map, from the top."""

    title: str
    layers: Sequence[ProjectLayer]
    shown: bool = True


def write_project(path: Path, maps: Path, errors: Path | None = None) -> int:
    """Write a QGIS project of the maps that the catalog of a folder lists; of the error map on top.

    Returns:
        How many groups of maps it has.

    Raises:
        SceneError: when the folder holds no map, or a file of it is missing or broken.
        OutputError: when the place cannot be written.
    """
    names = catalogued(maps)
    if not names:
        raise SceneError(f"{maps} holds no map that its catalog lists; run `predict` first.")
    groups = [_group(maps / name, name) for name in names]
    on_top = [] if errors is None else [_error_layer(errors)]
    root = _project(on_top, groups, path.parent)
    ET.indent(root)
    with publish(path) as partial:
        partial.write_text(_DOCTYPE + ET.tostring(root, encoding="unicode") + "\n", encoding="utf-8")
    return len(groups)


def _group(folder: Path, name: str) -> Group:
    item = _item(folder / f"{name}.json")
    crs, bounds = str(item["properties"]["proj:code"]), item["properties"]["proj:bbox"]
    layers = []
    for known in KNOWN:
        stem = folder / f"{name}_{known.what}"
        for path in (stem.with_name(stem.name + end) for end in (*_RASTERS, *_VECTORS)):
            if path.is_file():
                title = item["assets"].get(known.what, {}).get("title", known.title)
                style, name_id = _style(path), f"{_ID}{stem.name}"
                layers.append(
                    ProjectLayer(name_id, title, path, style, crs, tuple(bounds), known.shown)
                )
    # the Item of a mosaic names the maps beside it
    mosaic = any(re.fullmatch(r"\.\./([^/]+)/\1\.json", link["href"]) and link["rel"] == "derived_from"
                 for link in item["links"])  # fmt: skip
    return Group(name, layers, shown=not mosaic)


def _item(path: Path) -> dict[str, Any]:
    try:
        item: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        _ = (
            item["properties"]["proj:code"],
            item["properties"]["proj:bbox"],
            item["assets"],
            item["links"],
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SceneError(f"{path} is missing or no Item of a map; run `predict` again.") from error
    return item


def _style(path: Path) -> str:
    """The style beside a raster, or the one in a GeoPackage."""
    try:
        if path.suffix in _VECTORS:
            with closing(sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True)) as database:
                (qml,) = database.execute("SELECT styleQML FROM layer_styles").fetchone()
                return str(qml)
        return path.with_suffix(".qml").read_text(encoding="utf-8")
    except (OSError, TypeError, sqlite3.Error) as error:
        raise SceneError(f"{path} has no style of QGIS with it; run the stage that made it.") from error


def _error_layer(path: Path) -> ProjectLayer:
    """The error map of `evaluate`, whose CRS and bounds its own table of contents states."""
    style = _style(path)
    with closing(sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True)) as database:
        row = database.execute(
            "SELECT min_x, min_y, max_x, max_y, organization || ':' || organization_coordsys_id"
            " FROM gpkg_contents JOIN gpkg_spatial_ref_sys USING (srs_id)"
            " WHERE data_type = 'features'"
        ).fetchone()
    if row is None or None in row:
        raise SceneError(f"{path} holds no patches; run `evaluate` again.")
    title = "Error map: test patches, right and wrong"
    return ProjectLayer(f"{_ID}errors", title, path, style, str(row[4]).upper(), row[:4], True)


def _project(on_top: Sequence[ProjectLayer], groups: Sequence[Group], folder: Path) -> ET.Element:
    layers = [*on_top, *(layer for group in groups for layer in group.layers)]
    codes = {layer.crs for group in groups for layer in group.layers}
    crs = codes.pop() if len(codes) == 1 else WORLD
    root = ET.Element("qgis", projectname="lenscape", version=_VERSION)
    ET.SubElement(root, "homePath", path="")
    ET.SubElement(root, "title").text = "lenscape"
    _srs(ET.SubElement(root, "projectCrs"), crs)
    tree = ET.SubElement(root, "layer-tree-group")
    for layer in on_top:
        _tree_layer(tree, layer, folder)
    for group in groups:
        branch = ET.SubElement(
            tree, "layer-tree-group", name=group.title, expanded="1", checked=_checked(group.shown)
        )
        for layer in group.layers:
            _tree_layer(branch, layer, folder)
    _canvas(root, crs, [layer for group in groups for layer in group.layers])
    holder = ET.SubElement(root, "projectlayers")
    for layer in layers:
        holder.append(_map_layer(layer, folder))
    order = ET.SubElement(root, "layerorder")
    for layer in layers:
        ET.SubElement(order, "layer", id=layer.id)
    properties = ET.SubElement(root, "properties")
    for section, key, kind, value in _PROPERTIES:
        ET.SubElement(ET.SubElement(properties, section), key, type=kind).text = value
    return root


def _tree_layer(parent: ET.Element, layer: ProjectLayer, folder: Path) -> None:
    ET.SubElement(
        parent, "layer-tree-layer", id=layer.id, name=readable(layer.title), expanded="1",
        checked=_checked(layer.shown), source=_source(layer, folder),
        providerKey="ogr" if layer.is_vector else "gdal",
    )  # fmt: skip


def _map_layer(layer: ProjectLayer, folder: Path) -> ET.Element:
    element = ET.Element("maplayer", type="vector" if layer.is_vector else "raster")
    if layer.is_vector:
        element.set("geometry", "Polygon")
    ET.SubElement(element, "id").text = layer.id
    ET.SubElement(element, "datasource").text = _source(layer, folder)
    ET.SubElement(element, "layername").text = readable(layer.title)
    _srs(ET.SubElement(element, "srs"), layer.crs)
    provider = ET.SubElement(element, "provider")
    provider.text = "ogr" if layer.is_vector else "gdal"
    if layer.is_vector:
        provider.set("encoding", "UTF-8")
    try:
        style = ET.fromstring(layer.style)
    except ET.ParseError as error:
        raise SceneError(f"the style of {layer.path} is no XML ({error}); write it again.") from error
    element.extend(style)
    metadata = layer.path.with_suffix(".qmd")
    if metadata.is_file():
        ET.SubElement(element, "resourceMetadata").extend(ET.parse(metadata).getroot())
    return element


def _canvas(root: ET.Element, crs: str, layers: Iterable[ProjectLayer]) -> None:
    """What of the world is seen when the project opens: all maps."""
    boxes = [
        Transformer.from_crs(layer.crs, crs, always_xy=True).transform_bounds(*layer.bounds)
        for layer in layers
    ]
    edges = [min(b[0] for b in boxes), min(b[1] for b in boxes)]
    edges += [max(b[2] for b in boxes), max(b[3] for b in boxes)]
    canvas = ET.SubElement(root, "mapcanvas", name="theMapCanvas", annotationsVisible="1")
    ET.SubElement(canvas, "units").text = "degrees" if CRS(crs).is_geographic else "meters"
    extent = ET.SubElement(canvas, "extent")
    for tag, edge in zip(("xmin", "ymin", "xmax", "ymax"), edges, strict=True):
        ET.SubElement(extent, tag).text = repr(round(edge, 6))
    ET.SubElement(canvas, "rotation").text = "0"
    _srs(ET.SubElement(canvas, "destinationsrs"), crs)


def _srs(parent: ET.Element, crs: str) -> None:
    """A CRS by its code, which QGIS looks up in its own table where there is a `srsid`, whichever."""
    system = ET.SubElement(parent, "spatialrefsys")
    code = crs.removeprefix("EPSG:")
    for tag, text in (("srsid", code), ("srid", code), ("authid", crs)):
        ET.SubElement(system, tag).text = text


def _source(layer: ProjectLayer, folder: Path) -> str:
    href = relative_href(layer.path, folder)
    return href if href.startswith("../") else f"./{href}"


def _checked(shown: bool) -> str:
    return "Qt::Checked" if shown else "Qt::Unchecked"
