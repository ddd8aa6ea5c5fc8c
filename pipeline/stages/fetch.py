"""Stage fetch: the scenes that the conf names become checked STAC Items, to train on and to map."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pystac

from pipeline.config.fetch import FetchConf, SourceConf
from pipeline.config.reading import load
from pipeline.config.sources.masking import Masking
from pipeline.errors import ConfigError, SceneError
from pipeline.files import publish, unwatched, workbench
from pipeline.geo.scenes.catalog import moved_item, scene_item, take_over, write_catalog
from pipeline.geo.scenes.mask_item import mask_scene
from pipeline.geo.scenes.scene_files import SceneFiles
from pipeline.geo.sources.download import Downloads
from pipeline.geo.sources.eurosat import write_images
from pipeline.geo.sources.find import find_scenes, named_files


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
        downloads: The folder of what was fetched from the web; what a run that failed had got is used
            by the next one.

    Raises:
        ConfigError: when the conf is wrong.
        SceneError: when a scene lies elsewhere, is missing, damaged or not usable.
    """
    stated = load(conf, FetchConf)
    for source in [*stated.train, *stated.map_scenes]:
        _require_inside(source, sources, conf)
    with (
        publish(train) as train_partial,
        publish(to_map) as map_partial,
        workbench(train) as bench,
    ):
        fetched = Downloads(downloads)
        known: dict[int, list[pystac.Item]] = {}
        trained, mapped = [], []
        for place, source in enumerate(stated.train):
            known[place] = _described(source, stated, _Way("train", train, bench), fetched)
            trained += known[place]
        for source in stated.map_scenes:
            if source in stated.train:
                # checked and hashed already, which for a whole MGRS tile takes a while
                items = known[stated.train.index(source)]
                mapped += [moved_item(item, train / item.id, to_map / item.id) for item in items]
            else:
                mapped += _described(source, stated, _Way("map", to_map, bench), fetched)
        _require_own_ids(trained, conf)
        _require_own_ids(mapped, conf)
        for items, folder, partial in ((trained, train, train_partial), (mapped, to_map, map_partial)):
            for item in items:
                for made_in in (downloads, bench):
                    take_over(item, folder, made_in, partial / item.id)
        if stated.images is None:
            write_catalog(train_partial, trained, "train")
        else:
            train_partial.mkdir(parents=True, exist_ok=True)
            print(write_images(stated.images, train_partial, train, fetched), flush=True)
        write_catalog(map_partial, mapped, "map")
    if summary := fetched.summary():
        print(summary)
    print(f"scenes to map: {', '.join(item.id for item in mapped) or 'none'}")


@dataclass(frozen=True)
class _Way:
    """Where the Items of a list of scenes go."""

    what: str
    """The list, for people."""
    folder: Path
    """Of their catalog."""
    bench: Path
    """Where masks are made; `take_over` brings them into the catalog."""


def _described(
    source: SourceConf, conf: FetchConf, way: _Way, downloads: Downloads
) -> list[pystac.Item]:
    """The checked Items of the scenes of a source, with their masks."""
    masking = conf.masking(source)
    return [_item(files, masking, way) for files in find_scenes(source, downloads)]


def _item(files: SceneFiles, masking: Masking, way: _Way) -> pystac.Item:
    folder = way.folder / files.id
    item = scene_item(files, folder)
    mask = way.bench / way.what / files.id / "mask.tif"
    shares = mask_scene(item, files, masking, folder, mask)
    assets = ", ".join(item.assets)
    print(f"{way.what}: {files.id}  {files.datetime:%Y-%m-%d}  {assets}  ({files.origin})", flush=True)
    if shares:
        print(f"{way.what}: {files.id}  masked {_shown(shares)}", flush=True)
    return item


def _shown(shares: Mapping[str, float]) -> str:
    """What is masked, for people: all of it, then each class that there is."""
    listed = ", ".join(f"{name} {share:.1%}" for name, share in shares.items() if share)
    return f"{sum(shares.values()):.1%}" + (f": {listed}" if listed else "")


def _require_own_ids(items: Sequence[pystac.Item], conf: Path) -> None:
    ids = [item.id for item in items]
    if twice := sorted({i for i in ids if ids.count(i) > 1}):
        raise ConfigError(f"{conf}: scene id {twice[0]!r} stands twice; give each scene its own id.")


def _require_inside(source: SourceConf, sources: Sequence[Path], conf: Path) -> None:
    """Refuse pixels that DVC does not watch."""
    for named, folder in named_files(source).items():
        if reason := unwatched(folder, sources):
            raise SceneError(f"{conf}: the path {named!r} {reason}.")
