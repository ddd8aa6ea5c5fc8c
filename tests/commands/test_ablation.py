from __future__ import annotations

import json

import mlflow
import pyarrow.parquet as pq
import pytest

from pipeline.commands.ablation import choices, run
from pipeline.crossvalidation.fitting import Plan
from pipeline.errors import ConfigError
from pipeline.learn.tracking.tracking_uri import store_uri
from tests.support.stores import make_store, make_table
from tests.support.tracked import mlflow_store

pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"
)
NETWORK = """
epochs: 8
batch_size: 32
lr: 0.02
calibration_folds: 3
network: {convolutions: [{filters: 4, kernel: 3, pool: {size: 2}}], dense: [{units: 8}]}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("ablation")
    make_store(made / "patches", make_table(rows=24, cols=24))
    (made / "train.yaml").write_text(NETWORK)
    (made / "split.yaml").write_text("block_m: 480\nvalidation: 0.25\n")
    (made / "compute.yaml").write_text("accelerator: cpu\nworkers: 2\n")
    return made


def ablate(folder, *bands):
    networks = choices(bands, folder / "train.yaml")
    plan, names = Plan(folds=2, seeds=(0,)), ("split.yaml", "patches", "reports", "compute.yaml")
    run(networks, plan, *(folder / name for name in names))


@pytest.mark.slow  # folds are fitted in processes
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


@pytest.mark.parametrize("bands", [("all",), ("rgb", "rgb")])
def test_what_is_no_comparison_is_refused(folder, bands):
    with pytest.raises(ConfigError, match="two or more different choices"):
        ablate(folder, *bands)


def test_bands_that_the_store_has_not_are_named(folder):
    with pytest.raises(ConfigError, match="B99"):
        ablate(folder, "all", "B99")
