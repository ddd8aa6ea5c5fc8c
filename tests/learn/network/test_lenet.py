from __future__ import annotations

import pytest
import torch
from torch import nn

from pipeline.config.train import PRESETS, ConvolutionConf, DenseConf, NetworkConf, PoolConf
from pipeline.errors import NetworkError
from pipeline.learn.network.lenet import Dropout, build, first_kernels

IMAGE = [[3, 1, 4, 3], [3, 2, 3, 1], [4, 3, 6, 4], [3, 3, 1, 7]]
W1 = [[1, -1, 2], [3, 1, 4], [5, -2, 9]]
W2 = [[1, 1, 1]] * 3
EDGES = [[-1, -1, -1], [-1, 8, -1], [-1, -1, -1]]
SHARPEN = [[0, -1, 0], [-1, 5, -1], [0, -1, 0]]
BLUR = [[1 / 16, 2 / 16, 1 / 16], [2 / 16, 4 / 16, 2 / 16], [1 / 16, 2 / 16, 1 / 16]]


def convolved(image, weights, padding=0):
    """The image through the first layer of a network of ours whose one filter has these weights."""
    network = NetworkConf(convolutions=[ConvolutionConf(filters=1, kernel=3, padding=padding)])
    values = torch.tensor(image, dtype=torch.float32)[None, None]
    layer = build(network, 1, values.shape[-1], 2).convolution_1
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(weights, dtype=torch.float32)[None, None])
        layer.bias.zero_()
        return layer(values)[0, 0].tolist()


@pytest.mark.parametrize(
    ("weights", "padding", "expected"),
    [
        (W1, 0, [[101, 55], [64, 108]]),
        (W2, 0, [[29, 27], [28, 30]]),
        (W2, 1, [[9, 16, 14, 11], [16, 29, 27, 21], [18, 28, 30, 22], [13, 20, 24, 18]]),
    ],
)
def test_the_convolutions_of_the_course(weights, padding, expected):
    assert convolved(IMAGE, weights, padding) == expected


@pytest.mark.parametrize(("weights", "flat"), [(EDGES, 0.0), (SHARPEN, 7.0), (BLUR, 7.0)])
def test_the_filters_of_the_course_on_flat_ground(weights, flat):
    assert convolved([[7] * 5] * 5, weights) == [[flat] * 3] * 3


def test_the_course_cascade_in_torch():
    convolutions = [ConvolutionConf(filters=f, kernel=k) for f, k in ((5, 5), (10, 3), (40, 2))]
    module = build(NetworkConf(convolutions=convolutions), 3, 32, 10)
    values, shapes = torch.zeros(1, 3, 32, 32), []
    for number in (1, 2, 3):
        values = module.get_submodule(f"convolution_{number}")(values)
        shapes.append(tuple(values.shape[1:]))
    assert shapes == [(5, 28, 28), (10, 26, 26), (40, 25, 25)]


def test_lenet5_is_the_course_s():
    module = build(PRESETS["lenet5"], 1, 32, 10)
    kinds = [type(part) for part in module]
    stage = [nn.Conv2d, nn.Sigmoid, nn.AvgPool2d]
    head = [nn.Flatten, nn.Linear, nn.Sigmoid, nn.Linear, nn.Sigmoid, nn.Linear]
    assert kinds == [*stage, *stage, *head]
    assert sum(weight.numel() for weight in module.parameters()) == 61706
    assert module(torch.zeros(2, 1, 32, 32)).shape == (2, 10)


def test_what_follows_a_convolution_comes_in_order():
    network = NetworkConf(
        activation="tanh",
        convolutions=[
            ConvolutionConf(
                filters=4,
                kernel=3,
                padding=1,
                stride=2,
                batch_norm=True,
                dropout=0.5,
                pool=PoolConf(size=3, stride=1),
            )
        ],
        dense=[DenseConf(units=5, batch_norm=True, dropout=0.25)],
    )
    module = build(network, 2, 9, 3)
    assert list(dict(module.named_children())) == [
        "convolution_1",
        "batch_norm_1",
        "activation_1",
        "pooling_1",
        "dropout_1",
        "flatten",
        "dense_1",
        "dense_batch_norm_1",
        "dense_activation_1",
        "dense_dropout_1",
        "output",
    ]
    assert isinstance(module.activation_1, nn.Tanh)
    assert (module.pooling_1.kernel_size, module.pooling_1.stride) == (3, 1)
    assert module(torch.zeros(2, 2, 9, 9)).shape == (2, 3)


