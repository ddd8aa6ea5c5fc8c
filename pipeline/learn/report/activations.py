"""Figures of a network: the activations of its layers, and their receptive fields."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from matplotlib.figure import Figure
from torch import nn

from pipeline.learn.network.classifier import PatchClassifier
from pipeline.learn.network.layers import Layer, plan
from pipeline.learn.report.figures import mosaic, outline, picture_grid, plain

_SHOWN = 16
"""Channels of a layer that are shown, as a square of squares."""
_LAYERS = (nn.ReLU, nn.Sigmoid, nn.Tanh, nn.MaxPool2d, nn.AvgPool2d)


@dataclass(frozen=True)
class Shown:
    """A patch that is shown, with the title of its class."""

    pixels: npt.NDArray[np.uint16]
    """Harmonised DN of the network's bands, (C, P, P)."""
    picture: npt.NDArray[np.float64]
    """(P, P, 3), 0 to 1."""
    title: str


def activations(
    classifier: PatchClassifier, pixels: npt.NDArray[np.uint16]
) -> dict[str, npt.NDArray[np.float32]]:
    """Feature maps (C, H, W) of a patch of harmonised DN, uint16 (C, P, P), by layer in their order.

    They follow activations and poolings. Dense layers, which have no such maps, are left out.
    """
    maps: dict[str, npt.NDArray[np.float32]] = {}
    with torch.inference_mode():
        filled = classifier.filled(torch.from_numpy(pixels[None].copy()).to(classifier.mean.device))
        values = (filled - classifier.mean) / classifier.std
        for name, module in classifier.eval().network.named_children():
            values = module(values)
            if isinstance(module, _LAYERS) and values.ndim == 4:
                maps[name] = values[0].cpu().numpy().copy()
    return maps


def activation_maps(classifier: PatchClassifier, shown: Sequence[Shown]) -> Figure:
    """Patches below each other, and right of each its activations, 16 channels of each layer.

    Each layer has one scale over all patches. A network of dense layers alone has no such maps.
    """
    each = [activations(classifier, one.pixels) for one in shown]
    layers = list(each[0]) if each else []
    rows, cols = max(1, len(shown)), 1 + len(layers)
    figure, grid = picture_grid(rows, cols, 2.1 * max(cols, 3), 2.4 * rows + 0.5)
    for row, (one, maps) in enumerate(zip(shown, each, strict=True)):
        grid[row, 0].imshow(one.picture, interpolation="nearest")
        grid[row, 0].set_title(plain(one.title), fontsize=8)
        for col, name in enumerate(layers, start=1):
            values = [m[name][:_SHOWN] for m in each]
            low, high = min(v.min() for v in values), max(v.max() for v in values)
            axes = grid[row, col]
            axes.imshow(_in_square(maps[name][:_SHOWN]), cmap="viridis", vmin=low, vmax=high)
            channels, height, width = maps[name].shape
            axes.set_title(f"{name.replace('_', ' ')}\n{height} x {width} x {channels}", fontsize=8)
    if not layers:
        figure.suptitle("This network has dense layers alone and no feature maps.", fontsize=10)
    elif shown:
        figure.suptitle(f"Activations of the layers (the first {_SHOWN} channels)", fontsize=10)
    return figure


def _in_square(maps: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Channels (C, H, W) side by side in a square, the rest of which is empty."""
    side = int(np.ceil(np.sqrt(len(maps))))
    full = np.full((side**2, *maps.shape[1:]), np.nan, dtype=np.float32)
    full[: len(maps)] = maps
    return mosaic(full.reshape(side, side, *maps.shape[1:]))


def receptive_fields(classifier: PatchClassifier, shown: Shown) -> Figure:
    """A patch with the receptive field of one unit of each layer, the layers from left to right."""
    meta = classifier.meta
    side, pixel_m = meta.geometry.patch_px, meta.geometry.pixel_m
    layers = _growing(plan(meta.network, len(meta.bands), side, len(meta.classes))[1:])
    figure, grid = picture_grid(1, len(layers), max(6.0, 2.1 * len(layers)), 3.1)
    figure.suptitle("Receptive fields of the layers", fontsize=10)
    for axes, layer in zip(grid.ravel(), layers, strict=True):
        axes.imshow(shown.picture, interpolation="nearest")
        width_px = min(layer.field_px, side)
        outline(axes, (side - width_px) // 2 - 0.5, width_px)
        field_m = layer.field_px * pixel_m
        axes.set_title(f"{layer.name}\n{layer.field_px} px, {field_m:g} m", fontsize=8)
    return figure


def _growing(layers: Sequence[Layer]) -> list[Layer]:
    """The layers whose receptive field is larger than that of every layer before."""
    return [
        layer
        for number, layer in enumerate(layers)
        if all(layer.field_px > before.field_px for before in layers[:number])
    ]
