"""The other side: torchgeo's public API as its documentation shows it.

`RasterDataset` on one COG of all bands, `GriddedPatchSampler` (which took the place of
`GridGeoSampler` in torchgeo 0.10), `stack_samples`, and torch's `DataLoader`; small files by
`NonGeoClassificationDataset` with torchgeo's `rasterio_loader`, as its EuroSAT does.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
import shapely
import torch
from torch.utils.data import DataLoader
from torchgeo.datasets import NonGeoClassificationDataset, RasterDataset, stack_samples
from torchgeo.datasets.utils import rasterio_loader
from torchgeo.samplers import GriddedPatchSampler, SpatialSampler

from benchmarks.machine import CACHE_BYTES, cores
from benchmarks.timing import Run, Side
from pipeline.geo.raster.grid import PatchGrid
from pipeline.learn.network.classifier import PatchClassifier

BATCHES = (32, 128, 512)
WORKERS = (0, 1, 2)
_STEADY = 2
"""Batches that pass before the clock runs: workers start, files are opened."""


@dataclass(frozen=True)
class Way:
    """How a loader runs."""

    batch: int
    workers: int

    def __str__(self) -> str:
        return f"batch {self.batch}, {self.workers} worker" + ("s" if self.workers != 1 else "")


WAYS = tuple(Way(batch, workers) for batch in BATCHES for workers in WORKERS)


@dataclass
class Answers:
    """What the peer said of each patch that it saw."""

    left: list[npt.NDArray[np.float64]] = field(default_factory=list)
    """Western edges, m."""
    top: list[npt.NDArray[np.float64]] = field(default_factory=list)
    """Northern edges, m."""
    logits: list[npt.NDArray[np.float32]] = field(default_factory=list)
    """(n, K)."""


def scene_loader(stack: Path, grid: PatchGrid, way: Way, part: tuple[int, int] = (0, 1)) -> Any:
    """Batches of the patches around the cells of a scene, those that lie wholly inside of it.

    Args:
        stack: The COG.
        grid: Whose cells.
        way: How.
        part: Number of the part of the scene to begin in, from the south, and of all parts.
    """
    dataset = RasterDataset(str(stack))
    region = _region(grid, part)
    sampler = GriddedPatchSampler(dataset, size=grid.patch_px, stride=grid.cell_px, roi=region)
    return _loader(dataset, sampler, way)


def patch_loader(stack: Path, centers: npt.NDArray[np.float64], patch_px: int, way: Way) -> Any:
    """Batches of the patches around points (N, 2) of a scene, m."""
    dataset = RasterDataset(str(stack))
    return _loader(dataset, _Around(dataset, centers, patch_px), way)


def file_loader(folder: Path, way: Way) -> Any:
    """Shuffled batches of small GeoTIFFs, a folder a class."""
    dataset = NonGeoClassificationDataset(str(folder), loader=rasterio_loader)
    return DataLoader(dataset, batch_size=way.batch, shuffle=True, num_workers=way.workers)


def classifying(loaders: Sequence[Any], classifier: PatchClassifier, answers: Answers) -> Side:
    """The loop that classifies; each run takes the next of the loaders, round and round."""
    device = classifier.mean.device
    turns = _round(loaders)

    def take(batch: dict[str, Any]) -> int:
        logits = classifier(batch["image"].to(device)).cpu().numpy()
        bounds = batch["bounds"].numpy().astype(np.float64)
        # x start, stop, step, then y: see RasterDataset
        answers.left.append(bounds[:, 0])
        answers.top.append(bounds[:, 4])
        answers.logits.append(logits)
        return len(logits)

    def side(seconds: float) -> Run:
        torch.set_num_threads(cores())
        torch.backends.cudnn.allow_tf32 = False
        with torch.inference_mode():
            return _steady(next(turns), take, seconds)

    return side


def writing(loader: Any, pixels: npt.NDArray[np.uint16]) -> Side:
    """The loop that writes patches to a memory-mapped array, in their order."""

    def side(seconds: float) -> Run:
        written = 0

        def take(batch: dict[str, Any]) -> int:
            nonlocal written
            images = batch["image"].numpy()
            start = written % len(pixels)  # a small store is written again and again
            pixels[start : start + len(images)] = images
            written += len(images)
            return len(images)

        return _steady(loader, take, seconds)

    return side


def delivering(loader: Any) -> Side:
    """The loop that takes batches and does nothing with them; its units are patches."""

    def side(seconds: float) -> Run:
        return _steady(loader, lambda batch: len(batch["image"]), seconds)

    return side


def best(
    side_of: Callable[[Way], Side],
    seconds: float,
    say: Callable[[str], None],
    ways: Iterable[Way] = WAYS,
) -> Way:
    """The fastest way, after a short trial of each."""
    rates = {}
    for way in ways:
        rates[way] = side_of(way)(seconds).rate
        say(f"  trial of {way}: {rates[way]:,.0f} patches a second")
    return max(rates, key=lambda way: rates[way])


def _steady(loader: Any, take: Callable[[dict[str, Any]], int], seconds: float) -> Run:
    """Take batches for so many seconds once the loader runs steadily; all of them are taken."""
    patches, batches, start = 0, 0, time.perf_counter()
    with rasterio.Env(GDAL_CACHEMAX=CACHE_BYTES):
        while True:  # from the beginning again where a small scene comes to its end
            for batch in loader:
                count = take(batch)
                batches += 1
                if batches <= _STEADY:
                    start = time.perf_counter()
                    continue
                patches += count
                if (elapsed := time.perf_counter() - start) >= seconds:
                    return Run(patches, elapsed)


def _loader(dataset: RasterDataset, sampler: SpatialSampler, way: Way) -> Any:
    return DataLoader(
        dataset,
        batch_size=way.batch,
        sampler=sampler,
        num_workers=way.workers,
        collate_fn=stack_samples,
    )


def _region(grid: PatchGrid, part: tuple[int, int]) -> shapely.Polygon:
    """The ground of whole patches, so that the sampler's grid is ours."""
    first_row, last_row = _whole(grid.row0, grid, grid.scene.height)
    first_col, last_col = _whole(grid.col0, grid, grid.scene.width)
    number, parts = part
    last_row -= (last_row - first_row) * number // parts
    window = grid.read_window(range(first_row, last_row + 1), range(first_col, last_col + 1))
    left, top = grid.scene.transform @ (window.col, window.row)
    right, bottom = grid.scene.transform @ (window.col + window.width, window.row + window.height)
    return shapely.box(left, bottom, right, top)


def _whole(first_px: int, grid: PatchGrid, limit_px: int) -> tuple[int, int]:
    """The first and the last cell, along one axis, whose patches lie inside the scene."""
    first = -(-(grid.margin_px - first_px) // grid.cell_px)
    last = (limit_px + grid.margin_px - grid.patch_px - first_px) // grid.cell_px
    return first, last


def _round(loaders: Sequence[Any]) -> Iterator[Any]:
    while True:
        yield from loaders


class _Around(SpatialSampler):
    """Patches around given points, in their order."""

    strategy = "sequential"

    def __init__(self, dataset: RasterDataset, centers: npt.NDArray[np.float64], patch_px: int) -> None:
        super().__init__(dataset)
        self.centers, self.half = centers, patch_px / 2 * dataset.res[0]

    def __iter__(self) -> Iterator[tuple[slice, slice]]:
        for x, y in self.centers.tolist():
            yield slice(x - self.half, x + self.half), slice(y - self.half, y + self.half)
