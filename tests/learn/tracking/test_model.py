"""The model that MLflow keeps, loaded as somebody without this code would load it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.metadata import version

import mlflow
import numpy as np
import pytest

from pipeline.learn.inference.predictor import batched_probabilities
from pipeline.learn.network.classifier import PatchClassifier
from pipeline.learn.tracking import model
from tests.support.learners import BANDS, model_meta
from tests.support.tracked import make_models, mlflow_store, track

# runs where `pipeline` cannot be imported: -I leaves out the working directory and PYTHONPATH, and the
# finder refuses it even where the package is installed
LOADER = """
import json, sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("pipeline", "torchgeo", "lightning"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Refuse())
import numpy as np, torch, mlflow
if "cuda" in sys.argv:
    torch.cuda.is_available = lambda: True
model = mlflow.pyfunc.load_model(sys.argv[1])
pixels = np.load(sys.argv[2])
np.save(sys.argv[3], model.predict(pixels))
assert model.predict(pixels[:1]).shape == (1, 4) and model.predict(pixels[:0]).shape == (0, 4)
signature = model.metadata.signature
shapes = {"inputs": signature.inputs.to_dict(), "outputs": signature.outputs.to_dict()}
print(json.dumps(model.metadata.metadata | shapes))
"""


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """The folder of a model that is tracked and registered."""
    folder = tmp_path_factory.mktemp("model")
    with mlflow_store(folder):
        track(make_models(folder / "models", model_meta("modern")))
        yield folder / "models"


@pytest.fixture(scope="module")
def pixels():
    """Raw patches with holes, of which one patch and one band of another have nothing else."""
    random = np.random.default_rng(0)
    pixels = random.integers(1, 4000, (300, 3, 16, 16), dtype=np.uint16)
    pixels[random.random(pixels.shape) < 0.1] = 0
    pixels[0], pixels[1, 2], pixels[2] = 0, 0, 65534
    return pixels


@pytest.mark.slow
@pytest.mark.parametrize("machine", ["cpu", "cuda"])
def test_it_predicts_as_here_without_this_code(models, pixels, tmp_path, machine):
    np.save(tmp_path / "pixels.npy", pixels)
    words = [
        "models:/lenscape@champion",
        str(tmp_path / "pixels.npy"),
        str(tmp_path / "p.npy"),
        machine,
    ]
    command = [sys.executable, "-I", "-c", LOADER, *words]
    # MLflow then reads nothing that could hold code
    env = os.environ | {"MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false"}
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=tmp_path, env=env)
    assert done.returncode == 0, done.stderr
    probabilities = np.load(tmp_path / "p.npy")
    assert probabilities.dtype == np.float32
    assert probabilities.sum(axis=1) == pytest.approx(np.ones(len(pixels)), abs=1e-6)
    ours = batched_probabilities(PatchClassifier.load(models), [pixels])
    assert probabilities == pytest.approx(ours, abs=1e-6)
    assert np.ptp(ours, axis=0).max() > 0.01  # or agreement would mean little
    loaded = json.loads(done.stdout.strip().splitlines()[-1])
    assert loaded["bands"] == BANDS[:3]
    assert loaded["classes"] == ["c0", "c1", "c2", "c3"]
    assert loaded["inputs"][0]["tensor-spec"] == {"dtype": "uint16", "shape": [-1, 3, 16, 16]}
    assert loaded["outputs"][0]["tensor-spec"] == {"dtype": "float32", "shape": [-1, 4]}


def files_of(models, name):
    return sorted((models.parent / "mlartifacts" / "models").glob(f"*/artifacts/{name}"))


def test_it_asks_for_what_it_needs_and_no_more(models):
    (path,) = files_of(models, "requirements.txt")
    needed = {line.partition("==")[0]: line.partition("==")[2] for line in path.read_text().split()}
    assert set(needed) == {"mlflow", "torch", "numpy"}
    assert needed["mlflow"] == version("mlflow")


def test_a_local_build_is_not_asked_for(monkeypatch):
    """`2.9.0+cpu` is on no index that others install from."""
    monkeypatch.setattr(model, "version", {"mlflow": "3", "torch": "2.9.0+cpu", "numpy": "2"}.get)
    assert model._requirements() == ["mlflow==3", "torch==2.9.0", "numpy==2"]


def test_it_holds_no_code_of_ours(models):
    (graph,) = files_of(models, "data/model.pt2")
    folder = graph.parent.parent
    kept = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    assert not [name for name in kept if name.endswith((".py", ".pkl", ".pth"))]
    assert "code: null" in (folder / "MLmodel").read_text()
    assert b"pipeline.learn" not in (folder / "MLmodel").read_bytes()


def test_its_example_is_of_its_own_shape(models):
    (path,) = files_of(models, "input_example.json")
    example = np.array(json.loads(path.read_text()))
    assert example.shape == (2, 3, 16, 16)
    # the mean of each band, a whole DN
    assert example[0, :, 0, 0].tolist() == [900, 1000, 1100]


@pytest.mark.parametrize("network", ["lenet5", "modern"])
@pytest.mark.parametrize("size", [(1, 32, 2), (13, 16, 20)])
def test_other_bands_patches_and_networks(tmp_path, network, size):
    bands, side, classes = size
    meta = model_meta(network, bands, side, cell_px=8, classes=classes)
    with mlflow_store(tmp_path):
        models = make_models(tmp_path / "models", meta)
        track(models)
        loaded = mlflow.pyfunc.load_model("models:/lenscape/1")
    pixels = np.random.default_rng(1).integers(0, 3000, (5, bands, side, side), dtype=np.uint16)
    ours = batched_probabilities(PatchClassifier.load(models), [pixels])
    assert loaded.predict(pixels) == pytest.approx(ours, abs=1e-6)


@pytest.mark.parametrize(("slope", "bias"), [(0.6, 0.8), (1.0, -12.0)])
def test_slope_and_bias_of_the_calibration_go_with_it(tmp_path, pixels, slope, bias):
    meta = model_meta("modern").model_copy(update={"slope": slope, "bias": bias})
    with mlflow_store(tmp_path):
        models = make_models(tmp_path / "models", meta)
        track(models)
        loaded = mlflow.pyfunc.load_model("models:/lenscape/1")
    model = PatchClassifier.load(models)
    ours = batched_probabilities(model, [pixels])
    assert loaded.predict(pixels) == pytest.approx(ours, abs=1e-6)
    before = batched_probabilities(model.uncalibrated(), [pixels])
    assert np.abs(ours - before).max() > 0.02
    assert (ours.argmax(axis=1) == before.argmax(axis=1)).all()
