"""95 % confidence intervals of accuracies: a bootstrap of whole blocks of ground.

Neighbouring patches share light, soil and the field that they lie in: they are not independent. What
is drawn anew is therefore the block of ground, with all of its patches (Davison and Hinkley 1997,
Bootstrap Methods and their Application, sections 2.4 and 3.8). Each drawn accuracy is measured in its
own standard error (studentised), because with few blocks the percentiles of the accuracies themselves
are too narrow. benchmarks/coverage.py measures how often the intervals hold the truth.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

FEWEST_BLOCKS = 20
"""With fewer blocks the interval is not reliable, and its record has a note."""
DRAWS = 4000
LEVEL = 0.95
WIDE = 0.3
"""Of an interval of balanced accuracy: a wider one has a note."""
_AT_A_TIME = 500
_LEAST = 1e-9

Labels = npt.NDArray[np.integer]
Counts = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """A figure with its confidence interval at `LEVEL`."""

    value: float
    low: float
    high: float
    blocks: int
    """Blocks of ground that it comes from."""

    @property
    def enough_blocks(self) -> bool:
        """Whether the interval is reliable."""
        return self.blocks >= FEWEST_BLOCKS

    @property
    def record(self) -> dict[str, float | int | str]:
        """For a JSON file."""
        ends = {name: round(getattr(self, name), 4) for name in ("value", "low", "high")}
        return ends | {"blocks": self.blocks} | ({"note": self.note} if self.note else {})

    @property
    def note(self) -> str:
        """A remark to be shown with it; empty where it is reliable."""
        if self.enough_blocks:
            return ""
        plural = "" if self.blocks == 1 else "s"
        return (
            f"{self.blocks} block{plural} of test ground, fewer than {FEWEST_BLOCKS}: too few for a "
            "reliable interval, which is then often too narrow"
        )

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"


@dataclass(frozen=True)
class Hits:
    """Patches by block and class, and how many of them were predicted right."""

    right: Counts
    """(B, K); of a difference, those of the one model less those of the other."""
    total: Counts
    """(B, K)."""
    least: float = 0.0
    """The smallest accuracy there is; -1 of a difference."""

    @classmethod
    def of(
        cls, truth: Labels, predicted: Labels, blocks: npt.NDArray[np.generic], classes: int
    ) -> Hits:
        """Of the 0-based classes of N patches, their predictions, and the block of each.

        Raises:
            ValueError: when there are no patches.
        """
        if not len(truth):
            raise ValueError("no patches to evaluate by")
        names, index = np.unique(blocks, return_inverse=True)
        cells = index.reshape(-1) * classes + truth
        shape = len(names), classes
        total, right = (
            np.bincount(cells, weights, minlength=len(names) * classes).reshape(shape)
            for weights in (np.ones(len(truth)), (truth == predicted).astype(np.float64))
        )
        return cls(right, total)

    def less(self, other: Hits) -> Hits:
        """The difference to another model on the same patches."""
        return Hits(self.right - other.right, self.total, least=-1.0)


def accuracy(hits: Hits, draws: int = DRAWS, seed: int = 0) -> Interval:
    """Overall accuracy, or its difference, with its interval."""
    right, total = (counts.sum(axis=1, keepdims=True) for counts in (hits.right, hits.total))
    pooled = Hits(right, total, hits.least)
    return balanced_accuracy(pooled, draws, seed)


def balanced_accuracy(hits: Hits, draws: int = DRAWS, seed: int = 0) -> Interval:
    """Recall averaged over the classes with patches, or its difference, with its interval.

    The interval is value - t(0.975) x error to value - t(0.025) x error, where t are the quantiles of
    (drawn value - value) / drawn error, and errors are those of a sum of independent blocks
    (linearisation; Davison and Hinkley 1997, section 2.7.2). It ends where accuracies end: at 0 and 1
    or, of a difference, at -1 and 1. The blocks are drawn anew `draws` times.
    """
    present = hits.total.sum(axis=0) > 0
    right, total = hits.right[:, present], hits.total[:, present]
    blocks = len(total)
    value, error = (float(figures[0]) for figures in _estimates(np.ones((1, blocks)), right, total))
    if blocks < 2:  # of one block nothing can be drawn anew: the figure may be anything
        return Interval(value, hits.least, 1.0, blocks)
    if error < _LEAST:
        return Interval(value, value, value, blocks)
    random = np.random.default_rng(seed)
    ratios = []
    for first in range(0, draws, _AT_A_TIME):
        size = min(_AT_A_TIME, draws - first)
        drawn = random.multinomial(blocks, np.full(blocks, 1 / blocks), size).astype(np.float64)
        values, errors = _estimates(drawn, right, total)
        ratios.append((values - value) / np.maximum(errors, _LEAST))
    smallest, largest = np.quantile(np.concatenate(ratios), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    low, high = max(value - largest * error, hits.least), min(value - smallest * error, 1.0)
    return Interval(value, float(low), float(high), blocks)


def _estimates(drawn: Counts, right: Counts, total: Counts) -> tuple[Counts, Counts]:
    """Balanced accuracy and its standard error, (R,), of draws with so many of each block, (R, B).

    `right` and `total` are (B, K).
    """
    patches = drawn @ total  # (R, K)
    present = patches > 0
    recalls = np.divide(drawn @ right, patches, out=np.zeros_like(patches), where=present)
    classes = np.maximum(present.sum(axis=1), 1)
    # of a block: its part in the mean of the recalls, less what it would have at the mean
    shares = np.divide(1, patches * classes[:, None], out=np.zeros_like(patches), where=present)
    parts = shares @ right.T - (shares * recalls) @ total.T  # (R, B)
    blocks = drawn.sum(axis=1)
    variance = (drawn * np.square(parts)).sum(axis=1) * blocks / np.maximum(blocks - 1, 1)
    return recalls.sum(axis=1) / classes, np.sqrt(variance)


@dataclass(frozen=True)
class ScoreIntervals:
    """The figures of a network and its baselines, by name, with their intervals."""

    accuracy: dict[str, Interval]
    balanced_accuracy: dict[str, Interval]
    best_baseline: str | None
    """The baseline of the highest balanced accuracy; None without baselines."""
    gain: Interval | None
    """Balanced accuracy of the network less that of the best baseline, on the same patches."""

    @classmethod
    def of(cls, hits: Mapping[str, Hits], baselines: Mapping[str, Hits]) -> ScoreIntervals:
        """Of networks, the first of which is compared, and of baselines, all on the same patches."""
        models = {**hits, **baselines}
        balanced = {name: balanced_accuracy(counts) for name, counts in models.items()}
        best_baseline = max(baselines, key=lambda name: balanced[name].value, default=None)
        first = next(iter(hits.values()))
        return cls(
            {name: accuracy(counts) for name, counts in models.items()},
            balanced,
            best_baseline,
            balanced_accuracy(first.less(baselines[best_baseline])) if best_baseline else None,
        )

    @property
    def comparison(self) -> str:
        """The network compared with the best baseline, in words; empty without baselines."""
        if self.gain is None or self.best_baseline is None:
            return ""
        gain, other = self.gain, self.best_baseline.replace("_", " ")
        result = "not better"
        if gain.value > 0:
            result = "significantly better" if gain.low > 0 else "not significantly better"
        return (
            f"{result} than {other}: balanced accuracy {gain.value:+.3f} "
            f"(95 % CI {gain.low:+.3f} to {gain.high:+.3f})"
        )

    @property
    def notes(self) -> list[str]:
        """Sentences that belong beside the intervals: wide ones, too few blocks."""
        overall, balanced = self._network
        width = balanced.high - balanced.low
        wide = (
            f"the interval of balanced accuracy is {width:.2f} wide: too little test ground, or too "
            "few patches of some classes, for a decision"
        )
        notes = [note for note in (wide if width > WIDE else "", overall.note) if note]
        return [f"{note[:1].upper()}{note[1:]}." for note in notes]

    @property
    def sentence(self) -> str:
        """The network's scores and its comparison in words, with the notes."""
        overall, balanced = self._network
        scores = (
            f"95 % CI by block ({overall.blocks}): accuracy {overall}, balanced accuracy {balanced}"
        )
        first = "; ".join(part for part in (scores, self.comparison) if part)
        return " ".join([f"{first}.", *self.notes])

    @property
    def _network(self) -> tuple[Interval, Interval]:
        """Accuracy and balanced accuracy of the network."""
        return next(iter(self.accuracy.values())), next(iter(self.balanced_accuracy.values()))

    @property
    def record(self) -> dict[str, Any]:
        """For a JSON file."""
        intervals = {"accuracy": self.accuracy, "balanced_accuracy": self.balanced_accuracy}
        record: dict[str, Any] = {
            figure: {name: interval.record for name, interval in of_models.items()}
            for figure, of_models in intervals.items()
        }
        if self.gain is not None:
            record["gain"] = self.gain.record | {"over": self.best_baseline}
        return record

    @property
    def metrics(self) -> dict[str, float]:
        """For MLflow: the ends of the network's intervals and of its gain."""
        ends = dict(zip(("accuracy", "balanced_accuracy"), self._network, strict=True))
        gain = {} if self.gain is None else {"gain": self.gain}
        metrics = {
            f"{name}_{end}": getattr(interval, end)
            for name, interval in (ends | gain).items()
            for end in ("low", "high")
        }
        return metrics | {name: interval.value for name, interval in gain.items()}
