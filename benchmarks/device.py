"""Target 7: what a CUDA device makes of the dense form and of training."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from benchmarks.form import Network, product, synchronise
from benchmarks.timing import Side, repeated, side_by_side
from pipeline.learn.inference.dense import DenseForm
from pipeline.learn.inference.levels import Levels

FULL_PX = 10_980
BATCH = 256


def full_tile(form: DenseForm, pixels: npt.NDArray[np.uint16], size_px: int = FULL_PX) -> Side:
    """All cells of a tile, block by block of the same pixels; its units are tiles."""
    cells = -(-size_px // form.cell_px)
    blocks = -(-cells // form.rows) * -(-cells // form.cols)

    def work() -> float:
        for _ in range(blocks):
            form.probabilities(pixels, form.rows, form.cols)
        return blocks * form.rows * form.cols / cells**2

    return repeated(work)


def training(network: Network, device: str) -> Side:
    """Steps of a plain loop on patches that lie on the device, in bf16; its units are patches."""
    model = network.network.to(device).to(memory_format=torch.channels_last).train()
    shape = BATCH, network.bands, network.patch_px, network.patch_px
    patches = torch.randn(shape, device=device).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        labels = model(patches).argmax(dim=1)
    labels = labels.clone()
    optimiser = torch.optim.AdamW(model.parameters())
    criterion = nn.CrossEntropyLoss()

    def work() -> float:
        for _ in range(10):
            with torch.autocast(torch.device(device).type, torch.bfloat16):
                loss = criterion(model(patches), labels)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
        synchronise(device)
        return 10.0 * BATCH

    return repeated(work)


def copying(device: str, values: int = 1 << 28) -> Side:
    """A large copy on the device; its units are bytes read and written."""
    source = torch.empty(values, dtype=torch.bfloat16, device=device).normal_()
    target = torch.empty_like(source)

    def work() -> float:
        for _ in range(10):
            target.copy_(source)
        synchronise(device)
        return 10 * 2.0 * source.numel() * source.element_size()

    return repeated(work)


def bytes_per_cell(network: Network) -> float:
    """Least traffic of a cell: what each level takes and what it gives, once each, in 16 bits."""
    levels = Levels(network.network, network.patch_px, network.cell_px, None)
    density, values = float(network.cell_px**2), 0.0
    for level in levels.convolutions:
        values += density * level.weight.shape[1]
        density /= level.stride**2
        values += density * len(level.bias)
    values += sum(sum(layer.weight.shape) for layer in levels.dense)
    return 2 * values


@dataclass(frozen=True)
class OnDevice:
    """Target 7."""

    tile_s: dict[str, float]
    """Seconds of compute for a whole tile, by type."""
    agreement: dict[str, float]
    """Share of the cells of a block with the class that float32 gives, by type."""
    patches_a_second: float
    """Training."""
    binds: str
    """What bounds the dense form in bf16: arithmetic or memory."""
    fraction: float
    """Of that bound."""


def on_device(network: Network, device: str, seconds: float, size_px: int = FULL_PX) -> OnDevice:
    """Measure target 7 on a device."""
    types = {"bf16": torch.bfloat16, "half": torch.float16}
    exact = network.form(device)
    pixels = network.block(exact.rows, exact.cols)
    classes = exact.probabilities(pixels, exact.rows, exact.cols).argmax(axis=0)
    agreement, sides = {}, {}
    for name, dtype in types.items():
        form = network.form(device, dtype)
        found = form.probabilities(pixels, exact.rows, exact.cols).argmax(axis=0)
        agreement[name] = float(np.mean(found == classes))
        sides[name] = full_tile(form, network.block(form.rows, form.cols), size_px)
    large = device != "cpu"
    sides["product"] = product(1, device, torch.bfloat16, 8192 if large else 256)
    sides["copy"] = copying(device, 1 << (28 if large else 16))
    cells = (-(-size_px // network.cell_px)) ** 2
    traffic, work = cells * bytes_per_cell(network), cells * 2.0 * exact.multiply_adds
    # last of all: it moves the network to the device and trains it
    sides["training"] = training(network, device)
    measured = side_by_side(sides, seconds)
    least = {
        "arithmetic": measured["product"].seconds_for(work),
        "memory": measured["copy"].seconds_for(traffic),
    }
    binds = max(least, key=lambda name: least[name])
    tile_s = {name: 1 / measured[name].rate for name in types}
    fraction = least[binds] / tile_s["bf16"]
    return OnDevice(tile_s, agreement, measured["training"].rate, binds, fraction)
