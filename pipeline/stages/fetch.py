"""Stage fetch: the scenes that the conf names become checked STAC Items, to train on and to map."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from pipeline.config.compute import ComputeConf, load_compute
from pipeline.config.fetch import FetchConf, SourceConf
from pipeline.config.reading import load
from pipeline.config.sources import Masking, StacConf
from pipeline.errors import ConfigError, SceneError
from pipeline.files import publish, remove_leftovers, work_folder
from pipeline.geo.raster.area_of_interest import require_watched
from pipeline.geo.scenes.catalog import add_scene, list_scenes
from pipeline.geo.scenes.checked import checked_scene
from pipeline.geo.scenes.kept import Checked, Record, keep_only
from pipeline.geo.scenes.scene_files import SceneFiles
from pipeline.geo.scenes.stac import CATALOG
from pipeline.geo.sources.download import Downloads
from pipeline.geo.sources.eurosat import write_images
from pipeline.geo.sources.find import find_scenes, named_files, source_files
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
        ids = [[name for key in keys for name in found[key].ids] for keys in (trained, mapped)]
        for of_catalog in ids:
            _require_own_ids(of_catalog, conf)
        catalogs = {train_partial: set(trained), map_partial: set(mapped)}
        _write_scenes(found, catalogs, (downloads, work, kept), machine)
        if stated.images is None:
            list_scenes(train_partial, ids[0], "train")
        else:
            train_partial.mkdir(parents=True, exist_ok=True)
            print(write_images(stated.images, train_partial, train, fetched), flush=True)
        list_scenes(map_partial, ids[1], "map")
        keep_only(kept, [entry.record for entry in found.values() if entry.record is not None])
    if summary := fetched.summary():
        print(summary)
    print(f"scenes to map: {', '.join(ids[1]) or 'none'}")


@dataclass(frozen=True)
class _Scene:
    """A scene that is yet to be checked."""

    files: SceneFiles
    masking: Masking
    folder: Path
    """Where its masks are made."""


@dataclass(frozen=True)
class _Entry:
    """An entry of the conf."""

    purpose: str
    """`train`, also of an entry that is to be mapped as well, or `map`."""
    ids: list[str]
    """Names of its scenes."""
    due: list[_Scene]
    """Its scenes; none where all are kept."""
    record: Record | None
    """Where its scenes are kept; None where they cannot be."""


def _key(source: SourceConf) -> str:
    """The same for entries of the conf that say the same."""
    return f"{type(source).__name__} {source.model_dump_json()}"


def _found(source: SourceConf, conf: FetchConf, downloads: Downloads, work: Path, kept: Path) -> _Entry:
    masking, area = conf.masking(source), conf.area_of(source)
    files, record = source_files(source, area), None
    if files is not None:
        stated = [_key(source), repr(masking), repr(area)]
        record = Record.of(kept, stated, files)
        if record is not None and (ids := record.ids()) is not None:
            return _Entry(work.name, ids, [], record)
    scenes = find_scenes(source, downloads, area)
    due = [_Scene(files, masking, work / files.id) for files in scenes]
    return _Entry(work.name, [files.id for files in scenes], due, record)


def _write_scenes(
    found: Mapping[str, _Entry],
    catalogs: Mapping[Path, Collection[str]],
    copied: Sequence[Path],
    machine: ComputeConf,
) -> None:
    """Check the scenes that are due, and write each one into the catalogs that have its entry."""
    due = [scene for entry in found.values() for scene in entry.due]
    with closing(run_scenes(_checked, due, machine)) as results:
        for key, entry in found.items():
            for scene in _scenes(entry, results):
                _tell(scene, entry.purpose)
                for folder, keys in catalogs.items():
                    if key in keys:
                        add_scene(folder, scene.item, copied)


def _scenes(entry: _Entry, results: Iterator[Checked]) -> Iterator[Checked]:
    """The scenes of an entry, each as soon as it is there."""
    if entry.record is None:
        yield from islice(results, len(entry.due))
    elif entry.due:
        checked = list(islice(results, len(entry.due)))
        entry.record.keep(checked, entry.due[0].folder.parent)
        yield from checked
    else:
        yield from entry.record.read()


def _checked(scene: _Scene, compute: ComputeConf) -> Checked:
    """A scene with what there is to say of it."""
    files, doubts = scene.files, list[str]()
    item, facts = checked_scene(
        files, scene.masking, scene.folder, doubts.append, worker_count(compute)
    )
    facts.insert(0, f"{files.datetime:%Y-%m-%d}  {', '.join(item.assets)}  ({files.origin})")
    if files.unused:
        facts.append(
            "not used, as no GeoTIFF or JPEG 2000 file whose name ends with a band: "
            f"{', '.join(files.unused)}"
        )
    return Checked(item, facts, doubts)


def _tell(scene: Checked, purpose: str) -> None:
    for doubt in scene.doubts:
        print(f"warning: {scene.item.id}: {doubt}", file=sys.stderr)
    print(*(f"{purpose}: {scene.item.id}  {fact}" for fact in scene.facts), sep="\n", flush=True)


def _require_own_ids(ids: Sequence[str], conf: Path) -> None:
    if CATALOG in ids:
        raise ConfigError(f"{conf}: scene id {CATALOG!r} is the catalog's own file; give another id.")
    if twice := sorted(name for name, count in Counter(ids).items() if count > 1):
        raise ConfigError(f"{conf}: scene id {twice[0]!r} stands twice; give each scene its own id.")
