"""`lenscape start`: checks a scene and labels of your own, links them, and writes the conf."""

from __future__ import annotations

import glob
import re
import shutil
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from ruamel.yaml import YAML

from pipeline.config.classes import ClassesConf
from pipeline.config.labels import VectorLabelConf
from pipeline.config.reading import load, parse
from pipeline.config.sources import SceneConf
from pipeline.config.tile import TileConf
from pipeline.errors import LabelError, RadiometryError, SceneError
from pipeline.files import publish
from pipeline.geo.labels.sources import read_features
from pipeline.geo.labels.vector_files import read_frame
from pipeline.geo.raster.grid import PixelGrid
from pipeline.geo.scenes.catalog import scene_item
from pipeline.geo.scenes.item import epsg_of, grid_of
from pipeline.geo.sources.folder import band_files, scene_files
from pipeline.geo.style.colors import distinct_colors

_LARGEST = 254
_TIME = re.compile(r"(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)")
_FETCH_HEAD = """\
# Stage fetch: which scenes there are. Written by `lenscape start`.
# train: scenes with labels; map: scenes to be mapped, `train` for the same ones or a list alike.
"""
_CLASSES_HEAD = """\
# The classes, in the order of their values in the class map (from 1). Written by `lenscape start`:
# change titles and colours as you like; to merge values into one class, list them in its `values`.
# ignore: values to pass over; any other that is not listed is an error.
"""


@dataclass(frozen=True)
class Details:
    """What is stated about the files beside their paths."""

    scene: dict[str, Any]
    """Keys of the scene in `fetch.yaml`: id, datetime, scale, offset, level, platform, baseline."""
    layer: str | None = None
    """Layer of the labels, where the file has several."""
    credit: str | None = None
    """The credit of the labels; the name of their file where absent."""
    copy: bool = False
    """Whether to copy the files instead of linking them."""


def run(scene: Path, labels: Path, attribute: str, details: Details, root: Path = Path()) -> None:
    """Check a scene and its labels, put both under `data/own/` and write three conf files.

    Args:
        scene: A folder of one file per band.
        labels: A vector file with polygons or points.
        attribute: Its attribute that holds the class.
        details: What the files do not say.
        root: The folder of `conf/` and `data/`.

    Raises:
        LenscapeError: when one of them cannot be used; nothing is written then.
    """
    stated = _scene_keys(scene, details)
    grid = _checked_grid(parse(stated, SceneConf, "lenscape start"))
    source: dict[str, Any] = {"path": str(labels), "attribute": attribute}
    if details.layer is not None:
        source["layer"] = details.layer
    classes = _classes(source, stated["id"], grid, details.credit or f"Labels: {labels.name}")
    tile = _existing(root / "conf" / "tile.yaml")
    own = root / "data" / "own"
    folder = _placed(scene, band_files(scene).values(), own / "scenes" / stated["id"], details.copy)
    stated["path"] = folder.relative_to(root).as_posix()
    source["path"] = _placed_labels(labels, own / "labels", details.copy).relative_to(root).as_posix()
    tile["labels"] = [source]
    _write(root / "conf" / "fetch.yaml", {"train": [stated], "map": "train"}, _FETCH_HEAD)
    _write(root / "conf" / "tile.yaml", tile)
    _write(root / "conf" / "classes.yaml", classes, _CLASSES_HEAD)
    print("\nwritten: conf/fetch.yaml, conf/tile.yaml, conf/classes.yaml (their old state is in git)")
    print("next:    make demo (`dvc repro` on your data); the map will be in data/maps/")


def _scene_keys(scene: Path, details: Details) -> dict[str, Any]:
    """The scene as `fetch.yaml` will state it, with its path as it is now."""
    keys = {"id": _slug(scene.resolve().name, "scene"), "path": str(scene)} | details.scene
    missing = [f"--{key}" for key in ("scale", "offset") if key not in keys]
    if missing:
        raise RadiometryError(
            f"{scene}: its radiometry is unknown; state {' and '.join(missing)}, reflectance = DN * "
            "scale + offset (as ESA gives its products: --scale 0.0001 with --offset 0 before "
            "processing baseline 04.00, with --offset -0.1 from then on)."
        )
    if "datetime" not in keys:
        names = " ".join([scene.resolve().name, *(path.name for path in band_files(scene).values())])
        if (time := _TIME.search(names)) is None:
            raise SceneError(
                f"{scene}: neither the folder nor its files have the time of acquisition in their "
                "names; state it as --datetime 2017-02-16T10:21:01Z."
            )
        keys["datetime"] = "{}-{}-{}T{}:{}:{}Z".format(*time.groups())
    return keys


def _checked_grid(conf: SceneConf) -> PixelGrid:
    """The grid of the scene, which must pass the checks of `fetch`; prints what it is."""
    item = scene_item(scene_files(conf))
    grid = grid_of(item.properties, epsg_of(item))
    print(
        f"scene {conf.id}: {grid.height} x {grid.width} px of 10 m, EPSG:{grid.epsg}, "
        f"{conf.datetime:%Y-%m-%d %H:%M}"
    )
    print(f"  bands {', '.join(item.assets)}; reflectance = DN * {conf.scale:g} + {conf.offset:g}")
    return grid


