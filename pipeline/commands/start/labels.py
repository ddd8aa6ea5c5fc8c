"""What the labels are: their entries of `tile.yaml`, and the values that become classes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import shapely

from pipeline.commands.start.classes import ClassTable, Value
from pipeline.commands.start.given import WHERE, Given, listed
from pipeline.config.classes import ClassesConf
from pipeline.config.labels import LabelSourceConf, RasterLabelConf, VectorLabelConf
from pipeline.config.reading import load, parse
from pipeline.errors import ConfigError, LabelError
from pipeline.geo.labels.rasters import LabelRaster, open_raster
from pipeline.geo.labels.sources import LabelSource, read_sources
from pipeline.geo.labels.vector_files import read_frame
from pipeline.geo.raster import raster_file
from pipeline.geo.raster.grid import PixelGrid

_LARGEST = 254
_RASTERS = {".tif", ".tiff", ".jp2", ".img"}
_COORDINATES = ("x", "y", "lon", "lat", "longitude", "latitude")
_PIECE_PX = 8_000_000
"""Pixels of a raster of codes that are held at a time, about."""
_ANY = ClassesConf.model_validate(
    {"credit": "", "classes": [{"name": f"c{i}", "color": "#000000", "values": [i]} for i in (1, 2)]}
)
"""Some classes, with which a raster can be opened before its codes are known."""


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
        if is_raster and "layer" in keys:
            keys["layer"] = int(keys["layer"]) if str(keys["layer"]).isdigit() else keys["layer"]
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
        LabelError: when it has several, of which it lists those whose values could be classes.
    """
    conf = VectorLabelConf(path=str(path), attribute="", **keys)
    fields: list[str] = []
    if path.is_file() and path.suffix.lower() not in (".parquet", ".geoparquet"):
        try:
            fields = [str(name) for name in pyogrio.read_info(path, layer=conf.layer)["fields"]]
        except (RuntimeError, ValueError):  # `read_frame` says why
            fields = []
    coordinates = {*_COORDINATES, keys.get("x"), keys.get("y")}
    fields = [name for name in fields if name.lower() not in coordinates and name not in coordinates]
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


def class_table(
    confs: Sequence[LabelSourceConf], grids: Sequence[PixelGrid], given: Given, examples: Path
) -> ClassTable:
    """A class for each value of the labels on some scenes; values elsewhere are ignored.

    `examples` is a folder of confs of well-known maps, such as WorldCover, whose names are taken.

    Raises:
        LabelError: when labels cannot be read, do not overlap a scene, or hold fewer than two classes.
    """
    codes: set[Value] = set()
    values: set[Value] = set()
    least = 2 if len(confs) == 1 else 1
    for conf in confs:
        if isinstance(conf, RasterLabelConf):
            codes.update(_checked(_codes(conf, grids), "near the scene, it", conf, least=0))
        else:
            column = read_frame(conf)[conf.attribute].dropna().unique().tolist()
            values.update(_checked(column, f"attribute {conf.attribute!r}", conf, least))
    values |= codes
    names = ", ".join(Path(conf.file).name for conf in confs)
    credit, titles = _known(confs, values, examples)
    table = ClassTable(
        sorted(values, key=lambda value: (isinstance(value, str), value)),
        [],
        titles,
        given.credit or credit or f"Labels: {names}",
    )
    if len(table.values) < 2:
        raise LabelError(
            f"{names}: the labels have {len(table.values)} values there; a class map has 2 to "
            f"{_LARGEST} classes: label more of the scene, or name another attribute."
        )
    return _present(table, confs, grids, codes)


