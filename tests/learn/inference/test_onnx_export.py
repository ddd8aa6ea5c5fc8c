from __future__ import annotations

import json

import numpy as np
import onnxruntime
import pytest
import torch

from pipeline.config.train import ConvolutionConf, DenseConf, NetworkConf, PoolConf
from pipeline.errors import NetworkError
from pipeline.learn.inference.onnx_export import agreement, to_onnx
from pipeline.learn.inference.predictor import class_probabilities
from pipeline.learn.network.classifier import PatchClassifier
from pipeline.learn.stats.calibration import Calibration
from tests.support.learners import model_meta

MEAN = NetworkConf(
    activation="sigmoid",
    convolutions=[
        ConvolutionConf(filters=5, kernel=3, pool=PoolConf(kind="average", size=2)),
        ConvolutionConf(filters=4, kernel=2, stride=2, batch_norm=True),
    ],
    dense=[DenseConf(units=6, batch_norm=True)],
)


def classifier_of(network: str | NetworkConf, seed: int = 0, **meta: int) -> PatchClassifier:
    """Random weights, and batch norm that does something."""
    torch.manual_seed(seed)
    classifier = PatchClassifier(model_meta(network=network, **meta)).eval()
    for module in classifier.modules():
        if isinstance(module, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
            module.running_mean.uniform_(-0.5, 0.5)
            module.running_var.uniform_(0.5, 2)
    return classifier


def content(classifier: PatchClassifier) -> bytes:
    return to_onnx(classifier).SerializeToString(deterministic=True)


def run(classifier: PatchClassifier, pixels: np.ndarray) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(content(classifier), providers=["CPUExecutionProvider"])
    return session.run(["classes", "probabilities"], {"dn": pixels[None]})


def test_map_pixels_finer_than_a_cell_have_the_classes_of_the_patches_around_them():
    classifier = classifier_of("modern", patch_px=16, cell_px=8)
    geometry = classifier.meta.geometry.of_map("auto", "pixel_px")
    made = to_onnx(classifier, geometry)
    stated = {p.key: json.loads(p.value) for p in made.metadata_props}
    assert (stated["pixel_px"], stated["cell_px"], stated["patch_px"]) == (2, 8, 16)
    pixels = np.random.default_rng(1).integers(1, 3000, (3, 28, 30)).astype(np.uint16)
    written = made.SerializeToString(deterministic=True)
    session = onnxruntime.InferenceSession(written, providers=["CPUExecutionProvider"])
    (actual,) = session.run(["probabilities"], {"dn": pixels[None]})
    assert np.abs(actual[0] - class_probabilities(classifier, pixels, 7, 8, 2)).max() < 1e-5
    assert agreement(written, classifier, geometry).holds


@pytest.mark.parametrize(
    ("network", "sides"),
    [
        ("modern", {"patch_px": 16, "cell_px": 8}),
        ("lenet5", {"patch_px": 28, "cell_px": 4}),
        (MEAN, {"patch_px": 18, "cell_px": 2}),
        (MEAN, {"patch_px": 17, "cell_px": 3}),  # no multiple of the network's own step: taps with gaps
    ],
)
def test_the_file_gives_the_probabilities_of_every_patch(network, sides):
    classifier = classifier_of(network, **sides)
    random = np.random.default_rng(1)
    rows, cols, context = 5, 7, sides["patch_px"] - sides["cell_px"]
    shape = 3, rows * sides["cell_px"] + context, cols * sides["cell_px"] + context
    pixels = random.integers(1, 3000, shape).astype(np.uint16)
    pixels[random.random(shape) < 0.05] = 0
    exact = class_probabilities(classifier, pixels, rows, cols)
    classes, actual = run(classifier, pixels)
    assert actual[0].shape == exact.shape
    assert np.abs(actual[0] - exact).max() < 1e-5
    mapped = classes[0] > 0
    assert (classes[0] == exact.argmax(axis=0) + 1)[mapped].all()
    assert mapped.mean() > 0.5


@pytest.mark.parametrize("classes", [1, 2, 5])
@pytest.mark.parametrize(("slope", "bias"), [(0.6, 0.8), (1.0, -0.9), (1.4, -12.0)])
def test_the_file_gives_calibrated_probabilities(slope, bias, classes):
    classifier = classifier_of("modern", classes=classes)
    pixels = np.random.default_rng(1).integers(1, 3000, (3, 48, 64)).astype(np.uint16)
    before, _ = run(classifier, pixels)
    classifier.apply_calibration(Calibration(1.5, slope, bias))
    exact = class_probabilities(classifier, pixels, 5, 7)
    after, actual = run(classifier, pixels)
    assert np.abs(actual[0] - exact).max() < 1e-5
    assert (after == before).all()
    assert agreement(content(classifier), classifier).holds
    uncalibrated = classifier_of("modern", classes=classes)
    assert agreement(content(uncalibrated), classifier).holds == (classes == 1)


def test_a_cell_of_too_few_valid_pixels_has_no_class():
    classifier = classifier_of("modern")
    pixels = np.full((3, 2 * 8 + 8, 3 * 8 + 8), 900, dtype=np.uint16)
    pixels[:, 4:8, 4:8] = 0  # a quarter of the first cell: exactly enough is left
    pixels[:, 4:9, 12:16] = 0  # 20 of 64 pixels of the second
    pixels[:2, 12:18, 20:28] = 0  # two of three bands in 48 of 64 pixels of the last one
    classes, _ = run(classifier, pixels)
    assert (classes[0] > 0).tolist() == [[True, False, True], [True, True, False]]


def test_the_same_weights_give_the_same_bytes_that_know_their_classes():
    assert content(classifier_of("modern")) == content(classifier_of("modern"))
    properties = {p.key: json.loads(p.value) for p in to_onnx(classifier_of("modern")).metadata_props}
    assert properties["bands"] == ["B01", "B02", "B03"]
    assert [info["title"] for info in properties["classes"]] == ["C 0", "C 1", "C 2", "C 3"]
    assert (properties["patch_px"], properties["cell_px"], properties["scale"]) == (16, 8, 0.0001)
    assert properties["scenes"][0]["id"] == "s1"


def test_a_network_with_padding_is_refused_with_the_reason():
    padded = NetworkConf(convolutions=[ConvolutionConf(filters=4, padding=1)])
    with pytest.raises(NetworkError, match="nothing to export: convolution 1 has padding"):
        to_onnx(classifier_of(padded))


def test_a_file_of_another_model_does_not_agree():
    classifier = classifier_of("modern")
    assert agreement(content(classifier), classifier).holds
    assert not agreement(content(classifier_of("modern", seed=1)), classifier).holds


def test_a_file_that_maps_nothing_or_gives_no_numbers_does_not_agree():
    classifier = classifier_of("modern")
    geometry = classifier.meta.geometry.model_copy(update={"min_valid": 1.0})
    stricter = classifier_of("modern")
    stricter.meta = stricter.meta.model_copy(update={"geometry": geometry})
    assert not agreement(content(stricter), classifier).holds
    with torch.no_grad():
        classifier.network.output.bias[0] = torch.nan
    assert not agreement(content(classifier), classifier).holds
