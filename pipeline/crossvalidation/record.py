"""What a cross-validation leaves: its table, its cells, and an MLflow run with one child a fold."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.config.compute import load_compute
from pipeline.config.reading import load
from pipeline.config.split import SplitConf
from pipeline.crossvalidation.fitting import Study, Tested, joined, tested
from pipeline.errors import TrackingError
from pipeline.files import publish, write_json
from pipeline.learn.evaluation import fold_table
from pipeline.learn.evaluation.baselines import NAMES
from pipeline.learn.evaluation.fold_table import BLOCKS
from pipeline.learn.report.provenance import flattened
from pipeline.learn.stats.accuracy import Scores
from pipeline.learn.tracking.run import RunRecord, child_run, open_run, warn
from pipeline.learn.tracking.tracking_uri import checkout_state, connect
from pipeline.store import PatchStore


def cross_validate(
    study: Study, split: Path, store: Path, out: Path, compute: Path | None = None
) -> dict[str, Any]:
    """Write `<study>.json` and `<study>.parquet` to the folder `out`, and an MLflow run; the table.

    Args:
        study: What is fitted, on which folds. All others are compared with its first network.
        split: The conf of split; its seed and folds are replaced.
        store: The PatchStore.
        out: The folder of the two files.
        compute: `compute.yaml`.

    Raises:
        LenscapeError: when a conf or the store cannot be used, or a fold cannot be trained.
    """
    opened, base = PatchStore.open(store), load(split, SplitConf)
    machine = load_compute(compute).on_one_device()
    connect()  # a store that is not there is better known before hours of work than after
    tests = tested(study.jobs(opened, base, machine), machine)
    cells = joined(opened, tests, base.block_m)
    first, *others = study.networks
    networks, compared = ([*study.networks], [*NAMES]) if study.baselines else ([first], others)
    figures = fold_table.figures(cells, networks, compared, len(opened.meta.classes)) | {
        "folds": study.plan.folds,
        "store_sha256": opened.sha256,
    }
    files = out / f"{study.name}.json", out / f"{study.name}.parquet"
    names = [info.name for info in opened.meta.classes]
    write_json(files[0], figures)
    named = {key: np.array(names)[cells[key]] for key in ("truth", *networks, *compared)}
    with publish(files[1]) as partial:
        cells.assign(**named).to_parquet(partial, compression="zstd")
    text = fold_table.summary(figures, study.plan.folds)
    print("\n" + text)
    try:
        _track(figures, text, tests, opened, study, files)
    except TrackingError as error:
        warn(f"{error} The table is not recorded; it lies in {out}.")
    return figures


def _track(
    figures: dict[str, Any],
    text: str,
    tests: Sequence[Tested],
    store: PatchStore,
    study: Study,
    files: tuple[Path, Path],
) -> None:
    """One run with the table, and below it one for each fold of each model; nothing is registered."""
    settings = {name: conf.model_dump(mode="json") for name, conf in study.networks.items()}
    models = figures["partings"][BLOCKS]["models"]
    record = RunRecord(
        name=f"{study.name}, {figures['folds']} folds: {', '.join(models)}",
        params=flattened("train", settings) | {"folds": str(figures["folds"])},
        tags={"store_sha256": store.sha256} | checkout_state(),
    )
    labels, count = store.patches["label"], len(store.meta.classes)
    with open_run(record) as parent:
        for kind, table in figures["partings"].items():
            under = "test" if kind == BLOCKS else "random"
            for name, mean in table["models"].items():
                numbers = {key: value for key, value in mean.items() if key != "by_seed"}
                parent.metrics({f"{under}/{name}/{key}": value for key, value in numbers.items()})
        parent.text(text, f"{study.name}.txt")
        for path in files:
            parent.artifact(path)
        for one in tests:
            split, kind = one.job.split, one.job.kind
            for model in (name for name in models if name in one.columns):
                params = {"model": model, "seed": str(split.seed), "fold": str(split.fold)}
                name = f"{model}, {kind}, seed {split.seed}, fold {split.fold}"
                with child_run(parent, name, params | {"parting": kind}) as child:
                    scores = Scores.of(labels[one.rows], one.columns[model], count)
                    child.metrics({f"test/{key}": value for key, value in scores.numbers.items()})
