"""Stage fetch: the scenes that the conf names become checked STAC Items, to train on and to map."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from itertools import chain
from pathlib import Path

import pystac

from pipeline.config.fetch import FetchConf, SourceConf
from pipeline.config.reading import load
from pipeline.errors import ConfigError, SceneError
from pipeline.files import publish, remove_leftovers, work_folder
from pipeline.geo.scenes.catalog import write_catalog
from pipeline.geo.scenes.checked import checked_scene
from pipeline.geo.scenes.stac import CATALOG
from pipeline.geo.sources.download import Downloads
from pipeline.geo.sources.eurosat import write_images
from pipeline.geo.sources.find import find_scenes, named_files
from pipeline.outputs import owned
from pipeline.watched import open_edits, unwatched


def run(
    conf: Path,
    train: Path,
    to_map: Path,
    sources: Sequence[Path] = (),
    downloads: Path = Path("data/downloads"),
) -> None:
    """Write two static catalogs of the scenes, or the labelled images, that `conf` names.

    Args:
        conf: `fetch.yaml`.
        train: The folder of the catalog of scenes with labels.
        to_map: The folder of the catalog of scenes to be mapped.
        sources: The folders that scenes must lie in; anywhere where there are none.
        downloads: The folder of what was fetched from the web, also by a run that failed.

    Raises:
        ConfigError: when the conf is wrong.
        SceneError: when a scene lies elsewhere, is missing, damaged or not usable.
    """
    stated = load(conf, FetchConf)
    named: dict[str, Path] = {}
    for source in [*stated.train, *stated.map_scenes]:
        _require_inside(source, sources, conf)
        named |= named_files(source)
    for warning in filter(None, map(open_edits, map(Path, named))):
        print(f"warning: {warning}", file=sys.stderr)
    fetched = Downloads(downloads)
    with (
        owned(downloads, inside=True),
        publish(train) as train_partial,
        publish(to_map) as map_partial,
        work_folder(train) as work,
    ):
        for folder in (downloads, *downloads.glob("*/")):
            remove_leftovers(folder)
        by_source = [_items(source, stated, fetched, work / "train") for source in stated.train]
        mapped: list[pystac.Item] = []
        for source in stated.map_scenes:
            if source in stated.train:
                # checked and hashed already, which for a whole MGRS tile takes a while
                mapped += by_source[stated.train.index(source)]
            else:
                mapped += _items(source, stated, fetched, work / "map")
        trained = list(chain.from_iterable(by_source))
        _require_own_ids(trained, conf)
        _require_own_ids(mapped, conf)
        copied = downloads, work
        if stated.images is None:
            write_catalog(train_partial, trained, "train", copied)
        else:
            train_partial.mkdir(parents=True, exist_ok=True)
            print(write_images(stated.images, train_partial, train, fetched), flush=True)
        write_catalog(map_partial, mapped, "map", copied)
    if summary := fetched.summary():
        print(summary)
    print(f"scenes to map: {', '.join(item.id for item in mapped) or 'none'}")


def _items(
    source: SourceConf, conf: FetchConf, downloads: Downloads, folder: Path
) -> list[pystac.Item]:
    """The checked Items of the scenes of a source, with their masks, which are made in a folder."""
    items = []
    for files in find_scenes(source, downloads):
        scene = f"{folder.name}: {files.id}"
        warn = partial(_warn, files.id)
        item, facts = checked_scene(files, conf.masking(source), folder / files.id, warn)
        if files.unused:
            print(
                f"{files.id}: not used, as no GeoTIFF or JPEG 2000 file whose name ends with a band: "
                f"{', '.join(files.unused)}"
            )
        print(f"{scene}  {files.datetime:%Y-%m-%d}  {', '.join(item.assets)}  ({files.origin})")
        for fact in facts:
            print(f"{scene}  {fact}")
        sys.stdout.flush()
        items.append(item)
    return items


def _warn(scene: str, doubt: str) -> None:
    print(f"warning: {scene}: {doubt}", file=sys.stderr, flush=True)


def _require_own_ids(items: Sequence[pystac.Item], conf: Path) -> None:
    ids = [item.id for item in items]
    if CATALOG in ids:
        raise ConfigError(f"{conf}: scene id {CATALOG!r} is the catalog's own file; give another id.")
    if twice := sorted({i for i in ids if ids.count(i) > 1}):
        raise ConfigError(f"{conf}: scene id {twice[0]!r} stands twice; give each scene its own id.")


def _require_inside(source: SourceConf, sources: Sequence[Path], conf: Path) -> None:
    """Refuse pixels that DVC does not watch."""
    for named, folder in named_files(source).items():
        if reason := unwatched(folder, sources):
            raise SceneError(f"{conf}: the path {named!r} {reason}.")
