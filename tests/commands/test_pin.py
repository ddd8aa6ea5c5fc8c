from __future__ import annotations

import pytest

from pipeline.commands.pin import run
from pipeline.config.predict import PredictConf
from pipeline.config.reading import load
from pipeline.errors import ConfigError, TrackingError
from pipeline.learn.network.classifier import read_meta
from tests.support.tracked import make_models, mlflow_store, track

pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"
)


@pytest.fixture(scope="module")
def registered(tmp_path_factory):
    """The hash of the weights of the one registered version."""
    folder = tmp_path_factory.mktemp("pin")
    with mlflow_store(folder):
        models = make_models(folder / "models")
        track(models)
        yield read_meta(models).weights_sha256


@pytest.mark.parametrize("version", ["champion", "1", "models:/lenscape/1"])
def test_a_version_is_written_with_the_hash_of_its_weights(registered, tmp_path, version, capsys):
    conf = tmp_path / "predict.yaml"
    conf.write_text("# which model maps\nmodel: trained  # the newest\n")
    run(version, conf)
    pinned = load(conf, PredictConf).model
    assert pinned.uri == "models:/lenscape/1"
    assert pinned.weights_sha256 == registered
    assert "# which model maps" in conf.read_text()
    assert "models:/lenscape/1" in capsys.readouterr().out


def test_a_version_that_is_not_there_leaves_the_conf(registered, tmp_path):
    assert registered
    conf = tmp_path / "predict.yaml"
    conf.write_text("model: trained\n")
    with pytest.raises(TrackingError, match="challenger"):
        run("challenger", conf)
    assert conf.read_text() == "model: trained\n"


def test_a_wrong_conf_is_named(tmp_path):
    conf = tmp_path / "predict.yaml"
    conf.write_text("modell: trained\n")
    with pytest.raises(ConfigError, match="modell"):
        run("champion", conf)
