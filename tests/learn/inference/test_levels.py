"""Networks as levels: what is shared, what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from pipeline.config.train import PRESETS, ConvolutionConf, DenseConf, NetworkConf, PoolConf
from pipeline.learn.inference.levels import Levels, Taps, unsupported
from pipeline.learn.network.layers import plan
from pipeline.learn.network.lenet import build

LENET_64 = NetworkConf(
    convolutions=[ConvolutionConf(filters=count, kernel=5, pool=PoolConf()) for count in (6, 16)],
    dense=[DenseConf(units=120), DenseConf(units=84)],
)


def levels(conf=LENET_64, patch_px=64, cell_px=8):
    return Levels(build(conf, 13, patch_px, 10), patch_px, cell_px, None)


def test_work_by_hand():
    """At a stride of 8: 8 x 8 places of the first convolution a cell, 4 x 4 of the second."""
    shared = 64 * 25 * 13 * 6 + 16 * 25 * 6 * 16 + 13 * 13 * 16 * 120 + 120 * 84 + 84 * 10
    assert levels().multiply_adds == shared == 498_600
    alone = 60**2 * 25 * 13 * 6 + 26**2 * 25 * 6 * 16 + 13 * 13 * 16 * 120 + 120 * 84 + 84 * 10
    assert levels().patch_multiply_adds == alone


@pytest.mark.parametrize("name", ["modern", "lenet5"])
def test_a_patch_alone_takes_what_the_table_of_layers_says(name):
    rows = plan(PRESETS[name], 13, 32, 10)
    counted = [row.multiply_adds for row in rows if "norm" not in row.name]
    assert levels(PRESETS[name], 32, 32).patch_multiply_adds == sum(counted)


def test_grids_and_taps():
    """Strides that are no multiple of the network's 4 see every second, or every place."""
    taps = {cell: [level.taps for level in levels(cell_px=cell).convolutions] for cell in (8, 6, 1)}
    assert taps[8] == [Taps(5, 1, 1), Taps(5, 1, 1), Taps(13, 1, 2)]
    assert taps[6] == [Taps(5, 1, 1), Taps(5, 1, 1), Taps(13, 2, 3)]
    assert taps[1] == [Taps(5, 1, 1), Taps(5, 2, 1), Taps(13, 4, 1)]
    pools = [level.pooling.taps for level in levels(cell_px=6).convolutions if level.pooling]
    assert pools == [Taps(2, 1, 2), Taps(2, 1, 1)]


def test_pixels_that_a_patch_does_not_use_are_not_asked_for():
    assert levels(cell_px=8).extent_px == 64
    assert levels(patch_px=66, cell_px=8).extent_px == 64
    assert levels(patch_px=66).extent_px == plan(LENET_64, 13, 66, 10)[-1].field_px


def test_padding_has_no_dense_form():
    padded = NetworkConf(convolutions=[ConvolutionConf(filters=4, kernel=3, padding=1)])
    network = build(padded, 2, 8, 3)
    assert unsupported(build(LENET_64, 2, 64, 3)) is None
    assert "convolution 1 has padding" in (unsupported(network) or "")
    with pytest.raises(ValueError, match="convolution 1 has padding"):
        Levels(network, 8, 4, None)


def test_a_perceptron_has_no_dense_form():
    assert "no convolution" in (unsupported(build(PRESETS["mlp"], 2, 8, 3)) or "")


@pytest.mark.parametrize(
    ("modules", "reason"),
    [
        ([nn.Conv2d(1, 2, 3), nn.GELU(), nn.Flatten(), nn.Linear(72, 2)], "GELU"),
        (
            [nn.Conv2d(1, 2, 3), nn.ReLU(), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(72, 2)],
            "BatchNorm2d",
        ),
        ([nn.Conv2d(1, 2, 3), nn.AvgPool2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(18, 2)], "ReLU"),
        ([nn.Conv2d(1, 2, (3, 2)), nn.Flatten(), nn.Linear(84, 2)], r"\(3, 2\) is not square"),
    ],
)
def test_other_orders_are_refused_rather_than_computed_wrongly(modules, reason):
    with pytest.raises(ValueError, match=reason):
        Levels(nn.Sequential(*modules), 8, 4, None)


def test_batch_norm_lies_in_the_weights():
    torch.manual_seed(0)
    conf = NetworkConf(convolutions=[ConvolutionConf(filters=4, batch_norm=True)])
    network = build(conf, 2, 5, 3).eval()
    network.batch_norm_1.running_mean.normal_()
    network.batch_norm_1.running_var.uniform_(0.5, 2)
    image = torch.randn(1, 2, 5, 5)
    with torch.inference_mode():
        expected = network.batch_norm_1(network.convolution_1(image)).numpy()
        level = Levels(network, 5, 5, None).convolutions[0]
        actual = torch.conv2d(image.double(), level.weight, level.bias).numpy()
    np.testing.assert_allclose(actual, expected, atol=1e-5)
