"""`lenscape start`: looks at scenes and labels of your own, says what they are, and writes the conf."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pipeline.commands.start.conf_files import Placing, changed, conf_as_it_is, family, write_confs
from pipeline.commands.start.given import Given
from pipeline.commands.start.images import image_plan
from pipeline.commands.start.labels import label_entries
from pipeline.commands.start.plan import Plan, scene_plan
from pipeline.commands.start.scenes import Found, look_at_scenes
from pipeline.config.fetch import FetchConf
from pipeline.config.reading import load, parse
from pipeline.config.split import SplitConf
from pipeline.config.tile import TileConf
from pipeline.geo.scenes.catalog import write_catalog
from pipeline.geo.sources.download import Downloads
from pipeline.geo.sources.eurosat import DOWNLOAD


@dataclass(frozen=True)
class _Confs:
    """The conf as it is, with comments, before anything is written."""

    tile: Any
    split: Any


def run(given: Given, root: Path = Path()) -> None:
    """Check scenes and labels, put them under `data/own/` and write the conf of fetch, tile and split.

    Args:
        given: Scenes, labels, and what is stated about them.
        root: The folder of `conf/` and `data/`.

    Raises:
        LenscapeError: when one of them cannot be used; nothing is written then, but for pixels from the
            web in `data/downloads`.
    """
    conf = root / "conf"
    now = _Confs(
        conf_as_it_is(conf / "tile.yaml", TileConf), conf_as_it_is(conf / "split.yaml", SplitConf)
    )
    tile = _with_defaults(conf / "tile.yaml", now.tile)
    split = load(conf / "split.yaml", SplitConf) if now.split else SplitConf()
    split = split.model_copy(update={"lists": None})
    downloads = Downloads(root / "data" / "downloads")
    with TemporaryDirectory() as folder:
        work = Path(folder)
        found = look_at_scenes([*given.scenes, *given.to_map], given, downloads, work / "masks")
        trained, mapped = found[: len(given.scenes)], found[len(given.scenes) :]
        if any(one.kind == "eurosat" for one in trained):
            plan = image_plan(trained, given, split, downloads, work)
        else:
            entries = label_entries(given)
            write_catalog(work / "train", [item for one in trained for item in one.items], "train")
            plan = scene_plan(entries, work / "train", given, (tile, split), root)
    _write(plan, (trained, mapped), given, now, root)


def _with_defaults(path: Path, conf: Any) -> TileConf:
    """The conf of tile, or its defaults where there is none."""
    return load(path, TileConf) if conf else TileConf(labels=[])


def _write(
    plan: Plan, found: tuple[Sequence[Found], Sequence[Found]], given: Given, now: _Confs, root: Path
) -> None:
    """Put the files where DVC watches them and write the conf; says what was written."""
    placing = Placing(root, given.copy)
    train, more = ([_placed(one, placing) for one in part] for part in found)
    also = [] if plan.images else deepcopy(train)  # the same objects would become aliases
    fetch = {"train": train, "map": [*also, *more] if more or plan.images else "train"}
    parse(fetch, FetchConf, "conf/fetch.yaml")
    labels = [_placed_labels(entry, placing) for entry in plan.labels]
    said = [f"conf/tile.yaml: {text}" for text in changed(now.tile, {"labels": labels, **plan.tile})]
    of_split = [f"conf/split.yaml: {text}" for text in changed(now.split, plan.split)]
    confs = {"fetch": fetch, "tile": now.tile, "classes": plan.classes}
    if of_split:
        confs["split"] = now.split
    kept = write_confs(root / "conf", confs)
    print("\nwritten: " + ", ".join(f"conf/{name}.yaml" for name in confs))
    for text in [*said, *of_split]:
        print(f"  {text}")
    if kept:
        print(f"  as they were before: {', '.join(f'conf/{name}' for name in kept)}")
    is_mapped = bool(more) or not plan.images
    the_map = "the map will be in data/maps/, " if is_mapped else ""
    print(f"next:    dvc repro; {the_map}the report in reports/report.html")
    if not (root / "dvc.yaml").exists():
        print("         in a clone of lenscape, as here is no dvc.yaml: run `lenscape start` there")
    if not is_mapped:
        print(
            "         there is no scene to map: name one with --map, or under `map` in conf/fetch.yaml"
        )


def _placed(found: Found, placing: Placing) -> dict[str, Any]:
    """An entry of `fetch.yaml` whose files lie where DVC watches them."""
    entry = dict(found.entry)
    for key in ("path", "stack", "safe", "eurosat"):
        if key in entry and entry[key] != DOWNLOAD:
            path = Path(entry[key])
            entry[key] = placing.placed(path, _files(found, path), "scenes", found.name)
    if isinstance(area := entry.get("area"), str):
        entry["area"] = placing.placed(Path(area), family(Path(area)), "scenes", "area")
    if isinstance(entry.get("mask"), dict):
        path = Path(entry["mask"]["path"])
        placed = placing.placed(path, [path], "scenes", f"{found.name}_mask")
        entry["mask"] = {**entry["mask"], "path": placed}
    return entry


def _files(found: Found, path: Path) -> list[Path]:
    """The files of a scene or of images that belong together."""
    if found.kind == "path":
        return sorted(file for file in path.iterdir() if file.absolute() in found.used)
    if path.is_dir():
        return family(path)
    lists = path.parent.glob("*-*.txt") if found.kind == "eurosat" else ()
    return [path, *sorted(lists)]


def _placed_labels(entry: dict[str, Any], placing: Placing) -> dict[str, Any]:
    key = "raster" if "raster" in entry else "path"
    path = Path(entry[key])
    return {
        **entry,
        key: placing.placed(path, family(path), "labels", path.name if path.is_dir() else path.stem),
    }
