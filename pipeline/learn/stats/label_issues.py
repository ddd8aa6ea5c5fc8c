"""Labels that held-out predictions contradict: confident learning, label by label.

A class has a threshold: the mean probability of the class over the cells that are labelled so. A cell
contradicts its label where its own class stays below its threshold and another class reaches its own
(Northcutt, Jiang and Chuang 2021, Confident learning: estimating uncertainty in dataset labels,
doi:10.1613/jair.1.12125). A label, such as a polygon, has one class, so its cells are one piece of
evidence: it is listed where half of its cells or more contradict it, by the log odds of another class
against its own in the mean of their probabilities, shrunk towards 0 where there are few cells.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

CONTRADICTING = 0.5
"""Share of the cells of a label that contradict it, at least, if it is listed."""
SHRUNK_CELLS = 2.0
"""A label of so many cells has half of the log odds of one of very many."""
_LEAST = 1e-3
"""Of a probability: some thousand held-out cells do not tell how small a smaller one is."""

Rows = npt.NDArray[np.intp]
Labels = npt.NDArray[np.integer]
Probabilities = npt.NDArray[np.floating]


@dataclass(frozen=True)
class LabelIssues:
    """The M labels that are most likely wrong, the surest first."""

    rank: Rows
    """Of the label of each cell, from 0, (N,); -1 where it is not one of them."""
    label: Rows
    """0-based class of each label, (M,)."""
    looks_like: Rows
    """The class that it looks like, (M,)."""
    cells: Rows
    """How many cells it has, (M,)."""
    contradicting: npt.NDArray[np.float64]
    """Share of them that contradict it, (M,)."""
    confidence: npt.NDArray[np.float64]
    """Mean probability of the class that it looks like over its cells, (M,)."""
    score: npt.NDArray[np.float64]
    """Log odds of that class against its own, shrunk, above 0, (M,)."""
    example: Rows
    """The cell, of the N, that shows best what it looks like, (M,)."""

    def __len__(self) -> int:
        return len(self.label)

    @property
    def columns(self) -> dict[str, npt.NDArray[Any]]:
        """What is said of each label, by name."""
        names = ("label", "looks_like", "cells", "contradicting", "confidence", "score")
        return {name: getattr(self, name) for name in names}


def label_issues(
    truth: Labels, probabilities: Probabilities, numbers: npt.NDArray[np.integer]
) -> LabelIssues:
    """Find the labels that held-out predictions contradict.

    Args:
        truth: 0-based class of each cell, (N,).
        probabilities: Held-out and calibrated, (N, K).
        numbers: Number of the label (polygon or point) that gives each cell its class, (N,); a cell
            with a negative number is a label of its own.
    """
    values = probabilities.astype(np.float64)
    _, of_cell = np.unique(
        np.where(numbers < 0, -1 - np.arange(len(numbers)), numbers), return_inverse=True
    )
    cells = np.bincount(of_cell)
    labels = np.arange(len(cells))
    given = np.zeros(len(cells), dtype=np.intp)
    given[of_cell] = truth

    own, thresholds = values[np.arange(len(truth)), truth], class_thresholds(truth, values)
    contradicts = (own < thresholds[truth]) & (values >= thresholds).any(axis=1)
    sums = np.stack([np.bincount(of_cell, column) for column in values.T], axis=1)
    average = np.maximum(sums / cells[:, None], _LEAST)
    others = np.where(np.isfinite(thresholds), average, 0.0)  # a class without labels is none to choose
    others[labels, given] = 0.0
    suggested = others.argmax(axis=1)
    odds = np.log(average[labels, suggested] / average[labels, given])
    score = odds * cells / (cells + SHRUNK_CELLS)
    share = np.bincount(of_cell, contradicts) / cells
    found = np.flatnonzero((score > 0) & (share >= CONTRADICTING))
    order = found[np.argsort(-score[found], kind="stable")]

    rank = np.full(len(cells), -1, dtype=np.intp)
    rank[order] = np.arange(len(order))
    lead = values[np.arange(len(truth)), suggested[of_cell]] - own
    by_label = np.lexsort((-lead, of_cell))
    first = by_label[np.searchsorted(of_cell[by_label], labels)]
    return LabelIssues(
        rank=rank[of_cell],
        label=given[order],
        looks_like=suggested[order],
        cells=cells[order],
        contradicting=share[order],
        confidence=average[labels, suggested][order],
        score=score[order],
        example=first[order],
    )


def class_thresholds(truth: Labels, probabilities: Probabilities) -> npt.NDArray[np.float64]:
    """Mean probability of each class over the cells labelled so, (K,); infinite without any."""
    count = np.bincount(truth, minlength=probabilities.shape[1])
    own = probabilities[np.arange(len(truth)), truth]
    total = np.bincount(truth, own, minlength=probabilities.shape[1])
    return np.where(count > 0, total / np.maximum(count, 1), np.inf)
