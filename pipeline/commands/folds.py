"""`lenscape folds`: cross-validation of networks and baselines, each labelled cell tested once.

Parted by blocks of ground, and, to show how much that flatters, patch by patch at random. Folds are
trained side by side, one thread each. Per seed the predictions of all folds are pooled into one
confusion matrix; the table has the means over the seeds.
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
from pipeline.geo.grid import block_names
from pipeline.geo.randomparts import random_parts
from pipeline.learn import foldtable, tracking
from pipeline.learn.accuracy import Scores
from pipeline.learn.calibration import uncalibrated
from pipeline.learn.dataset import TrainingData
from pipeline.learn.dissimilarity import patch_features
from pipeline.learn.fit import fit
from pipeline.learn.foldtable import BLOCKS, CONFIDENCE, RANDOM, UNCALIBRATED
from pipeline.learn.lineage import flattened
from pipeline.learn.patchwise import batched_probabilities
from pipeline.learn.yardsticks import NAMES, answers
from pipeline.store import PatchStore

YARDSTICKS = "baselines"
"""The job that fits all baselines of a fold."""


@dataclass(frozen=True)
class Job:
    """What is fitted on one fold: a network, or all baselines."""

    model: str
    """The network's name in the table, or `YARDSTICKS`."""
    conf: TrainConf
    """Bands, class weights and, for a network, how it learns."""
    parting: str
    """`BLOCKS` or `RANDOM`."""
    split: SplitConf
    """With the fold that tests."""
    store: Path
    bands: tuple[str, ...]
    compute: ComputeConf


@dataclass(frozen=True)
class Tested:
    """What models said of the test part of a fold."""

    job: Job
    seed: int
    """The seed that the split used."""
    rows: npt.NDArray[np.intp]
    """Test patches, as rows of the store."""
    columns: dict[str, npt.NDArray[Any]]
    """By the names of `foldtable.Columns`, a value for each of them."""


@dataclass(frozen=True)
class Plan:
    """How often the patches are parted."""

    folds: int
    seeds: tuple[int, ...]
    """Seeds of the split: for each, every cell is tested once."""
    random_seeds: tuple[int, ...] = ()
    """Seeds for which the patches are parted at random, too."""


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
    base = load(split, SplitConf)
    jobs = [
        Job(
            model=name,
            conf=conf,
            parting=parting,
            split=_fold(base, plan.folds, seed, fold),
            store=store,
            bands=select(conf.bands, opened.meta.bands, f"{name}: key 'bands'"),
            compute=machine,
        )
        for parting, seeds in ((BLOCKS, plan.seeds), (RANDOM, plan.random_seeds))
        for seed in seeds
        for name, conf in {**confs, YARDSTICKS: next(iter(confs.values()))}.items()
        for fold in range(plan.folds)
    ]
    tested = list(_progress(_all(jobs, machine), len(jobs)))
    cells = _joined(opened, tested, base.block_m)
    models = [*confs, *NAMES]
    figures = foldtable.figures(cells, [*confs], NAMES, len(opened.meta.classes)) | {
        "folds": plan.folds,
        "store_sha256": opened.sha256,
    }
    _write_cells(out / "folds.parquet", cells, [info.name for info in opened.meta.classes], models)
    write_json(out / "folds.json", figures)
    text = foldtable.summary(figures, plan.folds)
    print("\n" + text)
    _track(figures, text, tested, opened, confs, out)


def _fold(conf: SplitConf, folds: int, seed: int, fold: int) -> SplitConf:
    """The conf of split with another seed and fold; parts published with images give way."""
    own = {"lists": None, "folds": folds, "seed": seed, "fold": fold}
    return SplitConf.model_validate(conf.model_dump() | own)


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
    part, seed = _parts(job, store)
    train, validation, test = (np.flatnonzero(part == name) for name in ("train", "validation", "test"))
    data = TrainingData(
        store, train, validation, store.statistics(train), job.bands, block_m=job.split.block_m
    )
    asked = _yardsticks if job.model == YARDSTICKS else _network
    return Tested(job, seed, test, asked(job, data, test))


def _parts(job: Job, store: PatchStore) -> tuple[npt.NDArray[np.str_], int]:
    """The part of each patch, and the seed that gave it."""
    if job.parting == RANDOM:
        return random_parts(store.patches, job.split), job.split.seed
    geometry, names = store.meta.geometry, [info.name for info in store.meta.classes]
    parting = part_patches(store.patches, job.split, geometry.patch_px * geometry.pixel_m, names)
    return parting.part, parting.seed


