"""Pictures of what a network does: what layers make of a patch, what they see, which bands count."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor, nn

from pipeline.learn.evaluation.band_importance import BandImportance
from pipeline.learn.network.classifier import PatchClassifier
from pipeline.learn.network.layers import Layer, plan

_BLUE = "#0072b2"
_SHOWN = 16
"""Channels of a layer that are shown, as a square of squares."""
_LAYERS = (nn.ReLU, nn.Sigmoid, nn.Tanh, nn.MaxPool2d, nn.AvgPool2d)


@dataclass(frozen=True)
class Shown:
    """A patch that is shown, with what people call its class."""

    pixels: npt.NDArray[np.uint16]
    """Harmonised DN of the network's bands, (C, P, P)."""
    picture: npt.NDArray[np.float64]
    """(P, P, 3), 0 to 1."""
    title: str


def activations(
    classifier: PatchClassifier, pixels: npt.NDArray[np.uint16]
) -> dict[str, npt.NDArray[np.float32]]:
    """What activations and poolings give of a patch, (C, H, W) by layer, in the order of the network.

    Layers behind the last picture (the dense ones) are left out.

    Args:
        classifier: The model.
        pixels: Harmonised DN, uint16 (C, P, P).
    """
    found: dict[str, npt.NDArray[np.float32]] = {}

    def watch(name: str) -> torch.utils.hooks.RemovableHandle:
        def keep(_module: nn.Module, _given: tuple[Tensor, ...], result: Tensor) -> None:
            if result.ndim == 4:
                found[name] = result[0].cpu().numpy().copy()

        return dict(classifier.network.named_children())[name].register_forward_hook(keep)

    layers = [n for n, module in classifier.network.named_children() if isinstance(module, _LAYERS)]
    handles = [watch(name) for name in layers]
    try:
        with torch.inference_mode():
            classifier.eval()(torch.from_numpy(pixels[None].copy()).to(classifier.mean.device))
    finally:
        for handle in handles:
            handle.remove()
    return found


def activation_maps(classifier: PatchClassifier, shown: Sequence[Shown]) -> Figure:
    """Patches below each other, and right of each what the layers make of it, 16 channels of each.

    Each layer has one scale over all patches. A network of dense layers alone has no such maps.
    """
    each = [activations(classifier, one.pixels) for one in shown]
    layers = list(each[0]) if each else []
    rows, cols = max(1, len(shown)), 1 + len(layers)
    figure = Figure(figsize=(2.1 * max(cols, 3), 2.4 * rows + 0.5), layout="constrained")
    grid = figure.subplots(rows, cols, squeeze=False)
    for axes in grid.ravel():
        axes.set_axis_off()
    for row, (one, maps) in enumerate(zip(shown, each, strict=True)):
        grid[row, 0].imshow(one.picture, interpolation="nearest")
        grid[row, 0].set_title(one.title, fontsize=8)
        for col, name in enumerate(layers, start=1):
            values = [m[name][:_SHOWN] for m in each]
            low, high = min(v.min() for v in values), max(v.max() for v in values)
            axes = grid[row, col]
            axes.imshow(_mosaic(maps[name][:_SHOWN]), cmap="viridis", vmin=low, vmax=high)
            channels, height, width = maps[name].shape
            axes.set_title(f"{name.replace('_', ' ')}\n{height} x {width} x {channels}", fontsize=8)
    if not layers:
        figure.suptitle("This network has dense layers alone: no layer keeps a picture.", fontsize=10)
    elif shown:
        figure.suptitle(f"What the layers make of a patch (the first {_SHOWN} channels)", fontsize=10)
    return figure


def _mosaic(maps: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Channels (C, H, W) side by side in a square, parted by a line of nothing."""
    count, height, width = maps.shape
    side = int(np.ceil(np.sqrt(count)))
    mosaic = np.full((side * (height + 1) - 1, side * (width + 1) - 1), np.nan, dtype=np.float32)
    for place, one in enumerate(maps):
        top, left = place // side * (height + 1), place % side * (width + 1)
        mosaic[top : top + height, left : left + width] = one
    return mosaic


def receptive_fields(classifier: PatchClassifier, shown: Shown) -> Figure:
    """A patch with the square that one value of each layer sees, the layers from left to right."""
    meta = classifier.meta
    side, pixel_m = meta.geometry.patch_px, meta.geometry.pixel_m
    layers = _growing(plan(meta.network, len(meta.bands), side, len(meta.classes))[1:])
    figure = Figure(figsize=(max(6.0, 2.1 * len(layers)), 3.1), layout="constrained")
    figure.suptitle("What one value of a layer sees of the patch", fontsize=10)
    grid = figure.subplots(1, len(layers), squeeze=False).ravel()
    for axes in grid:
        axes.set_axis_off()
    for axes, layer in zip(grid, layers, strict=True):
        axes.imshow(shown.picture, interpolation="nearest")
        _outline(axes, side, layer.field_px)
        field_m = layer.field_px * pixel_m
        axes.set_title(f"{layer.name}\n{layer.field_px} px, {field_m:g} m", fontsize=8)
    return figure


def _growing(layers: Sequence[Layer]) -> list[Layer]:
    """The first layer of each field that is larger than those before."""
    found: list[Layer] = []
    for layer in layers:
        if not found or layer.field_px > found[-1].field_px:
            found.append(layer)
    return found


def _outline(axes: Axes, side: int, field_px: int) -> None:
    """The square of a value in the middle of the patch."""
    seen = min(field_px, side)
    corner = (side - seen) // 2 - 0.5
    for color, width in (("black", 3.0), ("white", 1.4)):
        axes.add_patch(
            Rectangle((corner, corner), seen, seen, fill=False, color=color, linewidth=width)
        )


def band_importance(found: Sequence[BandImportance]) -> Figure:
    """What balanced accuracy loses when a band comes from other patches."""
    figure = Figure(figsize=(7, 1.4 + 0.3 * len(found)), layout="constrained")
    axes = figure.subplots()
    places = np.arange(len(found))
    losses, spreads = [one.loss for one in found], [one.spread for one in found]
    axes.barh(places, losses, 0.7, xerr=spreads, color=_BLUE, ecolor="0.4")
    axes.set_yticks(places, [one.band for one in found])
    axes.set_ylim(len(found) - 0.4, -0.6)
    axes.axvline(0, color="0.3", linewidth=0.8)
    axes.grid(axis="x", color="0.9")
    axes.set_axisbelow(True)
    axes.set(
        xlabel="loss of balanced accuracy",
        title="What is lost when a band comes from other patches",
    )
    return figure
