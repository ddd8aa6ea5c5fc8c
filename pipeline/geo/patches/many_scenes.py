"""The patches of several scenes, one scene after the other, or many side by side.

Many scenes are read by processes here or elsewhere. Each writes the pixels of its patches to a file of
a folder that all of them see, whatever their number, and only their rows of the table come back; the
one who writes the store takes the files up in the order of the scenes. A few scenes a worker are ahead.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import mkstemp
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.config.compute import ComputeConf
from pipeline.geo.patches.patch_writer import Patches
from pipeline.geo.patches.positions import Positions
from pipeline.geo.patches.scene_patches import PIECE_BYTES, read_patches
from pipeline.parallel import are_many, run_scenes, start_processes


def patches_of_scenes(
    scenes: Sequence[Positions],
    bands: tuple[str, ...],
    min_valid: float,
    compute: ComputeConf,
    folder: Path,
) -> Generator[Patches]:
    """The patches of some positions of each scene, as `read_patches` gives them, in their order.

    Temporary files go to `folder`, which is made where there are some.

    Raises:
        SceneError: when the pixels cannot be read.
    """
    if not are_many(len(scenes), compute):
        for positions in scenes:
            yield from read_patches(positions, bands, min_valid, compute)
        return
    folder.mkdir()
    # a worker may run in another folder
    work = partial(_filed, bands=bands, min_valid=min_valid, folder=folder.absolute())
    with closing(run_scenes(work, scenes, compute)) as filed:
        yield from filed


def prepare(scenes: int, compute: ComputeConf) -> None:
    """Begin, beside other work, what `patches_of_scenes` needs for as many of them."""
    start_processes(_filed, scenes, compute)


@dataclass(frozen=True)
class _FiledPatches:
    """The patches of a scene, their pixels in a file that goes when they are taken."""

    columns: dict[str, Any]
    invalid: int
    file: Path
    shape: tuple[int, int, int]
    """(C, P, P)."""

    def pieces(self) -> Iterator[npt.NDArray[np.uint16]]:
        """A few of them at a time, (m, C, P, P)."""
        values = int(np.prod(self.shape))
        count = max(1, PIECE_BYTES // (2 * values)) * values
        with self.file.open("rb") as stream:
            while len(piece := np.fromfile(stream, np.uint16, count)):
                yield piece.reshape(-1, *self.shape)
        self.file.unlink()


def _filed(
    positions: Positions,
    compute: ComputeConf,
    bands: tuple[str, ...],
    min_valid: float,
    folder: Path,
) -> _FiledPatches:
    side = positions.grid.patch_px
    # a name of its own: a worker that was given up for lost may still write to its file
    number, name = mkstemp(dir=folder)
    parts, invalid = [positions[:0].columns(np.empty(0, np.float32))], 0
    with os.fdopen(number, "wb") as stream:
        for patches in read_patches(positions, bands, min_valid, compute):
            parts.append(patches.columns)
            invalid += patches.invalid
            for piece in patches.pieces():
                stream.write(piece.data)
    columns = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
    return _FiledPatches(columns, invalid, Path(name), (len(bands), side, side))
