"""Accuracy and class areas of a map from a probability sample of it, with their 95 % intervals.

After Olofsson et al. 2014, Good practices for estimating area and assessing accuracy of land change,
Remote Sensing of Environment 148, section 5.1 (how many cells of each class) and equations 1 to 11:
the sample is stratified by the classes of the map, and each stratum counts by its share of the map,
not by its share of the sample.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Z = 1.959963984540054
"""Of a normal distribution, 95 % lie within so many standard errors."""
_GUESSED_ACCURACY = 0.8
"""User's accuracy that is expected of each class before there is a sample."""

Values = npt.NDArray[np.float64]


def sample_size(standard_error: float) -> int:
    """Cells in all for a standard error of the overall accuracy (equation 13, classes alike)."""
    return math.ceil(_GUESSED_ACCURACY * (1 - _GUESSED_ACCURACY) / standard_error**2)


def allocate(cells: Sequence[int], total: int, fewest: int) -> npt.NDArray[np.int64]:
    """Cells to draw by class, (K,): its share of `total`, of rare classes `fewest`, which come on top.

    Never more than the class has on the map, (K,).
    """
    mapped = np.asarray(cells, dtype=np.int64)
    shares = np.floor(mapped / max(int(mapped.sum()), 1) * total + 0.5).astype(np.int64)
    return np.minimum(mapped, np.maximum(shares, fewest))


@dataclass(frozen=True)
class Estimate:
    """A figure or several, and how far their 95 % intervals reach to either side."""

    value: Values
    half: Values
    """Half the width of the interval; not a number where it is unknown."""


@dataclass(frozen=True)
class Adjusted:
    """Accuracy of a map and area of each class, adjusted for its errors."""

    overall: Estimate
    """Overall accuracy, ()."""
    users: Estimate
    """User's accuracy by class of the map, (K,): of what is mapped so, the share that is so."""
    producers: Estimate
    """Producer's accuracy by class, (K,): of what is so, the share that is mapped so."""
    areas: Estimate
    """Area by class in the unit of the map's areas, (K,): adjusted for the errors of the map."""


def adjusted(counts: npt.NDArray[np.integer], mapped: npt.ArrayLike) -> Adjusted:
    """Adjust a map by a sample that was drawn at random within each of its classes.

    Args:
        counts: Points of the sample, (K, K): the class of the map in rows, the reference in columns.
        mapped: Area that the map gives to each class, (K,), in any unit.

    Raises:
        ValueError: when a class that is mapped has fewer than two points, or nothing is mapped.
    """
    points, area = counts.astype(np.float64), np.asarray(mapped, dtype=np.float64)
    total = points.sum(axis=1)
    if not area.sum() > 0:
        raise ValueError("nothing is mapped")
    if (short := np.flatnonzero((area > 0) & (total < 2))).size:
        raise ValueError(f"class {short[0]} of the map has {int(total[short[0]])} points; it takes 2")
    weight = area / area.sum()
    # a class that is not mapped has no points and no weight
    shares = np.divide(points, total[:, None], out=np.zeros_like(points), where=total[:, None] > 0)
    spread = shares * (1 - shares) / np.maximum(total - 1, 1)[:, None]  # variance of each share
    own, own_spread = np.diag(shares), np.diag(spread)
    cells = weight[:, None] * shares  # equation 4: share of the ground, by map and reference
    reference = cells.sum(axis=0)
    variance = (weight[:, None] ** 2 * spread).sum(axis=0)  # equation 10, squared
    known = reference > 0
    producers = np.divide(np.diag(cells), reference, out=np.full(len(area), np.nan), where=known)
    missed = variance - weight**2 * own_spread
    numerator = (weight * (1 - producers)) ** 2 * own_spread + producers**2 * missed  # equation 7
    producers_variance = np.divide(numerator, reference**2, out=np.full(len(area), np.nan), where=known)
    return Adjusted(
        overall=_within(np.diag(cells).sum(), (weight**2 * own_spread).sum()),  # equations 1 and 5
        users=_within(np.where(total > 0, own, np.nan), own_spread),  # equations 2 and 6
        producers=_within(producers, producers_variance),
        areas=_within(reference * area.sum(), variance * area.sum() ** 2),  # equations 9 and 11
    )


def _within(value: npt.ArrayLike, variance: npt.ArrayLike) -> Estimate:
    values, variances = np.asarray(value, dtype=np.float64), np.asarray(variance, dtype=np.float64)
    return Estimate(values, Z * np.sqrt(variances))
