"""Stage fetch: the scenes that the conf names become checked STAC Items, to train on and to map."""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from pipeline.config.compute import ComputeConf, load_compute
from pipeline.config.fetch import FetchConf, SourceConf
from pipeline.config.reading import load
from pipeline.config.sources import Masking, StacConf
from pipeline.errors import ConfigError, SceneError
from pipeline.files import publish, remove_leftovers, work_folder
from pipeline.geo.raster.area_of_interest import require_watched
from pipeline.geo.scenes.catalog import add_scene, list_scenes
from pipeline.geo.scenes.kept import Checked, checked_or_kept, keep_only
from pipeline.geo.scenes.scene_files import SceneFiles
from pipeline.geo.scenes.stac import CATALOG
from pipeline.geo.sources.download import Downloads
from pipeline.geo.sources.eurosat import write_images
from pipeline.geo.sources.find import find_scenes, named_files
from pipeline.outputs import owned
from pipeline.parallel import run_scenes, worker_count
from pipeline.watched import open_edits, unwatched


def run(
    conf: Path,
    train: Path,
    to_map: Path,
    sources: Sequence[Path] = (),
    downloads: Path = Path("data/downloads"),
    compute: Path | None = None,
) -> None:
    """Write two static catalogs of the scenes, or the labelled images, that `conf` names.

    Args:
        conf: `fetch.yaml`.
        train: The folder of the catalog of scenes with labels.
        to_map: The folder of the catalog of scenes to be mapped.
        sources: The folders that scenes must lie in; anywhere where there are none.
        downloads: The folder of what was fetched from the web, also by a run that failed.
        compute: `compute.yaml`; its defaults where there is none.

    Raises:
        ConfigError: when the conf is wrong.
        SceneError: when a scene lies elsewhere, is missing, damaged or not usable.
    """
    stated, machine = load(conf, FetchConf), load_compute(compute)
    entries = [*stated.train, *stated.map_scenes]
    named = dict.fromkeys(path for source in entries for path in named_files(source))
    for path in named:
        if reason := unwatched(Path(path), sources):
            raise SceneError(f"{conf}: the path {path!r} {reason}.")
    require_watched(stated.area, sources, f"{conf}: key 'area'")
    for warning in filter(None, map(open_edits, map(Path, named))):
        print(f"warning: {warning}", file=sys.stderr)
    fetched, kept = Downloads(downloads), train.with_name(f"{train.name}.checked")
    downloads_some = stated.images is not None or any(
        isinstance(source, StacConf) for source in entries
    )
    with (
        owned(downloads, inside=True) if downloads_some else nullcontext(),
        publish(train) as train_partial,
        publish(to_map) as map_partial,
        work_folder(train) as work,
    ):
        if downloads_some:  # else they may be another process's
            for folder in (downloads, *downloads.glob("*/")):
                remove_leftovers(folder)
        # a source of both is checked and hashed once, which for a whole MGRS tile takes a while
        trained = [_key(source) for source in stated.train]
        mapped = [_key(source) for source in stated.map_scenes]
        to_map_alone = dict.fromkeys(mapped).keys() - trained
        found = {
            key: _found(
                source, stated, fetched, work / ("map" if key in to_map_alone else "train"), kept
            )
            for key, source in {_key(source): source for source in entries}.items()
        }
        ids = [[scene.files.id for key in keys for scene in found[key]] for keys in (trained, mapped)]
        for of_catalog in ids:
            _require_own_ids(of_catalog, conf)
        catalogs = {train_partial: set(trained), map_partial: set(mapped)}
        names = _write_scenes(found, catalogs, (downloads, work, kept), machine)
        if stated.images is None:
            list_scenes(train_partial, ids[0], "train")
        else:
            train_partial.mkdir(parents=True, exist_ok=True)
            print(write_images(stated.images, train_partial, train, fetched), flush=True)
        list_scenes(map_partial, ids[1], "map")
        keep_only(kept, names)
    if summary := fetched.summary():
        print(summary)
    print(f"scenes to map: {', '.join(ids[1]) or 'none'}")


@dataclass(frozen=True)
class _Found:
    """A scene that is yet to be checked."""

    files: SceneFiles
    masking: Masking
    folder: Path
    """Where its masks are made."""
    kept: Path
    """What earlier runs have found of all scenes."""


def _key(source: SourceConf) -> str:
    """The same for entries of the conf that say the same."""
    return f"{type(source).__name__} {source.model_dump_json()}"


def _write_scenes(
    found: Mapping[str, list[_Found]],
    catalogs: Mapping[Path, Collection[str]],
    copied: Sequence[Path],
    machine: ComputeConf,
) -> set[str | None]:
    """Check all scenes, each of which goes into the catalogs that have its entry as soon as it is.

    Returns:
        The names of the folders that keep what was found.
    """
    names = set()
    with closing(run_scenes(_checked, list(chain.from_iterable(found.values())), machine)) as checked:
        for key, scenes in found.items():
            for _ in scenes:
                scene = _told(*next(checked))
                names.add(scene.kept_as)
                for folder, keys in catalogs.items():
                    if key in keys:
                        add_scene(folder, scene.item, copied)
    return names


def _found(
    source: SourceConf, conf: FetchConf, downloads: Downloads, folder: Path, kept: Path
) -> list[_Found]:
    masking, scenes = conf.masking(source), find_scenes(source, downloads, conf.area_of(source))
    return [_Found(files, masking, folder / files.id, kept) for files in scenes]


def _checked(scene: _Found, compute: ComputeConf) -> tuple[Checked, list[str], list[str]]:
    """A checked scene, what there is to say of it, and what is doubtful."""
    files, lines = scene.files, list[str]()
    found = checked_or_kept(files, scene.masking, scene.folder, scene.kept, worker_count(compute))
    if files.unused:
        lines.append(
            f"{files.id}: not used, as no GeoTIFF or JPEG 2000 file whose name ends with a band: "
            f"{', '.join(files.unused)}"
        )
    name = f"{scene.folder.parent.name}: {files.id}"
    lines.append(f"{name}  {files.datetime:%Y-%m-%d}  {', '.join(found.item.assets)}  ({files.origin})")
    lines += [f"{name}  {fact}" for fact in found.facts]
    return found, lines, [f"warning: {files.id}: {doubt}" for doubt in found.doubts]


def _told(found: Checked, lines: list[str], warnings: list[str]) -> Checked:
    for line in warnings:
        print(line, file=sys.stderr)
    print(*lines, sep="\n", flush=True)
    return found


def _require_own_ids(ids: Sequence[str], conf: Path) -> None:
    if CATALOG in ids:
        raise ConfigError(f"{conf}: scene id {CATALOG!r} is the catalog's own file; give another id.")
    if twice := sorted({i for i in ids if ids.count(i) > 1}):
        raise ConfigError(f"{conf}: scene id {twice[0]!r} stands twice; give each scene its own id.")