def _classes(source: dict[str, Any], scene: str, grid: PixelGrid, credit: str) -> dict[str, Any]:
    """`classes.yaml`: a class for each value that overlaps the scene, the others ignored."""
    conf = parse(source, VectorLabelConf, "lenscape start")
    frame = read_frame(conf)
    values = _values(frame[conf.attribute], conf)
    all_classes = {"classes": _entries(values), "credit": credit}
    features = read_features(conf, parse(all_classes, ClassesConf, conf.path))
    shapes, rows = features.intersecting(grid)
    if not len(shapes):
        raise LabelError(
            f"the labels ({conf.path}) do not overlap the scene {scene}; give labels of its ground, or "
            "correct their CRS."
        )
    classes = features.classes[rows]
    present = np.unique(classes[classes >= 0]).tolist()
    if len(present) < 2:
        raise LabelError(
            f"{conf.path}: on the scene, {conf.attribute!r} is {values[present[0]]!r} everywhere; a "
            "classifier needs at least two classes: label more of the scene."
        )
    entries = _entries([values[i] for i in present])
    ignored = [value for i, value in enumerate(values) if i not in present]
    print(f"labels {conf.path}: {len(shapes)} of {len(frame)} features overlap the scene")
    hectares = shapely.area(shapely.intersection(shapes, shapely.box(*grid.bounds))) / 1e4
    for entry, i in zip(entries, present, strict=True):
        of_class = classes == i
        size = f"{of_class.sum():>6} features {hectares[of_class].sum():>10.1f} ha"
        print(f"  {entry['name']:<24} {size}  {entry['color']}")
    if ignored:
        print(f"  ignored, because not on the scene: {', '.join(map(str, ignored))}")
    return {"classes": entries, "ignore": ignored, "credit": credit}


def _values(column: Any, source: VectorLabelConf) -> list[str | int]:
    """The values of the attribute, sorted; whole numbers as integers."""
    unique = column.dropna().unique().tolist()
    values = [int(v) if isinstance(v, float) and v.is_integer() else v for v in unique]
    wrong = [value for value in values if not isinstance(value, str | int) or isinstance(value, bool)]
    at = f"{source.path}: attribute {source.attribute!r}"
    if wrong:
        raise LabelError(f"{at} holds {wrong[0]!r}; classes are named by text or whole numbers.")
    if not 2 <= len(values) <= _LARGEST:
        raise LabelError(
            f"{at} has {len(values)} values; a class map has 2 to {_LARGEST} classes: name another "
            "attribute."
        )
    return sorted(values, key=lambda value: (isinstance(value, str), value))


def _entries(values: list[str | int]) -> list[dict[str, Any]]:
    """The classes of some values, each with a name of its own and a colour."""
    entries: dict[str, dict[str, Any]] = {}
    for value, color in zip(values, distinct_colors(len(values)), strict=True):
        name = slug = _slug(str(value), "class")
        number = 2
        while name in entries:
            name, number = f"{slug}_{number}", number + 1
        entries[name] = {"name": name, "color": color}
        if name != value:
            entries[name] = {"name": name, "title": str(value), "color": color, "values": [value]}
    return list(entries.values())


def _slug(text: str, otherwise: str) -> str:
    """A machine name from any text; `otherwise` where no letter or digit of ASCII is left."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", plain).strip("_.-")[:100] or otherwise


def _placed_labels(labels: Path, target: Path, copy: bool) -> Path:
    """The vector file, or folder of one, below `data/own/`; a Shapefile is several files."""
    if labels.is_dir():
        return _placed(labels, labels.iterdir(), target / labels.name, copy)
    files = [labels]
    if labels.suffix.lower() == ".shp":
        files = sorted(labels.parent.glob(f"{glob.escape(labels.stem)}.*"))
    return _placed(labels.parent, files, target / labels.stem, copy) / labels.name


def _placed(folder: Path, files: Iterable[Path], target: Path, copy: bool) -> Path:
    """The folder below `data/own/` that holds the files: `folder` if it lies there, else `target`.

    The folder is a real one and its files are links: DVC does not follow a linked folder.
    """
    if folder.absolute().is_relative_to(target.parent.absolute()):
        return folder
    with publish(target) as partial:
        partial.mkdir()
        for path in files:
            if copy:
                shutil.copyfile(path, partial / path.name)
            else:
                (partial / path.name).symlink_to(path.resolve())
    return target


def _existing(path: Path) -> Any:
    """The conf file as it is, comments and all; empty where there is none."""
    if not path.exists():
        return {}
    load(path, TileConf)
    return YAML().load(path.read_text(encoding="utf-8"))


def _write(path: Path, value: Any, head: str = "") -> None:
    yaml = YAML()
    yaml.width = 100
    # `null`, where ruamel would leave an empty place
    yaml.representer.add_representer(
        type(None), lambda self, _: self.represent_scalar("tag:yaml.org,2002:null", "null")
    )
    with publish(path) as partial, partial.open("w", encoding="utf-8") as stream:
        stream.write(head)
        yaml.dump(value, stream)