def _present(
    table: ClassTable,
    confs: Sequence[LabelSourceConf],
    grids: Sequence[PixelGrid],
    codes: set[Value],
) -> ClassTable:
    """The table without values that neither a feature on some scenes nor a code there has."""
    on_scene = {number for number, value in enumerate(table.values) if value in codes}
    for source in read_sources(confs, table.conf, "conf/classes.yaml"):
        if not isinstance(source, LabelRaster):
            for grid in grids:
                _, rows = source.intersecting(grid)
                on_scene.update(source.classes[rows].tolist())
    on_scene.discard(-1)
    files = ", ".join(conf.file for conf in confs)
    if not on_scene:
        raise LabelError(
            f"the labels ({files}) do not overlap the scenes; give labels of their ground, or correct "
            "their CRS."
        )
    if len(on_scene) < 2:
        (only,) = on_scene
        raise LabelError(
            f"{files}: on the scene, the class is {table.values[only]!r} everywhere; a classifier "
            "needs at least two classes: label more of the scene."
        )
    elsewhere = [value for number, value in enumerate(table.values) if number not in on_scene]
    if elsewhere:
        print(f"  ignored, because not on the scenes: {listed(elsewhere)}")
    for value in elsewhere:
        table = table.without(value)
    return table


def _codes(conf: RasterLabelConf, grids: Iterable[PixelGrid]) -> list[float]:
    """The codes of a raster on some scenes, ascending."""
    grid_of_codes = open_raster(conf, _ANY, "conf/classes.yaml").raster
    codes: set[float] = set()
    with raster_file.opened(conf.raster) as dataset:
        without = {dataset.nodatavals[(conf.layer or 1) - 1], getattr(conf, "nodata", None)}
        for grid in grids:
            if (window := grid_of_codes.around(grid)) is None:
                continue
            for part in window.parts(max(1, _PIECE_PX // window.width), window.width):
                codes.update(np.unique(raster_file.read(dataset, part, conf.layer)).tolist())
    return sorted(code for code in codes if not math.isnan(code) and code not in without)


def _checked(found: list[Any], what: str, conf: LabelSourceConf, least: int) -> list[Value]:
    """Values that can be classes; whole numbers as integers.

    Raises:
        LabelError: when one of them cannot, or there are too few or too many.
    """
    values = [int(v) if isinstance(v, float) and v.is_integer() else v for v in found]
    wrong = [value for value in values if not isinstance(value, str | int) or isinstance(value, bool)]
    if wrong:
        raise LabelError(
            f"{conf.file}: {what} holds {wrong[0]!r}; classes are named by text or whole numbers."
        )
    if not least <= len(values) <= _LARGEST:
        raise LabelError(
            f"{conf.file}: {what} has {len(values)} values; a class map has 2 to {_LARGEST} classes: "
            "name another attribute or file."
        )
    return values


def _known(
    confs: Sequence[LabelSourceConf], values: set[Value], examples: Path
) -> tuple[str | None, dict[Value, dict[str, Any]]]:
    """The credit and the classes of a well-known map, such as WorldCover, by their codes.

    A raster is one by its name and its codes.
    """
    rasters = [conf for conf in confs if isinstance(conf, RasterLabelConf)]
    for path in sorted(examples.glob("*.yaml")) if len(rasters) == len(confs) == 1 else ():
        example = load(path, ClassesConf)
        known = {value: one for one in example.classes for value in one.label_values}
        single = all(len(one.label_values) == 1 for one in example.classes)
        if single and path.stem in Path(rasters[0].raster).stem.lower() and values <= known.keys():
            print(f"  codes as in {path}")
            raw = {value: known[value].model_dump(exclude_defaults=True) for value in values}
            return example.credit, raw
    return None, {}


def features_by_class(
    sources: Sequence[LabelSource], grids: Sequence[PixelGrid], classes: int
) -> dict[str, list[Any]]:
    """Of each class the features on some scenes, and the hectares of its polygons there.

    Empty where the labels are rasters; without hectares where they are points.
    """
    vectors = [source for source in sources if not isinstance(source, LabelRaster)]
    counts, hectares = np.zeros(classes, dtype=int), np.zeros(classes)
    for source in vectors:
        for grid in grids:
            shapes, rows = source.intersecting(grid)
            area = shapely.area(shapely.intersection(shapes, shapely.box(*grid.bounds))) / 1e4
            labels = source.classes[rows]
            counts += np.bincount(labels[labels >= 0], minlength=classes)
            hectares += np.bincount(labels[labels >= 0], area[labels >= 0], minlength=classes)
    columns: dict[str, list[Any]] = {"features": counts.tolist()} if vectors else {}
    return columns | ({"ha": hectares.tolist()} if hectares.any() else {})
