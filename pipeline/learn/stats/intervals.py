"""95 % confidence intervals of accuracies: a bootstrap of whole blocks of ground.

Neighbouring patches share light, soil and the field that they lie in: they are not independent. What
is drawn anew is therefore the block of ground, with all of its patches (Davison and Hinkley 1997,
Bootstrap Methods and their Application, sections 2.4 and 3.8). Each drawn accuracy is measured in its
own standard error (studentised), because with few blocks the percentiles of the accuracies themselves
are too narrow, and by the size of its difference (symmetric; Hall 1988, On Symmetric Bootstrap
Confidence Intervals), because the two tails of few blocks are too long. benchmarks/coverage.py measures
how often the intervals hold the truth.

Where hardly a block differs from the others, a bootstrap sees no spread: 20 blocks without a mistake do
not say that there is none anywhere. There the interval is the exact one of a share (Clopper and Pearson
1934, Biometrika 26), as Korn and Graubard propose for clustered samples and shares near 0 and 1 (1998,
Survey Methodology 24), with each block as one trial: a block says no less than one patch, so that this
interval is rather too wide than too narrow.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import betaincinv

FEWEST_BLOCKS = 20
"""With fewer blocks the interval is not reliable, its record has a note, and nothing is significant."""
DRAWS = 4000
LEVEL = 0.95
_AT_A_TIME = 500
_LEAST = 1e-9

Labels = npt.NDArray[np.integer]
Counts = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """A figure with its confidence interval at `LEVEL`."""

    value: float
    low: float
    """Not a number, like `high`, where there is no interval: of one block nothing can be drawn anew."""
    high: float
    blocks: int
    """Blocks of ground that it comes from."""

    @property
    def enough_blocks(self) -> bool:
        """Whether the interval is reliable."""
        return self.blocks >= FEWEST_BLOCKS

    @property
    def known(self) -> bool:
        """Whether there is an interval."""
        return not math.isnan(self.low)

    @property
    def significant(self) -> bool:
        """Of a difference: whether it is surely above 0."""
        return self.enough_blocks and self.low > 0

    @property
    def record(self) -> dict[str, float | int | str | None]:
        """For a JSON file."""
        record: dict[str, float | int | str | None] = {"value": round(self.value, 4)}
        for name, end in (("low", self.low), ("high", self.high)):
            record[name] = round(end, 4) if self.known else None
        return record | {"blocks": self.blocks} | ({"note": self.note} if self.note else {})

    @property
    def note(self) -> str:
        """A remark to be shown with it; empty where it is reliable."""
        if self.enough_blocks:
            return ""
        if not self.known:
            return f"{self.blocks} block of test ground, of which no interval can be had"
        return (
            f"{self.blocks} blocks of test ground, fewer than {FEWEST_BLOCKS}: too few for a "
            "reliable interval, which is then often too narrow"
        )

    def ends(self, sign: str = "") -> str:
        """The ends in words; with a plus before positive ones if `sign` is that."""
        if not self.known:
            return "no interval"
        return f"95 % CI {self.low:{sign}.3f} to {self.high:{sign}.3f}"

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.ends().removeprefix('95 % CI ')})"


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

    The interval is value - t x error to value + t x error, where t is the 0.95 quantile of
    |drawn value - value| / drawn error, and errors are those of a sum of independent blocks
    (linearisation; Davison and Hinkley 1997, section 2.7.2); where too many drawn errors are 0 for such
    quantiles, the interval is the exact one by blocks. It ends where accuracies end: at 0 and 1
    or, of a difference, at -1 and 1. The blocks are drawn anew `draws` times.
    """
    present = hits.total.sum(axis=0) > 0
    right, total = hits.right[:, present], hits.total[:, present]
    blocks = len(total)
    value, error = (float(figures[0]) for figures in _estimates(np.ones((1, blocks)), right, total))
    if blocks < 2:
        return Interval(value, math.nan, math.nan, blocks)
    random = np.random.default_rng(seed)
    ratios, without_spread = [], 0
    for first in range(0, draws, _AT_A_TIME):
        size = min(_AT_A_TIME, draws - first)
        drawn = random.multinomial(blocks, np.full(blocks, 1 / blocks), size).astype(np.float64)
        values, errors = _estimates(drawn, right, total)
        ratios.append(np.abs(values - value) / np.maximum(errors, _LEAST))
        without_spread += int((errors < _LEAST).sum())
    if error < _LEAST or without_spread > draws * (1 - LEVEL) / 2:
        return Interval(value, *_exact(Hits(right, total, hits.least)), blocks)
    half = float(np.quantile(np.concatenate(ratios), LEVEL)) * error
    return Interval(value, max(value - half, hits.least), min(value + half, 1.0), blocks)


def _exact(hits: Hits) -> tuple[float, float]:
    """The exact interval by blocks, those that hold a class; of several classes, the means of the ends.

    A difference is the share that only the one model has right, less the share of the other.
    """
    blocks = (hits.total > 0).sum(axis=0)  # (K,)
    shares = hits.right.sum(axis=0) / hits.total.sum(axis=0)
    low, high = _clopper_pearson(shares.clip(0, 1), blocks)
    if hits.least < 0:
        other_low, other_high = _clopper_pearson((-shares).clip(0, 1), blocks)
        low, high = low - other_high, high - other_low
    return float(low.mean()), float(high.mean())


def _clopper_pearson(shares: Counts, trials: npt.NDArray[np.integer]) -> tuple[Counts, Counts]:
    """Both ends of the exact intervals of shares of so many trials, (K,) each."""
    hits, tail = shares * trials, (1 - LEVEL) / 2
    with np.errstate(invalid="ignore"):
        low = np.where(hits > 0, betaincinv(hits, trials - hits + 1, tail), 0.0)
        high = np.where(hits < trials, betaincinv(hits + 1, trials - hits, 1 - tail), 1.0)
    return low, high


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
