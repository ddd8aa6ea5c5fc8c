"""The table of a cross-validation, from the predictions of each model for every cell.

The cells are the record: one row a cell, a kind of split and a seed. Everything that the table says
follows from them, so that it can be made anew without training.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.learn.stats.accuracy import Scores
from pipeline.learn.stats.calibration import Reliability
from pipeline.learn.stats.intervals import Hits, ScoreIntervals

BLOCKS, RANDOM = "blocks", "random"
"""Kinds of split: by blocks of ground, or patch by patch."""
CONFIDENCE, UNCALIBRATED = "confidence", "confidence before calibration"
"""What follows the name of a network in those of two columns."""
_SHOWN = ("accuracy", "balanced_accuracy", "kappa", "macro_f1")

type Columns = Mapping[str, npt.NDArray[Any]]
"""Columns of N cells: `parting` (the kind of split), `seed`, `block` (a name), `truth`, and one a model
with the 0-based classes that it predicts; of networks `<model>:confidence` and
`<model>:confidence before calibration`; `dissimilarity`, 1 at its threshold."""


@dataclass(frozen=True)
class Pooled:
    """All folds of one kind of split and one seed."""

    cells: Columns
    classes: int

    def scores(self, model: str) -> Scores:
        """Of one model."""
        return Scores.of(self.cells["truth"], self.cells[model], self.classes)

    def calibration(self, model: str) -> dict[str, float]:
        """The expected calibration error of a network, before and after; nothing of a baseline."""
        if f"{model}:{CONFIDENCE}" not in self.cells:
            return {}
        right = self.cells["truth"] == self.cells[model]
        columns = {"ece_before": UNCALIBRATED, "ece_after": CONFIDENCE}
        return {
            name: Reliability.of_predictions(right, self.cells[f"{model}:{column}"]).error
            for name, column in columns.items()
        }


def figures(
    cells: Columns, networks: Sequence[str], baselines: Sequence[str], classes: int
) -> dict[str, Any]:
    """The table: means over the seeds by kind of split and model, and how optimistic random is.

    Intervals are those of the means over the seeds, by block.
    """
    models: list[str] = [*networks, *baselines]
    kinds: dict[str, dict[str, Any]] = {}
    for kind in np.unique(cells["parting"]).tolist():
        pooled = pools(cells, kind, classes)
        kinds[kind] = {
            "models": {model: _means(pooled, model) for model in models},
            "unlike_training": float(np.mean([np.mean(p.cells["dissimilarity"] > 1) for p in pooled])),
            "seeds": len(pooled),
        }
        if kind == BLOCKS:  # of patches drawn at random no block was held back
            intervals = ScoreIntervals.of(_hits(pooled, networks), _hits(pooled, baselines))
            kinds[kind] |= {"intervals": intervals.record, "sentence": intervals.sentence}
    return {"partings": kinds} | ({"optimism": _optimism(kinds)} if len(kinds) > 1 else {})


def pools(cells: Columns, kind: str, classes: int) -> list[Pooled]:
    """The pooled folds of a kind of split, by rising seed."""
    of_kind = _chosen(cells, cells["parting"] == kind)
    seeds = np.unique(of_kind["seed"])
    return [Pooled(_chosen(of_kind, of_kind["seed"] == seed), classes) for seed in seeds]


def summary(table: Mapping[str, Any], folds: int) -> str:
    """The table as text, for people."""
    lines = []
    for kind, of_kind in table["partings"].items():
        seeds = of_kind["seeds"]
        by = "spatial folds" if kind == BLOCKS else "folds of patches drawn at random"
        lines += [
            f"mean of {seeds} seed{'' if seeds == 1 else 's'}, {folds} {by} each",
            f"{'':<22}{'accuracy':>10}{'balanced':>10}{'ECE':>8}{'before':>8}",
        ]
        for name, mean in of_kind["models"].items():
            row = f"{name:<22}{mean['accuracy']:>10.3f}{mean['balanced_accuracy']:>10.3f}"
            if "ece_after" in mean:
                row += f"{mean['ece_after']:>8.3f}{mean['ece_before']:>8.3f}"
            lines.append(row)
        outside = of_kind["unlike_training"]
        lines.append(f"{outside:.1%} of the cells lie outside the area of applicability")
        lines += [*([of_kind["sentence"]] if "sentence" in of_kind else []), ""]
    if "optimism" in table:
        optimism = ", ".join(f"{name} {gain:+.3f}" for name, gain in table["optimism"].items())
        lines.append(f"balanced accuracy that a random split adds: {optimism}")
    return "\n".join(lines).rstrip()


def _hits(pooled: Sequence[Pooled], models: Sequence[str]) -> dict[str, Hits]:
    """By block, the mean of the seeds: every cell is tested once in each."""
    hits = {}
    for model in models:
        each = [Hits.of(p.cells["truth"], p.cells[model], p.cells["block"], p.classes) for p in pooled]
        hits[model] = Hits(np.mean([one.right for one in each], axis=0), each[0].total)
    return hits


def _chosen(cells: Columns, chosen: npt.NDArray[np.bool_]) -> Columns:
    return {name: values[chosen] for name, values in cells.items()}


def _means(pooled: Sequence[Pooled], model: str) -> dict[str, Any]:
    seeds = []
    for one in pooled:
        numbers = one.scores(model).numbers
        seeds.append({name: numbers[name] for name in _SHOWN} | one.calibration(model))
    means = {name: round(float(np.mean([seed[name] for seed in seeds])), 4) for name in seeds[0]}
    return means | {"by_seed": [{name: round(v, 4) for name, v in seed.items()} for seed in seeds]}


def _optimism(kinds: Mapping[str, Any]) -> dict[str, float]:
    """Balanced accuracy under a random split less that under a spatial one, by model."""
    spatial, drawn = (kinds[kind]["models"] for kind in (BLOCKS, RANDOM))
    key = "balanced_accuracy"
    return {name: round(drawn[name][key] - spatial[name][key], 4) for name in spatial}
