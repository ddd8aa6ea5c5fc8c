"""Vector files of labels: their features with the one attribute that is asked for.

Any format of GDAL, and GeoParquet, which GDAL is often built without.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import geopandas as gpd
import pyarrow.parquet as pq
import pyogrio
from pyogrio.errors import DataLayerError, DataSourceError

from pipeline.config.labels import VectorLabelConf
from pipeline.errors import LabelError

_PARQUET = (".parquet", ".geoparquet")


def read_frame(conf: VectorLabelConf) -> gpd.GeoDataFrame:
    """The features of a source, with the one attribute that is asked for.

    Raises:
        LabelError: when file, layer, geometries, CRS or attribute are missing, or it cannot be read.
    """
    if not Path(conf.path).exists():
        raise LabelError(f"{conf.path} does not exist; correct the path of the labels.")
    read = _read_parquet if Path(conf.path).suffix.lower() in _PARQUET else _read_gdal
    try:
        # what is odd about a geometry is found and counted by those who use it
        with warnings.catch_warnings(action="ignore"):
            frame = read(conf)
    except (DataSourceError, DataLayerError, ValueError, OSError) as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise LabelError(
            f"{conf.path} cannot be read as vectors ({reason}); give a GeoPackage, Shapefile, GeoJSON, "
            "FlatGeobuf or GeoParquet."
        ) from error
    if frame.crs is None:
        raise LabelError(f"{conf.path} has no CRS; assign the one that its coordinates are in.")
    return frame


def _read_gdal(conf: VectorLabelConf) -> gpd.GeoDataFrame:
    layer = _layer(conf)
    info = pyogrio.read_info(conf.path, layer=layer)
    _require_attribute(info["fields"], conf)
    return pyogrio.read_dataframe(conf.path, layer=layer, columns=[conf.attribute])


def _layer(conf: VectorLabelConf) -> str:
    """The layer that is named, or the only one with geometries."""
    layers = [str(name) for name, kind in pyogrio.list_layers(conf.path) if kind is not None]
    if conf.layer is None and len(layers) == 1:
        return layers[0]
    if not layers:
        raise LabelError(_without_geometries(conf))
    if conf.layer in layers:
        return conf.layer
    problem = "several layers" if conf.layer is None else f"no layer {conf.layer!r} with geometries"
    raise LabelError(f"{conf.path} has {problem}; name one of {', '.join(layers)} as `layer`.")


def _read_parquet(conf: VectorLabelConf) -> gpd.GeoDataFrame:
    if conf.layer is not None:
        raise LabelError(f"{conf.path} is GeoParquet, which has no layers; take `layer` out.")
    schema = pq.read_schema(conf.path)
    described = json.loads((schema.metadata or {}).get(b"geo", b"{}"))
    if not described:
        raise LabelError(_without_geometries(conf))
    fields = [name for name in schema.names if name not in described["columns"]]
    _require_attribute(fields, conf)
    return gpd.read_parquet(conf.path, columns=[conf.attribute, described["primary_column"]])


def _without_geometries(conf: VectorLabelConf) -> str:
    return (
        f"{conf.path} has no geometries; give a layer of polygons or points (QGIS makes one of a table "
        "of coordinates: Add Delimited Text Layer, then Export)."
    )


def _require_attribute(fields: Sequence[Any], conf: VectorLabelConf) -> None:
    if conf.attribute not in fields:
        names = ", ".join(map(str, fields)) or "none"
        raise LabelError(f"{conf.path} has no attribute {conf.attribute!r}; it has {names}.")
