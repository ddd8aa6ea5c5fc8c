"""When one model may take the place of another: the rule of promotion, and how the two differ.

The rule: on the same held-out patches of the same split, its balanced accuracy is above that of every
baseline, and the 95 % confidence interval of its difference to the champion, by 20 blocks or more,
lies above 0.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from pipeline.errors import MismatchError
from pipeline.learn.stats.intervals import Hits, Interval, balanced_accuracy
from pipeline.learn.tracking.registry import ModelVersion, predictions_of, run_data

GAIN = "test/gain"
"""Metric of a run: balanced accuracy above that of the best baseline."""


@dataclass(frozen=True)
class Decision:
    """Whether the rule lets a model take the champion's place, and why."""

    promoted: bool
    reason: str
    """The difference where it does; otherwise what is in the way, continuing the model's name."""


def decide(challenger: ModelVersion, champion: ModelVersion) -> Decision:
    """Apply the rule to a challenger.

    Raises:
        MismatchError: when the two were not evaluated on the same held-out patches.
        TrackingError: when one of them was not evaluated.
    """
    difference = _difference(challenger, champion)
    gain = run_data(challenger).metrics.get(GAIN)
    figures = (
        f"balanced accuracy {difference.value:+.3f} ({difference.ends('+')}, "
        f"{difference.blocks} block{'' if difference.blocks == 1 else 's'})"
    )
    if gain is None:
        return Decision(
            False,
            "was compared with no baseline (name some in conf/evaluate.yaml and run `evaluate` again)",
        )
    if gain <= 0:
        return Decision(False, f"is not better than its best baseline ({gain:+.3f} balanced accuracy)")
    if not difference.enough_blocks:
        return Decision(
            False,
            f"differs from {champion.uri} by {figures}: too few blocks of test ground for a decision",
        )
    if not difference.significant:
        return Decision(False, f"is not significantly better than {champion.uri}: {figures}")
    return Decision(True, figures)


def _difference(challenger: ModelVersion, champion: ModelVersion) -> Interval:
    """Balanced accuracy of the challenger less that of the champion."""
    # (N, 3) of texts: block, truth, predicted
    ours, theirs = (
        np.loadtxt(io.StringIO(text), str, delimiter=",", skiprows=1, comments=None, ndmin=2)
        for text in (predictions_of(challenger), predictions_of(champion))
    )
    if challenger.split != champion.split or not np.array_equal(ours[:, :2], theirs[:, :2]):
        raise MismatchError(
            f"{challenger.uri} and {champion.uri} were evaluated on different held-out patches "
            "(store or split differ), so their scores cannot be compared; train and evaluate both on "
            'one split, or state a reason: lenscape promote --because "...".'
        )
    names, labels = np.unique([ours[:, 1], ours[:, 2], theirs[:, 2]], return_inverse=True)
    truth, *predicted = labels.reshape(3, -1)
    first, second = (Hits.of(truth, one, ours[:, 0], len(names)) for one in predicted)
    return balanced_accuracy(first.less(second))


def changes(ours: Mapping[str, str], theirs: Mapping[str, str]) -> list[tuple[str, str, str]]:
    """Parameters that differ, by name: name, theirs, ours; a dash where one has none."""
    names = sorted(ours.keys() | theirs.keys())
    pairs = ((name, theirs.get(name, "–"), ours.get(name, "–")) for name in names)
    return [row for row in pairs if row[1] != row[2]]
