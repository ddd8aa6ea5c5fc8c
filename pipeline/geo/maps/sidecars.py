"""What other programs read beside a class map: GeoServer, ArcGIS, and the metadata of QGIS.

- `<map>.sld`: Styled Layer Descriptor 1.0.0 (OGC 02-070), a colour map of values for GeoServer.
- `<map>.tif.vat.dbf` with `.tif.vat.cpg`: the attribute table of ArcGIS, one row a class, in dBASE,
  by GDAL, which is kept from writing today's date into it.
- `<map>.qmd`: title, credit, extent, time and lineage, which QGIS shows among a layer's properties.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyogrio
import pyogrio.raw
import shapely
from pyproj import CRS

from pipeline.errors import OutputError
from pipeline.geo.maps.class_map import MapRecord
from pipeline.geo.scenes.stac import footprint
from pipeline.geo.style.colors import rgb
from pipeline.geo.style.xml import readable, render
from pipeline.store_meta import ClassInfo

SIDECARS = {
    ".sld": ("sld", "application/vnd.ogc.sld+xml", "style", "Style for GeoServer"),
    ".qmd": ("qmd", "application/xml", "metadata", "Metadata for QGIS"),
    ".tif.vat.dbf": (
        "attribute_table", "application/x-dbf", "metadata", "Attribute table for ArcGIS",
    ),
    ".tif.vat.cpg": (
        "attribute_table_encoding", "text/plain", "metadata", "Encoding of the attribute table",
    ),
}  # fmt: skip
"""By what follows the name of a class map without its `.tif`: key, media type, role, title."""
_DBASE_BYTES = 254
"""Of the longest text that dBASE holds."""


def sidecars_of(class_map: Path) -> list[Path]:
    """The files beside a class map, in the order of `SIDECARS`."""
    return [class_map.with_name(f"{class_map.stem}{end}") for end in SIDECARS]


def write_sidecars(class_map: Path, title: str, content: MapRecord) -> None:
    """Write all of them beside a class map, a `.tif`; `title` is for people.

    Raises:
        OutputError: when they cannot be written.
    """
    style, metadata, table, _ = sidecars_of(class_map)
    style.write_text(sld(class_map.stem, title, content.classes), encoding="utf-8")
    metadata.write_text(qmd(title, content), encoding="utf-8")
    write_attribute_table(table, content)


def sld(name: str, title: str, classes: Sequence[ClassInfo]) -> str:
    """The style of a class map for GeoServer: one entry a value, nodata transparent."""
    return render("class_map.sld.j2", name=name, title=title, classes=classes)


def qmd(title: str, content: MapRecord) -> str:
    """The metadata of a map as QGIS keeps them (`.qmd`)."""
    tags = content.origin.tags()
    names = ", ".join(readable(info.title) for info in content.classes)
    abstract = (
        f"Land cover in pixels of {content.grid.pixel_m:g} m, made by lenscape "
        f"{tags['LENSCAPE_VERSION']}. Classes: {names}. {tags.get('LENSCAPE_NOTE', '')}"
    )
    first, _, last = tags["LENSCAPE_DATETIME"].partition("/")
    outline = footprint(content.grid.epsg, content.grid.bounds)
    return render(
        "map.qmd.j2",
        tags=tags,
        title=title,
        abstract=abstract,
        attribution=content.origin.attribution,
        epsg=content.grid.epsg,
        crs_name=CRS(content.grid.epsg).name,
        # QGIS would turn a west above its east round, but takes several extents
        extents=shapely.bounds(shapely.get_parts(outline)).tolist(),
        first=first,
        last=last or first,
    )


def write_attribute_table(path: Path, content: MapRecord) -> None:
    """Write the attribute table of a class map and its `.cpg`: a row a class, its count in pixels."""
    classes = content.classes
    colors = np.array([(*rgb(info.color), 255) for info in classes], dtype=np.int32)
    columns = {
        "Value": np.arange(1, len(classes) + 1, dtype=np.int32),
        "Count": content.tally.pixels[1 : len(classes) + 1],
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
