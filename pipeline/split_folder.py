"""The split of a PatchStore: which patches train, validate and test, and the statistics of training.

It is a folder with `parts.parquet` (one row a patch of the store, column `part`; with folds also
`fold_1`, `fold_2`, ..., the part in each) and `split.json` (`Split`); the other files are for people.
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
    folds: Annotated[int, Field(ge=2)] | None
    """Of the cross-validation; None where there are three parts."""
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
            for part in opened.columns.values():
                if len(part) != len(store) or not set(part.tolist()) <= set(PARTS):
                    raise ValueError("it does not name a part for each patch")
        return opened

    @cached_property
    def columns(self) -> dict[str, npt.NDArray[Any]]:
        """One of `PARTS` for each patch of the store: `part`, and with folds `fold_1`, ...."""
        names = ["part", *(fold_column(fold) for fold in range(self.split.folds or 0))]
        columns = read_columns(self.folder / "parts.parquet", names, "split")
        return {name: columns[name].astype(str) for name in names}

    def rows(self, part: str, fold: int | None = None) -> npt.NDArray[np.intp]:
        """The rows of the store in a part, ascending; of a fold, from 0, if one is named."""
        return np.flatnonzero(self.columns["part" if fold is None else fold_column(fold)] == part)

    @property
    def tested(self) -> npt.NDArray[np.intp]:
        """The rows that the evaluation rests on: of the test part, or of those of all folds."""
        folds = self.split.folds
        if folds is None:
            return self.rows("test")
        return np.sort(np.concatenate([self.rows("test", fold) for fold in range(folds)]))

    @property
    def sha256(self) -> str:
        """The identity of the split: the hash of its `split.json`."""
        return sha256_of(self.folder / "split.json")


def fold_column(fold: int) -> str:
    """The column of `parts.parquet` for a fold, which counts from 0; people count from 1."""
    return f"fold_{fold + 1}"
