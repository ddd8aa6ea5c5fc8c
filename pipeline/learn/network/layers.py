"""The arithmetic of the LeNet family: sizes, weights, work and receptive field, before anything runs.

The one place where sizes are computed: `lenet` builds these layers, the dense form takes its sizes
from `Axis`, `describe` and `train` print the `table`. It needs neither torch nor pydantic, so that
`lenscape describe` answers at once and the dense form runs where torch and numpy alone are installed.
Formulas from Tuia, EPFL, Image processing for Earth Observation, lecture 4b.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from pipeline.errors import NetworkError

if TYPE_CHECKING:
    from pipeline.config.train import ConvolutionConf, NetworkConf, PoolConf

_LARGEST_PATCH_PX = 1024
_HEADER = (
    "layer", "settings", "output", "weights", "multiply-adds", "field px", "field m", "unshared",
    "connected",
)  # fmt: skip
_LEGEND = """\
output: height x width x channels, each side floor((n - k + 2p) / s) + 1
weights: with biases; unshared: if every position had filters of its own;
connected: if every output value saw every input value
field: side of the square of the patch that one output value sees"""


@dataclass(frozen=True)
class Axis:
    """The values of a layer along one axis of a patch."""

    count: int
    field_px: int = 1
    """Receptive field: pixels of the patch that one value sees."""
    step_px: int = 1
    """Distance of the fields of two neighbouring values."""

    @property
    def seen_px(self) -> int:
        """Pixels from the first that a value sees to the last."""
        return self.field_px + (self.count - 1) * self.step_px

    def after(self, kernel: int, padding: int = 0, stride: int = 1) -> Axis:
        """The values of a convolution or pooling over these; it does not fit where there are none."""
        return Axis(
            (self.count - kernel + 2 * padding) // stride + 1,
            self.field_px + (kernel - 1) * self.step_px,
            self.step_px * stride,
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
    multiply_adds: int = 0
    """Multiplications, each with an addition, for one patch."""
    unshared_weights: int = 0
    """Weights with biases if every output position had filters of its own."""
    connected_weights: int = 0
    """Weights with biases if every output value saw every input value."""


def plan(network: NetworkConf, bands: int, patch_px: int, classes: int) -> list[Layer]:
    """The layers of a network on patches of (bands, patch_px, patch_px), the input first.

    Raises:
        NetworkError: when a layer does not fit; it names the layer and the sizes that would.
    """
    try:
        layers = pictures(network, bands, patch_px)
    except NetworkError as error:
        larger = range(patch_px + 1, _LARGEST_PATCH_PX + 1)
        fitting = next((side for side in larger if fits(network, side)), None)
        or_patch = f", or a patch_px of at least {fitting} (it is {patch_px})" if fitting else ""
        raise NetworkError(f"{error}{or_patch}.") from None
    last = layers[-1]
    seen = Axis(last.output.height, last.field_px, last.step_px).seen_px
    last = replace(last, output=Shape(last.output.values, 1, 1), field_px=min(seen, patch_px))
    for number, conf in enumerate(network.dense, start=1):
        dense = _dense(last, f"dense {number}", conf.units, f", {network.activation}")
        layers.append(_with_dropout(dense, conf.dropout))
        if conf.batch_norm:
            layers.append(_batch_norm(dense, f"batch norm of dense {number}"))
        last = layers[-1]
    return [*layers, _dense(last, "output", classes, ", one a class")]


def pictures(network: NetworkConf, bands: int, patch_px: int) -> list[Layer]:
    """The input and all layers before the first dense one: their values lie on a grid of the patch.

    A convolution is followed by batch norm, activation, pooling and dropout, in this order.

    Raises:
        NetworkError: when a kernel or a window is larger than its padded input; without a full stop.
    """
    layers = [Layer("input", "patch", Shape(bands, patch_px, patch_px), field_px=1, step_px=1)]
    for number, conf in enumerate(network.convolutions, start=1):
        then = f", {network.activation}"
        layers.append(convolution(layers[-1], conf, f"convolution {number}", then))
        if conf.batch_norm:
            layers.append(_batch_norm(layers[-1], f"batch norm {number}"))
        if conf.pool is not None:
            layers.append(_pooling(layers[-1], conf.pool, f"pooling {number}"))
        layers[-1] = _with_dropout(layers[-1], conf.dropout)
    return layers


def fits(network: NetworkConf, patch_px: int) -> bool:
    """Whether every layer of a network fits on patches of this side."""
    try:
        pictures(network, 1, patch_px)
    except NetworkError:
        return False
    return True


def convolution(source: Layer, conf: ConvolutionConf, name: str, then: str = "") -> Layer:
    """A convolution over what `source` gives.

    Raises:
        NetworkError: when its kernel is larger than its padded input.
    """
    moved = _moved(source, name, "kernel", (conf.kernel, conf.padding, conf.stride))
    padding = f", padding {conf.padding}" if conf.padding else ""
    stride = f", stride {conf.stride}" if conf.stride != 1 else ""
    output = moved.output._replace(channels=conf.filters)
    per_filter = conf.kernel**2 * source.output.channels + 1
    return replace(
        moved,
        settings=f"{conf.filters} of {moved.settings}{padding}{stride}{then}",
        output=output,
        weights=conf.filters * per_filter,
        multiply_adds=output.values * (per_filter - 1),
        unshared_weights=output.values * per_filter,
        connected_weights=output.values * (source.output.values + 1),
    )


def total_weights(layers: Sequence[Layer]) -> int:
    """Weights with biases of a whole network."""
    return sum(layer.weights for layer in layers)


def _pooling(source: Layer, conf: PoolConf, name: str) -> Layer:
    stride = conf.stride or conf.size
    moved = _moved(source, name, "window", (conf.size, 0, stride))
    settings = f"{conf.kind} of {moved.settings}"
    return replace(moved, settings=settings + (f", stride {stride}" if stride != conf.size else ""))


def _moved(source: Layer, name: str, window: str, sizes: tuple[int, int, int]) -> Layer:
    """The layer that a window gives which moves over another, by its size, padding and stride."""
    channels, *sides = source.output
    size, padding, _ = sizes
    rows, cols = (Axis(side, source.field_px, source.step_px).after(*sizes) for side in sides)
    if min(rows.count, cols.count) < 1:
        smallest, padded = min(sides), f" with padding {padding}" if padding else ""
        raise NetworkError(
            f"{name} does not fit: its {window} of {size} x {size} is larger than its input of "
            f"{smallest} x {smallest}{padded}; use a {window} of at most {smallest + 2 * padding}"
        )
    output = Shape(channels, rows.count, cols.count)
    return Layer(name, f"{size} x {size}", output, rows.field_px, rows.step_px)


def _batch_norm(source: Layer, name: str) -> Layer:
    channels = source.output.channels
    return replace(
        source,
        name=name,
        settings="scale and shift",
        weights=2 * channels,
        multiply_adds=source.output.values,
        unshared_weights=2 * channels,
        connected_weights=2 * channels,
    )


def _dense(source: Layer, name: str, units: int, then: str) -> Layer:
    inputs = source.output.values
    weights = units * (inputs + 1)
    return Layer(
        name,
        f"{units} units{then}",
        Shape(units, 1, 1),
        field_px=source.field_px,
        step_px=source.step_px,
        weights=weights,
        multiply_adds=units * inputs,
        unshared_weights=weights,
        connected_weights=weights,
    )


def _with_dropout(layer: Layer, share: float) -> Layer:
    return replace(layer, settings=f"{layer.settings}, dropout {share:g}") if share else layer


def table(layers: Sequence[Layer], pixel_m: float = 10.0) -> str:
    """The layers as a text table, with totals and what its last columns mean."""
    rows = [_HEADER, *(_row(layer, pixel_m) for layer in layers), _totals(layers)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(
            cell.ljust(width) if column < 2 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    rule = "-" * max(map(len, lines))
    return "\n".join([lines[0], rule, *lines[1:-1], rule, lines[-1], "", _LEGEND]) + "\n"


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
    weights, work, unshared, connected = (
        _count(sum(getattr(layer, name) for layer in layers))
        for name in ("weights", "multiply_adds", "unshared_weights", "connected_weights")
    )
    return ("total", "", "", weights, work, "", "", unshared, connected)


def _count(number: int) -> str:
    return f"{number:,}" if number else "-"
