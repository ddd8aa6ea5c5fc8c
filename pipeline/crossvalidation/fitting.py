"""Cross-validation: networks and baselines fitted on folds of a store, each labelled cell tested once.

Split by blocks of ground, and, to show how optimistic that is, patch by patch at random. Folds are
trained side by side, one thread each.
"""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from tqdm import tqdm

from pipeline.bands import select
from pipeline.config.compute import ComputeConf
from pipeline.config.split import SplitConf
from pipeline.config.train import TrainConf
from pipeline.geo.raster.grid import block_names
from pipeline.geo.split.blocks import split_patches
from pipeline.geo.split.random_split import random_parts
from pipeline.learn.data.training_data import TrainingData
from pipeline.learn.evaluation.baselines import NAMES, baseline_predictions
from pipeline.learn.evaluation.fold_table import BLOCKS, CONFIDENCE, RANDOM, UNCALIBRATED
from pipeline.learn.inference.predictor import batched_probabilities
from pipeline.learn.stats.calibration import uncalibrated
from pipeline.learn.training.fit import fit
from pipeline.parallel import worker_count
from pipeline.store import PatchStore

BASELINES = "baselines"
"""The job that fits all baselines of a fold."""


@dataclass(frozen=True)
class Job:
    """What is fitted on one fold: a network, or all baselines."""

    model: str
    """The network's name in the table, or `BASELINES`."""
    conf: TrainConf
    """Bands, class weights and, for a network, how it learns."""
    kind: str
    """`BLOCKS` or `RANDOM`."""
    split: SplitConf
    """With the fold that tests."""
    store: Path
    bands: tuple[str, ...]
    compute: ComputeConf


@dataclass(frozen=True)
class Tested:
    """The predictions of models for the test part of a fold."""

    job: Job
    seed: int
    """The seed that the split used."""
    rows: npt.NDArray[np.intp]
    """Test patches, as rows of the store."""
    columns: dict[str, npt.NDArray[Any]]
    """By the names of `fold_table`, a value for each of them."""


@dataclass(frozen=True)
class Plan:
    """How often the patches are split."""

    folds: int
    seeds: tuple[int, ...]
    """Seeds of the split: for each, every cell is tested once."""
    random_seeds: tuple[int, ...] = ()
    """Seeds for which the patches are split at random, too."""


@dataclass(frozen=True)
class Study:
    """What is cross-validated."""

    name: str
    """Of its files: `folds`."""
    networks: Mapping[str, TrainConf]
    """By their names in the table."""
    baselines: bool
    """Whether all baselines are fitted, too, on bands and class weights of the first network."""
    plan: Plan

    def jobs(self, store: PatchStore, split: SplitConf, machine: ComputeConf) -> list[Job]:
        """All that is fitted.

        Raises:
            ConfigError: when the store has not the bands of a network.
        """
        models = dict(self.networks)
        if self.baselines:
            models[BASELINES] = next(iter(models.values()))
        plan = self.plan
        return [
            Job(
                model=name,
                conf=conf,
                kind=kind,
                split=_fold(split, plan.folds, seed, fold),
                store=store.folder,
                bands=select(conf.bands, store.meta.bands, f"{name}: key 'bands'"),
                compute=machine,
            )
            for kind, seeds in ((BLOCKS, plan.seeds), (RANDOM, plan.random_seeds))
            for seed in seeds
            for name, conf in models.items()
            for fold in range(plan.folds)
        ]


def tested(jobs: Sequence[Job], machine: ComputeConf) -> list[Tested]:
    """The predictions of all models, with a progress bar.

    Raises:
        LenscapeError: when a fold cannot be trained.
    """
    # spawned, because torch's threads do not survive a fork
    context = multiprocessing.get_context("spawn")
    interval_s = 0.5 if sys.stderr.isatty() else 30  # a log wants few lines
    with ProcessPoolExecutor(worker_count(machine), context) as pool:
        results = pool.map(_test, jobs)
        return list(tqdm(results, total=len(jobs), unit="fold", mininterval=interval_s))


def _fold(conf: SplitConf, folds: int, seed: int, fold: int) -> SplitConf:
    """The conf of split with another seed and fold; published parts are left out."""
    own = {"lists": None, "folds": folds, "seed": seed, "fold": fold}
    return SplitConf.model_validate(conf.model_dump() | own)


def _test(job: Job) -> Tested:
    torch.set_num_threads(1)
    store = PatchStore.open(job.store)
    part, seed = _parts(job, store)
    train, validation, test = (np.flatnonzero(part == name) for name in ("train", "validation", "test"))
    data = TrainingData(
        store, train, validation, store.statistics(train), job.bands, block_m=job.split.block_m
    )
    predictions = _baselines if job.model == BASELINES else _network
    return Tested(job, seed, test, predictions(job, data, test))


def _parts(job: Job, store: PatchStore) -> tuple[npt.NDArray[np.str_], int]:
    """The part of each patch, and the seed that gave it."""
    if job.kind == RANDOM:
        return random_parts(store.patches, job.split), job.split.seed
    geometry, names = store.meta.geometry, [info.name for info in store.meta.classes]
    parts = split_patches(store.patches, job.split, geometry.patch_px * geometry.pixel_m, names)
    return parts.part, parts.seed


def _network(job: Job, data: TrainingData, test: npt.NDArray[np.intp]) -> dict[str, Any]:
    classifier = fit(data, job.conf, job.compute).classifier
    probabilities = batched_probabilities(classifier, data.pixels(test))
    before = uncalibrated(probabilities, classifier.meta.temperature)
    columns = {
        job.model: probabilities.argmax(axis=1),
        f"{job.model}:{CONFIDENCE}": probabilities.max(axis=1),
        f"{job.model}:{UNCALIBRATED}": before.max(axis=1).astype(np.float32),
    }
    return columns | {"dissimilarity": classifier.dissimilarity(data.pixels(test)).astype(np.float32)}


def _baselines(job: Job, data: TrainingData, test: npt.NDArray[np.intp]) -> dict[str, Any]:
    weights = data.class_weights(job.conf.class_weight_exponent)
    return dict(baseline_predictions(NAMES, data, weights, test, job.compute))


def joined(store: PatchStore, tested: Sequence[Tested], block_m: float) -> pd.DataFrame:
    """One row a cell, kind of split and seed, with all predictions, in the order of the folds.

    The dissimilarity is that to the data of the first network.
    """
    pieces = []
    for first in (t for t in tested if t.job.model == tested[0].job.model):
        fold = first.job
        same = [t for t in tested if (t.job.kind, t.job.split) == (fold.kind, fold.split)]
        piece: dict[str, Any] = {
            "parting": fold.kind,
            "seed": fold.split.seed,
            "split_seed": first.seed,
            "fold": fold.split.fold,
        }
        patches = {name: store.patches[name][first.rows] for name in ("scene", "epsg", "x", "y")}
        piece |= patches | {
            "block": block_names(patches["epsg"], patches["x"], patches["y"], block_m),
            "truth": store.patches["label"][first.rows].astype(np.int64),
        }
        for one in reversed(same):
            piece |= one.columns
        pieces.append(pd.DataFrame(piece))
    cells = pd.concat(pieces, ignore_index=True)
    if (cells.groupby(["parting", "seed"]).size() != store.patches["on_grid"].sum()).any():
        raise AssertionError("each cell of the grid must be tested exactly once a seed")
    return cells
