"""Held-out predictions: each labelled cell as the network of the fold saw it that did not train there.

`held_out.parquet` is a GeoParquet with one row a cell, so that every figure of the cross-validation
can be computed again from it: `row` (of the store), `fold` (from 1), `block`, `truth` (the name of the
class), `logit <class>` for each class, before calibration, and `dissimilarity` to the training ground
of the fold, 1 at the threshold of the area of applicability. With a learning curve also `on 0.25` and
the like: the class that the network of the fold predicts that had this share of its training blocks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.learn.data.reader import Rows
from pipeline.store import read_columns, reading, require_hash

FILE = "held_out.parquet"


@dataclass(frozen=True)
class HeldOut:
    """Predictions for the cells of all folds, in the order of the store."""

    rows: Rows
    """Of the store, ascending, (N,)."""
    fold: npt.NDArray[np.int64]
    """From 0, (N,)."""
    logits: npt.NDArray[np.float32]
    """Before calibration, (N, K)."""
    dissimilarity: npt.NDArray[np.float64]
    """To the training patches of the fold, 1 at the threshold, (N,)."""
    on_share: dict[float, npt.NDArray[np.int64]] = field(default_factory=dict)
    """0-based classes (N,) by networks that had a share of the training blocks."""

    def columns(self, classes: Sequence[str]) -> dict[str, npt.NDArray[Any]]:
        """The columns of the file that hold these."""
        logits = {_logit(name): self.logits[:, index] for index, name in enumerate(classes)}
        cells = {"row": self.rows.astype(np.int64), "fold": self.fold + 1}
        shares = {_on(share): np.array(classes)[labels] for share, labels in self.on_share.items()}
        return cells | logits | {"dissimilarity": self.dissimilarity} | shares

    @classmethod
    def read(
        cls, path: Path, sha256: str, classes: Sequence[str], shares: Sequence[float] = ()
    ) -> HeldOut:
        """The predictions in a file.

        Raises:
            StoreError: when it is missing, broken or another one than its model was trained with.
        """
        require_hash(path, sha256, "train")
        names = ["row", "fold", *map(_logit, classes), "dissimilarity", *map(_on, shares)]
        columns = read_columns(path, names, "train")
        with reading(path, "train"):
            logits = np.stack([columns[_logit(name)] for name in classes], axis=1)
            return cls(
                columns["row"].astype(np.intp),
                columns["fold"].astype(np.int64) - 1,
                logits.astype(np.float32),
                columns["dissimilarity"].astype(np.float64),
                {share: _numbers(columns[_on(share)], classes) for share in shares},
            )


def _logit(name: str) -> str:
    return f"logit {name}"


def _on(share: float) -> str:
    return f"on {share:g}"


def _numbers(names: npt.NDArray[Any], classes: Sequence[str]) -> npt.NDArray[np.int64]:
    return np.array([classes.index(name) for name in names.tolist()], dtype=np.int64)
