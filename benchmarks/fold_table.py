"""The table of a cross-validation, from the predictions of each model for every cell.

The cells are the record: one row a cell, a kind of split and a seed. Everything that the table says
follows from them, so that it can be made anew without training. Their columns: `parting` (the kind of
split), `seed`, `fold`, `block` (a name), `truth`, and one a model with the 0-based classes that it
predicts; of networks `<model>:logit <class>` before calibration; `dissimilarity`, 1 at its threshold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import softmax

from pipeline.learn.stats.accuracy import Scores
from pipeline.learn.stats.calibration import Reliability, calibrate, cross_calibrated
from pipeline.learn.stats.intervals import Hits
from pipeline.learn.stats.score_intervals import ScoreIntervals

BLOCKS, RANDOM = "blocks", "random"
"""Kinds of split: by blocks of ground, or patch by patch."""


def figures(
    cells: pd.DataFrame, networks: Sequence[str], baselines: Sequence[str], classes: Sequence[str]
) -> dict[str, Any]:
    """The table: means over the seeds by kind of split and model, and how optimistic random is.

    Intervals are those of the means over the seeds, by block.
    """
    models: list[str] = [*networks, *baselines]
    kinds: dict[str, dict[str, Any]] = {}
    for kind, of_kind in cells.groupby("parting"):
        seeds = [of_seed for _, of_seed in of_kind.groupby("seed")]
        kinds[kind] = {
            "models": {model: _means(seeds, model, classes) for model in models},
            "unlike_training": float(np.mean([(one["dissimilarity"] > 1).mean() for one in seeds])),
            "seeds": len(seeds),
        }
        if kind == BLOCKS:  # of patches drawn at random no block was held back
            hits = {model: _hits(seeds, model, len(classes)) for model in models}
            first, others = ({name: hits[name] for name in part} for part in (networks, baselines))
            intervals = ScoreIntervals.of(first, others)
            kinds[kind] |= {"intervals": intervals.record, "sentence": intervals.sentence}
    return {"partings": kinds} | ({"optimism": _optimism(kinds)} if len(kinds) > 1 else {})


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


def _hits(seeds: Sequence[pd.DataFrame], model: str, classes: int) -> Hits:
    """By block, the mean of the seeds: every cell is tested once in each."""
    columns = ([one[name].to_numpy() for name in ("truth", model, "block")] for one in seeds)
    each = [Hits.of(truth, labels, blocks, classes) for truth, labels, blocks in columns]
    return Hits(np.mean([hits.right for hits in each], axis=0), each[0].total)


def _means(seeds: Sequence[pd.DataFrame], model: str, classes: Sequence[str]) -> dict[str, Any]:
    numbers = pd.DataFrame([_numbers(one, model, classes) for one in seeds])
    means: dict[str, Any] = numbers.mean().round(4).to_dict()
    return means | {"by_seed": numbers.round(4).to_dict("records")}


def _numbers(cells: pd.DataFrame, model: str, classes: Sequence[str]) -> dict[str, float]:
    """The scores of a model, and of a network the expected calibration error before and after.

    Each fold is calibrated by the others.
    """
    truth, predicted = cells["truth"].to_numpy(), cells[model].to_numpy()
    numbers = Scores.of(truth, predicted, len(classes)).numbers
    names = [f"{model}:logit {name}" for name in classes]
    if names[0] in cells:
        logits = cells[names].to_numpy()
        calibrated = cross_calibrated(truth, logits, cells["fold"].to_numpy(), calibrate)
        for name, values in (("ece_before", logits), ("ece_after", calibrated)):
            numbers[name] = Reliability.of(truth, softmax(values, axis=1)).error
    return numbers


def _optimism(kinds: Mapping[str, Any]) -> dict[str, float]:
    """Balanced accuracy under a random split less that under a spatial one, by model."""
    spatial, drawn = (kinds[kind]["models"] for kind in (BLOCKS, RANDOM))
    key = "balanced_accuracy"
    return {name: round(drawn[name][key] - spatial[name][key], 4) for name in spatial}
