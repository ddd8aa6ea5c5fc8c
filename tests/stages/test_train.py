from __future__ import annotations

import shutil
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import numpy as np
import pytest

from pipeline.config.train import TrainConf
from pipeline.errors import ConfigError, NetworkError, SplitError, StoreError
from pipeline.files import sha256_of_value
from pipeline.learn.inference.predictor import batched_probabilities
from pipeline.learn.network.classifier import PatchClassifier
from pipeline.learn.network.history import read_history
from pipeline.stages.train import run
from tests.support.stores import make_split, make_store
from tests.support.tracked import mlflow_store

# what MLflow and SQLAlchemy have to say to each other
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:mlflow")

OWN = """
epochs: 4
calibration_folds: 0
batch_size: 32
lr: 0.01
network:
  activation: tanh
  convolutions:
    - {filters: 8, kernel: 3, padding: 1, batch_norm: true, pool: {kind: average, size: 3, stride: 2}}
    - {filters: 12, kernel: 3, stride: 2}
  dense: [{units: 16, dropout: 0.1}]
"""


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """A store, its split and an MLflow store."""
    folder = tmp_path_factory.mktemp("train")
    store = make_store(folder / "patches")
    make_split(folder / "split", store)
    (folder / "compute.yaml").write_text("accelerator: cpu\n")
    with mlflow_store(folder), pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)  # where MLflow keeps the artifacts of such a store
        yield folder


@pytest.fixture
def place(tmp_path, monkeypatch):
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def train(inputs, conf, out=Path("models"), **changes):
    """Run the stage in the working directory; the conf is written beside the store."""
    path = inputs / "train.yaml"
    path.write_text(conf)
    given = {"store": inputs / "patches", "split": inputs / "split"} | changes
    run(path, given["store"], given["split"], out, inputs / "compute.yaml")
    return PatchClassifier.load(out)


@pytest.fixture(scope="module")
def trained(inputs):
    """The folder of a model of a network composed in YAML, and what was printed."""
    with redirect_stdout(StringIO()) as printed:
        train(inputs, OWN, inputs / "models")
    return inputs / "models", printed.getvalue()


def test_a_network_from_yaml_is_trained_and_written(trained):
    models, out = trained
    files = {path.relative_to(models).as_posix() for path in models.rglob("*") if path.is_file()}
    assert files == {
        "weights.safetensors",
        "model.json",
        "history.csv",
        "item.json",
        "layers.txt",
        "run.json",
        "figures/curves.png",
        "figures/filters.png",
        "figures/layers.png",
    }
    layers = (models / "layers.txt").read_text()
    assert "8 of 3 x 3, padding 1, tanh" in layers
    assert out.index(layers) < out.index("kept epoch")
    assert [row.epoch for row in read_history(models / "history.csv")] == [1, 2, 3, 4]


def test_the_model_says_what_it_was_made_from(trained):
    meta = PatchClassifier.load(trained[0]).meta
    settings = TrainConf(epochs=4, batch_size=32, lr=0.01, calibration_folds=0, network=meta.network)
    assert meta.hashes.conf == sha256_of_value(settings.model_dump(mode="json"))
    assert meta.bands == ["B02", "B03", "B04", "B08"]
    assert meta.preset == "own"


def test_the_same_conf_gives_the_same_model(trained, inputs, place):
    again = train(inputs, "# with a comment\n" + OWN).meta
    assert again == PatchClassifier.load(trained[0]).meta
    assert [path.name for path in place.iterdir()] == ["models"]


@pytest.mark.usefixtures("place")
def test_a_choice_of_bands_is_trained_on(inputs):
    conf = "bands: rgb\nnetwork: lenet5\nepochs: 1\nbatch_size: 32\ncalibration_folds: 0\n"
    classifier = train(inputs, conf)
    assert classifier.meta.bands == ["B04", "B03", "B02"]
    assert classifier.meta.preset == "lenet5"
    pixels = np.load(inputs / "patches" / "pixels.npy")[:10, :3]
    assert batched_probabilities(classifier, [pixels]).shape == (10, 3)


@pytest.mark.usefixtures("place")
def test_a_perceptron_is_trained_and_drawn_like_the_others(inputs):
    classifier = train(
        inputs, "network: {dense: [{units: 6}]}\nepochs: 1\nbatch_size: 32\ncalibration_folds: 0\n"
    )
    assert classifier.meta.preset == "own"
    assert Path("models/figures/filters.png").stat().st_size > 0


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
def test_what_cannot_be_trained_is_refused_and_nothing_is_written(inputs, place, conf, error, message):
    with pytest.raises(error, match=message):
        train(inputs, conf)
    assert list(place.iterdir()) == []


def test_a_model_stays_where_a_later_training_fails(trained, inputs, place):
    shutil.copytree(trained[0], place / "models")
    before = {path: path.read_bytes() for path in place.rglob("*.*")}
    with pytest.raises(ConfigError, match="diverged"):
        train(inputs, OWN.replace("0.01", "1.0e+30"))
    assert {path: path.read_bytes() for path in place.rglob("*.*")} == before


def test_a_split_of_another_store_is_refused(inputs, place):
    make_store(place / "patches", seed=1)
    with pytest.raises(StoreError, match="splits another store"):
        train(inputs, OWN, store=place / "patches")


def test_a_split_without_validation_is_refused(inputs, place):
    store = make_store(place / "patches")
    make_split(place / "split", store, ["train"] * len(store))
    with pytest.raises(SplitError, match=r"validation part .* has no patches"):
        train(inputs, OWN, store=place / "patches", split=place / "split")


def test_a_missing_store_is_named(inputs, place):
    with pytest.raises(StoreError, match=r"meta\.json does not exist; run `tile` first"):
        train(inputs, OWN, store=place / "nowhere")
