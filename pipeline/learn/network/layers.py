"""The arithmetic of the LeNet family: sizes, weights, work and receptive field, before anything runs.

Torch-free, so that `lenscape describe` answers at once; `lenet.py` builds exactly these layers.
Formulas from Tuia, EPFL, Image processing for Earth Observation, lecture 4b.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from pipeline.config.train import ConvolutionConf, DenseConf, NetworkConf, PoolConf
from pipeline.errors import NetworkError

_LARGEST_PATCH_PX = 1024
_HEADER: tuple[str, ...] = (
    "layer",
    "settings",
    "output",
    "weights",
    "multiply-adds",
    "field px",
    "field m",
    "unshared",
    "connected",
)


class Shape(NamedTuple):
    """Size of what flows between layers: (C, H, W)."""

    channels: int
    height: int
    width: int

    @property
    def values(self) -> int:
        """Number of values."""
        return self.channels * self.height * self.width

    def __str__(self) -> str:
        if self.height == self.width == 1:
            return str(self.channels)
        return f"{self.height} x {self.width} x {self.channels}"


@dataclass(frozen=True)
class Layer:
    """One row of the table of layers; what has no weights has 0 of them everywhere."""

    name: str
    """Kind and place, such as `convolution 2`."""
    settings: str
    """Filters, kernel, padding, stride and what follows, for people."""
    output: Shape
    field_px: int
    """Side of the square of the patch that one output value sees."""
    step_px: int
    """Distance of the squares that two neighbouring output values see."""
    weights: int = 0
    """Weights with biases."""
    biases: int = 0
    """How many of them are biases."""
    multiply_adds: int = 0
    """Multiplications, each with an addition, for one patch."""
    unshared_weights: int = 0
    """Weights with biases if every output position had filters of its own."""
    connected_weights: int = 0
    """Weights with biases if every output value saw every input value."""


def output_px(size_px: int, kernel: int, padding: int = 0, stride: int = 1) -> int:
    """Output side of a convolution or pooling: floor((n - k + 2p) / s) + 1; below 1 it does not fit."""
    return (size_px - kernel + 2 * padding) // stride + 1


def plan(network: NetworkConf, bands: int, patch_px: int, classes: int) -> list[Layer]:
    """The layers of a network on patches of (bands, patch_px, patch_px), the input first.

    Raises:
        NetworkError: when a layer does not fit; it names the layer and the sizes that would.
    """
    layers = [Layer("input", "patch", Shape(bands, patch_px, patch_px), field_px=1, step_px=1)]
    for number, conf in enumerate(network.convolutions, start=1):
        try:
            layers += _stage(layers[-1], conf, number, network.activation)
        except _MisfitError as misfit:
            raise NetworkError(misfit.sentence(network, patch_px)) from None
    last = _flattened(layers[-1], patch_px)
    for number, dense in enumerate(network.dense, start=1):
        layers.append(_dense(last, f"dense {number}", dense, network.activation))
        if dense.batch_norm:
            layers.append(_batch_norm(layers[-1], f"batch norm of dense {number}"))
        last = layers[-1]
    return [*layers, _dense(last, "output", DenseConf(units=classes), "")]


def convolution(source: Layer, conf: ConvolutionConf, name: str, then: str = "") -> Layer:
    """A convolution over what `source` gives.

    Raises:
        NetworkError: when its kernel is larger than its padded input.
    """
    channels, height, width = source.output
    sides = [output_px(side, conf.kernel, conf.padding, conf.stride) for side in (height, width)]
    if min(sides) < 1:
        raise _MisfitError(name, "kernel", conf.kernel, min(height, width), conf.padding)
    output = Shape(conf.filters, *sides)
    per_filter = conf.kernel**2 * channels + 1
    return Layer(
        name,
        f"{conf.filters} of {conf.kernel} x {conf.kernel}{_moved(conf.padding, conf.stride)}{then}",
        output,
        field_px=source.field_px + (conf.kernel - 1) * source.step_px,
        step_px=source.step_px * conf.stride,
        weights=conf.filters * per_filter,
        biases=conf.filters,
        multiply_adds=output.values * (per_filter - 1),
        unshared_weights=output.values * per_filter,
        connected_weights=output.values * (source.output.values + 1),
    )


def total_weights(layers: Sequence[Layer]) -> int:
    """Weights with biases of a whole network."""
    return sum(layer.weights for layer in layers)


def _stage(source: Layer, conf: ConvolutionConf, number: int, activation: str) -> list[Layer]:
    """A convolution with what follows it, in this order: batch norm, activation, pooling, dropout."""
    layers = [convolution(source, conf, f"convolution {number}", f", {activation}")]
    if conf.batch_norm:
        layers.append(_batch_norm(layers[-1], f"batch norm {number}"))
    if conf.pool is not None:
        layers.append(_pooling(layers[-1], conf.pool, f"pooling {number}"))
    if conf.dropout:
        layers[-1] = replace(layers[-1], settings=f"{layers[-1].settings}, dropout {conf.dropout:g}")
    return layers


def _batch_norm(source: Layer, name: str) -> Layer:
    channels = source.output.channels
    return replace(
        source,
        name=name,
        settings="scale and shift",
        weights=2 * channels,
        biases=channels,
        multiply_adds=source.output.values,
        unshared_weights=2 * channels,
        connected_weights=2 * channels,
    )


def _pooling(source: Layer, conf: PoolConf, name: str) -> Layer:
    channels, height, width = source.output
    stride = conf.stride or conf.size
    sides = [output_px(side, conf.size, stride=stride) for side in (height, width)]
    if min(sides) < 1:
        raise _MisfitError(name, "window", conf.size, min(height, width), 0)
    return Layer(
        name,
        f"{conf.kind} of {conf.size} x {conf.size}" + _moved(0, stride, usual_stride=conf.size),
        Shape(channels, *sides),
        field_px=source.field_px + (conf.size - 1) * source.step_px,
        step_px=source.step_px * stride,
    )


def _flattened(last: Layer, patch_px: int) -> Layer:
    """The values of the last convolution or pooling as one vector, which sees all that they see."""
    side = max(last.output.height, last.output.width)
    seen = last.field_px + (side - 1) * last.step_px
    return replace(last, output=Shape(last.output.values, 1, 1), field_px=min(seen, patch_px))


def _dense(source: Layer, name: str, conf: DenseConf, activation: str) -> Layer:
    inputs = source.output.values
    weights = conf.units * (inputs + 1)
    settings = f"{conf.units} units" + (f", {activation}" if activation else ", one a class")
    return Layer(
        name,
        settings + (f", dropout {conf.dropout:g}" if conf.dropout else ""),
        Shape(conf.units, 1, 1),
        field_px=source.field_px,
        step_px=source.step_px,
        weights=weights,
        biases=conf.units,
        multiply_adds=conf.units * inputs,
        unshared_weights=weights,
        connected_weights=weights,
    )


def _moved(padding: int, stride: int, usual_stride: int = 1) -> str:
    words = [f", padding {padding}"] if padding else []
    return "".join([*words, f", stride {stride}"] if stride != usual_stride else words)


class _MisfitError(NetworkError):
    """A window larger than what it moves over; `plan` adds the patch sizes that would do."""

    def __init__(self, name: str, window: str, size: int, input_px: int, padding: int) -> None:
        self.name, self.fits = name, input_px + 2 * padding
        padded = f" with padding {padding}" if padding else ""
        self.start = (
            f"{name} does not fit: its {window} of {size} x {size} is larger than its input of "
            f"{input_px} x {input_px}{padded}; use a {window} of at most {self.fits}"
        )
        super().__init__(f"{self.start}.")

    def sentence(self, network: NetworkConf, patch_px: int) -> str:
        """What is wrong, and the sizes that would fit."""
        for larger in range(patch_px + 1, _LARGEST_PATCH_PX + 1):
            if fits(network, larger):
                return f"{self.start}, or a patch_px of at least {larger} (it is {patch_px})."
        return f"{self.start}."


def fits(network: NetworkConf, patch_px: int) -> bool:
    """Whether every layer of a network fits on patches of this side."""
    side = patch_px
    for conf in network.convolutions:
        side = output_px(side, conf.kernel, conf.padding, conf.stride)
        if side >= 1 and conf.pool is not None:
            side = output_px(side, conf.pool.size, stride=conf.pool.stride or conf.pool.size)
        if side < 1:
            return False
    return True


def table(layers: Sequence[Layer], pixel_m: float = 10.0) -> str:
    """The layers as a text table, with totals and what its last columns mean."""
    rows = [_HEADER, *(_row(layer, pixel_m) for layer in layers), _totals(layers)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(
            cell.ljust(width) if place < 2 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    rule = "-" * max(map(len, lines))
    return "\n".join([lines[0], rule, *lines[1:-1], rule, lines[-1], "", _LEGEND]) + "\n"


_LEGEND = """\
output: height x width x channels, each side floor((n - k + 2p) / s) + 1
weights: with biases; unshared: if every position had filters of its own;
connected: if every output value saw every input value
field: side of the square of the patch that one output value sees"""


def _row(layer: Layer, pixel_m: float) -> tuple[str, ...]:
    return (
        layer.name,
        layer.settings,
        str(layer.output),
        _count(layer.weights),
        _count(layer.multiply_adds),
        str(layer.field_px),
        f"{layer.field_px * pixel_m:g}",
        _count(layer.unshared_weights),
        _count(layer.connected_weights),
    )


def _totals(layers: Sequence[Layer]) -> tuple[str, ...]:
    work = sum(layer.multiply_adds for layer in layers)
    unshared = sum(layer.unshared_weights for layer in layers)
    connected = sum(layer.connected_weights for layer in layers)
    own = _count(total_weights(layers)), _count(work)
    return ("total", "", "", *own, "", "", _count(unshared), _count(connected))


def _count(number: int) -> str:
    return f"{number:,}" if number else "-"
