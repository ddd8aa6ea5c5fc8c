"""How sure the figures of a test are: intervals by block, also of what a network is ahead by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.learn.stats.bootstrap import Hits, Interval, accuracy, balanced_accuracy

WIDE = 0.3
"""Of an interval of balanced accuracy: beyond it the figure says little."""


@dataclass(frozen=True)
class Certainty:
    """The figures of a network and its baselines, by name, with their intervals."""

    accuracy: dict[str, Interval]
    balanced_accuracy: dict[str, Interval]
    rival: str | None
    """The baseline of the highest balanced accuracy; None without baselines."""
    gain: Interval | None
    """Balanced accuracy of the network less that of the rival, on the same patches."""

    @classmethod
    def of(cls, hits: Mapping[str, Hits], baselines: Mapping[str, Hits]) -> Certainty:
        """Of networks, the first of which is compared, and of baselines, all on the same patches."""
        every = {**hits, **baselines}
        balanced = {name: balanced_accuracy(one) for name, one in every.items()}
        rival = max(baselines, key=lambda name: balanced[name].value, default=None)
        first = next(iter(hits.values()))
        return cls(
            {name: accuracy(one) for name, one in every.items()},
            balanced,
            rival,
            None if rival is None else balanced_accuracy(first.less(baselines[rival])),
        )

    @property
    def note(self) -> str:
        """What must be said beside the intervals; empty where there are blocks enough."""
        return next(iter(self.accuracy.values())).note

    @property
    def width_note(self) -> str:
        """What must be said where the interval of the network's balanced accuracy is wide."""
        balanced = next(iter(self.balanced_accuracy.values()))
        width = balanced.high - balanced.low
        if width <= WIDE:
            return ""
        return (
            f"the interval of balanced accuracy is {width:.2f} wide: too little test ground, or too "
            "few patches of some classes, to decide much by"
        )

    @property
    def sentence(self) -> str:
        """The network's figures in words."""
        overall, balanced = (
            next(iter(figures.values())) for figures in (self.accuracy, self.balanced_accuracy)
        )
        said = (
            f"95 % intervals by block ({overall.blocks}): accuracy {overall}, balanced accuracy "
            f"{balanced}"
        )
        if self.gain is not None and self.rival is not None:
            gain, sure = self.gain, "surely" if self.gain.low > 0 else "not surely"
            said += (
                f"; {sure} better than {self.rival.replace('_', ' ')}: balanced accuracy "
                f"{gain.value:+.3f} ({gain.low:+.3f} to {gain.high:+.3f})"
            )
        notes = [note for note in (self.width_note, self.note) if note]
        return " ".join([f"{said}.", *(f"{note[:1].upper()}{note[1:]}." for note in notes)])

    @property
    def record(self) -> dict[str, Any]:
        """For a JSON file."""
        found: dict[str, Any] = {
            figure: {name: one.record for name, one in values.items()}
            for figure, values in (
                ("accuracy", self.accuracy),
                ("balanced_accuracy", self.balanced_accuracy),
            )
        }
        if self.gain is not None:
            found["gain"] = self.gain.record | {"over": self.rival}
        return found

    @property
    def metrics(self) -> dict[str, float]:
        """For MLflow: the ends of the network's intervals and of its gain."""
        ends = {
            "accuracy": next(iter(self.accuracy.values())),
            "balanced_accuracy": next(iter(self.balanced_accuracy.values())),
        } | ({} if self.gain is None else {"gain": self.gain})
        found = {
            f"{name}_{end}": getattr(one, end) for name, one in ends.items() for end in ("low", "high")
        }
        return found | ({} if self.gain is None else {"gain": self.gain.value})
