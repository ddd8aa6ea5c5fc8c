"""Targets 2 and 7: the compute part, and what a CUDA device does."""

from __future__ import annotations

from pathlib import Path

import torch

from benchmarks import machine, network
from benchmarks.bench import Bench
from benchmarks.device import OnDevice, on_device
from benchmarks.form import Network
from benchmarks.model import beside_product
from benchmarks.report import Figure, Section, with_target
from pipeline.learn.network.classifier import PatchClassifier

NO_DEVICE = "no CUDA device at hand"


def compute_section(bench: Bench) -> Section:
    """Target 2 for the network of the benchmarks, the default one beside it, and target 7."""
    lenet = _taken(bench, bench.lenet_64, "lenet_64")
    modern = _taken(bench, network.random_model(network.DEFAULT, bench.made.scene), "modern")
    found = on_device(lenet, "cuda", bench.seconds) if torch.cuda.is_available() else None
    figures = [
        _beside(bench, lenet, "lenet_64", "2"),
        _beside(bench, modern, "modern", ""),
        *device_figures(found),
    ]
    notes = [
        "GFLOP/s: two operations for each multiply-add that the dense form needs, work that patches "
        "share counted once, nothing for padding or context; threads side by side, as in `predict`. "
        "The product: 2048 x 2048, float32, torch, all cores, in turns with the dense form.",
        "Elsewhere, with torch and numpy alone: `python -m benchmarks.model "
        f"{_file(bench, 'lenet_64').name}` (the file lies in the work folder).",
    ]
    return Section("Compute", figures, notes)


def device_figures(found: OnDevice | None) -> list[Figure]:
    """Target 7, or that there is no device."""
    names = (
        "CUDA: compute of a whole tile at stride 8",
        "CUDA: training",
        "CUDA: dense form in bf16 beside what binds it",
    )
    if found is None:
        return [Figure("7", name, NO_DEVICE) for name in names]
    tile = ", ".join(
        f"{seconds:.2f} s in {kind} ({100 * found.agreement[kind]:.2f} % as float32)"
        for kind, seconds in found.tile_s.items()
    )
    return [
        Figure("7", names[0], tile, machine.device_name() or ""),
        Figure("7", names[1], f"{found.patches_a_second:,.0f} patches/s", "bf16, data on the device"),
        Figure("7", names[2], f"{100 * found.fraction:.0f} %", found.binds),
    ]


def _beside(bench: Bench, taken: Network, name: str, item: str) -> Figure:
    bench.say(f"dense form of {name}")
    measured = beside_product(taken, machine.cores(), bench.seconds, bench.say)
    form, product = (measured[side].rate for side in ("dense form", "product"))
    what = f"dense form of {name} at stride {taken.cell_px}, {machine.cores()} threads"
    sides = f"{form / 1e9:,.0f} GFLOP/s", f"matrix product: {product / 1e9:,.0f} GFLOP/s"
    if not item:
        return Figure("", what, *sides, f"{form / product:.3g}")
    return with_target(item, what, *sides, (form / product, ">=", 0.7))


def _taken(bench: Bench, classifier: PatchClassifier, name: str) -> Network:
    """A network by way of the file that a GPU machine would get."""
    network.save_for_torch(classifier.cpu(), _file(bench, name))
    return Network.load(_file(bench, name))


def _file(bench: Bench, name: str) -> Path:
    return bench.work / f"network_{name}.pt"
