"""Stage fetch: the scenes that the conf names become checked STAC Items, to train on and to map."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import chain
from pathlib import Path

import pystac

from pipeline.config.fetch import FetchConf, SourceConf
from pipeline.config.reading import load
from pipeline.errors import ConfigError, SceneError
from pipeline.files import open_edits, publish, unwatched, work_folder
from pipeline.geo.scenes.catalog import DARK_SHARE, scene_item, write_catalog
from pipeline.geo.scenes.masks import mask_scene
from pipeline.geo.scenes.zeros import tell_zeros
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
    with publish(train) as train_partial, publish(to_map) as map_partial, work_folder(train) as work:
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
        item = scene_item(files, partial(_warn, files.id))
        zeros = tell_zeros(item, files, folder / files.id / "nodata.tif")
        shares = mask_scene(item, files, conf.masking(source), folder / files.id / "mask.tif")
        scene = f"{folder.name}: {files.id}"
        print(
            f"{scene}  {files.datetime:%Y-%m-%d}  {', '.join(item.assets)}  ({files.origin})",
            flush=True,
        )
        if files.mask is not None and not sum(shares.values()):
            marks = ", ".join(map(str, files.mask.classes))
            _warn(
                files.id,
                f"the mask {files.mask.layer.href} marks no pixel, as none there is {marks}; correct "
                "its `invalid`, or drop it where the scene is clear.",
            )
        if shares:
            print(f"{scene}  masked {_listed(shares)}", flush=True)
        if dark := item.properties.get(DARK_SHARE):
            listed = ", ".join(f"{share:.1%} of {band}" for band, share in dark.items())
            print(f"{scene}  reflectance 0 or less, stored as the darkest value: {listed}", flush=True)
        if zeros.dark or zeros.edge:
            print(
                f"{scene}  pixels with DN 0 in some bands: {zeros.dark:,} dark, {zeros.edge:,} nodata "
                f"as they touch ground without data; in all bands: {zeros.all_bands:,}, nodata",
                flush=True,
            )
        items.append(item)
    return items


def _warn(scene: str, doubt: str) -> None:
    print(f"warning: {scene}: {doubt}", file=sys.stderr, flush=True)


def _listed(shares: Mapping[str, float]) -> str:
    """The masked share of a scene, in total and by class."""
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
