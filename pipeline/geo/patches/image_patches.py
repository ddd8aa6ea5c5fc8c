"""From a collection of labelled images to the patches of a store: the centre of each image is one.

Images are read side by side, some at a time, and written in the order of the collection; memory is
bounded by a few of these batches.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from pipeline.bands import QUANTIFICATION, harmonise
from pipeline.config.classes import ClassesConf
from pipeline.config.compute import ComputeConf
from pipeline.config.tile import TileConf
from pipeline.errors import LabelError, SceneError
from pipeline.geo.images.collection import ImageSet
from pipeline.geo.images.image_file import ImageReader, decoded
from pipeline.geo.labels.features import meanings, unknown_values
from pipeline.parallel import AHEAD, run_pieces, worker_count

_BATCH_BYTES = 8_000_000
"""Pixels of the images that are read at a time, about."""


@dataclass(frozen=True)
class ImagePositions:
    """Images that become patches, N values each."""

    names: npt.NDArray[np.str_]
    """Each image is an acquisition of its own."""
    paths: npt.NDArray[np.str_]
    sizes: npt.NDArray[np.int64]
    """Bytes of their files."""
    epsg: npt.NDArray[np.int32]
    x: npt.NDArray[np.float64]
    y: npt.NDArray[np.float64]
    label: npt.NDArray[np.int16]
    """Class of each, 0-based."""

    @classmethod
    def of(cls, images: ImageSet, label: npt.NDArray[np.int16]) -> Self:
        """All images of a collection."""
        names, paths = np.array(images.names), np.array(images.paths)
        return cls(names, paths, images.sizes, images.epsg, images.x, images.y, label)

    def __len__(self) -> int:
        return len(self.label)

    def __getitem__(self, rows: slice | npt.NDArray[Any]) -> Self:
        """Some of them: a run, indices, or a mask."""
        return replace(self, **{field.name: getattr(self, field.name)[rows] for field in fields(self)})

    def columns(self, valid: npt.NDArray[np.float32]) -> dict[str, Any]:
        """Their rows of the table of patches, but for the outline; `valid` is their share of pixels."""
        count = len(self)
        return {
            "scene": self.names,
            "epsg": self.epsg,
            "x": self.x,
            "y": self.y,
            "label": self.label,
            # the class is that of the whole image, and no image lies between others
            "purity": np.ones(count, dtype=np.float32),
            "valid": valid,
            "on_grid": np.ones(count, dtype=bool),
            "polygon": np.full(count, -1, dtype=np.int32),
        }


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
    known = {str(value): label for value, label in meanings(classes).items()}
    if unknown := Counter(label for label in images.labels if label not in known):
        listed = unknown_values(unknown, "images", where)
        raise LabelError(f"the images of {images.id} show {listed}")
    return np.array([known[label] for label in images.labels], dtype=np.int16)


def read_patches(
    positions: ImagePositions,
    images: ImageSet,
    bands: tuple[str, ...],
    conf: TileConf,
    compute: ComputeConf,
) -> Iterator[ImagePatches]:
    """The patches of those images whose cell has `min_valid` of valid band pixels, in order.

    Raises:
        SceneError: when an image is missing, is not the one that was fetched, or is damaged.
    """
    layers = tuple(images.bands.index(band) + 1 for band in bands)
    # what is read of a file, and the patch that is cut from it
    size = 2 * (len(images.bands) * images.side_px**2 + len(bands) * conf.patch_px**2)
    count = max(1, _BATCH_BYTES // size)
    batches = [positions[start : start + count] for start in range(0, len(positions), count)]
    most = compute.memory_mb * 1_000_000 // (AHEAD * count * size)
    workers = max(1, min(worker_count(compute), most))
    with ImageReader() as reader:
        # a worker elsewhere opens the files itself
        own = reader if compute.scheduler is None else None
        work = partial(_read, layers=layers, side_px=images.side_px, conf=conf, reader=own)
        with closing(run_pieces(work, batches, workers, compute.scheduler)) as read:
            yield from read


def _read(
    batch: ImagePositions,
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
    for row, (path, size) in enumerate(zip(batch.paths.tolist(), batch.sizes.tolist(), strict=True)):
        image = _image(path, size, layers, reader)
        pixels[row] = harmonise(image[:, patch, patch], 1 / QUANTIFICATION, 0.0)
        valid[row] = (pixels[row, :, cell, cell] != 0).mean()
    enough = valid >= conf.min_valid
    kept = pixels if enough.all() else pixels[enough]
    columns = batch[enough].columns(valid[enough].astype(np.float32))
    return ImagePatches(columns, int((~enough).sum()), kept)


def _image(
    path: str, size: int, layers: tuple[int, ...], reader: ImageReader
) -> npt.NDArray[np.uint16]:
    """Some layers of an image, uint16 (C, H, W)."""
    content = reader.read(path, size + 1)
    if len(content) != size:
        raise SceneError(f"{path} has changed since it was fetched; run `fetch` again.")
    with decoded(content, path) as dataset:
        pixels: npt.NDArray[np.uint16] = dataset.read(list(layers))
        return pixels