def test_a_stack_that_does_not_fit_is_refused_before_it_is_built():
    with pytest.raises(NetworkError, match="convolution 2"):
        build(PRESETS["lenet5"], 13, 8, 8)


@pytest.mark.parametrize("activation", ["sigmoid", "tanh"])
def test_signals_neither_fade_nor_grow_through_saturating_layers(activation):
    torch.manual_seed(0)
    network = PRESETS["lenet5"].model_copy(update={"activation": activation})
    module = build(network, 13, 16, 8)
    with torch.no_grad():
        logits = module(torch.randn(500, 13, 16, 16))
    # how much the logits differ between patches
    assert 0.03 < logits.std(dim=0).mean().item() < 3


def test_a_perceptron_sees_the_flattened_patch():
    module = build(PRESETS["mlp"], 3, 8, 5)
    assert not [part for part in module if isinstance(part, nn.Conv2d)]
    assert module.dense_1.weight.shape == (256, 3 * 8 * 8)
    assert module(torch.zeros(2, 3, 8, 8)).shape == (2, 5)


def test_the_kernels_of_a_first_dense_layer_are_as_large_as_the_patch():
    module = build(PRESETS["mlp"], 3, 8, 5)
    kernels = first_kernels(module, 3)
    assert kernels.shape == (256, 3, 8, 8)
    patch = torch.randn(1, 3, 8, 8)
    seen = float(module.dense_1(patch.flatten(1))[0, 7].detach() - module.dense_1.bias[7].detach())
    assert seen == pytest.approx(float((patch[0].numpy() * kernels[7]).sum()), abs=1e-4)
    assert first_kernels(build(PRESETS["lenet5"], 3, 32, 5), 3).shape == (6, 3, 5, 5)


def test_a_network_without_layers_is_refused():
    with pytest.raises(ValueError, match="a network needs a layer"):
        NetworkConf()


@pytest.mark.parametrize("shape", [(64, 31, 7, 5), (200, 333)])
@pytest.mark.parametrize("p", [0.1, 0.5])
def test_dropout_drops_its_share_at_random_and_scales_the_others_up(shape, p):
    torch.manual_seed(0)
    dropout, ones = Dropout(p), torch.ones(shape)
    dropped = [dropout(ones) for _ in range(2)]
    for values in dropped:
        assert values.unique().tolist() == pytest.approx([0, 1 / (1 - p)])
        assert (values == 0).float().mean().item() == pytest.approx(p, abs=0.008)
    both = (dropped[0] == 0) & (dropped[1] == 0)
    assert both.float().mean().item() == pytest.approx(p * p, abs=0.008)
    neighbours = torch.corrcoef(dropped[0].flatten()[:60_000].reshape(-1, 4).T)
    assert (neighbours - torch.eye(4)).abs().max().item() < 0.04
    torch.manual_seed(0)
    assert torch.equal(dropout(ones), dropped[0])


def test_dropout_keeps_the_memory_order_and_passes_gradients_of_what_is_kept():
    values = torch.randn(6, 5, 4, 4).contiguous(memory_format=torch.channels_last).requires_grad_()
    dropped = Dropout(0.3)(values)
    assert dropped.is_contiguous(memory_format=torch.channels_last)
    dropped.sum().backward()
    assert torch.equal(values.grad == 0, dropped == 0)
    assert torch.allclose(dropped, values * values.grad)


def test_dropout_changes_nothing_outside_of_training():
    values = torch.randn(20, 30)
    assert Dropout(0.5).eval()(values) is values
