"""The split of a PatchStore: which patches train, validate and test, and the statistics of training.

It is a folder with `parts.parquet` (one row a patch of the store, column `part`) and `split.json`
(`Split`); the other files in it are for people.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from pydantic import Field

from pipeline.config.record import Conf
from pipeline.errors import StoreError
from pipeline.files import sha256_of
from pipeline.store import PARTS, PatchStore, read_columns, read_record, reading, require_hash
from pipeline.store_meta import FORMAT, Statistics


class Split(Conf):
    """`split.json`: how the patches were split."""

    format: int = FORMAT
    seed: int
    """The seed that was used, which may be a later one than the conf's."""
    block_m: Annotated[float, Field(gt=0)]
    folds: int | None
    fold: int | None
    lists: str | None = None
    """The published list that the parts are taken from, in place of blocks."""
    shared_ground_m2: float = 0.0
    """Ground that parts share, which only a list allows."""
    statistics: Statistics
    class_counts: list[int]
    """Training patches per class."""
    store_sha256: str
    """Identity of the store that was split."""
    parts_sha256: str


@dataclass(frozen=True)
class SplitFolder:
    """A split opened for reading."""

    folder: Path
    split: Split

    @classmethod
    def open(cls, folder: Path, store: PatchStore) -> SplitFolder:
        """Open the split of a store.

        Raises:
            StoreError: when a file is missing or broken, or the split is of another store.
        """
        opened = cls(folder, read_record(folder / "split.json", Split, "split"))
        if opened.split.store_sha256 != store.sha256:
            raise StoreError(f"{folder} splits another store than {store.folder}; run `split` again.")
        require_hash(folder / "parts.parquet", opened.split.parts_sha256, "split")
        with reading(folder / "split.json", "split"):
            lengths = len(opened.split.statistics.mean), len(opened.split.statistics.std)
            if set(lengths) != {len(store.meta.bands)}:
                raise ValueError("its statistics are of other bands")
            if len(opened.split.class_counts) != len(store.meta.classes):
                raise ValueError("its counts are of other classes")
        with reading(folder / "parts.parquet", "split"):
            if len(opened.parts) != len(store) or not set(opened.parts.tolist()) <= set(PARTS):
                raise ValueError("it does not name a part for each patch")
        return opened

    @cached_property
    def parts(self) -> npt.NDArray[Any]:
        """The part of each patch of the store: one of `PARTS`."""
        return read_columns(self.folder / "parts.parquet", ["part"], "split")["part"].astype(str)

    def rows(self, part: str) -> npt.NDArray[np.intp]:
        """The rows of the store that belong to a part, ascending."""
        return np.flatnonzero(self.parts == part)

    @property
    def sha256(self) -> str:
        """The identity of the split: the hash of its `split.json`."""
        return sha256_of(self.folder / "split.json")
