"""Vector files of labels: their features with the one attribute that is asked for.

Any format of GDAL, tables of coordinates among them, and GeoParquet, which GDAL is often built without.
"""

from __future__ import annotations

import codecs
import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import geopandas as gpd
import pyarrow.parquet as pq
import pyogrio

from pipeline.config.labels import VectorLabelConf
from pipeline.config.opening import opening
from pipeline.errors import LabelError
from pipeline.geo.labels.encodings import STATE_IT, misread
from pipeline.geo.labels.tables import OPTIONS, coordinate_columns, points_of_table
from pipeline.geo.raster.archive import layer_problem, vectors_for_gdal
from pipeline.geo.raster.area import crs_of

_PARQUET = (".parquet", ".geoparquet")


def read_frame(conf: VectorLabelConf) -> gpd.GeoDataFrame:
    """The features of a source, with the one attribute that is asked for.

    Raises:
        LabelError: when file, layer, geometries, CRS or attribute are missing, or it cannot be read.
        ConfigError: when the CRS that the conf states does not exist.
    """
    if not Path(conf.path).exists():
        raise LabelError(f"{conf.path} does not exist; correct the path of the labels.")
    read = _read_parquet if Path(conf.path).suffix.lower() in _PARQUET else _read_gdal
    with (
        opening(
            lambda why: LabelError(
                f"{conf.path} cannot be read as vectors ({why}); give a GeoPackage, Shapefile, "
                "GeoJSON, FlatGeobuf, GeoParquet or CSV file."
            )
        ),
        # what is odd about a geometry is found and counted by those who use it
        warnings.catch_warnings(action="ignore"),
    ):
        try:
            frame = read(conf)
        except UnicodeDecodeError as error:
            if Path(conf.path).read_bytes()[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
                raise LabelError(f"{conf.path} is in UTF-16; save it in UTF-8.") from error
            raise LabelError(
                f"{conf.path} holds texts that are not in {error.encoding}; {STATE_IT}."
            ) from error
    return _with_crs(frame, conf)


def _with_crs(frame: gpd.GeoDataFrame, conf: VectorLabelConf) -> gpd.GeoDataFrame:
    """The features in the CRS of the file, or in that of the conf where the file has none."""
    if conf.crs is None:
        if frame.crs is None:
            raise LabelError(
                f"{conf.path} has no CRS; assign the one that its coordinates are in, or state it as "
                "`crs` with the labels."
            )
        return frame
    stated = crs_of(conf.crs, f"the `crs` of {conf.path}")
    if frame.crs is None:
        return frame.set_crs(stated)
    if frame.crs.to_epsg() != stated.to_epsg():
        raise LabelError(
            f"{conf.path} is in {frame.crs.name}, but the conf says `crs: {conf.crs}`; leave it out, "
            "or correct the CRS of the file."
        )
    return frame


def _read_gdal(conf: VectorLabelConf) -> gpd.GeoDataFrame:
    # GDAL knows a CSV file by its ending
    is_text = Path(conf.path).suffix.lower() == ".txt"
    path = f"CSV:{conf.path}" if is_text else vectors_for_gdal(conf.path)
    layer, is_table = _layer(path, conf)
    options: dict[str, Any] = OPTIONS | {"encoding": conf.encoding or "UTF-8"} if is_table else {}
    if conf.encoding is not None:
        options["encoding"] = conf.encoding
    fields = pyogrio.read_info(path, layer=layer, **options)["fields"]
    _require_attribute(fields, conf)
    if not is_table:
        return pyogrio.read_dataframe(path, layer=layer, columns=[conf.attribute], **options)
    x, y = coordinate_columns(fields, conf)
    columns = list(dict.fromkeys([conf.attribute, x, y]))
    table = pyogrio.read_dataframe(path, layer=layer, columns=columns, read_geometry=False, **options)
    return points_of_table(table, x, y, conf)


def _layer(path: str, conf: VectorLabelConf) -> tuple[str, bool]:
    """The layer that is named, or the only one, and whether it is a table of coordinates.

    Tables are looked at where columns of coordinates are named, or no layer has geometries.
    """
    found = [(str(name), kind is None) for name, kind in pyogrio.list_layers(path)]
    tables = conf.x is not None or all(is_table for _, is_table in found)
    layers = [name for name, is_table in found if tables or not is_table]
    if not layers:
        raise LabelError(_without_geometries(conf))
    if problem := layer_problem(conf.layer, layers, "" if tables else " with geometries"):
        raise LabelError(f"{conf.path} has {problem}.")
    return conf.layer or layers[0], tables


def _read_parquet(conf: VectorLabelConf) -> gpd.GeoDataFrame:
    for key in ("layer", "x", "y", "encoding"):
        if getattr(conf, key) is not None:
            raise LabelError(f"{conf.path} is GeoParquet, where `{key}` means nothing; take it out.")
    schema = pq.read_schema(conf.path)
    described = json.loads((schema.metadata or {}).get(b"geo", b"{}"))
    if not described:
        raise LabelError(_without_geometries(conf))
    fields = [name for name in schema.names if name not in described["columns"]]
    _require_attribute(fields, conf)
    return gpd.read_parquet(conf.path, columns=[conf.attribute, described["primary_column"]])


def _without_geometries(conf: VectorLabelConf) -> str:
    return (
        f"{conf.path} has no geometries; give a layer of polygons or points, or a CSV file of "
        "coordinates."
    )


def _require_attribute(fields: Sequence[Any], conf: VectorLabelConf) -> None:
    if conf.attribute in fields:
        return
    names = ", ".join(map(str, fields)) or "none"
    if wrong := misread(map(str, fields), {conf.attribute}):
        raise LabelError(f"{conf.path} has no attribute {conf.attribute!r}: {wrong}.")
    raise LabelError(f"{conf.path} has no attribute {conf.attribute!r}; it has {names}.")
