"""What an epoch gave: written as `history.csv`, logged to MLflow, drawn as curves."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from pipeline.files import write_csv
from pipeline.store import reading


class Epoch(NamedTuple):
    """One row of the history."""

    epoch: int
    """From 1."""
    train_loss: float
    """Mean over the augmented training patches while they were learnt, with dropout."""
    validation_loss: float | None
    """The same loss over the validation part, as it is; None without one."""
    train_balanced_accuracy: float
    """Recall averaged over the classes, over the augmented training patches."""
    validation_balanced_accuracy: float | None
    """Recall averaged over the classes that the validation part has; None without one."""
    lr: float
    """Learning rate at the end of the epoch."""


def write_history(path: Path, rows: Sequence[Epoch]) -> None:
    """Write the history as CSV with a header; a column that no epoch has a value in is left out."""
    names = [name for name in Epoch._fields if any(getattr(row, name) is not None for row in rows)]
    values = ([getattr(row, name) for name in names] for row in rows)
    write_csv(path, names, ([row[0], *(f"{value:.6g}" for value in row[1:])] for row in values))


def read_history(path: Path) -> list[Epoch]:
    """The rows of a history.

    Raises:
        StoreError: when the file is missing or broken.
    """
    with reading(path, "train"), path.open(encoding="utf-8", newline="") as stream:
        return [_epoch(row) for row in csv.DictReader(stream)]


def _epoch(row: dict[str, str]) -> Epoch:
    without = dict.fromkeys(("validation_loss", "validation_balanced_accuracy"))
    values = {name: float(value) for name, value in row.items()}
    return Epoch(**without | values | {"epoch": int(row["epoch"])})  # type: ignore[arg-type]
