"""Stage fetch: local scenes become checked STAC Items, those to train on and those to map."""

from __future__ import annotations

import os
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
    """Refuse pixels that DVC does not watch: it follows linked files in a source, no linked folders."""
    named = {scene.path: Path(scene.path)}
    if scene.mask is not None:
        named[scene.mask.path] = Path(scene.mask.path).parent
    for path, folder in named.items():
        lexical = Path(os.path.normpath(folder.absolute()))
        inside = [s for s in sources if lexical.is_relative_to(os.path.normpath(s.absolute()))]
        if sources and not inside:
            folders = " or ".join(str(source) for source in sources)
            raise SceneError(
                f"{conf}: the path {path!r} of scene {scene.id} lies outside of {folders}, where DVC "
                f"would not notice that it changes; put or link it under {sources[-1]}."
            )
        if inside and not any(lexical.resolve().is_relative_to(s.resolve()) for s in sources):
            raise SceneError(
                f"{conf}: the path {path!r} of scene {scene.id} goes through a linked folder, where "
                "DVC would not notice that it changes; make it a real folder with links to the files."
            )
