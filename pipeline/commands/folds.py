"""`lenscape folds`: spatial cross-validation of networks and baselines, each labelled cell tested once.

Folds are trained side by side, one thread each. Per seed the predictions of all folds are pooled
into one confusion matrix; the table has the means over the seeds.
"""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from tqdm import tqdm

from pipeline.config.compute import ComputeConf, load_compute
from pipeline.config.reading import load
from pipeline.config.split import SplitConf
from pipeline.config.train import TrainConf
from pipeline.files import publish, write_json
from pipeline.geo.bands import select
from pipeline.geo.blocks import part_patches
from pipeline.learn import tracking
from pipeline.learn.accuracy import Scores, table
from pipeline.learn.baselines import BASELINES, band_statistics
from pipeline.learn.dataset import TrainingData
from pipeline.learn.fit import fit
from pipeline.learn.lineage import flattened
from pipeline.learn.patchwise import batched_probabilities
from pipeline.store import PatchStore

Predictions = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Job:
    """One model to fit on one fold."""

    model: str
    """Its name in the table; a baseline's is one of `BASELINES`."""
    conf: TrainConf
    """Bands, class weights and, for a network, how it learns."""
    split: SplitConf
    """With the fold that tests."""
    store: Path
    bands: tuple[str, ...]
    compute: ComputeConf


@dataclass(frozen=True)
class Tested:
    """What a model said of the test part of its fold."""

    job: Job
    seed: int
    """The seed that the split used."""
    rows: npt.NDArray[np.intp]
    """Test patches, as rows of the store."""
    predicted: Predictions
    """0-based class of each."""


@dataclass(frozen=True)
class Plan:
    """How often the patches are parted."""

    folds: int
    seeds: tuple[int, ...]
    """Seeds of the split: for each, every cell is tested once."""


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
    opened = PatchStore.open(store)
    confs = {name: load(path, TrainConf) for name, path in networks}
    machine = load_compute(compute)
    parting = load(split, SplitConf).model_dump() | {"folds": plan.folds}
    jobs = [
        Job(
            model=name,
            conf=conf,
            split=SplitConf.model_validate(parting | {"seed": seed, "fold": fold}),
            store=store,
            bands=select(conf.bands, opened.meta.bands, f"{name}: key 'bands'"),
            compute=machine,
        )
        for seed in plan.seeds
        for name, conf in _models(confs).items()
        for fold in range(plan.folds)
    ]
    tested = list(_progress(_all(jobs, machine), len(jobs)))
    pooled = {
        name: [_pooled(opened, tested, name, seed) for seed in plan.seeds] for name in _models(confs)
    }
    figures = {
        "models": {name: _means(scores) for name, scores in pooled.items()},
        "folds": plan.folds,
        "seeds": list(plan.seeds),
        "store_sha256": opened.sha256,
    }
    write_json(out / "folds.json", figures)
    _write_cells(out / "folds.parquet", opened, tested)
    for seed, *scores in zip(plan.seeds, *pooled.values(), strict=True):
        print(f"\nseed {seed}\n" + table(dict(zip(pooled, scores, strict=True))))
    print("\n" + _summary(figures))
    _track(figures, tested, opened, confs, out)


def _models(confs: dict[str, TrainConf]) -> dict[str, TrainConf]:
    """Networks and baselines with the conf that each follows."""
    first = next(iter(confs.values()))
    return confs | dict.fromkeys(BASELINES, first)


def _all(jobs: Sequence[Job], machine: ComputeConf) -> Iterable[Tested]:
    workers = machine.workers or multiprocessing.cpu_count()
    # spawned, because torch's threads do not survive a fork
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context) as pool:
        yield from pool.map(_test, jobs)


def _progress(results: Iterable[Tested], total: int) -> Iterable[Tested]:
    quiet = not sys.stderr.isatty()
    return tqdm(results, total=total, unit="fold", mininterval=30 if quiet else 0.5)


def _test(job: Job) -> Tested:
    torch.set_num_threads(1)
    store = PatchStore.open(job.store)
    geometry, names = store.meta.geometry, [info.name for info in store.meta.classes]
    parting = part_patches(store.patches, job.split, geometry.patch_px * geometry.pixel_m, names)
    train, validation, test = (
        np.flatnonzero(parting.part == part) for part in ("train", "validation", "test")
    )
    data = TrainingData(store, train, validation, store.statistics(train), job.bands)
    predict = _baseline if job.model in BASELINES else _network
    return Tested(job, parting.seed, test, predict(job, data, test))


