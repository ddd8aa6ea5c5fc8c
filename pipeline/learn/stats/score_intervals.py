"""The scores of a network and its baselines with their intervals, and how they compare, in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.learn.stats.intervals import Hits, Interval, accuracy, balanced_accuracy

WIDE = 0.3
"""Of an interval of balanced accuracy: a wider one has a note."""


@dataclass(frozen=True)
class ScoreIntervals:
    """The figures of a network and its baselines, by name, with their intervals."""

    accuracy: dict[str, Interval]
    balanced_accuracy: dict[str, Interval]
    best_baseline: str | None
    """The baseline of the highest balanced accuracy; None without baselines."""
    gain: Interval | None
    """Balanced accuracy of the network less that of the best baseline, on the same patches."""

    @classmethod
    def of(cls, hits: Mapping[str, Hits], baselines: Mapping[str, Hits]) -> ScoreIntervals:
        """Of networks, the first of which is compared, and of baselines, all on the same patches."""
        models = {**hits, **baselines}
        balanced = {name: balanced_accuracy(counts) for name, counts in models.items()}
        best_baseline = max(baselines, key=lambda name: balanced[name].value, default=None)
        first = next(iter(hits.values()))
        return cls(
            {name: accuracy(counts) for name, counts in models.items()},
            balanced,
            best_baseline,
            balanced_accuracy(first.less(baselines[best_baseline])) if best_baseline else None,
        )

    @property
    def comparison(self) -> str:
        """The network compared with the best baseline, in words; empty without baselines."""
        if self.gain is None or self.best_baseline is None:
            return ""
        gain, other = self.gain, self.best_baseline.replace("_", " ")
        result = "not better"
        if gain.value > 0 and not gain.enough_blocks:
            result = "better, on too few blocks to rule out chance,"
        elif gain.value > 0:
            result = "significantly better" if gain.significant else "not significantly better"
        return f"{result} than {other}: balanced accuracy {gain.value:+.3f} ({gain.ends('+')})"

    @property
    def notes(self) -> list[str]:
        """Sentences that belong beside the intervals: wide ones, too few blocks."""
        overall, balanced = self._network
        width = balanced.high - balanced.low
        wide = (
            f"the interval of balanced accuracy is {width:.2f} wide: too little test ground, or too "
            "few patches of some classes, for a decision"
        )
        notes = [note for note in (wide if width > WIDE else "", overall.note) if note]
        return [f"{note[:1].upper()}{note[1:]}." for note in notes]

    @property
    def sentence(self) -> str:
        """The network's scores and its comparison in words, with the notes."""
        overall, balanced = self._network
        scores = (
            f"95 % CI by block ({overall.blocks}): accuracy {overall}, balanced accuracy {balanced}"
        )
        first = "; ".join(part for part in (scores, self.comparison) if part)
        return " ".join([f"{first}.", *self.notes])

    @property
    def _network(self) -> tuple[Interval, Interval]:
        """Accuracy and balanced accuracy of the network."""
        return next(iter(self.accuracy.values())), next(iter(self.balanced_accuracy.values()))

    @property
    def record(self) -> dict[str, Any]:
        """For a JSON file."""
        intervals = {"accuracy": self.accuracy, "balanced_accuracy": self.balanced_accuracy}
        record: dict[str, Any] = {
            figure: {name: interval.record for name, interval in of_models.items()}
            for figure, of_models in intervals.items()
        }
        if self.gain is not None:
            record["gain"] = self.gain.record | {"over": self.best_baseline}
        return record

    @property
    def metrics(self) -> dict[str, float]:
        """For MLflow: the ends of the network's intervals and of its gain."""
        ends = dict(zip(("accuracy", "balanced_accuracy"), self._network, strict=True))
        gain = {} if self.gain is None else {"gain": self.gain}
        metrics = {
            f"{name}_{end}": getattr(interval, end)
            for name, interval in (ends | gain).items()
            if interval.known
            for end in ("low", "high")
        }
        return metrics | {name: interval.value for name, interval in gain.items()}
