from __future__ import annotations

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from pipeline.config.train import PRESETS, ConvolutionConf, DenseConf, NetworkConf, PoolConf, resolve
from pipeline.errors import NetworkError
from pipeline.learn.network.layers import (
    Axis,
    Layer,
    Shape,
    convolution,
    fits,
    plan,
    table,
    total_weights,
)
from pipeline.learn.network.lenet import build
from tests.support.examples import examples

LENET5 = PRESETS["lenet5"]
ROWS = (nn.Conv2d, nn.BatchNorm2d, nn.MaxPool2d, nn.AvgPool2d, nn.Linear, nn.BatchNorm1d)
POOLS = st.none() | st.builds(
    PoolConf,
    kind=st.sampled_from(["max", "average"]),
    size=st.integers(1, 3),
    stride=st.none() | st.integers(1, 3),
)
CONVOLUTIONS = st.builds(
    ConvolutionConf,
    filters=st.integers(1, 4),
    kernel=st.integers(1, 5),
    padding=st.integers(0, 2),
    stride=st.integers(1, 2),
    batch_norm=st.booleans(),
    pool=POOLS,
    dropout=st.sampled_from([0.0, 0.3]),
)
NETWORKS = st.builds(
    NetworkConf,
    activation=st.sampled_from(["sigmoid", "tanh", "relu"]),
    convolutions=st.lists(CONVOLUTIONS, min_size=1, max_size=3),
    dense=st.lists(st.builds(DenseConf, units=st.integers(1, 9), batch_norm=st.booleans()), max_size=2),
)


def named(layers: list[Layer]) -> dict[str, Layer]:
    return {layer.name: layer for layer in layers}


def image(height: int, width: int, channels: int = 1) -> Layer:
    return Layer("input", "", Shape(channels, height, width), field_px=1, step_px=1)


@pytest.mark.parametrize(
    ("size", "kernel", "padding", "stride", "expected"),
    [(5, 3, 0, 1, 3), (5, 3, 0, 2, 2), (4, 3, 1, 1, 4), (32, 5, 0, 1, 28), (28, 2, 0, 2, 14)],
)
def test_sizes_of_the_course(size, kernel, padding, stride, expected):
    assert Axis(size).after(kernel, padding, stride).count == expected


def test_the_cascade_of_the_course():
    network = NetworkConf(
        convolutions=[
            ConvolutionConf(filters=filters, kernel=kernel)
            for filters, kernel in ((5, 5), (10, 3), (40, 2))
        ]
    )
    sizes = [layer.output for layer in plan(network, 3, 32, 10) if "convolution" in layer.name]
    assert sizes == [Shape(5, 28, 28), Shape(10, 26, 26), Shape(40, 25, 25)]


def test_lenet5_has_the_sizes_and_weights_of_the_course():
    layers = named(plan(LENET5, bands=1, patch_px=32, classes=10))
    sides = [layers[f"{kind} {i}"].output.height for i in (1, 2) for kind in ("convolution", "pooling")]
    assert sides == [28, 14, 10, 5]
    weights = [layer.weights for layer in layers.values() if layer.weights]
    assert weights == [156, 2416, 48120, 10164, 850]
    assert total_weights(list(layers.values())) == 61706


def test_the_course_on_dense_shared_and_local_weights_of_an_image_of_4_by_5():
    local = convolution(image(4, 5), ConvolutionConf(filters=1, kernel=3, padding=1), "convolution 1")
    assert local.weights - 1 == 9  # without the bias
    assert local.connected_weights - local.output.values == 400
    assert local.unshared_weights - local.output.values == 20 * 9


def test_the_course_on_an_image_of_a_megapixel():
    local = convolution(image(1000, 1000), ConvolutionConf(filters=1000, kernel=3), "convolution 1")
    assert local.weights - 1000 == 9_000
    whole = convolution(image(1000, 1000), ConvolutionConf(filters=1, kernel=1000), "convolution 1")
    assert whole.weights - 1 == 10**6
    neurons = convolution(
        image(1000, 1000), ConvolutionConf(filters=1000, kernel=1000), "convolution 1"
    )
    assert neurons.output.values == 1000
    assert neurons.connected_weights - 1000 == 10**9


def test_a_filter_of_the_size_of_the_image_has_as_many_weights_shared_or_not():
    whole = convolution(image(5, 5), ConvolutionConf(filters=1, kernel=5), "convolution 1")
    assert whole.weights == whole.unshared_weights == whole.connected_weights == 26


@examples(40)
@given(
    network=NETWORKS, bands=st.integers(1, 5), patch_px=st.integers(4, 20), classes=st.integers(2, 5)
)
def test_the_plan_is_what_torch_builds(network, bands, patch_px, classes):
    assume(fits(network, patch_px))
    layers = plan(network, bands, patch_px, classes)
    module = build(network, bands, patch_px, classes).eval()
    assert total_weights(layers) == sum(weight.numel() for weight in module.parameters())
    shapes = []
    for part in module:
        if isinstance(part, ROWS):
            part.register_forward_hook(lambda _, __, result: shapes.append(tuple(result.shape[1:])))
    with FlopCounterMode(display=False) as counter:
        module(torch.zeros(1, bands, patch_px, patch_px))
    planned = [
        tuple(layer.output) if "dense" not in layer.name and layer.name != "output"
        else (layer.output.channels,)
        for layer in layers[1:]
    ]  # fmt: skip
    assert shapes == planned
    work = sum(layer.multiply_adds for layer in layers if "batch norm" not in layer.name)
    assert counter.get_total_flops() == 2 * work


