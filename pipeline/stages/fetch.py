"""Stage fetch: local scenes become checked STAC Items, those to train on and those to map."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pystac

from pipeline.config import FetchConf, SceneConf, load
from pipeline.errors import SceneError
from pipeline.files import publish, unwatched
from pipeline.geo.catalog import moved_item, scene_item, write_catalog


def run(conf: Path, train: Path, to_map: Path, sources: Sequence[Path] = ()) -> None:
    """Write two static catalogs of the scenes that `conf` names.

    Args:
        conf: `fetch.yaml`.
        train: The folder of the catalog of scenes with labels.
        to_map: The folder of the catalog of scenes to be mapped.
        sources: The folders that scenes must lie in; anywhere where there are none.

    Raises:
        ConfigError: when the conf is wrong.
        SceneError: when a scene lies elsewhere, is missing, damaged or not usable.
    """
    scenes = load(conf, FetchConf)
    for scene in [*scenes.train, *scenes.map_scenes]:
        _require_inside(scene, sources, conf)
    with publish(train) as train_partial, publish(to_map) as map_partial:
        trained = [_described(scene, train, "train") for scene in scenes.train]
        mapped = []
        for scene in scenes.map_scenes:
            if scene in scenes.train:
                # checked and hashed already, which for a whole MGRS tile takes a while
                known = trained[scenes.train.index(scene)]
                mapped.append(moved_item(known, train / scene.id, to_map / scene.id))
            else:
                mapped.append(_described(scene, to_map, "map"))
        write_catalog(train_partial, trained, "train")
        write_catalog(map_partial, mapped, "map")
    print(f"scenes to map: {', '.join(scene.id for scene in scenes.map_scenes)}")


def _described(scene: SceneConf, folder: Path, what: str) -> pystac.Item:
    item = scene_item(scene, folder / scene.id)
    assets = ", ".join(item.assets)
    print(f"{what}: {scene.id}  {scene.datetime:%Y-%m-%d}  {assets}  ({scene.path})", flush=True)
    return item


def _require_inside(scene: SceneConf, sources: Sequence[Path], conf: Path) -> None:
    """Refuse pixels that DVC does not watch."""
    named = {scene.path: Path(scene.path)}
    if scene.mask is not None:
        named[scene.mask.path] = Path(scene.mask.path).parent
    for path, folder in named.items():
        if reason := unwatched(folder, sources):
            raise SceneError(f"{conf}: the path {path!r} of scene {scene.id} {reason}.")
