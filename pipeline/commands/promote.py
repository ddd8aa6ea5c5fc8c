"""`lenscape promote`: a registered model becomes the champion, if it is surely better.

The rule is that of `learn/evaluation/promotion.py`.
"""

from __future__ import annotations

from pipeline.errors import MismatchError
from pipeline.learn import tracking
from pipeline.learn.evaluation.promotion import verdict

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
    theirs, _ = tracking.judgement_of(champion)
    found = verdict(calls, theirs, metrics.get(GAIN, 0.0), champion.uri)
    if not found.holds:
        raise MismatchError(
            f"{challenger.uri} {found.reason}; so it stays what it is. Judge by more test ground, or "
            'state a reason: lenscape promote --because "...".'
        )
    return found.reason
