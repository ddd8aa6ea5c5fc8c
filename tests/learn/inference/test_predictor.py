"""A model as a function of pixels: which path it takes, and that both agree."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from pipeline.config.train import ConvolutionConf, NetworkConf
from pipeline.errors import MismatchError
from pipeline.learn.inference import predictor as predictor_module
from pipeline.learn.inference.predictor import (
    BATCH,
    Predictor,
    batched_probabilities,
    class_probabilities,
)
from pipeline.learn.network.classifier import PatchClassifier
from pipeline.learn.stats.applicability import TrainingFeatures, patch_features
from pipeline.learn.stats.calibration import Calibration
from tests.support.learners import model_meta

PADDED = NetworkConf(convolutions=[ConvolutionConf(filters=4, padding=1)])


def classifier(**meta):
    torch.manual_seed(0)
    return PatchClassifier(model_meta(**meta)).eval()


def block(model, rows, cols):
    geometry = model.meta.geometry
    height, width = (count * geometry.cell_px + 2 * geometry.margin_px for count in (rows, cols))
    shape = (len(model.meta.bands), height, width)
    pixels = np.random.default_rng(0).integers(1, 3000, shape).astype(np.uint16)
    pixels[np.random.default_rng(1).random(shape) < 0.05] = 0
    return pixels


@pytest.mark.parametrize(("network", "cell_px"), [("modern", 8), ("modern", 2), ("lenet5", 4)])
def test_the_dense_form_gives_the_probabilities_of_the_patches(network, cell_px):
    model = classifier(network=network, cell_px=cell_px, patch_px=16, bands=5)
    pixels = block(model, 9, 7)
    predictor = Predictor(model)
    assert predictor.patchwise_because is None
    expected = class_probabilities(model, pixels, 9, 7)
    np.testing.assert_allclose(predictor(pixels, 9, 7), expected, atol=1e-5)


@pytest.mark.parametrize("pixel_px", [2, 6, 12, 16])
@pytest.mark.parametrize("network", ["modern", "lenet5", "mlp"])
def test_pixels_of_a_map_have_the_classes_and_distances_of_the_patches_around_them(network, pixel_px):
    model = classifier(network=network, cell_px=16, patch_px=48, bands=5)
    with pytest.raises(
        MismatchError, match=r"conf: a map pixel of 3 px .* 48 px; choose one of 2, 4, 6"
    ):
        model.meta.geometry.of_map(3, "conf")
    geometry = model.meta.geometry.of_map(pixel_px, "conf")
    rows, cols = 9, 7
    shape = 5, (rows - 1) * pixel_px + 48, (cols - 1) * pixel_px + 48
    pixels = np.random.default_rng(0).integers(0, 3000, shape).astype(np.uint16)
    corners = [(row * pixel_px, col * pixel_px) for row in range(rows) for col in range(cols)]
    patches = np.stack([pixels[:, top : top + 48, left : left + 48] for top, left in corners])
    seen = patch_features([patches], 16, model.fill_dn)
    model.training_features = TrainingFeatures.of(seen[::2], np.arange(len(seen[::2])) % 3)
    predictor = Predictor(model, geometry=geometry)
    actual = predictor(pixels, rows, cols).reshape(4, -1).T
    np.testing.assert_allclose(actual, batched_probabilities(model, [patches]), atol=1e-5)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(predictor_module, "_DESCRIBED", 20)  # several strips
        relative = predictor.dissimilarity(pixels, rows, cols)
    assert (relative.ravel() == model.training_features.relative(seen)).all()


@pytest.mark.parametrize(("slope", "bias"), [(0.6, 0.8), (1.0, -0.9), (1.4, -12.0)])
@pytest.mark.parametrize("classes", [2, 5])
def test_both_paths_give_the_same_calibrated_probabilities(slope, bias, classes):
    model = classifier(bands=5, classes=classes)
    pixels = block(model, 9, 7)
    before = Predictor(model)(pixels, 9, 7)
    model.apply_calibration(Calibration(1.0, slope, bias))
    dense = Predictor(model)
    assert dense.patchwise_because is None
    actual = dense(pixels, 9, 7)
    np.testing.assert_allclose(actual, class_probabilities(model, pixels, 9, 7), atol=1e-5)
    logits = np.log(before.reshape(classes, -1).T)
    expected = Calibration(1.0, slope, bias).probabilities(logits)
    np.testing.assert_allclose(actual.reshape(classes, -1).T, expected, atol=1e-5)
    assert (actual.argmax(axis=0) == before.argmax(axis=0)).all()
    assert np.abs(actual - before).max() > 0.02
    low = Predictor(model, dtype=torch.bfloat16)(pixels, 9, 7)
    np.testing.assert_allclose(low, actual, atol=0.05)


@pytest.mark.parametrize(
    ("meta", "reason"),
    [
        ({"network": PADDED}, "convolution 1 has padding"),
        ({"cell_px": 16}, "patches of 16 px every 16 px share so little"),
    ],
)
def test_the_other_path_says_why(meta, reason):
    model = classifier(**meta)
    predictor = Predictor(model)
    assert reason in predictor.patchwise_because
    pixels = block(model, 2, 3)
    np.testing.assert_array_equal(predictor(pixels, 2, 3), class_probabilities(model, pixels, 2, 3))
    assert predictor.work_bytes > 0
    assert min(predictor.block_cells) > 1


def test_another_process_predicts_the_same():
    model = classifier()
    pixels = block(model, 4, 4)
    sent = pickle.loads(pickle.dumps(Predictor(model)))
    np.testing.assert_array_equal(sent(pixels, 4, 4), Predictor(model)(pixels, 4, 4))


def test_blocks_follow_from_the_model_alone():
    rows, cols = Predictor(classifier(cell_px=8)).block_cells
    assert 512 <= cols * 8 <= 1152
    assert 512 <= rows * 8 <= 3072


def test_agreement_of_low_precision_with_float32():
    model = classifier()
    pixels = block(model, 30, 30)
    assert Predictor(model).agreement(pixels, 30, 30) == 1
    low = Predictor(model, dtype=torch.bfloat16)
    classes = [one(pixels, 30, 30).argmax(axis=0) for one in (low, Predictor(model))]
    assert low.agreement(pixels, 30, 30) == np.mean(classes[0] == classes[1])
    assert 0.8 < low.agreement(pixels, 30, 30) < 1


def test_a_model_in_training_predicts_without_dropout():
    model = classifier().train()
    pixels = block(model, 2, 2)
    first, second = (Predictor(model)(pixels, 2, 2) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_a_perceptron_predicts_patch_by_patch_and_says_why():
    model = classifier(network="mlp")
    predictor, pixels = Predictor(model), block(model, 3, 4)
    assert "no convolution" in predictor.patchwise_because
    assert predictor.work_bytes > 0
    np.testing.assert_array_equal(predictor(pixels, 3, 4), class_probabilities(model, pixels, 3, 4))


def random_block(model, rows, cols, seed=0):
    """Random pixels for a block of cells, with its context and some nodata pixels."""
    geometry = model.meta.geometry
    height, width = (count * geometry.cell_px + 2 * geometry.margin_px for count in (rows, cols))
    shape = (len(model.meta.bands), height, width)
    return np.random.default_rng(seed).integers(0, 3000, shape).astype(np.uint16)


@pytest.mark.parametrize(("cell_px", "network"), [(16, "modern"), (8, "lenet5"), (2, "modern")])
def test_each_cell_gets_the_probabilities_of_its_own_patch(cell_px, network):
    model = classifier(cell_px=cell_px, network=network).eval()
    pixels = random_block(model, 3, 5)
    shares = class_probabilities(model, pixels, 3, 5)
    assert shares.shape == (4, 3, 5)
    assert shares.dtype == np.float32
    for row in range(3):
        for col in range(5):
            top, left = row * cell_px, col * cell_px
            patch = pixels[None, :, top : top + 16, left : left + 16]
            with torch.inference_mode():
                expected = model(torch.from_numpy(patch)).softmax(1)[0].numpy()
            np.testing.assert_allclose(shares[:, row, col], expected, atol=1e-6)


@pytest.mark.parametrize("network", ["modern", "lenet5"])
def test_neither_blocks_nor_threads_change_a_bit(network):
    model = classifier(network=network, bands=5)
    rows, cols = 37, 29
    pixels = random_block(model, rows, cols)
    whole = class_probabilities(model, pixels, rows, cols)
    assert rows * cols > 3 * BATCH

    def strip(row):
        torch.set_num_threads(1 + row % 3)
        return class_probabilities(model, pixels[:, row * 8 : row * 8 + 16], 1, cols)

    with ThreadPoolExecutor(4) as threads:
        strips = list(threads.map(strip, range(rows)))
    np.testing.assert_array_equal(np.concatenate(strips, axis=1), whole)


def test_the_caller_s_threads_come_back():
    before = torch.get_num_threads()
    torch.set_num_threads(before + 1)
    class_probabilities(classifier(), random_block(classifier(), 1, 1), 1, 1)
    assert torch.get_num_threads() == before + 1


def test_a_block_runs_on_one_thread():
    model, threads = classifier(), []
    model.register_forward_pre_hook(lambda *_: threads.append(torch.get_num_threads()))
    torch.set_num_threads(2)
    class_probabilities(model, random_block(model, 20, 20), 20, 20)
    assert threads == [1, 1]


def test_dropout_rests_while_predicting():
    model = classifier().train()
    pixels = random_block(model, 2, 2)
    first, second = (class_probabilities(model, pixels, 2, 2) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_pieces_of_any_size_give_the_same_rows():
    model = classifier()
    pixels = np.random.default_rng(0).integers(0, 3000, (300, 3, 16, 16)).astype(np.uint16)
    whole = batched_probabilities(model, [pixels])
    pieces = batched_probabilities(model, [pixels[:7], pixels[7:7], pixels[7:280], pixels[280:]])
    np.testing.assert_array_equal(whole, pieces)
    np.testing.assert_allclose(whole.sum(axis=1), 1, atol=1e-6)
    assert batched_probabilities(model, []).shape == (0, 4)


def test_pixels_of_another_size_are_refused():
    model = classifier()
    with pytest.raises(ValueError, match=r"2 x 3 cells need pixels of \(3, 24, 32\)"):
        class_probabilities(model, random_block(model, 3, 2), 2, 3)
