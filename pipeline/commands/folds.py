"""`lenscape folds`: cross-validation of networks and baselines, each labelled cell tested once.

Per seed the predictions of all folds are pooled into one confusion matrix; the table has the means
over the seeds.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pipeline.config.reading import load
from pipeline.config.train import TrainConf
from pipeline.crossvalidation.fitting import Plan, Study
from pipeline.crossvalidation.record import cross_validate


def run(
    networks: Sequence[tuple[str, Path]],
    plan: Plan,
    split: Path,
    store: Path,
    out: Path,
    compute: Path | None = None,
) -> None:
    """Write `folds.json` and `folds.parquet` to the folder `out` and an MLflow run with its children.

    Args:
        networks: Names and confs of train; the baselines follow bands and class weights of the first.
        plan: Folds and seeds.
        split: The conf of split; its seed and folds are replaced.
        store: The PatchStore.
        out: The folder of the two files.
        compute: `compute.yaml`.

    Raises:
        LenscapeError: when a conf or the store cannot be used, or a fold cannot be trained.
    """
    confs = {name: load(path, TrainConf) for name, path in networks}
    cross_validate(Study("folds", confs, True, plan), split, store, out, compute)
