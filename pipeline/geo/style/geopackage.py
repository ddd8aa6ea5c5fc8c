"""GeoPackages for people: the same bytes for the same table, with a style that QGIS applies by itself.

A style lies in the table `layer_styles` of the file, as QGIS keeps it ("save style in database"), so
that one file holds all there is to see and opens coloured. GDAL lists that table after the layer:
name the layer to read it in silence (`geopandas.read_file(path, layer="blocks")`).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import pyogrio
import shapely

from pipeline.errors import OutputError
from pipeline.files import publish, remove
from pipeline.geo.raster.area import cut_at_antimeridian
from pipeline.geo.style.xml import render

GEOMETRY = "geom"
"""Name of the geometry column in a GeoPackage."""
WORLD_EPSG = 4326
"""CRS of a layer whose squares lie in several UTM zones."""

# what GDAL would otherwise take from the clock, or leave to a race of threads
_STEADY = {"OGR_CURRENT_DATE": "1970-01-01T00:00:00.000Z", "OGR_GPKG_ALLOW_THREADED_RTREE": "NO"}

# the table as QGIS makes it, but for the time of the update
_STYLES = """
CREATE TABLE layer_styles (
  id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
  f_table_catalog TEXT(256), f_table_schema TEXT(256), f_table_name TEXT(256),
  f_geometry_column TEXT(256), styleName TEXT(30), styleQML TEXT, styleSLD TEXT,
  useAsDefault BOOLEAN, description TEXT, owner TEXT(30), ui TEXT(30),
  update_time DATETIME DEFAULT CURRENT_TIMESTAMP
)"""


def write_layer(path: Path, layer: str, frame: gpd.GeoDataFrame, qml: str) -> None:
    """Write a table as the one layer of a GeoPackage that opens in QGIS with the given style.

    The same table gives the same bytes: no clock, no path, no journal; whole or not at all. It is
    read-only, because the mere start of an edit in QGIS, even if given up, changes bytes.

    Raises:
        OutputError: when the disk is full or the place cannot be written.
    """
    with publish(path) as partial:
        draft = partial.with_name(f"{partial.name}.gpkg")  # GDAL wants this extension
        try:
            remove(draft)
            with _steady():
                pyogrio.write_dataframe(
                    frame,
                    draft,
                    layer=layer,
                    driver="GPKG",
                    dataset_options={"VERSION": "1.2"},  # the newest that QGIS 3.22 reads in silence
                    layer_options={"GEOMETRY_NAME": GEOMETRY},
                )
            _add_style(draft, layer, qml)
            _require_whole(draft, layer, len(frame))
            draft.chmod(0o444)
            draft.replace(partial)
        except (pyogrio.errors.DataSourceError, RuntimeError, sqlite3.Error) as error:
            raise OutputError(f"{path} cannot be written ({error}); is the disk full?") from error
        finally:
            remove(draft)


def squares(
    x: npt.NDArray[Any], y: npt.NDArray[Any], epsg: npt.NDArray[Any], side_m: float
) -> gpd.GeoSeries:
    """The squares of `side_m` around centres (x, y), in m of the CRS that `epsg` names for each.

    The series is in that CRS where there is one, in WGS 84 (longitude, latitude) where there are
    several, cut at the antimeridian.
    """
    half = side_m / 2
    boxes = shapely.box(x - half, y - half, x + half, y + half)
    codes = np.unique(epsg)
    if len(codes) == 1:
        return gpd.GeoSeries(boxes, crs=int(codes[0]))
    for code in codes:
        here = epsg == code
        boxes[here] = gpd.GeoSeries(boxes[here], crs=int(code)).to_crs(WORLD_EPSG).to_numpy()
    return gpd.GeoSeries(cut_at_antimeridian(boxes), crs=WORLD_EPSG)


def categorized_qml(
    column: str,
    categories: Sequence[tuple[str | int, str, str]],
    opacity: float = 0.6,
    text: str | None = None,
) -> str:
    """The style of a polygon layer coloured by a column: (value, label, `#rrggbb`) in legend order.

    `opacity` is that of the fill, from 0 to 1; outlines are opaque. `text` is what each polygon is
    labelled with, an expression of QGIS.
    """
    template = "vector_style.qml.j2" if text is None else "labelled_style.qml.j2"
    alpha = round(255 * opacity)
    return render(template, column=column, categories=categories, alpha=alpha, text=text)


@contextmanager
def _steady() -> Iterator[None]:
    before = {name: pyogrio.get_gdal_config_option(name) for name in _STEADY}
    pyogrio.set_gdal_config_options(_STEADY)
    try:
        yield
    finally:
        pyogrio.set_gdal_config_options(before)


def _add_style(path: Path, layer: str, qml: str) -> None:
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(_STYLES)
        database.execute(
            "INSERT INTO layer_styles (f_table_catalog, f_table_schema, f_table_name,"
            " f_geometry_column, styleName, styleQML, styleSLD, useAsDefault, description, owner,"
            " ui, update_time) VALUES ('', '', ?, ?, ?, ?, '', 1, '', '', '', ?)",
            (layer, GEOMETRY, layer, qml, _STEADY["OGR_CURRENT_DATE"]),
        )
        database.execute(
            "INSERT INTO gpkg_contents (table_name, data_type, identifier, description, last_change,"
            " srs_id) VALUES ('layer_styles', 'attributes', 'layer_styles', '', ?, 0)",
            (_STEADY["OGR_CURRENT_DATE"],),
        )


def _require_whole(path: Path, layer: str, count: int) -> None:
    """Make sure that features and index are all there: GDAL passes over a disk that fills up late."""
    with closing(sqlite3.connect(path)) as database:
        for table in (layer, f"rtree_{layer}_{GEOMETRY}_rowid"):
            (written,) = database.execute(f'SELECT count(*) FROM "{table}"').fetchone()
            if written != count:
                raise sqlite3.OperationalError(f"{written} of {count} rows of {table} were written")
