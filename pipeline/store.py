"""The PatchStore: files in which what `geo` makes reaches what `learn` reads.

A store is a folder of three files:

- `pixels.npy`: uint16 (N, C, P, P), harmonised DN (reflectance x 10000, 0 is nodata), memory-mapped;
- `patches.parquet`: GeoParquet, one row a patch in the same order (columns: `PATCH_COLUMNS`);
- `meta.json`: `StoreMeta`, the bands, geometry, classes and scenes that a model inherits;
- of labelled images, `lists.parquet`: their parts in published splits, a column a list.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from pipeline.config.opening import opening
from pipeline.config.record import Conf
from pipeline.errors import StoreError
from pipeline.files import sha256_of
from pipeline.store_meta import FORMAT, Statistics, StoreMeta

PARTS = ("train", "validation", "test", "unused")
LISTS = "lists.parquet"
_CHUNK_BYTES = 32_000_000
"""Pixels that are read at a time, whatever the size of a patch."""
PATCH_COLUMNS = {
    "scene": "id of the scene",
    "epsg": "EPSG code of the scene's CRS",
    "x": "easting of the centre of patch and cell in that CRS, m",
    "y": "northing of the centre, m",
    "label": "class, 0-based: its place in `classes`",
    "purity": "share of the cell that its class covers",
    "valid": "share of the cell's band pixels that are valid",
    "on_grid": "whether the cell lies on the cell grid; others only ever train",
    "polygon": "row of the label polygon or point that gives most of the cell its class, -1 for none",
    "geometry": "outline of the cell in OGC:CRS84",
}
_KINDS = {
    "scene": "text", "epsg": "iu", "x": "f", "y": "f", "label": "iu", "purity": "f", "valid": "f",
    "on_grid": "b", "polygon": "iu",
}  # fmt: skip
"""Of the values of each column that is read, in NumPy's letters."""


