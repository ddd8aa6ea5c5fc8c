"""What other programs read beside a class map: GeoServer, ArcGIS, and the metadata of QGIS.

- `<map>.sld`: Styled Layer Descriptor 1.0.0 (OGC 02-070), a colour map of values for GeoServer.
- `<map>.tif.vat.dbf` with `.tif.vat.cpg`: the attribute table of ArcGIS, one row a class, in dBASE,
  by GDAL, which is kept from writing today's date into it.
- `<map>.qmd`: title, credit, extent, time and lineage, which QGIS shows among a layer's properties.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyogrio
import pyogrio.raw
from pyproj import CRS

from pipeline.errors import OutputError
from pipeline.geo.maps.class_map import MapRecord
from pipeline.geo.scenes.stac import footprint
from pipeline.geo.style.colors import rgb
from pipeline.geo.style.xml import readable
from pipeline.store import ClassInfo

SLD, QMD, TABLE, TABLE_CODE = ".sld", ".qmd", ".tif.vat.dbf", ".tif.vat.cpg"
"""What follows the name of a class map, without its `.tif`."""
SIDECARS = (SLD, QMD, TABLE, TABLE_CODE)

_SLD_NAMESPACE = "http://www.opengis.net/sld"
_DBASE_BYTES = 254
"""Of the longest text that dBASE holds."""


def sidecars_of(class_map: Path) -> list[Path]:
    """The files beside a class map, in the order of `SIDECARS`."""
    return [class_map.with_name(f"{class_map.stem}{end}") for end in SIDECARS]


def write_sidecars(class_map: Path, title: str, content: MapRecord) -> None:
    """Write all of them beside a class map.

    Args:
        class_map: The map, a `.tif`.
        title: Of the map, for people.
        content: Its classes, its grid, its cells and what it comes from.

    Raises:
        OutputError: when they cannot be written.
    """
    style, metadata, table, _ = sidecars_of(class_map)
    style.write_text(sld(class_map.stem, title, content.classes), encoding="utf-8")
    metadata.write_text(qmd(title, content), encoding="utf-8")
    write_attribute_table(table, content)


def sld(name: str, title: str, classes: Sequence[ClassInfo]) -> str:
    """The style of a class map for GeoServer: one entry a value, nodata transparent."""
    root = ET.Element("StyledLayerDescriptor", xmlns=_SLD_NAMESPACE, version="1.0.0")
    layer = ET.SubElement(root, "NamedLayer")
    ET.SubElement(layer, "Name").text = name
    user = ET.SubElement(layer, "UserStyle")
    ET.SubElement(user, "Title").text = readable(title)
    rule = ET.SubElement(ET.SubElement(user, "FeatureTypeStyle"), "Rule")
    symbolizer = ET.SubElement(rule, "RasterSymbolizer")
    ET.SubElement(symbolizer, "Opacity").text = "1.0"
    colours = ET.SubElement(symbolizer, "ColorMap", type="values")
    for value, info in enumerate(classes, start=1):
        ET.SubElement(
            colours, "ColorMapEntry", color=info.color.lower(), quantity=str(value),
            label=readable(info.title), opacity="1.0",
        )  # fmt: skip
    return _text(root, '<?xml version="1.0" encoding="UTF-8"?>\n')


def qmd(title: str, content: MapRecord) -> str:
    """The metadata of a map as QGIS keeps them (`.qmd`)."""
    tags = content.origin.tags()
    left, bottom, right, top = footprint(content.grid.epsg, content.grid.bounds).bounds
    root = ET.Element("qgis", version="3.22.0")
    names = ", ".join(readable(info.title) for info in content.classes)
    abstract = (
        f"Land cover in cells of {content.grid.transform.a:g} m, made by lenscape "
        f"{tags['LENSCAPE_VERSION']}. Classes: {names}. {tags.get('LENSCAPE_NOTE', '')}"
    )
    for tag, text in (
        ("identifier", f"sha256:{tags.get('LENSCAPE_WEIGHTS_SHA256', '')}/{readable(title)}"),
        ("type", "dataset"),
        ("title", readable(title)),
        ("abstract", readable(abstract).strip()),
        ("rights", readable(content.origin.attribution)),
    ):
        ET.SubElement(root, tag).text = text
    system = ET.SubElement(ET.SubElement(root, "crs"), "spatialrefsys")
    code = str(content.grid.epsg)
    for tag, text in (("srsid", code), ("srid", code), ("authid", f"EPSG:{code}")):
        ET.SubElement(system, tag).text = text
    ET.SubElement(system, "description").text = CRS(content.grid.epsg).name
    extent = ET.SubElement(root, "extent")
    edges = {"minx": left, "miny": bottom, "maxx": right, "maxy": top, "minz": 0, "maxz": 0}
    sides = {key: repr(value) for key, value in edges.items()}
    ET.SubElement(extent, "spatial", sides | {"crs": "EPSG:4326", "dimensions": "2"})
    _add_time(ET.SubElement(extent, "temporal"), tags)
    for key, value in tags.items():
        if key != "ATTRIBUTION":
            ET.SubElement(root, "history").text = readable(f"{key}: {value}")
    return _text(root, "<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n")


def _add_time(parent: ET.Element, tags: Mapping[str, str]) -> None:
    first, _, last = tags["LENSCAPE_DATETIME"].partition("/")
    if not last:
        ET.SubElement(parent, "instant").text = first
        return
    period = ET.SubElement(parent, "period")
    ET.SubElement(period, "start").text, ET.SubElement(period, "end").text = first, last


def write_attribute_table(path: Path, content: MapRecord) -> None:
    """Write the attribute table of a class map and its `.cpg`: a row a class, its count in cells."""
    classes = content.classes
    colors = np.array([(*rgb(info.color), 255) for info in classes], dtype=np.int32)
    columns = {
        "Value": np.arange(1, len(classes) + 1, dtype=np.int32),
        "Count": content.tally.cells[1 : len(classes) + 1],
        "Class_Name": _texts(info.title for info in classes),
        "Name": _texts(info.name for info in classes),
        "Code": _texts(info.code or "" for info in classes),
        **dict(zip(("Red", "Green", "Blue", "Opacity"), colors.T, strict=True)),
    }
    try:
        pyogrio.raw.write(
            path, None, list(columns.values()), list(columns), driver="ESRI Shapefile",
            encoding="UTF-8",
            layer_options={"RESIZE": "YES", "DBF_DATE_LAST_UPDATE": "1970-01-01"},
        )  # fmt: skip
    except (pyogrio.errors.DataSourceError, RuntimeError) as error:
        raise OutputError(f"{path} cannot be written ({error}); is the disk full?") from error


def _texts(column: Iterable[str]) -> npt.NDArray[np.object_]:
    """Texts that fit into dBASE, cut between characters and not within one."""
    cut = (readable(text).encode()[:_DBASE_BYTES].decode(errors="ignore") for text in column)
    return np.array(list(cut), dtype=object)


def _text(root: ET.Element, head: str) -> str:
    ET.indent(root)
    return head + ET.tostring(root, encoding="unicode") + "\n"
