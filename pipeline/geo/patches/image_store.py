"""The PatchStore of a collection of labelled images: the centre of each image is a patch.

Images are read side by side, some at a time, and written in the order of the collection; memory is
bounded by a few of these batches.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import batched
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.bands import BANDS, QUANTIFICATION, harmonise, select
from pipeline.config.classes import ClassesConf
from pipeline.config.compute import ComputeConf
from pipeline.config.tile import TileConf
from pipeline.errors import ConfigError, LabelError, SceneError
from pipeline.files import sha256_of
from pipeline.geo.images.collection import ImageSet, open_images
from pipeline.geo.images.image_file import ImageReader, decoded
from pipeline.geo.labels.cell_classes import UNLABELLED
from pipeline.geo.labels.features import meanings, unknown_values
from pipeline.geo.patches.positions import drawn, ground_ranks
from pipeline.geo.patches.store_writer import StoreContent, TileInputs
from pipeline.geo.scenes.stac import multihash
from pipeline.parallel import AHEAD, run_pieces, worker_count
from pipeline.store import LISTS
from pipeline.store_meta import ImagesInfo, SceneInfo

_BATCH_BYTES = 8_000_000
"""Pixels of the images that are read at a time, about."""


@dataclass(frozen=True)
class ImagePatches:
    """Patches of some images."""

    columns: dict[str, Any]
    """Of those whose cell has enough valid band pixels."""
    invalid: int
    """How many more there would be, had their cells enough of them."""
    pixels: npt.NDArray[np.uint16]
    """(n, C, P, P)."""

    def pieces(self) -> Iterator[npt.NDArray[np.uint16]]:
        """All of them at once."""
        yield self.pixels


def classes_of(images: ImageSet, classes: ClassesConf, where: str) -> npt.NDArray[np.int16]:
    """The class of each image, -1 where it is ignored; `where` the classes stand goes into messages.

    Raises:
        LabelError: when an image shows what is no class.
    """
    labels = images.table["class"].to_pylist()
    known = {str(value): label for value, label in meanings(classes).items()}
    if unknown := Counter(label for label in labels if label not in known):
        listed = unknown_values(unknown, "images", where)
        raise LabelError(f"the images of {images.id} show {listed}")
    return np.array([known[label] for label in labels], dtype=np.int16)


def read_patches(
    chosen: pa.Table,
    images: ImageSet,
    bands: tuple[str, ...],
    conf: TileConf,
    compute: ComputeConf,
) -> Generator[ImagePatches]:
    """The patches of those images whose cell has `min_valid` of valid band pixels, in order.

    `chosen` are rows of the table of the collection, with the class of each as `label`, 0-based.

    Raises:
        SceneError: when an image is missing, is not the one that was fetched, or is damaged.
    """
    layers = tuple(images.bands.index(band) + 1 for band in bands)
    # what is read of a file, and the patch that is cut from it
    size = 2 * (len(images.bands) * images.side_px**2 + len(bands) * conf.patch_px**2)
    count = max(1, _BATCH_BYTES // size)
    # `take` copies, where a slice would send the whole table to a worker elsewhere
    batches = [chosen.take(list(rows)) for rows in batched(range(len(chosen)), count)]
    most = compute.memory_mb * 1_000_000 // (AHEAD * count * size)
    workers = max(1, min(worker_count(compute), most))
    with ImageReader() as reader:
        # a worker elsewhere opens the files itself
        own = reader if compute.scheduler is None else None
        work = partial(_read, layers=layers, side_px=images.side_px, conf=conf, reader=own)
        with closing(run_pieces(work, batches, workers, compute)) as read:
            yield from read


def _read(
    batch: pa.Table,
    layers: tuple[int, ...],
    side_px: int,
    conf: TileConf,
    reader: ImageReader | None,
) -> ImagePatches:
    """The patches of some images, of some of their layers, from 1, in the order of the store."""
    if reader is None:
        with ImageReader() as own:
            return _read(batch, layers, side_px, conf, own)
    pixels = np.empty((len(batch), len(layers), conf.patch_px, conf.patch_px), dtype=np.uint16)
    margin, inner = (side_px - conf.patch_px) // 2, (conf.patch_px - conf.cell_px) // 2
    patch, cell = slice(margin, margin + conf.patch_px), slice(inner, inner + conf.cell_px)
    valid = np.empty(len(batch))
    for row, file in enumerate(batch.select(["path", "size", "checksum"]).to_pylist()):
        content = reader.read(file["path"], file["size"] + 1)
        if multihash(hashlib.sha256(content).hexdigest()) != file["checksum"]:
            raise SceneError(f"{file['path']} has changed since it was fetched; run `fetch` again.")
        with decoded(content, file["path"]) as dataset:
            image = dataset.read(list(layers))
        pixels[row] = harmonise(image[:, patch, patch], 1 / QUANTIFICATION, 0.0)
        valid[row] = (pixels[row, :, cell, cell] != 0).mean()
    enough = valid >= conf.min_valid
    kept = pixels if enough.all() else pixels[enough]
    count = len(kept)
    columns = {name: batch[name].to_numpy()[enough] for name in ("scene", "epsg", "x", "y", "label")}
    columns |= {
        # the class is that of the whole image, and no image lies between others
        "purity": np.ones(count, dtype=np.float32),
        "valid": valid[enough].astype(np.float32),
        "on_grid": np.ones(count, dtype=bool),
        "polygon": np.full(count, -1, dtype=np.int32),
    }
    return ImagePatches(columns, len(batch) - count, kept)


def image_content(inputs: TileInputs, folder: Path, compute: ComputeConf) -> StoreContent:
    """The images of the collection in a folder that become patches, as the conf wants them.

    Raises:
        ConfigError: when a key does not go with images.
        SceneError: when the collection is broken.
        LabelError: when an image shows what is no class.
    """
    images, tile = open_images(folder), inputs.tile
    _require_fit(tile, images, inputs.file)
    available = [name for name in BANDS if name in images.bands]
    bands = select(tile.bands, available, f"{inputs.file}: key 'bands'")
    label = classes_of(images, inputs.classes, str(inputs.classes_file))
    labelled = images.table.append_column("label", pa.array(label)).filter(label != UNLABELLED)
    x, y, epsg, label = (labelled[name].to_numpy() for name in ("x", "y", "epsg", "label"))
    order = np.argsort(ground_ranks(x, y, epsg, tile.seed), kind="stable")
    chosen = labelled.filter(drawn(order, (label, tile.max_per_class)))
    left_out = {"edge": 0, "unlabelled": len(images.table) - len(labelled), "impure": 0}
    return StoreContent(
        bands=bands,
        count=len(chosen),
        patches=lambda _: read_patches(chosen, images, bands, tile, compute),
        left_out=left_out | {"drawn_out": len(labelled) - len(chosen)},
        labels=[{"file": images.id, "images": len(images.table)}],
        meta=partial(_meta, images, inputs.classes.credit),
        summary=f"{len(images.table):,} images of {images.id}, bands {', '.join(bands)}",
        unit="image",
        remedy=f"lower min_valid ({tile.min_valid:g}) in {inputs.file}, or give the images a class in "
        f"{inputs.classes_file}",
    )


def _meta(images: ImageSet, credit: str, folder: Path, kept: Mapping[str, int]) -> dict[str, Any]:
    """Fields of `StoreMeta`; `lists.parquet` is written to the folder of the store."""
    own_classes = len(kept) == len(images.table["class"].unique()) and all(kept.values())
    lists = _write_lists(folder, images)
    info = ImagesInfo(
        name=images.id,
        whole=images.whole and sum(kept.values()) == len(images.table) and own_classes,
        lists=lists,
        published_lists=images.published,
        lists_sha256=sha256_of(folder / LISTS) if lists else None,
    )
    scene = SceneInfo(
        id=images.id,
        epsg=None,
        datetime=images.datetime,
        platform=None,
        level=images.level,
        baseline=None,
        checksum=images.checksum,
    )
    fixed = {"min_purity": 1.0, "resampling": "as published"}
    return {**fixed, "scenes": [scene], "credit": credit, "images": info}


def _require_fit(tile: TileConf, images: ImageSet, conf: Path) -> None:
    if tile.exclude is not None:
        raise ConfigError(f"{conf}: key 'exclude' is of scenes, and these are images; drop it.")
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


def _write_lists(folder: Path, images: ImageSet) -> list[str]:
    """The part of each patch in each list of the collection, in their order; the names of the lists."""
    names: list[str] = images.parts.column_names
    if names:
        kept = pq.read_table(folder / "patches.parquet", columns=["scene"])["scene"]
        rows = pc.index_in(kept, images.table["scene"])
        pq.write_table(images.parts.take(rows), folder / LISTS, compression="zstd")
    return names