@examples(40)
@given(
    stages=st.lists(
        st.tuples(
            st.integers(1, 4),
            st.integers(1, 2),
            st.none() | st.tuples(st.integers(1, 3), st.integers(1, 3)),
        ),
        min_size=1,
        max_size=3,
    )
)
def test_the_receptive_field_is_where_the_gradient_reaches(stages):
    network = NetworkConf(
        convolutions=[
            ConvolutionConf(
                filters=1,
                kernel=kernel,
                stride=stride,
                pool=pool and PoolConf(kind="average", size=pool[0], stride=pool[1]),
            )
            for kernel, stride, pool in stages
        ]
    )
    patch_px = next(side for side in range(1, 200) if fits(network, side) and grows(network, side))
    last = plan(network, 1, patch_px, 2)[-2]
    module = build(network, 1, patch_px, 2)
    features = module[: list(dict(module.named_children())).index("flatten")]
    for weight in features.parameters():
        nn.init.ones_(weight)
    patch = torch.ones(1, 1, patch_px, patch_px, requires_grad=True)
    result = features(patch)
    seen = []
    for at in (0, 1):
        (gradient,) = torch.autograd.grad(result[0, 0, at, at], patch, retain_graph=True)
        rows = gradient[0, 0].abs().sum(dim=1).nonzero().flatten()
        seen.append((int(rows[0]), int(rows[-1]) + 1))
    assert seen[0] == (0, last.field_px)
    assert seen[1][0] == last.step_px


def grows(network: NetworkConf, patch_px: int) -> bool:
    return plan(network, 1, patch_px, 2)[-2].output.height >= 2


def test_the_output_sees_the_patch_and_no_more():
    halving = ConvolutionConf(filters=1, kernel=3, pool=PoolConf(size=2))
    layers = plan(NetworkConf(convolutions=[halving, halving]), 1, 16, 2)
    assert layers[-2].output.height == 2
    assert layers[-1].field_px == 14  # the second pooling passes over the last row and column
    assert plan(LENET5, 13, 32, 8)[-1].field_px == 32
    padded = NetworkConf(convolutions=[ConvolutionConf(filters=1, kernel=5, padding=2)] * 6)
    assert plan(padded, 1, 16, 2)[-1].field_px == 16


def test_a_stack_that_does_not_fit_is_refused_with_the_layer_and_the_sizes_that_would():
    with pytest.raises(NetworkError, match=r"convolution 2 .* kernel of at most 2") as caught:
        plan(LENET5, 13, 8, 8)
    assert "patch_px of at least 16 (it is 8)" in str(caught.value)
    plan(LENET5, 13, 16, 8)
    with pytest.raises(NetworkError):
        plan(LENET5, 13, 15, 8)


def test_a_pooling_that_does_not_fit_is_refused_too():
    network = NetworkConf(convolutions=[ConvolutionConf(filters=4, kernel=3, pool=PoolConf(size=4))])
    with pytest.raises(
        NetworkError, match=r"pooling 1 .* window of at most 3, .* at least 6 \(it is 5\)"
    ):
        plan(network, 1, 5, 2)


def test_padding_counts_where_sizes_are_suggested():
    network = NetworkConf(convolutions=[ConvolutionConf(filters=4, kernel=9, padding=2)])
    with pytest.raises(
        NetworkError, match=r"with padding 2; use a kernel of at most 8, .* at least 5 "
    ):
        plan(network, 1, 4, 2)


def test_names_of_networks():
    assert resolve("lenet5") == ("lenet5", LENET5)
    assert resolve(LENET5) == ("lenet5", LENET5)
    own = NetworkConf(convolutions=[ConvolutionConf(filters=2)])
    assert resolve(own) == ("own", own)


def cells(text):
    return {line.split("  ")[0]: line.split() for line in text.splitlines() if line}


def test_the_table_of_lenet5_reads_as_the_course_has_it():
    lines = cells(table(plan(PRESETS["lenet5"], 1, 32, 10)))
    assert lines["convolution 2"][-6:] == ["2,416", "240,000", "14", "140", "241,600", "1,883,200"]
    assert "10 x 10 x 16" in table(plan(PRESETS["lenet5"], 1, 32, 10))
    assert lines["total"] == ["total", "61,706", "416,520", "423,038", "6,763,934"]


def test_metres_follow_the_pixel():
    assert cells(table(plan(PRESETS["lenet5"], 1, 32, 10), pixel_m=2.5))["convolution 1"][-3] == "12.5"


def test_columns_line_up():
    lines = table(plan(PRESETS["modern"], 13, 16, 8)).splitlines()
    until = [index for index, line in enumerate(lines) if line.startswith("-")]
    body = [line for line in lines[: until[1]] if not line.startswith("-")]
    assert len({len(line) for line in body}) == 1
