"""The table of docs/accuracy.md: networks and baselines on spatial folds, and on folds drawn at random.

    python -m benchmarks.folds [--seeds 0,1,2] [--random-seeds 0]

Each labelled cell of the store is tested once a seed, by the functions that `train` and `evaluate`
use. `reports/folds.parquet` has one row a cell, kind of split and seed, with the logits of networks,
so that every figure of `reports/folds.json` can be computed again. Patches split at random, whose
neighbours were seen in training, show how optimistic such a split is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import numpy as np
import numpy.typing as npt
import pandas as pd

from benchmarks import fold_table
from benchmarks.fold_table import BLOCKS, RANDOM
from pipeline.bands import select
from pipeline.config.compute import ComputeConf
from pipeline.config.evaluate import EvaluateConf
from pipeline.config.reading import load
from pipeline.config.split import SplitConf
from pipeline.config.train import TrainConf
from pipeline.files import publish, write_json
from pipeline.geo.raster.grid import block_names
from pipeline.geo.split.blocks import Patches, split_patches
from pipeline.learn.data.held_out import HeldOut
from pipeline.learn.data.training_data import Fold, TrainingData
from pipeline.learn.evaluation.predictions import fold_baselines
from pipeline.learn.training.fit import finish, train_networks
from pipeline.store import PatchStore
from pipeline.store_meta import ClassInfo

BASELINES = tuple(EvaluateConf().baselines)
NETWORKS = {"lenet": Path("conf/train.yaml"), "lenet5": Path("conf/networks/lenet5.yaml")}
PATH = click.Path(path_type=Path)


@dataclass(frozen=True)
class Folds:
    """The folds of one kind of split and one seed."""

    kind: str
    """`BLOCKS` or `RANDOM`."""
    seed: int
    parts: tuple[npt.NDArray[np.str_], ...]
    """For each fold the part of each patch."""

    @classmethod
    def by_blocks(cls, store: PatchStore, conf: SplitConf, seed: int) -> Folds:
        """By blocks of ground, as `split` does."""
        own = SplitConf.model_validate(conf.model_dump() | {"lists": None, "seed": seed})
        return cls.of_patches(store.patches, own, store.meta.geometry.patch_m, store.meta.classes)

    @classmethod
    def of_patches(
        cls, patches: Patches, conf: SplitConf, patch_m: float, classes: Sequence[ClassInfo]
    ) -> Folds:
        """Of some patches, by blocks of ground."""
        assigned = split_patches(patches, conf, patch_m, [info.name for info in classes])
        return cls(BLOCKS, conf.seed, assigned.fold_parts)

    def within(self, rows: npt.NDArray[np.intp], count: int) -> Folds:
        """The same of a store of `count` patches, whose others have no part."""
        parts = [np.full(count, "unused", dtype=part.dtype) for part in self.parts]
        for whole, part in zip(parts, self.parts, strict=True):
            whole[rows] = part
        return replace(self, parts=tuple(parts))

    @classmethod
    def at_random(cls, store: PatchStore, conf: SplitConf, seed: int) -> Folds:
        """Patch by patch, whatever lies beside it: what a split by ground is compared with."""
        count = conf.folds or 5
        fold = np.random.default_rng(seed).integers(count, size=len(store))
        on_grid = store.patches["on_grid"].astype(bool)
        parts = (
            np.where(fold != one, "train", np.where(on_grid, "test", "unused")) for one in range(count)
        )
        return cls(RANDOM, seed, tuple(parts))

    def data(self, store: PatchStore, bands: tuple[str, ...], block_m: float) -> list[Fold]:
        """What the network of each fold trains on."""

        def fold(number: int) -> Fold:
            train, test = (np.flatnonzero(self.parts[number] == part) for part in ("train", "test"))
            return Fold(
                number,
                TrainingData(
                    store, train, test, None, bands, block_m=block_m, validation_chooses=False
                ),
            )

        return [fold(number) for number in range(len(self.parts))]


def held_out_predictions(
    store: PatchStore, folds: Sequence[Fold], conf: TrainConf, machine: ComputeConf
) -> HeldOut:
    """Each cell as the network of a fold predicts it that did not train there."""
    every, first = np.arange(len(store)), folds[0].data
    final = replace(first, train=every, validation=every[:0])
    with TemporaryDirectory() as folder:
        train_networks(final, folds, conf, machine, Path(folder))
        held_out = finish(final, folds, Path(folder)).held_out
    assert held_out is not None
    return held_out


def cells(
    store: PatchStore,
    folds: Folds,
    networks: Mapping[str, TrainConf],
    block_m: float,
    machine: ComputeConf,
) -> pd.DataFrame:
    """One row a cell with the predictions of all models."""
    names = [info.name for info in store.meta.classes]
    columns: dict[str, Any] = {}
    for name, conf in networks.items():
        bands = select(conf.bands, store.meta.bands, f"{name}: key 'bands'")
        data = folds.data(store, bands, block_m)
        held_out = held_out_predictions(store, data, conf, machine)
        if not columns:
            table = {
                key: store.patches[key][held_out.rows] for key in ("scene", "epsg", "x", "y", "label")
            }
            columns = {"parting": folds.kind, "seed": folds.seed, "fold": held_out.fold + 1}
            columns |= {key: table[key] for key in ("scene", "epsg", "x", "y")}
            columns |= {
                "block": block_names(table["epsg"], table["x"], table["y"], block_m),
                "truth": table["label"].astype(np.int64),
                "dissimilarity": held_out.dissimilarity.astype(np.float32),
            }
            weights = [fold.data.class_weights(conf.class_weight_exponent) for fold in data]
            columns |= fold_baselines(BASELINES, data, weights, machine)
        columns[name] = held_out.logits.argmax(axis=1)
        columns |= {f"{name}:logit {one}": held_out.logits[:, k] for k, one in enumerate(names)}
    return pd.DataFrame(columns)


def _all(
    store: PatchStore, conf: SplitConf, seeds: tuple[int, ...], random_seeds: tuple[int, ...]
) -> Iterator[Folds]:
    for seed in seeds:
        yield Folds.by_blocks(store, conf, seed)
    for seed in random_seeds:
        yield Folds.at_random(store, conf, seed)


class Seeds(click.ParamType[tuple[int, ...]]):
    """Whole numbers with commas between them, or `none`."""

    name = "seeds"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[int, ...]:
        """The seeds that a value lists."""
        if value == "none":
            return ()
        try:
            return tuple(int(seed) for seed in value.split(","))
        except ValueError:
            self.fail(f"{value!r} is no list of whole numbers; write 0,1,2 or none", param, ctx)


@click.command()
@click.option("--store", type=PATH, default=Path("data/patches"))
@click.option("--split", type=PATH, default=Path("conf/split.yaml"))
@click.option("--out", type=PATH, default=Path("reports"))
@click.option("--seeds", type=Seeds(), default="0,1,2", help="Of the spatial split.")
@click.option("--random-seeds", type=Seeds(), default="0", help="Of splits at random.")
@click.option("--network", multiple=True, help="NAME=CONF; lenet and lenet5 by default.")
def main(
    store: Path,
    split: Path,
    out: Path,
    seeds: tuple[int, ...],
    random_seeds: tuple[int, ...],
    network: tuple[str, ...],
) -> None:
    """Train networks and baselines on all folds and write `folds.json` and `folds.parquet` to OUT."""
    opened, conf, machine = PatchStore.open(store), load(split, SplitConf), ComputeConf(devices=1)
    named = {name: Path(path) for name, _, path in (one.partition("=") for one in network)} or NETWORKS
    networks = {name: load(path, TrainConf) for name, path in named.items()}
    names = [info.name for info in opened.meta.classes]
    each = [
        cells(opened, folds, networks, conf.block_m, machine)
        for folds in _all(opened, conf, seeds, random_seeds)
    ]
    table = pd.concat(each, ignore_index=True)
    figures = fold_table.figures(table, [*networks], BASELINES, names)
    figures |= {"folds": conf.folds, "store_sha256": opened.sha256}
    write_json(out / "folds.json", figures)
    with publish(out / "folds.parquet") as partial:
        labels = {key: np.array(names)[table[key]] for key in ("truth", *networks, *BASELINES)}
        table.assign(**labels).to_parquet(partial, compression="zstd")
    print(fold_table.summary(figures, conf.folds or 5))


if __name__ == "__main__":
    main()
