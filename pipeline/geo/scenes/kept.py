"""What `fetch` has found of the scenes of an entry of its conf, kept while no file of it is touched.

To check a scene is to read all of it, which for a thousand of them takes hours. What was found is kept
in a folder of its own an entry, named by a hash of all that it depends on: the entry, the code, and of
each of its files the path, size, inode, and the times of its last change.

A hash that is stale cannot stay: of these the system alone sets the time of the last change (ctime), at
each write, and also where a program sets the other one back or puts another file in its place. Only two
changes within one tick of the clock have the same time. So nothing is kept of a file that was changed
shortly before its scene was read, or meanwhile.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pystac

from pipeline.errors import SceneError
from pipeline.files import code_sha256, publish, remove, sha256_of, sha256_of_value, write_text
from pipeline.geo.raster.remote import is_remote
from pipeline.geo.scenes.stac import multihash, own_item, read_json

_SETTLED_NS = 2_000_000_000
"""The coarsest clock of a file system is that of FAT, 2 s."""
_RECORD = "checked.json"

type State = list[tuple[str, int, int, int, int]]
"""Of each file what changes when it does, ctime last."""


@dataclass(frozen=True)
class Checked:
    """A scene that was read."""

    item: pystac.Item
    """Its STAC Item, with absolute hrefs."""
    facts: list[str]
    """What it is, for people."""
    doubts: list[str]
    """What of it may be wrong, for people."""


@dataclass(frozen=True)
class Record:
    """Where what is found of an entry is kept, as its files were when this was made."""

    folder: Path
    """Its own, whether or not it is there."""
    state: State
    """Of the entry's files, before anything was read."""
    seen_ns: int
    """When that was, as the system's clock counts."""

    @classmethod
    def of(cls, kept: Path, entry: Sequence[str], files: Sequence[Path]) -> Record | None:
        """The record, in the folder `kept`, of an entry; None where a file of it is missing."""
        seen_ns = time.time_ns()
        if (state := _state(files)) is None:
            return None
        name = sha256_of_value([code_sha256(), *entry, state])
        return cls(kept / name, state, seen_ns)

    def ids(self) -> list[str] | None:
        """The names of the scenes that are kept; None where nothing is, or not as it was written.

        `read` then reads the rest, so that the scenes of one entry at a time are in memory.
        """
        try:
            scenes = [scene["item"] for scene in read_json(self.folder / _RECORD)["scenes"]]
            ids = [str(item["id"]) for item in scenes]
            whole = all(_is_whole(asset, self.folder) for item in scenes for asset in _assets(item))
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return ids if whole else None

    def read(self) -> list[Checked]:
        """The scenes that are kept.

        Raises:
            SceneError: when they are not there any more.
        """
        try:
            scenes = read_json(self.folder / _RECORD)["scenes"]
        except (OSError, ValueError) as error:
            raise SceneError(f"{self.folder} has been removed meanwhile; run `fetch` again.") from error
        for asset in (asset for scene in scenes for asset in _assets(scene["item"])):
            if _is_made(asset["href"]):
                asset["href"] = str(self.folder.absolute() / asset["href"])
        return [Checked(own_item(scene["item"]), scene["facts"], scene["doubts"]) for scene in scenes]

    def keep(self, scenes: Sequence[Checked], work: Path) -> None:
        """Keep what was found, with the masks that were made below `work`.

        Nothing is kept where a file was changed a moment before, or meanwhile.
        """
        changed_ns = max((ctime_ns for *_, ctime_ns in self.state), default=0)
        now = _state([Path(path) for path, *_ in self.state])
        if self.seen_ns - changed_ns <= _SETTLED_NS or now != self.state:
            return
        with publish(self.folder) as partial:
            partial.mkdir(parents=True)
            records = [
                {
                    "item": _moved(scene.item, work, partial),
                    "facts": scene.facts,
                    "doubts": scene.doubts,
                }
                for scene in scenes
            ]
            # not sorted: the order of the assets is that of the bands
            write_text(partial / _RECORD, json.dumps({"scenes": records}))


def keep_only(kept: Path, records: Collection[Record]) -> None:
    """Remove what was found of entries that are none any more, or whose files were changed."""
    names = {record.folder.name for record in records}
    for folder in list(kept.iterdir()) if kept.is_dir() else []:
        if folder.name not in names:
            remove(folder)


def _state(files: Sequence[Path]) -> State | None:
    state: State = []
    for path in files:
        try:
            found = path.stat()
        except OSError:
            return None
        times = found.st_mtime_ns, found.st_ctime_ns
        state.append((str(path.absolute()), found.st_size, found.st_ino, *times))
    return sorted(state)


def _moved(scene: pystac.Item, work: Path, folder: Path) -> dict[str, Any]:
    """The Item of a scene whose masks, made below `work`, are copied to a folder."""
    item = scene.to_dict(include_self_link=False, transform_hrefs=False)
    for asset in _assets(item):
        if (made := Path(asset["href"])).is_relative_to(work.absolute()):
            asset["href"] = f"{scene.id}_{made.name}"
            # no link: the catalog has that file, where somebody might change it
            shutil.copyfile(made, folder / asset["href"])
    return item


def _assets(item: dict[str, Any]) -> Collection[dict[str, Any]]:
    assets: dict[str, dict[str, Any]] = item["assets"]
    return assets.values()


def _is_made(href: str) -> bool:
    return not is_remote(href) and not Path(href).is_absolute()


def _is_whole(asset: dict[str, Any], folder: Path) -> bool:
    """Whether a mask that is kept has the bytes that it had."""
    href: str = asset["href"]
    return not _is_made(href) or multihash(sha256_of(folder / href)) == asset["file:checksum"]
