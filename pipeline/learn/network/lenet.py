"""The LeNet family as a torch module: what `layers.plan` promises, read in one sitting."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from pipeline.learn.network.layers import pictures, plan

if TYPE_CHECKING:
    from pipeline.config.train import NetworkConf

_ACTIVATIONS: dict[str, type[nn.Module]] = {"sigmoid": nn.Sigmoid, "tanh": nn.Tanh, "relu": nn.ReLU}
_SLOPES = {"sigmoid": 0.25, "tanh": 1.0}
"""Of the activation around 0."""
_POOLINGS: dict[str, type[nn.MaxPool2d | nn.AvgPool2d]] = {"max": nn.MaxPool2d, "average": nn.AvgPool2d}


class Dropout(nn.Dropout):
    """Dropout with a cheap mask on a CPU, where torch's Bernoulli draws take longer than a convolution.

    16 random bits a value decide, so the share that is dropped is right to 1 in 65,536.
    """

    def forward(self, input: Tensor) -> Tensor:
        """The values with a share `p` of them at 0 and the others scaled up, in training."""
        if not self.training or input.device.type != "cpu":
            return super().forward(input)
        count = input.numel()
        words = torch.empty(-(-count // 4), dtype=torch.int64).random_(-(2**63), None)
        # in place and in float32: torch is slow at comparing to bool and at converting bool
        kept = words.view(torch.int16)[:count].float().ge_(round(self.p * 2**16) - 2**15)
        scale = kept.mul_(1 / (1 - self.p)).to(input.dtype)
        # in the memory order of the values, channels last or not
        return input * scale.as_strided(input.shape, torch.empty_like(input, device="meta").stride())


def build(network: NetworkConf, bands: int, patch_px: int, classes: int) -> nn.Sequential:
    """A network that takes float (N, bands, patch_px, patch_px) and gives logits (N, classes).

    Its modules are named after the rows of the table of layers: `convolution_1`, `pooling_1`, ...

    Raises:
        NetworkError: when a layer does not fit; it names the layer and the sizes that would.
    """
    plan(network, bands, patch_px, classes)
    stack = nn.Sequential()
    activation = _ACTIVATIONS[network.activation]
    channels = bands
    for number, conf in enumerate(network.convolutions, start=1):
        convolution = nn.Conv2d(channels, conf.filters, conf.kernel, conf.stride, conf.padding)
        stack.add_module(f"convolution_{number}", convolution)
        channels = conf.filters
        if conf.batch_norm:
            stack.add_module(f"batch_norm_{number}", nn.BatchNorm2d(channels))
        stack.add_module(f"activation_{number}", activation())
        if conf.pool is not None:
            pooling = _POOLINGS[conf.pool.kind](conf.pool.size, conf.pool.stride)
            stack.add_module(f"pooling_{number}", pooling)
        if conf.dropout:
            stack.add_module(f"dropout_{number}", Dropout(conf.dropout))
    stack.add_module("flatten", nn.Flatten())
    values = pictures(network, bands, patch_px)[-1].output.values
    for number, dense in enumerate(network.dense, start=1):
        stack.add_module(f"dense_{number}", nn.Linear(values, dense.units))
        if dense.batch_norm:
            stack.add_module(f"dense_batch_norm_{number}", nn.BatchNorm1d(dense.units))
        stack.add_module(f"dense_activation_{number}", activation())
        if dense.dropout:
            stack.add_module(f"dense_dropout_{number}", Dropout(dense.dropout))
        values = dense.units
    stack.add_module("output", nn.Linear(values, classes))
    if network.activation in _SLOPES:
        _balance(stack, gain=1 / _SLOPES[network.activation])
    return stack


def _balance(stack: nn.Sequential, gain: float) -> None:
    """Weights by Glorot & Bengio (2010), so that signals neither fade nor grow from layer to layer.

    torch's own suit ReLU; with them a sigmoid network hardly begins to learn.
    """
    for module in stack:
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.xavier_normal_(module.weight, gain)
            nn.init.zeros_(cast(Tensor, module.bias))


def first_kernels(network: nn.Module, bands: int) -> npt.NDArray[np.float32]:
    """The weights of the first layer, float32 (filters, bands, kernel, kernel).

    A dense layer on the flattened patch has kernels as large as the patch, one a unit.
    """
    first = next(module for module in network.modules() if isinstance(module, nn.Conv2d | nn.Linear))
    weights: npt.NDArray[np.float32] = first.weight.detach().cpu().numpy()
    if weights.ndim == 4:
        return weights
    side = math.isqrt(weights.shape[1] // bands)
    return weights.reshape(len(weights), bands, side, side)
