"""What the labels are: their entries of `tile.yaml`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyogrio

from pipeline.commands.start.given import WHERE, Given, listed
from pipeline.config.labels import LabelSourceConf, RasterLabelConf, VectorLabelConf
from pipeline.config.reading import parse
from pipeline.errors import ConfigError, LabelError
from pipeline.geo.labels.vector_files import read_frame

_RASTERS = {".tif", ".tiff", ".jp2", ".img"}
_COORDINATES = ("x", "y", "lon", "lat", "longitude", "latitude")


def label_entries(given: Given) -> list[dict[str, Any]]:
    """The entries of `tile.yaml`, with paths as they are now.

    Raises:
        LabelError: when there is none, or it is unknown which attribute holds the class.
    """
    if not given.labels:
        raise LabelError(
            f"{WHERE}: --labels is missing; give polygons, points or a raster of codes that say what "
            "the ground is (docs/howto/polygons.md, points.md, label-rasters.md)."
        )
    entries: list[dict[str, Any]] = []
    for path in given.labels:
        is_raster = path.suffix.lower() in _RASTERS
        record = RasterLabelConf if is_raster else VectorLabelConf
        keys = {key: v for key, v in given.label_keys.items() if key in record.model_fields}
        if is_raster and str(keys.get("layer", "")).isdigit():
            keys["layer"] = int(keys["layer"])
        if not is_raster and "attribute" not in keys:
            keys["attribute"] = _attribute(path, keys)
        entries.append({record.KEY: str(path)} | keys)
    taken = set().union(*entries)
    if unused := [key for key in given.label_keys if key not in taken]:
        raise ConfigError(
            f"{WHERE}: --{unused[0]} goes with none of {listed(given.labels)}; leave it out."
        )
    return entries


def parsed(entries: Sequence[dict[str, Any]]) -> list[LabelSourceConf]:
    """The records of entries of `tile.yaml`."""
    return [
        parse(entry, RasterLabelConf, WHERE)
        if "raster" in entry
        else parse(entry, VectorLabelConf, WHERE)
        for entry in entries
    ]


def _attribute(path: Path, keys: dict[str, Any]) -> str:
    """The only attribute of a vector file.

    Raises:
        LabelError: when it has several, which are listed.
    """
    conf = VectorLabelConf(path=str(path), attribute="", **keys)
    fields: list[str] = []
    if path.is_file() and path.suffix.lower() not in (".parquet", ".geoparquet"):
        try:
            fields = [str(name) for name in pyogrio.read_info(path, layer=conf.layer)["fields"]]
        except (RuntimeError, ValueError):  # `read_frame` says why
            fields = []
    coordinates = {*_COORDINATES, conf.x, conf.y}
    fields = [name for name in fields if not {name, name.lower()} & coordinates]
    if len(fields) == 1:
        print(f"labels {path}: the class is in {fields[0]!r}, the only attribute")
        return fields[0]
    if fields:
        raise LabelError(
            f"{path} has the attributes {listed(fields)}; state the one that holds the class: "
            "--attribute."
        )
    read_frame(conf)  # says what else is wrong
    return ""
