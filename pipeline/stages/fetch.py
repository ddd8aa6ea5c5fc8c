"""Stage fetch: local scenes become checked STAC Items, those to train on and those to map."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pipeline.config import FetchConf, SceneConf, load
from pipeline.errors import SceneError
from pipeline.files import publish
from pipeline.geo.catalog import scene_item, write_catalog


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
        _write(train_partial, train, scenes.train, "train")
        _write(map_partial, to_map, scenes.map_scenes, "map")


def _write(partial: Path, folder: Path, scenes: list[SceneConf], what: str) -> None:
    items = [scene_item(scene, folder / scene.id) for scene in scenes]
    write_catalog(partial, items, what)
    for scene in scenes:
        print(f"{what}: {scene.id}  {scene.datetime:%Y-%m-%d}  {scene.path}")


def _require_inside(scene: SceneConf, sources: Sequence[Path], conf: Path) -> None:
    paths = [scene.path] if scene.mask is None else [scene.path, scene.mask.path]
    for path in paths:
        # not resolved: a link inside a source is what DVC follows
        if sources and not any(Path(path).absolute().is_relative_to(s.absolute()) for s in sources):
            folders = " or ".join(str(source) for source in sources)
            raise SceneError(
                f"{conf}: the path {path!r} of scene {scene.id} lies outside of {folders}, where DVC "
                "would not notice that it changes; link or copy it to one of them."
            )
