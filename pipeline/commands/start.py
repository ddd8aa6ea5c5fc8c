"""`lenscape start`: looks at a scene and labels of your own, links them, and writes the conf."""

from __future__ import annotations

import glob
import re
import shutil
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely
from ruamel.yaml import YAML

from pipeline.config.classes import ClassesConf
from pipeline.config.labels import VectorLabelConf
from pipeline.config.reading import load, parse
from pipeline.config.sources.folder import SceneConf
from pipeline.config.tile import TileConf
from pipeline.errors import LabelError, RadiometryError, SceneError
from pipeline.files import publish
from pipeline.geo.labels.sources import read_features
from pipeline.geo.labels.vector_files import read_frame
from pipeline.geo.raster.grid import SceneGrid
from pipeline.geo.scenes.catalog import scene_item, write_catalog
from pipeline.geo.scenes.scene import Scene, open_catalog
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
    """What the files may not say themselves."""

    scene: dict[str, Any]
    """Keys of the scene in `fetch.yaml`: id, datetime, scale, offset, level, platform, baseline."""
    layer: str | None = None
    """Layer of the labels, where the file has several."""
    credit: str | None = None
    """Whom to thank for the labels; the name of their file where absent."""
    copy: bool = False
    """Whether to copy the files instead of linking them."""


def run(scene: Path, labels: Path, attribute: str, details: Details, root: Path = Path()) -> None:
    """Check a scene and its labels, put both under `data/own/` and write three conf files.

    Args:
        scene: A folder of one file per band.
        labels: A vector file with polygons or points.
        attribute: The attribute that holds the class.
        details: What the files do not say.
        root: The folder of `conf/` and `data/`.

    Raises:
        LenscapeError: when one of them cannot be used; nothing is written then.
    """
    stated = _scene_keys(scene, details)
    opened = _opened(parse(stated, SceneConf, "lenscape start"))
    source: dict[str, Any] = {"path": str(labels), "attribute": attribute}
    if details.layer is not None:
        source["layer"] = details.layer
    classes = _classes(source, opened, details.credit or f"Labels: {labels.name}")
    tile = _present(root / "conf" / "tile.yaml")
    own = root / "data" / "own"
    folder = _placed(scene, band_files(scene).values(), own / "scenes" / stated["id"], details.copy)
    stated["path"] = folder.relative_to(root).as_posix()
    source["path"] = _placed_labels(labels, own / "labels", details.copy).relative_to(root).as_posix()
    tile["labels"] = [source]
    _write(root / "conf" / "fetch.yaml", {"train": [stated], "map": "train"}, _FETCH_HEAD)
    _write(root / "conf" / "tile.yaml", tile)
    _write(root / "conf" / "classes.yaml", classes, _CLASSES_HEAD)
    print("\nwritten: conf/fetch.yaml, conf/tile.yaml, conf/classes.yaml (git has those before)")
    print("next:    make demo (`dvc repro`, now on your data); the map will lie in data/maps/")


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
        found = _TIME.search(names)
        if found is None:
            raise SceneError(
                f"{scene}: neither the folder nor its files carry the time of acquisition in their "
                "names; state it as --datetime 2017-02-16T10:21:01Z."
            )
        year, month, day, hour, minute, second = found.groups()
        keys["datetime"] = f"{year}-{month}-{day}T{hour}:{minute}:{second}Z"
    return keys


def _opened(conf: SceneConf) -> Scene:
    """The scene, through all checks of `fetch`, and what there is to say of it."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        write_catalog(folder, [scene_item(scene_files(conf))], "start")
        scene = open_catalog(folder)[0]
    size = f"{scene.grid.height} x {scene.grid.width} px of 10 m, EPSG:{scene.grid.epsg}"
    print(f"scene {scene.id}: {size}, {conf.datetime:%Y-%m-%d %H:%M}")
    print(f"  bands {', '.join(scene.bands)}; reflectance = DN * {conf.scale:g} + {conf.offset:g}")
    return scene


def _classes(source: dict[str, Any], scene: Scene, credit: str) -> dict[str, Any]:
    """`classes.yaml`: a class for each value that touches the scene, the others ignored."""
    conf = parse(source, VectorLabelConf, "lenscape start")
    frame = read_frame(conf)
    values = _values(frame[conf.attribute], conf)
    whole = {"classes": _entries(values), "credit": credit}
    features = read_features(conf, parse(whole, ClassesConf, conf.path))
    shapes, places = features.intersecting(scene.grid)
    if not len(shapes):
        what = f"the labels ({conf.path}) do not overlap the scene {scene.id}"
        raise LabelError(f"{what}; give labels of its ground, or correct their CRS.")
    labels = features.classes[places]
    there = [i for i in range(len(values)) if (labels == i).any()]
    if len(there) < 2:
        raise LabelError(
            f"{conf.path}: on the scene, {conf.attribute!r} is {values[there[0]]!r} everywhere; a "
            "classifier needs at least two classes: label more of the scene."
        )
    entries = _entries([values[i] for i in there])
    ignored = [value for i, value in enumerate(values) if i not in there]
    print(f"labels {conf.path}: {len(shapes)} of {len(frame)} features touch the scene")
    hectares = _hectares(shapes, scene.grid)
    for entry, i in zip(entries, there, strict=True):
        mine = labels == i
        size = f"{mine.sum():>6} features {hectares[mine].sum():>10.1f} ha"
        print(f"  {entry['name']:<24} {size}  {entry['color']}")
    if ignored:
        print(f"  ignored, because not on the scene: {', '.join(map(str, ignored))}")
    return {"classes": entries, "ignore": ignored, "credit": credit}


def _hectares(shapes: npt.NDArray[np.object_], grid: SceneGrid) -> npt.NDArray[np.float64]:
    """The area of each polygon inside the scene; 0 of a point."""
    inside = shapely.intersection(shapes, shapely.box(*grid.bounds))
    return shapely.area(inside) / 1e4  # type: ignore[no-any-return]


def _values(column: Any, source: VectorLabelConf) -> list[str | int]:
    """The values of the attribute, sorted; whole numbers as integers."""
    values = [value.item() if hasattr(value, "item") else value for value in column.dropna().unique()]
    values = [int(v) if isinstance(v, float) and v.is_integer() else v for v in values]
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
    entries: list[dict[str, Any]] = []
    for value, color in zip(values, distinct_colors(len(values)), strict=True):
        name = slug = _slug(str(value), "class")
        number = 2
        while name in {entry["name"] for entry in entries}:
            name, number = f"{slug}_{number}", number + 1
        entry: dict[str, Any] = {"name": name, "color": color}
        if name != value:
            entry = {"name": name, "title": str(value), "color": color, "values": [value]}
        entries.append(entry)
    return entries


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


def _present(path: Path) -> Any:
    """The conf file as it is, comments and all; empty where there is none."""
    if not path.exists():
        return {}
    load(path, TileConf)
    return YAML().load(path.read_text(encoding="utf-8"))


def _write(path: Path, value: Any, head: str = "") -> None:
    yaml = YAML()
    yaml.width = 100
    yaml.representer.add_representer(type(None), _null)
    with publish(path) as partial, partial.open("w", encoding="utf-8") as stream:
        stream.write(head)
        yaml.dump(value, stream)


def _null(representer: Any, value: None) -> Any:
    """`null`, where ruamel would leave an empty place."""
    del value
    return representer.represent_scalar("tag:yaml.org,2002:null", "null")
