from __future__ import annotations

import json

import mlflow
import numpy as np
import pyarrow.parquet as pq
import pytest

from pipeline.commands.folds import ablation, folds
from pipeline.crossvalidation.fitting import Plan
from pipeline.crossvalidation.record import cross_validate
from pipeline.errors import ConfigError
from pipeline.learn.evaluation.baselines import NAMES
from pipeline.learn.stats.accuracy import Scores
from pipeline.learn.stats.calibration import Reliability
from pipeline.learn.tracking.tracking_uri import store_uri
from tests.support.stores import make_store, make_table
from tests.support.tracked import mlflow_store

pytestmark = [
    pytest.mark.slow,  # folds are fitted in processes
    pytest.mark.filterwarnings(
        "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"
    ),
]

NETWORK = """
epochs: 3
calibration_folds: 0
batch_size: 32
lr: 0.01
network: {convolutions: [{filters: 4, kernel: 3, pool: {size: 2}}], dense: [{units: 8}]}
"""
ABLATED = """
epochs: 8
batch_size: 32
lr: 0.02
calibration_folds: 3
network: {convolutions: [{filters: 4, kernel: 3, pool: {size: 2}}], dense: [{units: 8}]}
"""
PLAN = Plan(folds=2, seeds=(0, 1), random_seeds=(0,))
MODELS = ["lenet", "other", *NAMES]


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A store, the folder of the table, and the client of the MLflow store that it was logged to."""
    folder = tmp_path_factory.mktemp("folds")
    store = make_store(folder / "patches", make_table(rows=24, cols=24))
    (folder / "train.yaml").write_text(NETWORK)
    (folder / "other.yaml").write_text(NETWORK.replace("filters: 4", "filters: 2"))
    (folder / "split.yaml").write_text("block_m: 480\nvalidation: 0.25\n")
    (folder / "compute.yaml").write_text("accelerator: cpu\nworkers: 2\n")
    networks = {"lenet": folder / "train.yaml", "other": folder / "other.yaml"}
    with mlflow_store(folder):
        cross_validate(
            folds(networks, PLAN),
            folder / "split.yaml",
            folder / "patches",
            folder / "reports",
            folder / "compute.yaml",
        )
        yield store, folder / "reports", mlflow.MlflowClient(store_uri())


def cells(done):
    store, folder, _ = done
    return store, pq.read_table(folder / "folds.parquet").to_pandas()


def test_every_cell_of_the_grid_is_tested_once_a_seed(done):
    store, table = cells(done)
    on_grid = store.patches["on_grid"]
    expected = sorted(zip(store.patches["x"][on_grid], store.patches["y"][on_grid], strict=True))
    for parting, seed in [("blocks", 0), ("blocks", 1), ("random", 0)]:
        mine = table[(table["parting"] == parting) & (table["seed"] == seed)]
        assert sorted(zip(mine["x"], mine["y"], strict=True)) == expected
        assert set(mine["fold"]) == set(range(PLAN.folds))


def test_the_truth_of_each_cell_is_that_of_the_store(done):
    store, table = cells(done)
    names = [info.name for info in store.meta.classes]
    places = zip(store.patches["x"], store.patches["y"], strict=True)
    truth = {place: names[label] for place, label in zip(places, store.patches["label"], strict=True)}
    found = [truth[place] for place in zip(table["x"], table["y"], strict=True)]
    assert found == list(table["truth"])


def test_the_figures_are_those_of_the_cells_pooled_by_seed(done):
    store, table = cells(done)
    figures = json.loads((done[1] / "folds.json").read_text())
    names = [info.name for info in store.meta.classes]
    means = figures["partings"]["blocks"]["models"]
    assert list(means) == sorted(MODELS)
    for model in MODELS:
        scores = []
        for seed in PLAN.seeds:
            mine = table[(table["parting"] == "blocks") & (table["seed"] == seed)]
            truth, said = (
                np.array([names.index(name) for name in mine[column]]) for column in ("truth", model)
            )
            scores.append(Scores.of(truth, said, len(names)))
        mean = means[model]
        for key in ("accuracy", "balanced_accuracy"):
            assert mean[key] == pytest.approx(np.mean([s.numbers[key] for s in scores]), abs=1e-4)


def test_separable_classes_are_learnt_and_the_majority_is_not_enough(done):
    figures = json.loads((done[1] / "folds.json").read_text())
    models = figures["partings"]["blocks"]["models"]
    assert models["logistic_regression"]["balanced_accuracy"] > 0.95
    assert models["majority"]["balanced_accuracy"] < 0.6


def test_folds_are_children_of_one_run_and_nothing_is_registered(done):
    client = done[2]
    experiment = client.get_experiment_by_name("lenscape").experiment_id
    runs = client.search_runs([experiment], max_results=1000)
    children = [r for r in runs if "mlflow.parentRunId" in r.data.tags]
    (parent,) = (r for r in runs if "mlflow.parentRunId" not in r.data.tags)
    assert len(children) == PLAN.folds * 3 * len(MODELS)
    assert {r.data.tags["mlflow.parentRunId"] for r in children} == {parent.info.run_id}
    assert "test/lenet/balanced_accuracy" in parent.data.metrics
    assert not client.search_registered_models()


def test_a_fold_drawn_at_random_has_neighbours_of_its_cells_in_training(done):
    _, table = cells(done)
    spatial, drawn = (table[table["parting"] == parting] for parting in ("blocks", "random"))
    assert _same_as_neighbour(spatial[spatial["seed"] == 0]) > 0.8
    assert _same_as_neighbour(drawn) < 0.7


def _same_as_neighbour(table):
    """The share of cells whose neighbour to the east is tested in the same fold."""
    folds = {(x, y): fold for x, y, fold in zip(table["x"], table["y"], table["fold"], strict=True)}
    return np.mean([folds[x + 80, y] == fold for (x, y), fold in folds.items() if (x + 80, y) in folds])


def test_intervals_are_by_block_and_hold_the_means(done):
    _, table = cells(done)
    figures = json.loads((done[1] / "folds.json").read_text())["partings"]
    found = figures["blocks"]["intervals"]
    for model in MODELS:
        interval = found["balanced_accuracy"][model]
        mean = figures["blocks"]["models"][model]["balanced_accuracy"]
        assert interval["value"] == pytest.approx(mean, abs=1e-3)
        assert interval["low"] <= interval["value"] <= interval["high"]
        assert interval["blocks"] == len(set(table["block"])) == 20
    assert found["gain"]["over"] in NAMES
    assert "intervals" not in figures["random"]


def test_networks_are_calibrated_and_compared_with_the_training_data(done):
    _, table = cells(done)
    figures = json.loads((done[1] / "folds.json").read_text())["partings"]["blocks"]
    mine = table[(table["parting"] == "blocks") & (table["seed"] == 0)]
    right = (mine["truth"] == mine["lenet"]).to_numpy()
    for column, key in (("confidence", "ece_after"), ("confidence before calibration", "ece_before")):
        error = Reliability.of_predictions(right, mine[f"lenet:{column}"].to_numpy()).error
        assert error == pytest.approx(figures["models"]["lenet"]["by_seed"][0][key], abs=1e-4)
    assert "ece_after" not in figures["models"]["svm"]
    spatial = table[table["parting"] == "blocks"]
    assert (spatial["dissimilarity"] > 1).mean() == pytest.approx(figures["unlike_training"], abs=1e-4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("ablation")
    make_store(made / "patches", make_table(rows=24, cols=24))
    (made / "train.yaml").write_text(ABLATED)
    (made / "split.yaml").write_text("block_m: 480\nvalidation: 0.25\n")
    (made / "compute.yaml").write_text("accelerator: cpu\nworkers: 2\n")
    return made


def ablate(folder, *bands):
    study = ablation(bands, folder / "train.yaml", Plan(folds=2, seeds=(0,)))
    names = ("split.yaml", "patches", "reports", "compute.yaml")
    cross_validate(study, *(folder / name for name in names))


def test_choices_of_bands_are_compared_with_the_first(folder, capsys):
    with mlflow_store(folder):
        ablate(folder, "all", "B08,B02")
        runs = mlflow.MlflowClient(store_uri()).search_runs(["1"])
    found = json.loads((folder / "reports" / "ablation.json").read_text())["partings"]["blocks"]
    assert set(found["models"]) == {"all", "B08 B02"}
    assert found["intervals"]["gain"]["over"] == "B08 B02"
    assert "B08 B02: balanced accuracy" in found["sentence"]
    cells = pq.read_table(folder / "reports" / "ablation.parquet").to_pandas()
    assert len(cells) == 24 * 24
    right = (cells["all"] == cells["truth"]).mean()
    assert found["models"]["all"]["accuracy"] == pytest.approx(right, abs=1e-4)
    assert "mean of 1 seed, 2 spatial folds each" in capsys.readouterr().out
    parent = next(run for run in runs if run.info.run_name.startswith("ablation, 2 folds: all"))
    assert parent.data.params["train.all.bands"] == "all"
    assert parent.data.params["train.B08 B02.bands"] == "B08, B02"
    assert parent.data.params["train.all.calibration_folds"] == "0"
    assert len(runs) == 1 + 2 * 2


@pytest.mark.parametrize("bands", [("all",), ("rgb", "rgb"), ("all", "rgb", "rgb")])
def test_what_is_no_comparison_is_refused(folder, bands):
    with pytest.raises(ConfigError, match="two or more different choices"):
        ablate(folder, *bands)


def test_bands_that_the_store_has_not_are_named(folder):
    with pytest.raises(ConfigError, match="B99"):
        ablate(folder, "all", "B99")
