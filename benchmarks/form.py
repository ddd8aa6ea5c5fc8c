"""A network as a file that torch alone can read, and its dense form beside a matrix product."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from benchmarks.timing import Run, Side, repeated
from pipeline.learn.inference.dense import DenseForm
from pipeline.learn.inference.levels import Normalisation
from pipeline.learn.network.lenet import Dropout

PRODUCT = 2048
"""Side of the matrices."""
_MODULES = [nn.Sequential, nn.Conv2d, nn.BatchNorm2d, nn.BatchNorm1d, nn.ReLU, nn.Sigmoid, nn.Tanh,
            nn.MaxPool2d, nn.AvgPool2d, Dropout, nn.Flatten, nn.Linear]  # fmt: skip


@dataclass(frozen=True)
class Network:
    """A network as `network.save_for_torch` wrote it."""

    network: nn.Sequential
    normalisation: Normalisation
    patch_px: int
    cell_px: int

    @classmethod
    def load(cls, path: Path) -> Network:
        """Read it; nothing but torch's own layers is taken from the file."""
        with torch.serialization.safe_globals([*_MODULES, set]):
            raw = torch.load(path, weights_only=True)
        mean, std, fill = (raw[key].numpy() for key in ("mean", "std", "fill"))
        normalisation = Normalisation(mean, std, fill)
        return cls(raw["network"].eval(), normalisation, raw["patch_px"], raw["cell_px"])

    @property
    def bands(self) -> int:
        """Input bands."""
        return len(self.normalisation.mean)

    def form(self, device: str = "cpu", dtype: torch.dtype = torch.float32) -> DenseForm:
        """Its dense form."""
        sides_px = self.patch_px, self.cell_px
        return DenseForm(self.network, self.normalisation, sides_px, dtype, device)

    def block(self, rows: int, cols: int) -> npt.NDArray[np.uint16]:
        """Pixels of a block of cells made of numbers, band after band as `predict` reads them."""
        context = self.patch_px - self.cell_px
        shape = rows * self.cell_px + context, cols * self.cell_px + context, self.bands
        generator = np.random.default_rng(0)
        mean, std = self.normalisation.mean, self.normalisation.std
        values = mean + std * generator.standard_normal(shape, dtype=np.float32)
        interleaved = np.clip(values, 1, 65_534).astype(np.uint16)
        return np.ascontiguousarray(interleaved.transpose(2, 0, 1))


def product(
    cores: int, device: str = "cpu", dtype: torch.dtype = torch.float32, side: int = PRODUCT
) -> Side:
    """A matrix product on all cores again and again; its units are operations."""
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    c = torch.empty_like(a)

    def work() -> float:
        torch.set_num_threads(cores)
        for _ in range(10):
            torch.mm(a, b, out=c)
        synchronise(device)
        return 10 * 2.0 * side**3

    return repeated(work)


def dense(form: DenseForm, pixels: npt.NDArray[np.uint16], threads: int) -> Side:
    """Blocks of cells by threads side by side, as `predict` does; its units are operations."""
    rows, cols = form.rows, form.cols

    def loop(seconds: float) -> Run:
        blocks, start = 0, time.perf_counter()
        while not blocks or time.perf_counter() - start < seconds:
            form.probabilities(pixels, rows, cols)
            blocks += 1
        return Run(blocks * 2.0 * form.multiply_adds * rows * cols, time.perf_counter() - start)

    def side(seconds: float) -> Run:
        with ThreadPoolExecutor(threads) as pool:
            runs = list(pool.map(loop, [seconds] * threads))
        # each by its own clock: when the first is through, the last one has the cores to itself
        longest = max(run.seconds for run in runs)
        return Run(longest * sum(run.rate for run in runs), longest)

    return side


def synchronise(device: str) -> None:
    """Wait until the device has done what it was told."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize()
