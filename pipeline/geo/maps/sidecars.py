"""What other programs read beside a class map: GeoServer, ArcGIS, and the metadata of QGIS.

- `<map>.sld`: Styled Layer Descriptor 1.0.0 (OGC 02-070), a colour map of values for GeoServer.
- `<map>.tif.vat.dbf` with `.tif.vat.cpg`: the attribute table of ArcGIS, one row a class, as dBASE III.
- `<map>.qmd`: title, credit, extent, time and lineage, which QGIS shows among a layer's properties.
"""

from __future__ import annotations

import struct
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pyproj import CRS

from pipeline.geo.maps.class_map import MapRecord
from pipeline.geo.scenes.stac import footprint
from pipeline.geo.style.qml import readable, rgb
from pipeline.store import ClassInfo

SLD, QMD, TABLE, TABLE_CODE = ".sld", ".qmd", ".tif.vat.dbf", ".tif.vat.cpg"
"""What follows the name of a class map, without its `.tif`."""
SIDECARS = (SLD, QMD, TABLE, TABLE_CODE)

_SLD_NAMESPACE = "http://www.opengis.net/sld"
_CHARS = 254
"""Bytes of the longest text that dBASE III holds."""
_EPOCH = (70, 1, 1)  # a dBASE file states a day; ours has none


@dataclass(frozen=True)
class _Field:
    """A column of a dBASE table: text (`C`) or whole numbers (`N`)."""

    name: str
    kind: str
    width: int


_FIELDS = (
    _Field("Value", "N", 5), _Field("Count", "N", 12), _Field("Class_Name", "C", _CHARS),
    _Field("Name", "C", _CHARS), _Field("Code", "C", _CHARS), _Field("Red", "N", 3),
    _Field("Green", "N", 3), _Field("Blue", "N", 3), _Field("Opacity", "N", 3),
)  # fmt: skip


def sidecars_of(class_map: Path) -> list[Path]:
    """The files beside a class map, in the order of `SIDECARS`."""
    return [class_map.with_name(f"{class_map.stem}{end}") for end in SIDECARS]


def write_sidecars(class_map: Path, title: str, content: MapRecord) -> None:
    """Write all of them beside a class map.

    Args:
        class_map: The map, a `.tif`.
        title: Of the map, for people.
        content: Its classes, its grid, its cells and what it comes from.
    """
    style, metadata, table, code = sidecars_of(class_map)
    style.write_text(sld(class_map.stem, title, content.classes), encoding="utf-8")
    metadata.write_text(qmd(title, content), encoding="utf-8")
    table.write_bytes(attribute_table(content))
    code.write_text("UTF-8\n", encoding="ascii")


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


def attribute_table(content: MapRecord) -> bytes:
    """The attribute table of a class map, dBASE III: a row a class, its count in cells."""
    rows: list[tuple[str | int, ...]] = [
        (
            value, int(content.tally.cells[value]), readable(info.title), readable(info.name),
            readable(info.code or ""), *rgb(info.color), 255,
        )
        for value, info in enumerate(content.classes, start=1)
    ]  # fmt: skip
    length = 1 + sum(field.width for field in _FIELDS)
    start = 32 + 32 * len(_FIELDS) + 1
    parts = [struct.pack("<B3BIHH20x", 3, *_EPOCH, len(rows), start, length)]
    parts += [
        struct.pack("<11sc4xBB14x", field.name.encode(), field.kind.encode(), field.width, 0)
        for field in _FIELDS
    ]
    parts.append(b"\r")
    for row in rows:
        parts.append(b" ")
        parts += [_entry(field, value) for field, value in zip(_FIELDS, row, strict=True)]
    return b"".join([*parts, b"\x1a"])


def _entry(field: _Field, value: str | int) -> bytes:
    if field.kind == "N":
        return str(value).rjust(field.width).encode()
    # cut between characters, not within one
    text = str(value).encode()[: field.width].decode(errors="ignore").encode()
    return text.ljust(field.width)


def _text(root: ET.Element, head: str) -> str:
    ET.indent(root)
    return head + ET.tostring(root, encoding="unicode") + "\n"
