"""Writing a PatchStore: what it is made from, its patches, then its metadata."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from pipeline.bands import LARGEST_DN, QUANTIFICATION
from pipeline.config.classes import ClassConf, ClassesConf
from pipeline.config.tile import TileConf
from pipeline.errors import LabelError, RadiometryError
from pipeline.files import publish, require_space, sha256_of, work_folder, write_json
from pipeline.geo.patches.patch_writer import Patches, PatchWriter
from pipeline.store_meta import ClassInfo, Geometry, PatchCounts, StoreMeta

_ROW_BYTES = 200
"""Of a row of the table, about."""
_MOST_CLIPPED = 0.03
"""Share of a band's pixels that may be as bright as a store can say."""


@dataclass(frozen=True)
class TileInputs:
    """The conf of `tile` and its classes, with their files for the messages."""

    file: Path
    tile: TileConf
    classes_file: Path
    classes: ClassesConf


@dataclass(frozen=True)
class StoreContent:
    """What goes into a store, whether it comes from scenes with labels or from images."""

    bands: tuple[str, ...]
    count: int
    """Patches to read, of which some may turn out to be invalid."""
    patches: Callable[[Path], Generator[Patches]]
    """They are read as they are asked for; temporary files go to a folder, which is not there yet."""
    left_out: dict[str, int]
    """Positions that are no patches, by reason, as far as labels tell."""
    labels: list[dict[str, Any]]
    """What was found of each source of labels: its `file`, then how many of what."""
    meta: Callable[[Path, Mapping[str, int]], dict[str, Any]]
    """Its own fields of `StoreMeta`, from the folder of the store and the patches of each class."""
    summary: str
    unit: str
    """What a position is: a `cell` or an `image`."""
    remedy: str
    """What to do where no patch is left."""
    warnings: Sequence[str] = ()


def write_store(inputs: TileInputs, content: StoreContent, out: Path) -> PatchCounts:
    """Write a store to the folder `out`; its counts, as `meta.json` has them.

    Raises:
        LabelError: when no patch is left.
        RadiometryError: when the pixels of a band are too bright for reflectance.
        SceneError: when pixels cannot be read.
        OutputError: when the disk is too small.
    """
    tile, infos = inputs.tile, [_info(conf) for conf in inputs.classes.classes]
    geometry = Geometry(patch_px=tile.patch_px, cell_px=tile.cell_px, min_valid=tile.min_valid)
    shape = (len(content.bands), tile.patch_px, tile.patch_px)
    _require_some(content.count, content, content.left_out)
    size, pixels = store_bytes(content.count, shape), " x ".join(map(str, shape))
    print(f"the store takes {size / 1e6:,.1f} MB: up to {content.count} patches of {pixels} pixels")
    require_space(out, size, "The store")
    with publish(out) as folder, work_folder(out) as work:
        folder.mkdir()
        writer = PatchWriter(folder, shape, len(infos), geometry.cell_m)
        bar = tqdm(total=content.count, desc="tile", unit="patch", file=sys.stderr, disable=None)
        with writer, bar, closing(content.patches(work)) as read:
            for patches in read:
                bar.update(writer.write(patches))
        counts = _counts(writer, content, [info.name for info in infos])
        _require_some(sum(writer.kept), content, counts["left_out"])
        _require_reflectance(writer, content.bands, tile.patch_px)
        meta = StoreMeta(
            bands=list(content.bands),
            geometry=geometry,
            stride_px=tile.stride_px,
            classes=infos,
            counts=counts,
            patches_sha256=sha256_of(folder / "patches.parquet"),
            **content.meta(folder, counts["kept"]),
        )
        write_json(folder / "meta.json", meta.model_dump(mode="json"))
    return counts


def _counts(writer: PatchWriter, content: StoreContent, names: list[str]) -> PatchCounts:
    """Patches per class and what was left out; together they are all positions."""
    left_out = content.left_out | {"invalid": writer.invalid}
    return {
        "kept": dict(zip(names, writer.kept.tolist(), strict=True)),
        "kept_on_grid": dict(zip(names, writer.kept_on_grid.tolist(), strict=True)),
        "left_out": left_out,
        "positions": int(writer.kept.sum()) + sum(left_out.values()),
        "labels": content.labels,
    }


def store_bytes(count: int, shape: tuple[int, int, int]) -> int:
    """Bytes of a store of patches of the shape (C, P, P), at most: pixels and, roughly, the table."""
    return count * (2 * math.prod(shape) + _ROW_BYTES) + 100_000


def _require_some(count: int, content: StoreContent, left_out: Mapping[str, int]) -> None:
    if not count:
        reasons = ", ".join(f"{n} {reason}" for reason, n in left_out.items() if n)
        raise LabelError(
            f"no {content.unit} is left of {sum(left_out.values())} ({reasons}); {content.remedy}."
        )


def _require_reflectance(writer: PatchWriter, bands: Sequence[str], patch_px: int) -> None:
    pixels = int(writer.kept.sum()) * patch_px**2
    for band, clipped in zip(bands, writer.clipped.tolist(), strict=True):
        if clipped > _MOST_CLIPPED * pixels:
            raise RadiometryError(
                f"{clipped / pixels:.0%} of the pixels of {band} in the patches have a reflectance of "
                f"{LARGEST_DN / QUANTIFICATION:.1f} or more, which nothing has; correct scale and "
                "offset of the scenes in the conf of fetch."
            )


def _info(conf: ClassConf) -> ClassInfo:
    """A class as the store carries it."""
    return ClassInfo(
        name=conf.name,
        title=conf.title or conf.name,
        color=conf.color,
        description=conf.description,
        code=None if conf.code is None else str(conf.code),
    )
