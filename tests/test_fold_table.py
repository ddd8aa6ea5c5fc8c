"""The table of folds, and the worlds whose truth is known: what benchmarks make of small stores."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.special import softmax

from benchmarks import worlds
from benchmarks.folds import BASELINES, main
from pipeline.learn.stats.accuracy import Scores
from pipeline.learn.stats.calibration import Reliability, calibrate, cross_calibrated
from pipeline.store import PatchStore
from tests.support.stores import make_store, make_table

pytestmark = [
    pytest.mark.slow,  # folds are trained in processes
    pytest.mark.filterwarnings(
        "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"
    ),
]

NETWORK = """
epochs: 2
batch_size: 128
lr: 0.01
network: {convolutions: [{filters: 4, kernel: 3, pool: {size: 2}}], dense: [{units: 8}]}
"""
NETWORKS = ("lenet", "other")


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[PatchStore, Path]:
    """A store, and the folder of its table."""
    folder = tmp_path_factory.mktemp("folds")
    store = make_store(folder / "patches", make_table(rows=24, cols=24))
    (folder / "lenet.yaml").write_text(NETWORK)
    (folder / "other.yaml").write_text(NETWORK.replace("filters: 4", "filters: 2"))
    (folder / "split.yaml").write_text("block_m: 480\nfolds: 2\n")
    networks = [f"--network={name}={folder / name}.yaml" for name in NETWORKS]
    paths = [
        f"--store={store.folder}",
        f"--split={folder / 'split.yaml'}",
        f"--out={folder / 'reports'}",
    ]
    main([*paths, *networks, "--seeds=0,1"], standalone_mode=False)
    return store, folder / "reports"


def _read(done: tuple[PatchStore, Path]) -> tuple[PatchStore, pd.DataFrame, dict]:
    store, folder = done
    figures = json.loads((folder / "folds.json").read_text())["partings"]
    return store, pd.read_parquet(folder / "folds.parquet"), figures


def test_every_cell_is_tested_once_a_seed_and_has_its_class(done: tuple[PatchStore, Path]) -> None:
    store, table, _ = _read(done)
    on_grid, names = store.patches["on_grid"], [info.name for info in store.meta.classes]
    columns = (store.patches[key][on_grid].tolist() for key in ("x", "y", "label"))
    expected = sorted((x, y, names[label]) for x, y, label in zip(*columns, strict=True))
    for parting, seed in [("blocks", 0), ("blocks", 1), ("random", 0)]:
        mine = table[(table["parting"] == parting) & (table["seed"] == seed)]
        assert sorted(zip(mine["x"], mine["y"], mine["truth"], strict=True)) == expected
        assert set(mine["fold"]) == {1, 2}


def test_figures_follow_from_the_cells(done: tuple[PatchStore, Path]) -> None:
    store, table, figures = _read(done)
    names = [info.name for info in store.meta.classes]
    mine = table[(table["parting"] == "blocks") & (table["seed"] == 1)]
    truth = np.array([names.index(name) for name in mine["truth"]])
    for model in (*NETWORKS, *BASELINES):
        predicted = np.array([names.index(name) for name in mine[model]])
        scores = Scores.of(truth, predicted, len(names))
        numbers = figures["blocks"]["models"][model]["by_seed"][1]
        assert numbers["balanced_accuracy"] == pytest.approx(scores.balanced_accuracy, abs=1e-4)
        interval = figures["blocks"]["intervals"]["balanced_accuracy"][model]
        assert interval["low"] <= interval["value"] <= interval["high"]
        assert interval["blocks"] == len(set(table["block"])) == 20
    logits = mine[[f"lenet:logit {name}" for name in names]].to_numpy()
    calibrated = cross_calibrated(truth, logits, mine["fold"].to_numpy(), calibrate)
    error = Reliability.of(truth, softmax(calibrated, axis=1)).error
    assert figures["blocks"]["models"]["lenet"]["by_seed"][1]["ece_after"] == pytest.approx(
        error, abs=1e-4
    )
    assert figures["blocks"]["models"]["logistic_regression"]["balanced_accuracy"] > 0.95
    assert "intervals" not in figures["random"]


def test_a_fold_drawn_at_random_has_neighbours_of_its_cells_in_training(
    done: tuple[PatchStore, Path],
) -> None:
    _, table, _ = _read(done)
    table = table[table["seed"] == 0]
    same = {}
    for parting, cells in table.groupby("parting"):
        folds = {(x, y): fold for x, y, fold in zip(cells["x"], cells["y"], cells["fold"], strict=True)}
        pairs = [(fold, folds[x + 80, y]) for (x, y), fold in folds.items() if (x + 80, y) in folds]
        same[parting] = np.mean([one == other for one, other in pairs])
    assert same["blocks"] > 0.8
    assert same["random"] < 0.7


def test_a_world_is_judged_by_ground_that_nobody_labelled() -> None:
    outcome = worlds.trial(0)
    assert outcome.accuracy.blocks == worlds.LABELLED
    assert outcome.accuracy.low < outcome.true_accuracy < outcome.accuracy.high
    assert 0.5 < outcome.true_accuracy < 0.8, "neither trivial nor hopeless"
    assert 0 < outcome.true_ece < 0.1