def _network(job: Job, data: TrainingData, test: npt.NDArray[np.intp]) -> Predictions:
    classifier = fit(data, job.conf, job.compute).classifier
    chunks = (chunk[:, data.places] for chunk in data.store.chunks(test))
    return batched_probabilities(classifier, chunks).argmax(axis=1)


def _baseline(job: Job, data: TrainingData, test: npt.NDArray[np.intp]) -> Predictions:
    labels = data.store.patches["label"][data.train]
    learnt, asked = (
        band_statistics(data.store.chunks(rows), data.places) for rows in (data.train, test)
    )
    weights = data.class_weights(job.conf.class_weight_exponent)
    return np.asarray(BASELINES[job.model](learnt, labels, weights).predict(asked), dtype=np.int64)


def _pooled(store: PatchStore, tested: Sequence[Tested], model: str, seed: int) -> Scores:
    """All folds of one model and seed in one confusion matrix."""
    mine = [t for t in tested if t.job.model == model and t.job.split.seed == seed]
    rows = np.concatenate([t.rows for t in mine])
    predicted = np.concatenate([t.predicted for t in mine])
    if len(rows) != store.patches["on_grid"].sum() or len(np.unique(rows)) != len(rows):
        raise AssertionError("each cell of the grid must be tested exactly once a seed")
    return Scores.of(store.patches["label"][rows], predicted, len(store.meta.classes))


def _means(scores: Sequence[Scores]) -> dict[str, Any]:
    seeds = [one.numbers for one in scores]
    means = {name: round(float(np.mean([one[name] for one in seeds])), 4) for name in seeds[0]}
    return means | {"by_seed": [{name: round(v, 4) for name, v in one.items()} for one in seeds]}


def _summary(figures: dict[str, Any]) -> str:
    lines = [f"mean of {len(figures['seeds'])} seeds, {figures['folds']} spatial folds each"]
    lines += [
        f"{name:<22}{mean['accuracy']:>10.3f}{mean['balanced_accuracy']:>10.3f}"
        for name, mean in figures["models"].items()
    ]
    return "\n".join(lines)


def _write_cells(path: Path, store: PatchStore, tested: Sequence[Tested]) -> None:
    """One row a cell and seed: where it lies, its fold, its class and what each model said."""
    names = np.array([info.name for info in store.meta.classes])
    first, *others = dict.fromkeys(t.job.model for t in tested)
    pieces = []
    for one in (t for t in tested if t.job.model == first):
        columns: dict[str, Any] = {
            name: store.patches[name][one.rows] for name in ("scene", "epsg", "x", "y")
        }
        count = len(one.rows)
        columns["seed"] = np.full(count, one.job.split.seed)
        columns["split_seed"] = np.full(count, one.seed)
        columns["fold"] = np.full(count, one.job.split.fold)
        columns["truth"] = names[store.patches["label"][one.rows]]
        columns[first] = names[one.predicted]
        for other in others:
            same = next(t for t in tested if t.job.model == other and t.job.split == one.job.split)
            columns[other] = names[same.predicted]
        pieces.append(pa.table({name: pa.array(list(values)) for name, values in columns.items()}))
    with publish(path) as partial:
        pq.write_table(pa.concat_tables(pieces), partial, compression="zstd")


def _track(
    figures: dict[str, Any],
    tested: Sequence[Tested],
    store: PatchStore,
    confs: dict[str, TrainConf],
    out: Path,
) -> None:
    """One run with the table, and below it one for each fold of each model; nothing is registered."""
    settings = {name: conf.model_dump(mode="json") for name, conf in confs.items()}
    record = tracking.RunRecord(
        name=f"{figures['folds']} folds, {len(figures['seeds'])} seeds: {', '.join(figures['models'])}",
        params=flattened("train", settings) | {"folds": str(figures["folds"])},
        tags={"store_sha256": store.sha256} | tracking.checkout_state(),
    )
    labels, count = store.patches["label"], len(store.meta.classes)
    with tracking.open_run(record) as parent:
        for name, mean in figures["models"].items():
            chosen = ("accuracy", "balanced_accuracy", "kappa", "macro_f1")
            parent.metrics({f"test/{name}/{key}": mean[key] for key in chosen})
        parent.text(_summary(figures), "folds.txt")
        parent.artifact(out / "folds.json")
        parent.artifact(out / "folds.parquet")
        for one in tested:
            split = one.job.split
            name = f"{one.job.model}, seed {split.seed}, fold {split.fold}"
            params = {"model": one.job.model, "seed": str(split.seed), "fold": str(split.fold)}
            with tracking.child_run(parent, name, params) as child:
                scores = Scores.of(labels[one.rows], one.predicted, count)
                child.metrics({f"test/{key}": value for key, value in scores.numbers.items()})
