"""`lenscape promote`: a registered model becomes the champion, if it is significantly better.

The rule is that of `learn/tracking/promotion.py`.
"""

from __future__ import annotations

from pipeline.errors import MismatchError
from pipeline.learn.tracking.model import CHAMPION
from pipeline.learn.tracking.promotion import decide
from pipeline.learn.tracking.registry import find_version, promote


def run(version: str, because: str | None = None) -> None:
    """Compare a version with the champion and move the alias, or explain why not.

    `version` is an alias, a number or `models:/lenscape/3`; with `because` its scores do not matter.

    Raises:
        TrackingError: when the registry has no such version, or it was not evaluated.
        MismatchError: when the two were not evaluated on the same split, or the rule does not hold.
    """
    challenger, champion = (find_version(name) for name in (version, CHAMPION))
    if challenger.uri == champion.uri:
        print(f"{champion.uri} is the champion already")
        return
    if because:
        reason = f"by hand: {because}"
    else:
        decision = decide(challenger, champion)
        reason = decision.reason
        if not decision.promoted:
            raise MismatchError(
                f"{challenger.uri} {reason}; {champion.uri} stays the champion. Evaluate on more "
                'test ground, or state a reason: lenscape promote --because "...".'
            )
    promote(challenger, reason)
    print(f"{challenger.uri} is the champion now, before it was {champion.uri}; {reason}")
