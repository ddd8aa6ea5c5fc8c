"""How often the intervals by block hold the truth, on maps whose truth is known.

    python -m benchmarks.coverage [--maps 2000]

A map is 40 x 40 blocks of 12 x 12 cells. Its errors are where a smooth Gaussian field exceeds a level,
with a correlation of exp(-d^2 / (2 L^2)) between cells d apart; its classes and the cells that have a
label are such fields, too, so that blocks hold very different numbers of cells. Some blocks, drawn at
random, test the map; the truth is the accuracy of all its labelled cells.
"""

from __future__ import annotations

import argparse
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
from scipy.stats import norm

from pipeline.learn.stats.intervals import Hits, accuracy, balanced_accuracy

SIDE, BLOCKS, CLASSES = 12, 40, 4
DRAWS = 1000
METHODS = ("accuracy", "balanced accuracy", "percentiles", "independent patches")


@dataclass(frozen=True)
class Setting:
    """A kind of map and of test part."""

    tested: int
    """Blocks that test."""
    length: float
    """L, in blocks."""
    right: float
    """Share of the cells that the maps predict right, about."""


SETTINGS = [
    Setting(tested, length, right)
    for tested in (40, 100)
    for length in (0.5, 1.0)
    for right in (0.7, 0.9)
]


def smooth_field(random: np.random.Generator, side: int, length_px: float) -> npt.NDArray[np.float64]:
    """A Gaussian field of unit variance on a torus, (side, side)."""
    frequency = np.fft.fftfreq(side)
    square = frequency[:, None] ** 2 + frequency[None] ** 2
    # white noise filtered by a Gaussian of L / sqrt(2) has a correlation of exp(-d^2 / (2 L^2))
    gain = np.exp(-square * (np.pi * length_px) ** 2)
    noise = np.fft.fft2(random.standard_normal((side, side)))
    smooth: npt.NDArray[np.float64] = np.fft.ifft2(noise * gain).real / np.sqrt(np.mean(gain**2))
    return smooth


def field(random: np.random.Generator, length_px: float) -> npt.NDArray[np.float64]:
    """A field of the size of a map."""
    return smooth_field(random, SIDE * BLOCKS, length_px)


def trial(setting: Setting, seed: int) -> list[bool]:
    """Whether each of `METHODS` holds the truth of one map."""
    random = np.random.default_rng((seed, setting.tested, round(100 * setting.right)))
    right = field(random, setting.length * SIDE) < norm.ppf(setting.right)
    labelled = field(random, SIDE / 2) > 0.3
    classes = np.digitize(field(random, SIDE / 2), norm.ppf(np.arange(1, CLASSES) / CLASSES))
    rows, cols = np.indices(right.shape) // SIDE
    block = rows * BLOCKS + cols
    chosen = np.isin(block, random.choice(BLOCKS**2, setting.tested, replace=False)) & labelled
    truth = classes[chosen]
    predicted = np.where(right[chosen], truth, (truth + 1) % CLASSES)
    hits = Hits.of(truth, predicted, block[chosen], CLASSES)
    exact = float(right[labelled].mean())
    recalls = [right[labelled & (classes == label)].mean() for label in range(CLASSES)]
    overall, balanced = accuracy(hits, DRAWS, seed), balanced_accuracy(hits, DRAWS, seed)
    low, high = _percentiles(random, hits)
    half = 1.96 * np.sqrt(overall.value * (1 - overall.value) / len(truth))
    return [
        overall.low <= exact <= overall.high,
        balanced.low <= float(np.mean(recalls)) <= balanced.high,
        low <= exact <= high,
        abs(overall.value - exact) <= half,
    ]


def _percentiles(random: np.random.Generator, hits: Hits) -> tuple[float, float]:
    """What most people do: percentiles of the accuracies of blocks drawn anew."""
    count = len(hits.total)
    drawn = random.multinomial(count, np.full(count, 1 / count), DRAWS)
    values = (drawn @ hits.right.sum(axis=1)) / (drawn @ hits.total.sum(axis=1))
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)


def main() -> None:
    """Print the table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--maps", type=int, default=2000)
    maps = parser.parse_args().maps
    print("| blocks | L, blocks | right | " + " | ".join(METHODS) + " |")
    print("|---" * (3 + len(METHODS)) + "|")
    with ProcessPoolExecutor() as pool:
        for setting in SETTINGS:
            held = list(pool.map(partial(trial, setting), range(maps), chunksize=20))
            shares = " | ".join(f"{share:.3f}" for share in np.mean(held, axis=0))
            print(f"| {setting.tested} | {setting.length} | {setting.right} | {shares} |", flush=True)


if __name__ == "__main__":
    main()
