"""The PatchStore of a collection of labelled images."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from pipeline.bands import select
from pipeline.config.classes import ClassesConf
from pipeline.config.compute import ComputeConf
from pipeline.config.tile import TileConf
from pipeline.errors import ConfigError, LabelError
from pipeline.files import publish, require_space, sha256_of, write_json
from pipeline.geo.images.collection import ImageSet, band_order, open_images
from pipeline.geo.labels.cell_classes import UNLABELLED
from pipeline.geo.patches.image_patches import ImagePositions, classes_of, drawn, read_patches
from pipeline.geo.patches.store_writer import PatchWriter
from pipeline.store import LISTS, ClassInfo, Geometry, ImagesInfo, SceneInfo, StoreMeta

_ROW_BYTES = 300


@dataclass(frozen=True)
class ImageInputs:
    """What the store is made of."""

    conf: Path
    """The file of `tile`, and that of the classes, for the messages."""
    classes_file: Path
    tile: TileConf
    classes: ClassesConf
    images: ImageSet
    bands: tuple[str, ...]

    @classmethod
    def read(
        cls, conf: tuple[Path, TileConf], classes: tuple[Path, ClassesConf], folder: Path
    ) -> ImageInputs:
        """The collection in a folder, with confs that fit it.

        Raises:
            ConfigError: when a key does not go with images.
            SceneError: when the collection is broken.
        """
        images, (conf_file, tile) = open_images(folder), conf
        _require_fit(tile, images, conf_file)
        bands = select(tile.bands, band_order(images.bands), f"{conf_file}: key 'bands'")
        return cls(conf_file, classes[0], tile, classes[1], images, bands)

    def __str__(self) -> str:
        return f"{len(self.images):,} images of {self.images.id}, bands {', '.join(self.bands)}"


def _require_fit(tile: TileConf, images: ImageSet, conf: Path) -> None:
    if tile.labels:
        raise ConfigError(
            f"{conf}: key 'labels' names {tile.labels[0].file}, but the images of {images.id} carry "
            "their class; write `labels: []`."
        )
    if tile.patch_px > images.side_px or (images.side_px - tile.patch_px) % 2:
        raise ConfigError(
            f"{conf}: key 'patch_px' is {tile.patch_px}, but a patch is the centre of an image of "
            f"{images.side_px} pixels; make it {images.side_px}, or less by an even number."
        )


def write_store(
    inputs: ImageInputs, infos: list[ClassInfo], out: Path, machine: ComputeConf
) -> dict[str, Any]:
    """Write the store of a collection; its counts, as `meta.json` has them.

    `infos` are the classes as the store carries them.

    Raises:
        LabelError: when an image shows what is no class, or no image is left.
        SceneError: when an image cannot be read.
        OutputError: when the disk is too small.
    """
    tile, side, classes = inputs.tile, inputs.tile.patch_px, inputs.classes.classes
    label = classes_of(inputs.images, inputs.classes, str(inputs.classes_file))
    labelled = np.flatnonzero(label != UNLABELLED)
    positions = ImagePositions.of(inputs.images, label, tile.cell_px)[labelled]
    chosen = drawn(positions, tile)
    left_out = {"edge": 0, "unlabelled": len(label) - len(labelled), "impure": 0}
    left_out["drawn_out"] = len(positions) - len(chosen)
    shape = (len(inputs.bands), side, side)
    size = len(chosen) * (2 * int(np.prod(shape)) + _ROW_BYTES) + 100_000
    print(f"the store takes {size / 1e6:,.1f} MB: up to {len(chosen)} patches", flush=True)
    require_space(out, size, "The store")
    with publish(out) as folder:
        folder.mkdir()
        bar = tqdm(total=len(chosen), desc="tile", unit="patch", file=sys.stderr, disable=None)
        writer, kept = PatchWriter(folder, shape, len(classes)), []
        with writer, bar:
            for some in read_patches(chosen, inputs.images, inputs.bands, tile, machine):
                writer.write(some)
                kept += some.positions.scene_ids.tolist()
                bar.update(len(some.positions) + some.invalid)
        counts = _counts(inputs, writer, left_out | {"invalid": writer.invalid})
        _require_some(counts, inputs)
        _write_lists(folder, inputs.images, kept)
        write_json(folder / "meta.json", _meta(folder, inputs, infos, counts).model_dump(mode="json"))
    return counts


def _counts(inputs: ImageInputs, writer: PatchWriter, left_out: dict[str, int]) -> dict[str, Any]:
    names = [c.name for c in inputs.classes.classes]
    return {
        "kept": dict(zip(names, writer.kept.tolist(), strict=True)),
        "kept_on_grid": dict(zip(names, writer.kept_on_grid.tolist(), strict=True)),
        "left_out": left_out,
        "positions": len(inputs.images),
        "labels": [{"file": inputs.images.id, "images": len(inputs.images)}],
    }


def table(counts: dict[str, Any]) -> str:
    """The counts of a store for people."""
    kept = counts["kept"]
    width = max(12, *(len(name) for name in kept))
    lines = [f"{'class':<{width}}{'patches':>10}"]
    lines += [f"{name:<{width}}{count:>10}" for name, count in kept.items()]
    left_out = ", ".join(f"{n} {reason}" for reason, n in counts["left_out"].items())
    lines.append(f"{'all':<{width}}{sum(kept.values()):>10}")
    lines.append(f"left out of {counts['positions']} images: {left_out}".replace("_", " "))
    return "\n".join(lines)


def _require_some(counts: dict[str, Any], inputs: ImageInputs) -> None:
    if sum(counts["kept"].values()):
        return
    reasons = ", ".join(f"{n} {reason}" for reason, n in counts["left_out"].items() if n)
    raise LabelError(
        f"no image is left of {len(inputs.images)} ({reasons}); lower min_valid "
        f"({inputs.tile.min_valid:g}) in {inputs.conf}, or give the images a class in "
        f"{inputs.classes_file}."
    )


def _write_lists(folder: Path, images: ImageSet, kept: list[str]) -> None:
    """The part of each patch in each list of the collection, in the order of the patches."""
    place = {name: at for at, name in enumerate(images.names)}
    rows = [place[name] for name in kept]
    columns = {name: [parts[row] for row in rows] for name, parts in sorted(images.parts.items())}
    table = pa.table(columns, schema=pa.schema([(name, pa.string()) for name in columns]))
    if columns:
        pq.write_table(table, folder / LISTS, compression="zstd")


def _meta(
    folder: Path, inputs: ImageInputs, infos: list[ClassInfo], counts: dict[str, Any]
) -> StoreMeta:
    images, tile, classes = inputs.images, inputs.tile, inputs.classes
    kept = sum(counts["kept"].values())
    told_apart = len(classes.classes) == len(set(images.labels)) and all(counts["kept"].values())
    lists = sorted(images.parts)
    scene = SceneInfo(
        id=images.id,
        epsg=None,
        datetime=images.datetime,
        platform=None,
        level=images.level,
        baseline=None,
        checksum=images.checksum,
    )
    return StoreMeta(
        bands=list(inputs.bands),
        geometry=Geometry(patch_px=tile.patch_px, cell_px=tile.cell_px, min_valid=tile.min_valid),
        stride_px=tile.stride_px,
        min_purity=1.0,
        resampling="as published",
        classes=infos,
        scenes=[scene],
        credit=classes.credit,
        counts=counts,
        patches_sha256=sha256_of(folder / "patches.parquet"),
        images=ImagesInfo(
            name=images.id,
            whole=images.whole and kept == len(images) and told_apart,
            lists=lists,
            published_lists=images.published,
            lists_sha256=sha256_of(folder / LISTS) if lists else None,
        ),
    )
