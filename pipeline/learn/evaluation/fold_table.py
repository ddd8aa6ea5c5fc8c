"""The table of a cross-validation, from what each model said of every cell.

The cells are the record: one row a cell, a way of parting and a seed. Everything that the table says
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
from pipeline.learn.stats.intervals import Certainty, Hits

BLOCKS, RANDOM = "blocks", "random"
"""Ways of parting: by blocks of ground, or patch by patch."""
CONFIDENCE, UNCALIBRATED = "confidence", "confidence before calibration"
"""What follows the name of a network in those of two columns."""
_SHOWN = ("accuracy", "balanced_accuracy", "kappa", "macro_f1")

type Columns = Mapping[str, npt.NDArray[Any]]
"""Columns of N cells: `parting`, `seed`, `block` (a name), `truth`, and one a model with the 0-based
classes that it called; of networks `<model>:confidence` and `<model>:confidence before calibration`;
`dissimilarity`, 1 at its limit."""


@dataclass(frozen=True)
class Pooled:
    """All folds of one way of parting and one seed."""

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
        found = {"ece_before": UNCALIBRATED, "ece_after": CONFIDENCE}
        return {
            name: Reliability.of_predictions(right, self.cells[f"{model}:{column}"]).error
            for name, column in found.items()
        }


def figures(
    cells: Columns, networks: Sequence[str], baselines: Sequence[str], classes: int
) -> dict[str, Any]:
    """The table: means over the seeds by way of parting and model, and by how much random flatters.

    Intervals are those of the means over the seeds, by block.
    """
    models: list[str] = [*networks, *baselines]
    partings: dict[str, dict[str, Any]] = {}
    for parting in np.unique(cells["parting"]).tolist():
        pooled = pools(cells, parting, classes)
        partings[parting] = {
            "models": {model: _means(pooled, model) for model in models},
            "unlike_training": float(np.mean([np.mean(p.cells["dissimilarity"] > 1) for p in pooled])),
            "seeds": len(pooled),
        }
        if parting == BLOCKS:  # of patches drawn at random no block was held back
            certainty = Certainty.of(_hits(pooled, networks), _hits(pooled, baselines))
            partings[parting] |= {"intervals": certainty.record, "sentence": certainty.sentence}
    return {"partings": partings} | ({"optimism": _optimism(partings)} if len(partings) > 1 else {})


def pools(cells: Columns, parting: str, classes: int) -> list[Pooled]:
    """The pooled folds of a way of parting, by rising seed."""
    mine = _some(cells, cells["parting"] == parting)
    return [Pooled(_some(mine, mine["seed"] == seed), classes) for seed in np.unique(mine["seed"])]


def summary(table: Mapping[str, Any], folds: int) -> str:
    """The table as text, for people."""
    lines = []
    for parting, found in table["partings"].items():
        seeds = found["seeds"]
        by = "spatial folds" if parting == BLOCKS else "folds of patches drawn at random"
        lines += [
            f"mean of {seeds} seed{'' if seeds == 1 else 's'}, {folds} {by} each",
            f"{'':<22}{'accuracy':>10}{'balanced':>10}{'ECE':>8}{'before':>8}",
        ]
        for name, mean in found["models"].items():
            row = f"{name:<22}{mean['accuracy']:>10.3f}{mean['balanced_accuracy']:>10.3f}"
            if "ece_after" in mean:
                row += f"{mean['ece_after']:>8.3f}{mean['ece_before']:>8.3f}"
            lines.append(row)
        lines.append(f"{found['unlike_training']:.1%} of the cells are unlike the training data")
        lines += [*([found["sentence"]] if "sentence" in found else []), ""]
    if "optimism" in table:
        flattered = ", ".join(f"{name} {gain:+.3f}" for name, gain in table["optimism"].items())
        lines.append(f"balanced accuracy that a random split adds: {flattered}")
    return "\n".join(lines).rstrip()


def _hits(pooled: Sequence[Pooled], models: Sequence[str]) -> dict[str, Hits]:
    """By block, the mean of the seeds: every cell is tested once in each."""
    found = {}
    for model in models:
        each = [Hits.of(p.cells["truth"], p.cells[model], p.cells["block"], p.classes) for p in pooled]
        found[model] = Hits(np.mean([one.right for one in each], axis=0), each[0].total)
    return found


def _some(cells: Columns, chosen: npt.NDArray[np.bool_]) -> Columns:
    return {name: values[chosen] for name, values in cells.items()}


def _means(pooled: Sequence[Pooled], model: str) -> dict[str, Any]:
    seeds = []
    for one in pooled:
        numbers = one.scores(model).numbers
        seeds.append({name: numbers[name] for name in _SHOWN} | one.calibration(model))
    means = {name: round(float(np.mean([seed[name] for seed in seeds])), 4) for name in seeds[0]}
    return means | {"by_seed": [{name: round(v, 4) for name, v in seed.items()} for seed in seeds]}


def _optimism(partings: Mapping[str, Any]) -> dict[str, float]:
    """Balanced accuracy under a random split less that under a spatial one, by model."""
    spatial, drawn = (partings[parting]["models"] for parting in (BLOCKS, RANDOM))
    key = "balanced_accuracy"
    return {name: round(drawn[name][key] - spatial[name][key], 4) for name in spatial}
