"""Tables of coordinates, such as CSV files, as points."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import pandas as pd
import shapely

from pipeline.config.labels import VectorLabelConf
from pipeline.errors import LabelError

OPTIONS = {"EMPTY_STRING_AS_NULL": "YES"}
"""Of GDAL's driver of CSV, which by itself takes all values to be texts."""
_LONGITUDE = ("longitude", "lon", "long", "lng", "decimallongitude")
_LATITUDE = ("latitude", "lat", "decimallatitude")
_WHOLE = r"-?(0|[1-9]\d{0,14})(\.0+)?"
_DEGREES = "EPSG:4326"
_NONE = ("", "na", "n/a", "nan", "null", "none")
"""What programs write where there is no number, in small letters."""


def coordinate_columns(fields: Sequence[Any], conf: VectorLabelConf) -> tuple[str, str]:
    """The columns of x and y: those of the conf, or those of longitude and latitude.

    Raises:
        LabelError: when the table has no such columns.
    """
    names = ", ".join(map(str, fields)) or "none"
    if conf.x is not None and conf.y is not None:
        for key, name in (("x", conf.x), ("y", conf.y)):
            if name not in fields:
                raise LabelError(
                    f"{conf.path} has no column {name!r}, which is the `{key}` of the conf; it has "
                    f"{names}."
                )
        return conf.x, conf.y
    found = [
        [str(field) for field in fields if _plain(field) in known] for known in (_LONGITUDE, _LATITUDE)
    ]
    if [len(each) for each in found] != [1, 1]:
        raise LabelError(
            f"{conf.path} has no geometries, nor one column longitude and one latitude; name the "
            f"columns of coordinates as `x` and `y` and their `crs`, or give a layer of polygons or "
            f"points; it has {names}."
        )
    return found[0][0], found[1][0]


def points_of_table(table: pd.DataFrame, x: str, y: str, conf: VectorLabelConf) -> gpd.GeoDataFrame:
    """The rows of a table as points, without a geometry where a coordinate is missing.

    Raises:
        LabelError: when a coordinate is no number, a degree is impossible, or the CRS is unknown.
    """
    is_degrees = _plain(x) in _LONGITUDE and _plain(y) in _LATITUDE
    crs = conf.crs or (_DEGREES if is_degrees else None)
    if crs is None:
        raise LabelError(
            f"{conf.path} does not say in which CRS its columns {x!r} and {y!r} are; state it as `crs` "
            "(EPSG:32633 is UTM zone 33 north)."
        )
    limits = (180.0, 90.0) if crs == _DEGREES else (np.inf, np.inf)
    east, north = (
        _numbers(table, name, conf, limit) for name, limit in zip((x, y), limits, strict=True)
    )
    points = shapely.points(east, north)
    points[np.isnan(east) | np.isnan(north)] = None
    values = {conf.attribute: _whole_numbers(table[conf.attribute])}
    return gpd.GeoDataFrame(values, geometry=points, crs=None if conf.crs else crs)


def _whole_numbers(values: pd.Series) -> pd.Series:
    """Values of a class: numbers where all texts are whole numbers, as in the other formats."""
    texts = values.dropna().astype("string")
    if not len(texts) or not texts.str.fullmatch(_WHOLE).all():
        return values
    return pd.to_numeric(values.astype("string")).astype("Float64").astype("Int64")


def _plain(field: Any) -> str:
    return str(field).strip().lower()


def _numbers(
    table: pd.DataFrame, name: str, conf: VectorLabelConf, limit: float
) -> npt.NDArray[np.float64]:
    """A column as numbers, NaN where it holds none; a decimal comma is one."""
    column = table[name]
    text = column.astype("string").str.strip().str.replace(",", ".", regex=False)
    numbers: npt.NDArray[np.float64] = pd.to_numeric(text, errors="coerce").to_numpy(
        np.float64, na_value=np.nan
    )
    missing = (text.isna() | text.str.lower().isin(_NONE)).to_numpy(bool)
    wrong = (~np.isfinite(numbers) & ~missing) | (np.abs(numbers) > limit)
    if wrong.any():
        row = int(wrong.argmax())
        finite = bool(np.isfinite(numbers[row]))
        problem = f"not within {limit:g} degrees" if finite else "no number"
        raise LabelError(
            f"{conf.path}: column {name!r} holds {column.tolist()[row]!r} in row {row + 1}, which is "
            f"{problem}; correct it, or name the columns of coordinates as `x` and `y` and their `crs`."
        )
    return numbers
