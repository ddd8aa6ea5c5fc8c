"""A network of the LeNet family read as levels of one picture instead of layers of one patch.

A level is a convolution with its activation and pooling, computed over the whole picture.
Patches lie `cell_px` apart. A layer whose values lie `step` pixels apart inside a patch is needed at
every multiple of gcd(cell_px, step) pixels of the picture, its grid, and at no other place: there it
is computed once for all patches. Seen on that grid, the taps of the next layer lie
step / gcd(cell_px, step) values apart: dilated convolution where the stride of the patches is no
multiple of the network's own (the "a trous" algorithm; Giusti et al. 2013, Sermanet et al. 2014).

Only torch and numpy are needed here and in `dense`: they run where nothing else is installed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from pipeline.learn.network.layers import Axis

Activation = Callable[[Tensor], Tensor]
_ACTIVATIONS: dict[type[nn.Module], Activation] = {
    nn.ReLU: torch.relu_,
    nn.Sigmoid: torch.sigmoid_,
    nn.Tanh: torch.tanh_,
}
_IGNORED = (nn.Dropout, nn.Flatten, nn.Identity)


@dataclass(frozen=True)
class Normalisation:
    """How DN become the numbers that a network was trained on; float arrays (C,)."""

    mean: npt.NDArray[Any]
    """DN."""
    std: npt.NDArray[Any]
    """DN."""
    fill: npt.NDArray[Any]
    """The whole DN that a pixel without a value (0) takes."""


@dataclass(frozen=True)
class Taps:
    """Which values of a grid one output of a layer sees, along each axis."""

    count: int
    spacing: int
    """Distance of two taps, in values of the input grid."""
    stride: int
    """Distance of two outputs, in values of the input grid."""

    @property
    def extent(self) -> int:
        """Values of the input grid from the first tap to the last."""
        return (self.count - 1) * self.spacing + 1

    def inputs(self, outputs: int) -> int:
        """How many values along an axis so many outputs need."""
        return (outputs - 1) * self.stride + self.extent


@dataclass(frozen=True)
class Pooling:
    """What follows a convolution."""

    maximum: bool
    """Else the mean."""
    taps: Taps


@dataclass(frozen=True)
class Level:
    """A convolution of the picture with what follows it; batch norm is folded into its weights."""

    weight: Tensor
    """(filters, C, kernel, kernel)."""
    bias: Tensor
    """(filters,)."""
    taps: Taps
    activation: Activation | None = None
    pooling: Pooling | None = None

    @property
    def stride(self) -> int:
        """Values of its input grid for one of its output."""
        return self.taps.stride * (self.pooling.taps.stride if self.pooling else 1)


@dataclass(frozen=True)
class Dense:
    """A dense layer; batch norm is folded into its weights."""

    weight: Tensor
    """(units, inputs)."""
    bias: Tensor
    activation: Activation | None = None


def unsupported(network: nn.Sequential) -> str | None:
    """Why a network has no dense form; None where it has one."""
    if not any(isinstance(module, nn.Conv2d) for module in network):
        return "it has no convolution, so that neighbouring patches share nothing"
    for name, module in network.named_children():
        if isinstance(module, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d) and module.padding not in (
            0,
            (0, 0),
        ):
            return (
                f"{name.replace('_', ' ')} has padding, with which the values at the border of a patch "
                "are not those of the ground beyond it"
            )
    return None


class Levels:
    """A whole network: convolutions, the first dense layer as one of them, and the others; float64."""

    convolutions: list[Level]
    """The last one is the first dense layer, a convolution as large as its input."""
    dense: list[Dense]
    multiply_adds: int
    """For one cell, with what neighbouring patches share counted once."""
    patch_multiply_adds: int
    """For one patch by itself."""

    def __init__(
        self, network: nn.Sequential, patch_px: int, cell_px: int, normalisation: Normalisation | None
    ) -> None:
        """Read a network, module by module.

        Args:
            network: Convolutions with batch norm, activation, pooling and dropout after each, then
                dense layers, as `lenet.build` makes them, of valid padding.
            patch_px: Side of its patches.
            cell_px: Distance of the patches.
            normalisation: Folded into the first convolution, which then takes DN less `fill`; None for
                a network whose input is normalised by the caller.

        Raises:
            ValueError: when a module is none of these, or has padding.
        """
        if reason := unsupported(network):
            raise ValueError(f"the network has no dense form: {reason}")
        self._cell_px, self._normalisation = cell_px, normalisation
        self._axis = Axis(patch_px)  # the values inside a single patch
        self._grid = 1  # their distance in the picture, px
        self._flat = False
        self.convolutions, self.dense = [], []
        self.multiply_adds = self.patch_multiply_adds = 0
        for module in network:
            if isinstance(module, nn.Conv2d):
                self._add_convolution(module)
            elif isinstance(module, nn.Linear):
                self._add_dense(module)
            elif not isinstance(module, _IGNORED):
                # what follows a layer belongs to it
                layers: list[Any] = self.dense or self.convolutions
                layers[-1] = self._followed(layers[-1], module)

    @property
    def extent_px(self) -> int:
        """Pixels along an axis that the output sees; what lies beyond them in a patch is not used."""
        return self._axis.seen_px

    def _followed(self, layer: Any, module: nn.Module) -> Any:
        pooling = getattr(layer, "pooling", None)
        if isinstance(module, nn.MaxPool2d | nn.AvgPool2d) and pooling is None and not self._flat:
            taps = self._taps(_one(module.kernel_size), _one(module.stride or module.kernel_size))
            return replace(layer, pooling=Pooling(isinstance(module, nn.MaxPool2d), taps))
        if layer.activation is None and pooling is None:
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
                return _normalised(layer, module)
            if type(module) in _ACTIVATIONS:
                return replace(layer, activation=_ACTIVATIONS[type(module)])
        raise ValueError(f"the network has no dense form: {type(module).__name__} at an unknown place")

    def _taps(self, count: int, stride: int) -> Taps:
        """The taps of the next layer, whose values are the next to flow."""
        spacing = self._axis.step_px // self._grid
        self._axis = self._axis.after(count, stride=stride)
        before, self._grid = self._grid, math.gcd(self._cell_px, self._axis.step_px)
        return Taps(count, spacing, self._grid // before)

    def _add_convolution(self, module: nn.Conv2d) -> None:
        weight, bias = _double(module.weight, module.bias)
        if self._normalisation is not None and not self.convolutions:
            weight, bias = _on_dn(weight, bias, self._normalisation)
        taps = self._taps(_one(module.kernel_size), _one(module.stride))
        self.multiply_adds += weight.numel() * (self._cell_px // self._grid) ** 2
        self.patch_multiply_adds += weight.numel() * self._axis.count**2
        self.convolutions.append(Level(weight, bias, taps))

    def _add_dense(self, module: nn.Linear) -> None:
        weight, bias = _double(module.weight, module.bias)
        self.multiply_adds += weight.numel()
        self.patch_multiply_adds += weight.numel()
        if self._flat:
            self.dense.append(Dense(weight, bias))
            return
        self._flat, side = True, self._axis.count
        weight = weight.reshape(len(weight), -1, side, side)
        taps = Taps(side, self._axis.step_px // self._grid, self._cell_px // self._grid)
        self.convolutions.append(Level(weight, bias, taps))


def _one(size: Any) -> int:
    """The side of a square that torch states as a number or a pair."""
    sides = set(size) if isinstance(size, tuple) else {size}
    if len(sides) != 1:
        raise ValueError(f"the network has no dense form: {size} is not square")
    return int(sides.pop())


def _double(*tensors: Any) -> Iterator[Tensor]:
    return (tensor.detach().to("cpu", torch.float64) for tensor in tensors)


def _on_dn(weight: Tensor, bias: Tensor, normalisation: Normalisation) -> tuple[Tensor, Tensor]:
    """Weights for DN less `fill` instead of (DN - mean) / std."""
    mean, std, fill = (
        torch.from_numpy(np.asarray(values, dtype=np.float64)).reshape(-1)
        for values in (normalisation.mean, normalisation.std, normalisation.fill)
    )
    scaled = weight / std[:, None, None]
    return scaled, bias + (scaled.sum(dim=(2, 3)) * (fill - mean)).sum(dim=1)


def _normalised[L: (Level, Dense)](layer: L, norm: Any) -> L:
    """A layer with the batch norm after it in its own weights (Ioffe and Szegedy 2015)."""
    mean, variance, scale, bias = _double(norm.running_mean, norm.running_var, norm.weight, norm.bias)
    gain = scale * (variance + norm.eps).rsqrt()
    weight = layer.weight * gain.reshape(-1, *[1] * (layer.weight.ndim - 1))
    return replace(layer, weight=weight, bias=layer.bias * gain + (bias - mean * gain))
