"""`lenscape promote`: a registered model becomes the champion, if it is surely better.

The rule: on the same test patches of the same split, its balanced accuracy is above that of every
baseline, and the interval of what it is ahead of the champion, by 20 blocks or more, lies above 0.
"""

from __future__ import annotations

import csv
import io

import numpy as np

from pipeline.errors import MismatchError
from pipeline.learn import tracking
from pipeline.learn.bootstrap import Hits, Interval, balanced_accuracy

GAIN = "test/gain"
"""Metric of a run: balanced accuracy above that of the best baseline."""


def run(version: str, because: str | None = None) -> None:
    """Compare a version with the champion and move the alias, or say why not.

    Args:
        version: An alias (`challenger`), a number or `models:/lenscape/3`.
        because: A reason to promote it whatever the figures say.

    Raises:
        TrackingError: when the registry has no such version, or it was never judged.
        MismatchError: when the two were not judged by the same split, or the rule does not hold.
    """
    challenger, champion = (tracking.find_version(name) for name in (version, tracking.CHAMPION))
    if challenger.uri == champion.uri:
        print(f"{champion.uri} is the champion already")
        return
    reason = f"by hand: {because}" if because else _reason(challenger, champion)
    tracking.promote(challenger, reason)
    print(f"{challenger.uri} is the champion now, before it was {champion.uri}; {reason}")


def _reason(challenger: tracking.ModelVersion, champion: tracking.ModelVersion) -> str:
    if challenger.split != champion.split:
        raise MismatchError(
            f"{challenger.uri} and {champion.uri} were judged by different test patches (store or "
            "split differ), so their figures cannot be compared; train and evaluate both on one split, "
            'or state a reason: lenscape promote --because "...".'
        )
    calls, metrics = tracking.judgement_of(challenger)
    gain = ahead(calls, tracking.judgement_of(champion)[0])
    told = (
        f"balanced accuracy {gain.value:+.3f} ({gain.low:+.3f} to {gain.high:+.3f}, "
        f"{gain.blocks} blocks)"
    )
    over_baselines = metrics.get(GAIN, 0.0)
    if over_baselines <= 0:
        raise MismatchError(
            f"{challenger.uri} is no better than its best baseline ({over_baselines:+.3f} balanced "
            'accuracy), so it stays what it is; lenscape promote --because "..." overrides that.'
        )
    if not gain.trusted:
        raise MismatchError(
            f"{challenger.uri} and {champion.uri} are apart by {told}: too few blocks of test ground "
            'to be sure; judge by more, or state a reason: lenscape promote --because "...".'
        )
    if gain.low <= 0:
        raise MismatchError(
            f"{challenger.uri} is not surely better than {champion.uri}: {told}; judge by more blocks, "
            'or state a reason: lenscape promote --because "...".'
        )
    return told


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
