from __future__ import annotations

import numpy as np
import pytest

from pipeline.config import TrainConf
from pipeline.errors import ConfigError, NetworkError, SplitError, StoreError
from pipeline.files import sha256_of_value
from pipeline.learn.classifier import PatchClassifier
from pipeline.learn.dense import batched_probabilities
from pipeline.learn.history import read_history
from pipeline.stages.train import run
from tests.stores import make_split, make_store

OWN = """
network:
  activation: tanh
  convolutions:
    - {filters: 8, kernel: 3, padding: 1, batch_norm: true, pool: {kind: average, size: 3, stride: 2}}
    - {filters: 12, kernel: 3, stride: 2}
  dense: [{units: 16, dropout: 0.1}]
"""
QUICK = "epochs: 4\nbatch_size: 32\nlr: 0.01\n"


@pytest.fixture
def inputs(tmp_path, monkeypatch):
    """A store and a split, and a folder to write to, which is the working directory."""
    store = make_store(tmp_path / "patches")
    make_split(tmp_path / "split", store)
    (tmp_path / "compute.yaml").write_text("accelerator: cpu\n")
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    return tmp_path


def train(folder, conf):
    (folder / "train.yaml").write_text(conf)
    run(
        folder / "train.yaml",
        folder / "patches",
        folder / "split",
        folder / "work" / "models",
        folder / "compute.yaml",
    )
    return PatchClassifier.load(folder / "work" / "models")


def test_a_network_from_yaml_is_trained_and_written(inputs, capsys):
    classifier = train(inputs, QUICK + OWN)
    out = capsys.readouterr().out
    models = inputs / "work" / "models"
    assert {path.name for path in models.iterdir()} >= {
        "weights.safetensors",
        "model.json",
        "history.csv",
        "layers.txt",
    }
    assert (models / "layers.txt").read_text() in out
    assert out.index("convolution 2") < out.index("validates best")
    assert [row.epoch for row in read_history(models / "history.csv")] == [1, 2, 3, 4]
    settings = TrainConf(
        **{"epochs": 4, "batch_size": 32, "lr": 0.01, "network": classifier.meta.network},
    )
    assert classifier.meta.hashes.conf == sha256_of_value(settings.model_dump(mode="json"))
    assert [path.name for path in (inputs / "work").iterdir()] == ["models"]


@pytest.mark.parametrize(
    ("bands", "expected"),
    [
        ("rgb", ["B04", "B03", "B02"]),
        ("10m", ["B02", "B03", "B04", "B08"]),
        ("[B08]", ["B08"]),
        ("[B08, B02, B04]", ["B08", "B02", "B04"]),
    ],
)
def test_a_choice_of_bands_is_trained_on(inputs, bands, expected):
    classifier = train(inputs, f"{QUICK}bands: {bands}\nnetwork: lenet5\n")
    assert classifier.meta.bands == expected
    pixels = np.load(inputs / "patches" / "pixels.npy")[:10, : len(expected)]
    assert batched_probabilities(classifier, [pixels]).shape == (10, 3)


def test_the_same_conf_gives_the_same_model(inputs):
    first = train(inputs, QUICK + OWN).meta
    second = train(inputs, QUICK + OWN).meta
    assert first == second
    assert train(inputs, QUICK + OWN + "seed: 1\n").meta.weights_sha256 != first.weights_sha256


@pytest.mark.parametrize(
    ("conf", "error", "message"),
    [
        ("bands: [B02, B11]", ConfigError, r"train\.yaml: key 'bands': band B11 is not in the data"),
        (
            "network: {convolutions: [{filters: 4, kernel: 17}]}",
            NetworkError,
            "convolution 1 does not fit",
        ),
        ("network: resnet", ConfigError, r"train\.yaml: key 'network' is 'resnet'"),
        ("lr: fast", ConfigError, r"train\.yaml: key 'lr' is 'fast'"),
    ],
)
def test_what_cannot_be_trained_is_refused_and_nothing_is_written(inputs, conf, error, message):
    with pytest.raises(error, match=message):
        train(inputs, conf)
    assert list((inputs / "work").iterdir()) == []


def test_a_model_stays_where_a_later_training_fails(inputs):
    before = train(inputs, QUICK + OWN).meta
    with pytest.raises(ConfigError, match="diverged"):
        train(inputs, "lr: 1.0e+30\nbatch_size: 32" + OWN)
    assert PatchClassifier.load(inputs / "work" / "models").meta == before


def test_a_split_of_another_store_is_refused(inputs):
    make_store(inputs / "other" / "patches", seed=1)
    (inputs / "patches").rename(inputs / "patches-before")
    (inputs / "other" / "patches").rename(inputs / "patches")
    with pytest.raises(StoreError, match="splits another store"):
        train(inputs, QUICK)


def test_a_split_without_validation_is_refused(inputs):
    store = make_store(inputs / "more" / "patches")
    make_split(inputs / "more" / "split", store, ["train"] * len(store))
    (inputs / "more" / "compute.yaml").write_text("")
    with pytest.raises(SplitError, match=r"validation part .* has no patches"):
        train(inputs / "more", QUICK)
