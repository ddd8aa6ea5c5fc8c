"""Pure statistics of classifications: nothing here knows a network, a file or a map.

The confusion matrix has the truth in rows and the prediction in columns. Formulas after Congalton
and Green, Assessing the Accuracy of Remotely Sensed Data, chapters 4 and 5.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Labels = npt.NDArray[np.integer]
Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class ClassScores:
    """The scores of one class."""

    precision: float
    """Of what is predicted so, the share that is so (user's accuracy); 0 without predictions."""
    recall: float
    """Of what is so, the share that is predicted so (producer's accuracy); 0 without support."""
    f1: float
    """The harmonic mean of the two."""
    support: int
    """Patches of the class."""


@dataclass(frozen=True)
class Scores:
    """The scores of a classification."""

    confusion: Counts
    """(K, K), truth in rows."""

    @classmethod
    def of(cls, truth: Labels, predicted: Labels, classes: int) -> Scores:
        """Of the 0-based classes of N patches and their predictions.

        Raises:
            ValueError: when there are none, or not as many of the one as of the other.
        """
        if len(truth) != len(predicted) or not len(truth):
            raise ValueError(f"{len(truth)} true and {len(predicted)} predicted classes")
        pairs = truth.astype(np.int64) * classes + predicted
        return cls(np.bincount(pairs, minlength=classes**2).reshape(classes, classes))

    @property
    def support(self) -> Counts:
        """Patches per class, (K,)."""
        counts: Counts = self.confusion.sum(axis=1)
        return counts

    @property
    def accuracy(self) -> float:
        """Share of the patches whose prediction is right (overall accuracy)."""
        return float(np.trace(self.confusion) / self.confusion.sum())

    @property
    def balanced_accuracy(self) -> float:
        """Recall averaged over the classes with support."""
        present = self.support > 0
        return float((np.diag(self.confusion)[present] / self.support[present]).mean())

    @property
    def kappa(self) -> float:
        """Cohen's kappa: agreement beyond that of chance with the same margins; 1 where none is due."""
        total = self.confusion.sum()
        chance = float((self.support / total) @ (self.confusion.sum(axis=0) / total))
        return 1.0 if chance == 1 else (self.accuracy - chance) / (1 - chance)

    @property
    def macro_f1(self) -> float:
        """F1 averaged over the classes with support."""
        return float(np.mean([scores.f1 for scores in self.per_class if scores.support]))

    @property
    def per_class(self) -> tuple[ClassScores, ...]:
        """The scores of each class."""
        hits, predicted = np.diag(self.confusion), self.confusion.sum(axis=0)
        return tuple(
            ClassScores(_ratio(h, p), _ratio(h, s), _ratio(2 * h, p + s), int(s))
            for h, p, s in zip(hits, predicted, self.support, strict=True)
        )

    @property
    def numbers(self) -> dict[str, float]:
        """The overall figures by name."""
        return {
            "accuracy": self.accuracy,
            "balanced_accuracy": self.balanced_accuracy,
            "kappa": self.kappa,
            "macro_f1": self.macro_f1,
        }

    @property
    def worst_confusion(self) -> tuple[int, int, int] | None:
        """Truth, prediction and count of the most frequent mistake; none where there is none."""
        mistakes = self.confusion - np.diag(np.diag(self.confusion))
        count = int(mistakes.max())
        if count == 0:
            return None
        row, col = np.unravel_index(int(mistakes.argmax()), mistakes.shape)
        return int(row), int(col), count


def _ratio(part: int, whole: int) -> float:
    return float(part / whole) if whole else 0.0


def most_confident_mistakes(
    truth: Labels, probabilities: npt.NDArray[np.float32], count: int
) -> npt.NDArray[np.intp]:
    """The rows of the `count` mistakes with the highest probability, highest first.

    Of the 0-based classes (N,) of patches and their probabilities (N, K).
    """
    wrong = np.flatnonzero(probabilities.argmax(axis=1) != truth)
    order = np.argsort(-probabilities[wrong].max(axis=1), kind="stable")
    chosen: npt.NDArray[np.intp] = wrong[order[:count]]
    return chosen


def table(models: Mapping[str, Scores]) -> str:
    """The models below each other with their overall figures, as text."""
    head = f"{'':<22}{'accuracy':>10}{'balanced':>10}{'kappa':>8}{'macro F1':>10}"
    rows = [
        f"{name:<22}{s.accuracy:>10.3f}{s.balanced_accuracy:>10.3f}{s.kappa:>8.3f}{s.macro_f1:>10.3f}"
        for name, s in models.items()
    ]
    return "\n".join([head, *rows])
