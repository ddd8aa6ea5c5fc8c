"""The layers of a network as a text table, as `describe` and `train` print it."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.learn.network.layers import Layer, total_weights

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
