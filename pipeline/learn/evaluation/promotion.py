"""When one model may take the place of another: the rule of promotion, and what parts the two.

The rule: on the same test patches of the same split, its balanced accuracy is above that of every
baseline, and the interval of what it is ahead of the champion, by 20 blocks or more, lies above 0.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from pipeline.errors import MismatchError
from pipeline.learn.stats.intervals import Hits, Interval, balanced_accuracy


@dataclass(frozen=True)
class Verdict:
    """Whether the rule lets a model take the champion's place, and why."""

    holds: bool
    reason: str
    """Figures where it holds; otherwise what is in the way, as it goes on after a model's name."""


def verdict(calls: str, champion_calls: str, over_baselines: float, champion: str) -> Verdict:
    """Judge a model against the champion.

    Args:
        calls: Its calls of the test patches, as CSV: block, truth, called.
        champion_calls: Those of the champion.
        over_baselines: Its balanced accuracy less that of the best baseline.
        champion: What the champion is called.

    Raises:
        MismatchError: when the calls are not of the same patches.
    """
    gain = ahead(calls, champion_calls)
    told = (
        f"balanced accuracy {gain.value:+.3f} ({gain.low:+.3f} to {gain.high:+.3f}, "
        f"{gain.blocks} blocks)"
    )
    if over_baselines <= 0:
        return Verdict(
            False, f"is no better than its best baseline ({over_baselines:+.3f} balanced accuracy)"
        )
    if not gain.trusted:
        apart = f"is apart from {champion} by {told}: too few blocks of test ground to be sure"
        return Verdict(False, apart)
    if gain.low <= 0:
        return Verdict(False, f"is not surely better than {champion}: {told}")
    return Verdict(True, told)


def ahead(challenger: str, champion: str) -> Interval:
    """Balanced accuracy of the one less that of the other, from the calls of each, as CSV.

    Raises:
        MismatchError: when they are not of the same patches.
    """
    ours, theirs = (list(csv.DictReader(io.StringIO(text))) for text in (challenger, champion))
    if [(row["block"], row["truth"]) for row in ours] != [
        (row["block"], row["truth"]) for row in theirs
    ]:
        raise MismatchError(
            "the two versions were judged by different test patches; evaluate both on one split."
        )
    names = sorted({row[key] for rows in (ours, theirs) for row in rows for key in ("truth", "called")})
    place = {name: at for at, name in enumerate(names)}
    truth = np.array([place[row["truth"]] for row in ours])
    blocks = np.array([row["block"] for row in ours])
    first, second = (
        Hits.of(truth, np.array([place[row["called"]] for row in rows]), blocks, len(names))
        for rows in (ours, theirs)
    )
    return balanced_accuracy(first.less(second))


def changes(ours: Mapping[str, str], theirs: Mapping[str, str]) -> list[tuple[str, str, str]]:
    """Parameters that differ, by name: name, theirs, ours; a dash where one has none."""
    names = sorted(ours.keys() | theirs.keys())
    pairs = ((name, theirs.get(name, "–"), ours.get(name, "–")) for name in names)
    return [row for row in pairs if row[1] != row[2]]