def _network(job: Job, data: TrainingData, test: npt.NDArray[np.intp]) -> dict[str, Any]:
    classifier = fit(data, job.conf, job.compute).classifier
    probabilities = batched_probabilities(classifier, _pieces(data, test))
    before = uncalibrated(probabilities, classifier.meta.temperature)
    columns = {
        job.model: probabilities.argmax(axis=1),
        f"{job.model}:{CONFIDENCE}": probabilities.max(axis=1),
        f"{job.model}:{UNCALIBRATED}": before.max(axis=1).astype(np.float32),
    }
    if classifier.familiar is not None:
        cell_px = classifier.meta.geometry.cell_px
        features = patch_features(_pieces(data, test), cell_px, classifier.fill_dn)
        columns["dissimilarity"] = classifier.familiar.relative(features).astype(np.float32)
    return columns


def _yardsticks(job: Job, data: TrainingData, test: npt.NDArray[np.intp]) -> dict[str, Any]:
    weights = data.class_weights(job.conf.class_weight_exponent)
    return dict(answers(NAMES, data, weights, test, job.compute))


def _pieces(data: TrainingData, rows: npt.NDArray[np.intp]) -> Iterable[npt.NDArray[np.uint16]]:
    return (chunk[:, data.places] for chunk in data.store.chunks(rows))


def _joined(store: PatchStore, tested: Sequence[Tested], block_m: float) -> dict[str, Any]:
    """One row a cell, way of parting and seed, with what every model said, in the order of the folds.

    The dissimilarity is that to the data of the first network.
    """
    pieces = []
    for first in (t for t in tested if t.job.model == tested[0].job.model):
        fold = first.job
        same = [t for t in tested if (t.job.parting, t.job.split) == (fold.parting, fold.split)]
        count = len(first.rows)
        piece: dict[str, Any] = {
            "parting": np.full(count, fold.parting),
            "seed": np.full(count, fold.split.seed),
            "split_seed": np.full(count, first.seed),
            "fold": np.full(count, fold.split.fold),
        }
        patches = {name: store.patches[name][first.rows] for name in ("scene", "epsg", "x", "y")}
        piece |= patches | {
            "block": block_names(patches["epsg"], patches["x"], patches["y"], block_m),
            "truth": store.patches["label"][first.rows].astype(np.int64),
        }
        for one in reversed(same):
            piece |= one.columns
        pieces.append(piece)
    cells = {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}
    _require_once(store, cells)
    return cells


def _require_once(store: PatchStore, cells: dict[str, Any]) -> None:
    """Each cell of the grid is tested exactly once a way of parting and seed."""
    on_grid = int(store.patches["on_grid"].sum())
    for parting, seed in set(zip(cells["parting"].tolist(), cells["seed"].tolist(), strict=True)):
        if ((cells["parting"] == parting) & (cells["seed"] == seed)).sum() != on_grid:
            raise AssertionError("each cell of the grid must be tested exactly once a seed")


def _write_cells(
    path: Path, cells: dict[str, Any], names: Sequence[str], models: Sequence[str]
) -> None:
    """The cells with the names of their classes."""
    named = {key: np.array(names)[cells[key]] for key in ("truth", *models)}
    table = pa.table({key: pa.array((named.get(key, cells[key])).tolist()) for key in cells})
    with publish(path) as partial:
        pq.write_table(table, partial, compression="zstd")


def _track(
    figures: dict[str, Any],
    text: str,
    tested: Sequence[Tested],
    store: PatchStore,
    confs: dict[str, TrainConf],
    out: Path,
) -> None:
    """One run with the table, and below it one for each fold of each model; nothing is registered."""
    settings = {name: conf.model_dump(mode="json") for name, conf in confs.items()}
    models = figures["partings"][BLOCKS]["models"]
    record = tracking.RunRecord(
        name=f"{figures['folds']} folds: {', '.join(models)}",
        params=flattened("train", settings) | {"folds": str(figures["folds"])},
        tags={"store_sha256": store.sha256} | tracking.checkout_state(),
    )
    labels, count = store.patches["label"], len(store.meta.classes)
    with tracking.open_run(record) as parent:
        for parting, found in figures["partings"].items():
            under = "test" if parting == BLOCKS else "random"
            for name, mean in found["models"].items():
                numbers = {key: value for key, value in mean.items() if key != "by_seed"}
                parent.metrics({f"{under}/{name}/{key}": value for key, value in numbers.items()})
        parent.text(text, "folds.txt")
        parent.artifact(out / "folds.json")
        parent.artifact(out / "folds.parquet")
        for one in tested:
            split, parting = one.job.split, one.job.parting
            for model in (name for name in models if name in one.columns):
                params = {"model": model, "seed": str(split.seed), "fold": str(split.fold)}
                name = f"{model}, {parting}, seed {split.seed}, fold {split.fold}"
                with tracking.child_run(parent, name, params | {"parting": parting}) as child:
                    scores = Scores.of(labels[one.rows], one.columns[model], count)
                    child.metrics({f"test/{key}": value for key, value in scores.numbers.items()})