@dataclass(frozen=True)
class PatchStore:
    """A store opened for reading; pixels are mapped, not loaded."""

    folder: Path
    meta: StoreMeta

    @classmethod
    def open(cls, folder: Path) -> PatchStore:
        """Open a store.

        Raises:
            StoreError: when a file is missing, broken, or disagrees with the others.
        """
        store = cls(folder, read_record(folder / "meta.json", StoreMeta, "tile"))
        require_hash(folder / "patches.parquet", store.meta.patches_sha256, "tile")
        if store.meta.images is not None and store.meta.images.lists_sha256 is not None:
            require_hash(folder / LISTS, store.meta.images.lists_sha256, "tile")
        side = store.meta.geometry.patch_px
        shape = len(store), len(store.meta.bands), side, side
        if store.pixels.shape != shape or store.pixels.dtype != np.uint16:
            raise StoreError(
                f"{folder / 'pixels.npy'} has the shape {store.pixels.shape} of {store.pixels.dtype} "
                f"where meta.json and patches.parquet promise {shape} of uint16; run `tile` again."
            )
        return store

    def __len__(self) -> int:
        return len(self.patches["label"])

    def __reduce__(self) -> tuple[type[PatchStore], tuple[Path, StoreMeta]]:
        """Another process maps the pixels itself instead of being sent a copy."""
        return PatchStore, (self.folder, self.meta)

    @cached_property
    def pixels(self) -> npt.NDArray[np.uint16]:
        """uint16 (N, C, P, P), memory-mapped and read-only."""
        path = self.folder / "pixels.npy"
        with reading(path, "tile"):
            return np.lib.format.open_memmap(path, mode="r")

    @cached_property
    def patches(self) -> dict[str, npt.NDArray[Any]]:
        """The table of patches as arrays of N values, without the outlines."""
        path = self.folder / "patches.parquet"
        table = read_columns(path, [*_KINDS], "tile")
        with reading(path, "tile"):
            for name, values in table.items():
                if not _of_kind(values, _KINDS[name]):
                    raise ValueError(f"column '{name}' does not hold what it should")
            if any(label not in range(len(self.meta.classes)) for label in np.unique(table["label"])):
                raise ValueError("column 'label' holds what is no class")
        return table

    def published_parts(self, name: str) -> npt.NDArray[Any]:
        """The part of each patch in a list of a collection of images; `unused` where it is in none."""
        parts = read_columns(self.folder / LISTS, [name], "tile")[name]
        return np.array(["unused" if part is None else str(part) for part in parts])

    @property
    def sha256(self) -> str:
        """The identity of the store: the hash of its `meta.json`.

        That holds the hash of the table; pixels follow from the checksums of the scenes in it.
        """
        return sha256_of(self.folder / "meta.json")

    def chunks(self, rows: npt.NDArray[np.intp], size: int = 1024) -> Iterator[npt.NDArray[np.uint16]]:
        """The pixels of `rows`, uint16 (n, C, P, P), in the order given: n <= `size`, <= 32 MB."""
        patch_bytes = self.pixels.itemsize * int(np.prod(self.pixels.shape[1:]))
        size = max(1, min(size, _CHUNK_BYTES // patch_bytes))
        for start in range(0, len(rows), size):
            yield np.asarray(self.pixels[rows[start : start + size]])

    def statistics(self, rows: npt.NDArray[np.intp]) -> Statistics:
        """Mean and standard deviation of the valid pixels of some patches, per band, in DN.

        Integer sums keep the result free of the order of summation. A band without a valid pixel,
        or a constant one, gets the standard deviation 1.
        """
        bands = len(self.meta.bands)
        count, total, squares = (np.zeros(bands, dtype=np.uint64) for _ in range(3))
        for chunk in self.chunks(rows):
            # axis order (C, n * P * P): one row of values a band
            values = chunk.transpose(1, 0, 2, 3).reshape(bands, -1).astype(np.uint64)
            count += (values > 0).sum(axis=1, dtype=np.uint64)
            total += values.sum(axis=1)
            squares += (values * values).sum(axis=1)
        seen = np.maximum(count, 1).astype(np.float64)
        mean = total / seen
        std = np.sqrt(np.maximum(squares / seen - mean**2, 0.0))
        return Statistics(mean=mean.tolist(), std=np.where(std > 0, std, 1.0).tolist())


def read_record[C: Conf](path: Path, model: type[C], stage: str, version: int | None = FORMAT) -> C:
    """A JSON file that `stage` writes; a StoreError where it is missing, broken or another format."""
    with reading(path, stage):
        text = path.read_text(encoding="utf-8")
        raw = json.loads(text)
        if version is not None and isinstance(raw, dict) and raw.get("format") != version:
            raise StoreError(
                f"{path} has format {raw.get('format')!r}, this lenscape reads {version}; "
                f"run `{stage}` again."
            )
        return model.model_validate_json(text)


def require_hash(path: Path, sha256: str, stage: str) -> None:
    """A StoreError where a file that `stage` wrote with its metadata is missing or another one."""
    with reading(path, stage):
        if sha256_of(path) != sha256:
            raise StoreError(
                f"{path} is broken: it has changed since `{stage}` wrote it; run `{stage}` again."
            )


def read_columns(path: Path, names: list[str], stage: str) -> dict[str, npt.NDArray[Any]]:
    """Columns of a Parquet file that `stage` writes; a StoreError where it is missing or broken."""
    with reading(path, stage):
        table = pq.read_table(path, columns=names)
        return {name: table.column(name).to_numpy() for name in names}


def _of_kind(values: npt.NDArray[Any], kind: str) -> bool:
    if kind == "text":
        return all(isinstance(value, str) for value in values)
    return values.dtype.kind in kind and bool(np.isfinite(values).all())


@contextmanager
def reading(path: Path, stage: str) -> Iterator[None]:
    """A StoreError for a file that `stage` writes, where it is missing or broken."""
    missing = StoreError(f"{path} does not exist; run `{stage}` first.")
    with opening(lambda why: StoreError(f"{path} is broken ({why}); run `{stage}` again."), missing):
        yield
