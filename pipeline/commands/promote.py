"""`lenscape promote`: a registered model becomes the champion, if it is significantly better.

The rule is that of `learn/tracking/promotion.py`.
"""

from __future__ import annotations

from pipeline.errors import MismatchError
from pipeline.learn.tracking.model import CHAMPION
from pipeline.learn.tracking.promotion import Candidate, decide
from pipeline.learn.tracking.registry import (
    ModelVersion,
    find_version,
    predictions_of,
    promote,
    run_data,
)

GAIN = "test/gain"
"""Metric of a run: balanced accuracy above that of the best baseline."""


def run(version: str, because: str | None = None) -> None:
    """Compare a version with the champion and move the alias, or say why not.

    Args:
        version: An alias (`challenger`), a number or `models:/lenscape/3`.
        because: A reason to promote it whatever its scores.

    Raises:
        TrackingError: when the registry has no such version, or it was not evaluated.
        MismatchError: when the two were not evaluated on the same split, or the rule does not hold.
    """
    challenger, champion = (find_version(name) for name in (version, CHAMPION))
    if challenger.uri == champion.uri:
        print(f"{champion.uri} is the champion already")
        return
    reason = f"by hand: {because}" if because else _reason(challenger, champion)
    promote(challenger, reason)
    print(f"{challenger.uri} is the champion now, before it was {champion.uri}; {reason}")


def _reason(challenger: ModelVersion, champion: ModelVersion) -> str:
    ours, theirs = (
        Candidate(version.uri, version.split, predictions_of(version))
        for version in (challenger, champion)
    )
    decision = decide(ours, theirs, run_data(challenger).metrics.get(GAIN, 0.0))
    if not decision.promoted:
        raise MismatchError(
            f"{challenger.uri} {decision.reason}; {champion.uri} stays the champion. Evaluate on more "
            'test ground, or state a reason: lenscape promote --because "...".'
        )
    return decision.reason
