"""The XML of a QGIS project (`.qgs`): groups, layers with their styles, CRS, what is seen at first."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pyproj import CRS, Transformer

from pipeline.errors import SceneError
from pipeline.files import relative_href
from pipeline.geo.style.xml import readable

WORLD = "EPSG:3857"
"""CRS of a project whose maps lie in several."""

type Bounds = tuple[float, float, float, float]

_DOCTYPE = "<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n"
_VERSION = "3.22.0"
# without the first, QGIS passes over the CRS of the project
_PROPERTIES = (
    ("SpatialRefSys", "ProjectionsEnabled", "int", "1"),
    ("Paths", "Absolute", "bool", "false"),
)
VECTORS = (".gpkg",)


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
        return self.path.suffix in VECTORS


@dataclass(frozen=True)
class Group:
    """The layers of a map, from the top."""

    title: str
    layers: Sequence[ProjectLayer]
    shown: bool = True


def project_xml(on_top: Sequence[ProjectLayer], groups: Sequence[Group], folder: Path) -> str:
    """A project that will lie in a folder: layers on top of all, then the groups.

    Raises:
        SceneError: when a style is no XML.
    """
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
    ET.indent(root)
    return _DOCTYPE + ET.tostring(root, encoding="unicode") + "\n"


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
    metadata = layer.path.with_suffix(".qmd")
    try:
        element.extend(ET.fromstring(layer.style))
        if metadata.is_file():
            ET.SubElement(element, "resourceMetadata").extend(ET.parse(metadata).getroot())
    except ET.ParseError as error:
        raise SceneError(
            f"the style or the metadata of {layer.path} are no XML ({error}); write them again."
        ) from error
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
