"""Area of applicability: how unlike the training data a patch is, and a scene by its metadata.

A patch is described by the logarithm of mean and standard deviation of each band. Its distance is
the Mahalanobis distance to the nearest class of the training part, all classes sharing one covariance
(Lee et al. 2018, A Simple Unified Framework for Detecting Out-of-Distribution Samples, of the bands
instead of a network's features). The threshold is the 95th percentile of held-out patches: the cells of
each fold to the training patches of that fold (Meyer and Pebesma 2021, doi:10.1111/2041-210X.13650), or
the validation part; what lies beyond it is outside the area of applicability. It depends on the data
alone and on no network, whose output for pixels unlike the training data cannot be relied on.
docs/accuracy.md compares it with distances in the network's features.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import reduce
from operator import add

import numpy as np
import numpy.typing as npt

from pipeline.store_meta import SceneInfo

QUANTILE = 0.95
"""Share of the held-out patches within the threshold."""
MOST_ROWS = 20_000
"""Training patches that the classes are described by, at most."""
_SAMPLES = 8
"""Pixels along each axis that describe a patch, about: more say little more and take time."""
_SOFT_DN = 10.0
"""Added before the logarithm: below, differences are noise of the sensor."""
_LEAST = 1e-6
_RIDGE = 1e-3
"""Added to the variances of standardised statistics, so that bands may be copies of each other."""
SEASON_DAYS = 45
"""A scene that lies further than this from every training scene is of another season."""
_YEAR_DAYS = 365

Pixels = npt.NDArray[np.uint16]
Features = npt.NDArray[np.float64]
Distances = npt.NDArray[np.float64]
Sums = npt.NDArray[np.float64]
"""Of whole numbers below 2 ** 53: exact, in whatever order they were added."""


@dataclass(frozen=True)
class TrainingFeatures:
    """Distribution of the training features; arrays of float64, with F = 2 x bands statistics.

    Saved models know the fields by these names.
    """

    centers: Features
    """Mean statistics of each class, whitened, (K, F)."""
    whitening: Features
    """Statistics @ whitening have unit covariance within the classes, (F, F)."""
    limit: npt.NDArray[np.float64]
    """Threshold of the area of applicability: `QUANTILE` of held-out patches are nearer, ()."""

    @classmethod
    def of(cls, training: Features, labels: npt.NDArray[np.integer]) -> TrainingFeatures:
        """Of the statistics of training patches (N, F) and their classes (N,); the threshold is 1.

        Raises:
            ValueError: when there are no patches.
        """
        if not len(training):
            raise ValueError("no training patches")
        spread = np.maximum(training.std(axis=0), _LEAST)
        scaled = training / spread
        classes, index = np.unique(labels, return_inverse=True)
        centers = np.stack([scaled[index == k].mean(axis=0) for k in range(len(classes))])
        within = scaled - centers[index]
        covariance = within.T @ within / len(scaled) + _RIDGE * np.eye(scaled.shape[1])
        values, vectors = np.linalg.eigh(covariance)
        whitening = (vectors / np.sqrt(values)) / spread[:, None]
        return cls(centers * spread @ whitening, whitening, np.ones(()))

    def with_threshold(self, held_out: Distances) -> TrainingFeatures:
        """The same with the threshold by the distances (N,) of held-out patches, one or more."""
        limit = max(float(np.quantile(held_out, QUANTILE)), _LEAST)
        return replace(self, limit=np.asarray(limit))

    def distances(self, features: Features) -> Distances:
        """The distance of each row of statistics (N, F) to the nearest class, (N,)."""
        # from one of the centres, so that their squares are no larger than the distances
        origin = self.centers[0]
        whitened, centers = features @ self.whitening - origin, self.centers - origin
        # |a - b|^2 = |a|^2 - 2 ab + |b|^2, of all classes at once
        apart = np.square(centers).sum(axis=1) - 2 * (whitened @ centers.T)
        squares = np.einsum("nf,nf->n", whitened, whitened) + apart.min(axis=1)
        distances: Distances = np.sqrt(np.maximum(squares, 0))
        return distances

    def relative(self, features: Features) -> Distances:
        """Distances as multiples of the threshold, (N,): above 1, outside the area of applicability."""
        return self.distances(features) / self.limit


def patch_features(pieces: Iterable[Pixels], cell_px: int, fill: Pixels) -> Features:
    """The statistics of patches that come in pieces, float64 (N, 2 x bands): means, then deviations.

    Args:
        pieces: Harmonised DN, uint16 (n, C, P, P), 0 is nodata.
        cell_px: Side of a cell.
        fill: The DN that each band takes in nodata pixels, uint16 (C,).
    """
    rows = []
    for piece in pieces:
        sampled = _sampled(piece, sample_px(piece.shape[-1], cell_px))
        values = _filled(sampled, fill[:, None, None]).reshape(
            *sampled.shape[:2], sampled.shape[2] ** 2
        )
        rows.append(_logarithms(values.sum(2), np.square(values).sum(2), values.shape[2]))
    return np.concatenate(rows) if rows else np.empty((0, 2 * len(fill)))


def window_features(
    pixels: Pixels,
    size: tuple[int, int],
    sides_px: tuple[int, int],
    fill: Pixels,
    step_px: int | None = None,
) -> Features:
    """The statistics of the patches around a block of map pixels, float64 (rows x cols, 2 x bands).

    They are those of `patch_features`, bit by bit.

    Args:
        pixels: Harmonised DN, uint16 (C, H, W), 0 is nodata: the block and the context around it.
        size: Rows and columns of the map.
        sides_px: Side of a patch, side of a map pixel.
        fill: As for `patch_features`.
        step_px: Distance of the pixels that describe a patch; where map pixels are cells, `sample_px`.
    """
    step = step_px or sample_px(*sides_px)
    patch_px, stride_px = sides_px
    # of every `phases`-th patch along an axis the pixels that describe it are some of the same ones
    phases = step // math.gcd(step, stride_px)
    count, stride = patch_px // step, phases * stride_px // step
    both = np.empty((2, len(pixels), size[1], size[0]))
    for row, col in np.ndindex(phases, phases):
        shifted = pixels[:, row * stride_px :, col * stride_px :]
        totals = both[:, :, col::phases, row::phases]
        cols, rows = totals.shape[2:]
        if not totals.size:
            continue
        for plane, value, sums in zip(shifted, fill, totals.swapaxes(0, 1), strict=True):
            values = _filled(_sampled(plane, step), value)
            for summand, total in zip((values, np.square(values)), sums, strict=True):
                tall = _sliding(summand, count, stride)[:rows]
                total[...] = _sliding(tall.T, count, stride)[:cols]
    sums, squares = (values.swapaxes(1, 2).reshape(len(pixels), -1).T for values in both)
    return _logarithms(sums, squares, count**2)


def sample_px(patch_px: int, cell_px: int) -> int:
    """Distance of the pixels that describe a patch: some `_SAMPLES` along each of its axes.

    Neighbouring patches share them, so it divides the sides of patch and cell.
    """
    common = math.gcd(patch_px, cell_px)
    most = max(1, patch_px // _SAMPLES)
    return max(step for step in range(1, common + 1) if common % step == 0 and step <= most)


def _sampled(pixels: Pixels, step: int) -> Pixels:
    """Every `step`-th pixel along the last two axes, from the middle of the first step on."""
    return pixels[..., step // 2 :: step, step // 2 :: step]


def _filled(pixels: Pixels, fill: npt.ArrayLike) -> Sums:
    values: Sums = pixels.astype(np.float64)
    np.copyto(values, fill, where=pixels == 0)
    return values


def _sliding(values: Sums, count: int, step: int) -> Sums:
    """Sums of `count` rows every `step` rows, (n, W) of (H, W)."""
    unit = math.gcd(count, step)
    length = len(values) // unit * unit
    sums: Sums = reduce(add, (values[first:length:unit] for first in range(unit)))
    count, step = count // unit, step // unit
    places, first, parts = len(sums) - count + 1, 0, []
    for bit in range(count.bit_length()):  # of 1, 2, 4, ... units, each made from the one before
        if bit:
            sums = sums[: -(1 << bit - 1)] + sums[1 << bit - 1 :]
        if count >> bit & 1:
            parts.append(sums[first : first + places : step])
            first += 1 << bit
    totals: Sums = reduce(add, parts)
    return totals


def _logarithms(sums: Sums, squares: Sums, count: int) -> Features:
    """Logarithms of mean and standard deviation from sums and sums of squares (N, bands)."""
    mean = sums / count
    deviation = np.sqrt(np.maximum(squares / count - mean**2, 0))
    # a row a statistic in memory: a block has many patches and few statistics
    features: Features = np.log(np.concatenate([mean.T, deviation.T]) + _SOFT_DN).T
    return features


def domain_shift(scene: SceneInfo, trained: Sequence[SceneInfo]) -> str:
    """How a scene differs from the training scenes by level, satellite and season; else empty.

    What is not known of the scene, or of every training scene, is not compared.
    """
    differences = [
        _unseen("level", scene.level, [info.level for info in trained]),
        _unseen("satellite", _lower(scene.platform), [_lower(info.platform) for info in trained]),
        _season(scene, trained),
    ]
    return "; ".join(part for part in differences if part)


def days_apart(first: date, second: date) -> int:
    """Days between two days of the year, whatever their years, the shorter way round the year.

    29 February counts as 1 March.
    """
    days = abs(_day(first) - _day(second))
    return min(days, _YEAR_DAYS - days)


def _day(day: date) -> int:
    if (day.month, day.day) == (2, 29):
        day = day.replace(month=3, day=1)
    return day.replace(year=2001).timetuple().tm_yday  # of a year of 365 days


def _unseen(key: str, value: str | None, trained: Iterable[str | None]) -> str:
    known = sorted({other for other in trained if other is not None})
    if value is None or not known or value in known:
        return ""
    return f"{key} {value}, but the model was trained on {', '.join(known)}"


def _season(scene: SceneInfo, trained: Sequence[SceneInfo]) -> str:
    days_known = [info.datetime[:10] for info in trained if "/" not in info.datetime]
    if not days_known:
        return ""
    own = date.fromisoformat(scene.datetime[:10])
    others = sorted({date.fromisoformat(day) for day in days_known})
    nearest = min(others, key=lambda day: days_apart(own, day))
    days = days_apart(own, nearest)
    if days <= SEASON_DAYS:
        return ""
    return f"{own} is {days} days of the year from {nearest}, the nearest that the model was trained on"


def _lower(platform: str | None) -> str | None:
    return None if platform is None else platform.lower()
