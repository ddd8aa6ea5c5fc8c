"""What `fetch` has found of a scene, kept for the next run while none of its files is touched.

To check a scene is to read all of it, which for a thousand of them takes hours. What was found is kept
in a folder of its own a scene, named by a hash of all that it depends on: what says how the files are
read, the code, and of each file the path, size, inode, and the times of its last change.

A hash that is stale cannot stay: of these the system alone sets the time of the last change (ctime), at
each write, and also where a program sets the other one back or puts another file in its place. Only two
changes within one tick of the clock have the same time. So nothing is kept of a file that was changed
shortly before its scene was read, or meanwhile.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Collection
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pystac
from shapely.geometry.base import BaseGeometry

from pipeline.config.sources import Masking
from pipeline.files import code_sha256, publish, remove, sha256_of, sha256_of_value, write_text
from pipeline.geo.raster.archive import split
from pipeline.geo.raster.remote import is_remote
from pipeline.geo.scenes.checked import checked_scene
from pipeline.geo.scenes.scene_files import MaskLayer, SceneFiles
from pipeline.geo.scenes.stac import multihash, read_json

_SETTLED_NS = 2_000_000_000
"""The coarsest clock of a file system is that of FAT, 2 s."""
_RECORD = "checked.json"


@dataclass(frozen=True)
class Checked:
    """The Item of a scene, with absolute hrefs, and what there is to say of the scene."""

    item: pystac.Item
    facts: list[str]
    doubts: list[str]
    kept_as: str | None = None
    """Name of the folder that keeps it."""


def checked_or_kept(
    files: SceneFiles, masking: Masking, work: Path, kept: Path, workers: int = 1
) -> Checked:
    """What `checked_scene` finds of a scene, or found when its files were as they are now.

    Masks that are made go to `work`; `kept` holds what earlier runs have found.

    Raises:
        SceneError: when a file is missing, damaged, or not on the ground of the others.
        RadiometryError: when scale or offset is contradicted by the pixels.
        OutputError: when what is found cannot be written.
    """
    before, now_ns = _state(files), time.time_ns()
    if before is None:
        return _checked(files, masking, work, workers)
    stated = json.dumps([asdict(files), asdict(masking)], default=_plain, sort_keys=True)
    name = sha256_of_value([code_sha256(), stated, before])
    if (found := _read(kept / name)) is not None:
        return found
    found = _checked(files, masking, work, workers)
    if now_ns - max(ctime_ns for *_, ctime_ns in before) > _SETTLED_NS and _state(files) == before:
        _keep(found, work, kept / name)
        return replace(found, kept_as=name)
    return found


def keep_only(kept: Path, names: Collection[str | None]) -> None:
    """Remove what was found of scenes that are none any more, or were changed."""
    for folder in list(kept.iterdir()) if kept.is_dir() else []:
        if folder.name not in names:
            remove(folder)


def _checked(files: SceneFiles, masking: Masking, work: Path, workers: int) -> Checked:
    doubts: list[str] = []
    item, facts = checked_scene(files, masking, work, doubts.append, workers)
    return Checked(item, facts, doubts)


def _state(files: SceneFiles) -> list[list[Any]] | None:
    """Of each file what changes when it does, ctime last; None where one is on the web, or missing."""
    layers = [band.layer for band in files.bands.values()]
    layers += [mask.layer for mask in (files.mask, *files.masks) if isinstance(mask, MaskLayer)]
    if any(is_remote(layer.href) for layer in layers):
        return None
    states: list[list[Any]] = []
    for path in sorted({split(layer.href)[0].absolute() for layer in layers}):
        try:
            found = path.stat()
        except OSError:
            return None
        states.append([str(path), found.st_size, found.st_ino, found.st_mtime_ns, found.st_ctime_ns])
    return states


def _plain(value: Any) -> Any:
    """What JSON has no form for: times, and the polygons of a mask or an area."""
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, BaseGeometry):
        return value.wkb_hex
    if isinstance(value, np.ndarray):
        return [shape.wkb_hex for shape in value]
    raise TypeError(f"{type(value)} is not expected of a scene")


def _keep(found: Checked, work: Path, folder: Path) -> None:
    item = found.item.to_dict(include_self_link=False, transform_hrefs=False)
    with publish(folder) as partial:
        partial.mkdir(parents=True)
        for asset in item["assets"].values():
            if (made := Path(asset["href"])).is_relative_to(work.absolute()):
                # no link: the catalog has that file, where somebody might change it
                shutil.copyfile(made, partial / made.name)
                asset["href"] = made.name
        record = {"item": item, "facts": found.facts, "doubts": found.doubts}
        # not sorted: the order of the assets is that of the bands
        write_text(partial / _RECORD, json.dumps(record))


def _read(folder: Path) -> Checked | None:
    """What was found of a scene; None where it is not there as it was written."""
    try:
        record = read_json(folder / _RECORD)
        for asset in record["item"]["assets"].values():
            if not Path(asset["href"]).is_absolute() and not is_remote(asset["href"]):
                path = folder.absolute() / asset["href"]
                if multihash(sha256_of(path)) != asset["file:checksum"]:
                    return None
                asset["href"] = str(path)
        item = pystac.Item.from_dict(record["item"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return Checked(item, record["facts"], record["doubts"], folder.name)
