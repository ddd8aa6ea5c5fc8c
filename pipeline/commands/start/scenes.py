"""What the scenes are, looked at as `fetch` does."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pystac

from pipeline.commands.start.entries import RECORDS, is_raster, kind_of, require_options, stated_entry
from pipeline.commands.start.given import WHERE, Given, listed
from pipeline.config.fetch import SourceConf
from pipeline.config.reading import parse
from pipeline.config.sources import (
    EurosatConf,
    Masking,
    SafeConf,
    SceneConf,
    StacConf,
    StackConf,
    StatedConf,
)
from pipeline.errors import ConfigError, LenscapeError
from pipeline.geo.scenes.checked import checked_scene
from pipeline.geo.scenes.item import MASK, epsg_of, grid_of
from pipeline.geo.scenes.scene_files import MaskLayer, SceneFiles
from pipeline.geo.sources.download import Downloads
from pipeline.geo.sources.find import find_scenes
from pipeline.parallel import core_count

_MASK = re.compile(r"cloud|mask|msk|cld|clm|wolke|nuage|nube|nuvem", re.IGNORECASE)

_KEYS = re.compile(r"(?<![/\w.-])(?:(?:bands|id|mask|nodata|values)(?=[:`])|scale\b|offset\b)")
"""Keys of an entry, as a message names them."""


@dataclass(frozen=True)
class Found:
    """An entry of `fetch.yaml` with the scenes that it names."""

    kind: str
    """The key that names its files."""
    entry: dict[str, Any]
    conf: SourceConf
    items: list[pystac.Item]
    """Checked, with masks; none of labelled images."""
    files: list[SceneFiles]

    @property
    def name(self) -> str:
        """What its folder below `data/own/scenes` is called."""
        if self.kind == "eurosat":
            return "eurosat"
        return self.conf.id or (self.files[0].id if len(self.files) == 1 else self.kind)

    @property
    def used(self) -> set[Path]:
        """The files of bands and masks, on disk."""
        layers = [band.layer for scene in self.files for band in scene.bands.values()]
        masks = [mask for scene in self.files for mask in (*scene.masks, scene.mask)]
        layers += [mask.layer for mask in masks if isinstance(mask, MaskLayer)]
        return {Path(layer.href).absolute() for layer in layers}


def look_at_scenes(names: list[str], given: Given, downloads: Downloads, work: Path) -> list[Found]:
    """The entries of some scenes, which pass the checks of `fetch`; prints what they are.

    Made masks go to the folder `work`, pixels from the web to `downloads`.

    Raises:
        LenscapeError: when one cannot be used, or an option goes with none of them.
    """
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigError(f"{WHERE}: {twice[0]} is named twice; name it once.")
    kinds = {name: kind_of(name) for name in names}
    require_options(kinds, given.scene_keys)
    ids: list[str] = []
    found = []
    for name, kind in kinds.items():
        entry = stated_entry(name, kind, given.scene_keys, ids)
        conf = parse(entry, RECORDS[kind], WHERE)
        assert isinstance(conf, SceneConf | StackConf | SafeConf | StacConf | EurosatConf)
        try:
            files = find_scenes(conf, downloads)
            items = [_checked(scene, conf, work) for scene in files]
        except LenscapeError as error:
            error.args = (_with_options(str(error)),)
            raise
        found.append(Found(kind, entry, conf, items, files))
        ids += [scene.id for scene in files]
        if unused := _unused(found[-1], given.labels):
            print(f"  not used: {listed(unused)}")
    return found


def _checked(scene: SceneFiles, conf: SourceConf, work: Path) -> pystac.Item:
    """The Item of a scene, which must pass the checks of `fetch`; prints what it is."""
    doubts: list[str] = []
    item, facts = checked_scene(scene, Masking(), work / scene.id, doubts.append, core_count())
    grid = grid_of(item.properties, epsg_of(item))
    print(
        f"scene {scene.id}: {grid.height} x {grid.width} px of 10 m, EPSG:{grid.epsg}, "
        f"{scene.datetime:%Y-%m-%d %H:%M %Z}"
    )
    if MASK not in item.assets:
        facts.append("no mask: clouds, if any, count as ground (--mask)")
    for fact in [f"bands {', '.join(scene.bands)}", _radiometry(scene, conf), *facts]:
        print(f"  {fact}")
    for doubt in doubts:
        print(f"warning: {scene.id}: {_with_options(doubt)}", file=sys.stderr)
    return item


def _with_options(text: str) -> str:
    """What `fetch` says is to be stated in the conf, with the options of `start` for it."""
    options = dict.fromkeys(f"--{key}" for key in _KEYS.findall(text))
    if "in the conf" not in text or not options:
        return text
    return f"{text.removesuffix('.')} (here: {' '.join(options)})."


def _radiometry(scene: SceneFiles, conf: SourceConf) -> str:
    """Scale and offset of a scene, and who says so."""
    pairs = {(band.scale, band.offset) for band in scene.bands.values()}
    origin = "as the product's metadata say" if isinstance(conf, SafeConf) else "as its catalog says"
    if isinstance(conf, StatedConf | StacConf) and conf.scale is not None:
        origin = "as you say"
    elif isinstance(conf, StatedConf):
        origin = "as the files say"
    texts = [f"{scale:g} + {offset:g}" for scale, offset in sorted(pairs)]
    if isinstance(conf, StatedConf) and conf.values == "reflectance" and pairs == {(1.0, 0.0)}:
        return "values are reflectance"
    return f"reflectance = DN * {' or DN * '.join(texts)} ({origin})"


def _unused(found: Found, labels: Sequence[Path]) -> list[str]:
    """The files of a folder of bands that are neither bands nor masks, nor labels."""
    if found.kind != "path":
        return []
    used, folder = found.used | {path.absolute() for path in labels}, Path(found.entry["path"])
    files = sorted(file for file in folder.iterdir() if file.absolute() not in used)
    names = [file.name for file in files if not file.name.startswith(".")]
    hint = " (a mask? then --mask {})"
    return [
        name + (hint.format(folder / name) if _MASK.search(name) and is_raster(name) else "")
        for name in names
    ]
