"""How long things take: both sides warmed once, then run in turns, the median of three runs each."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

RUNS = 3


@dataclass(frozen=True)
class Run:
    """One run of one side."""

    units: float
    """How much was done: patches, batches, operations."""
    seconds: float

    @property
    def rate(self) -> float:
        """Units a second."""
        return self.units / self.seconds


Side = Callable[[float], Run]
"""Runs for at least so many seconds."""


@dataclass(frozen=True)
class Measured:
    """All runs of one side."""

    runs: tuple[Run, ...]

    @property
    def rate(self) -> float:
        """Units a second, the median of the runs."""
        return statistics.median(run.rate for run in self.runs)

    @property
    def spread(self) -> float:
        """From the slowest to the fastest run, as a share of the median."""
        rates = [run.rate for run in self.runs]
        return (max(rates) - min(rates)) / self.rate

    def seconds_for(self, units: float) -> float:
        """Seconds that so many units take at the median rate."""
        return units / self.rate


def repeated(work: Callable[[], float], before: Callable[[], object] | None = None) -> Side:
    """A side that does some work again and again.

    Args:
        work: Does it once and says how many units it did.
        before: What is done before each time, while the clock stands.
    """

    def side(seconds: float) -> Run:
        units = elapsed = 0.0
        while not units or elapsed < seconds:
            if before is not None:
                before()
            start = time.perf_counter()
            units += work()
            elapsed += time.perf_counter() - start
        return Run(units, elapsed)

    return side


def side_by_side(
    sides: Mapping[str, Side], seconds: float, runs: int = RUNS, say: Callable[[str], None] = print
) -> dict[str, Measured]:
    """Warm each side once, then run them in turns.

    Args:
        sides: By name.
        seconds: That each run lasts, at least.
        runs: Of each side.
        say: Is told of each run.
    """
    for side in sides.values():
        side(0.0)
    made: dict[str, list[Run]] = {name: [] for name in sides}
    for number in range(runs):
        for name, side in sides.items():
            run = side(seconds)
            made[name].append(run)
            say(f"  {name}, run {number + 1}: {run.rate:,.4g} a second in {run.seconds:.1f} s")
    return {name: Measured(tuple(runs_of_side)) for name, runs_of_side in made.items()}
