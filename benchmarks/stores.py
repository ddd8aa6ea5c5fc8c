"""Labels made of numbers, and the stores that `tile` makes of them."""

from __future__ import annotations

import ctypes
import mmap
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import rasterio
import shapely

from benchmarks import network
from benchmarks.bench import Bench, quiet
from benchmarks.errors import BenchmarkError
from benchmarks.network import NetworkFile
from pipeline.files import publish, remove, write_json
from pipeline.geo.raster.grid import PatchGrid
from pipeline.learn.data.training_data import TrainingData
from pipeline.stages import tile
from pipeline.store import PatchStore

SQUARE_CELLS = 4
"""Side of a label polygon."""
_VALIDATION = 64
"""Patches that a training wants to choose its epoch by; nobody here does."""


@dataclass(frozen=True)
class StorePlan:
    """A store of about so many bytes, of patches from all over the scene."""

    bench: Bench
    file: NetworkFile

    @property
    def name(self) -> str:
        """Of its files."""
        return f"{self.file.patch_px}px"

    @property
    def patches(self) -> int:
        """How many there shall be, about."""
        each = 2 * len(self.bench.made.bands) * self.file.patch_px**2
        return int(self.bench.store_bytes / each)

    @property
    def folder(self) -> Path:
        """Where `tile` writes it."""
        return self.bench.made.folder / f"store_{self.name}"

    @cached_property
    def confs(self) -> tuple[Path, Path]:
        """`tile.yaml` and `classes.yaml`, with the labels that they speak of."""
        folder = self.bench.made.folder / f"labels_{self.name}"
        labels, tile_conf, classes_conf = (
            folder / name for name in ("labels.gpkg", "tile.yaml", "classes.yaml")
        )
        write_labels(labels, self.bench.grid(self.file), self.patches, self.file.classes)
        classes = [
            {"name": f"c{i}", "color": f"#{i * 24:02x}a0{255 - i * 24:02x}"}
            for i in range(self.file.classes)
        ]
        write_json(classes_conf, {"classes": classes, "credit": "none: made of numbers"})
        geometry = {"patch_px": self.file.patch_px, "cell_px": self.file.cell_px}
        label = {"path": str(labels), "attribute": "class"}
        stride = {"stride_px": self.file.cell_px}
        write_json(tile_conf, {"labels": [label], **geometry, **stride})
        return tile_conf, classes_conf

    def make(self) -> float:
        """Run `tile`; how many patches came of it."""
        made = self.bench.made
        with quiet():
            tile.run(*self.confs, made.folder / "train", self.folder, self.bench.compute)
        return float(len(PatchStore.open(self.folder)))

    def open(self) -> PatchStore:
        """The store, made where it is not there yet."""
        if not self.folder.is_dir():
            self.bench.say(f"store of {self.name}")
            self.make()
        return PatchStore.open(self.folder)

    def training(self, most: int | None = None) -> TrainingData:
        """The store as training data, all of it or its first rows; nothing is held back."""
        store = self.open()
        rows = np.arange(min(len(store), most or len(store)))
        statistics = network.random_model(self.file, self.bench.made.scene).meta.statistics
        return TrainingData(store, rows, rows[:_VALIDATION], statistics, tuple(store.meta.bands))


def write_labels(path: Path, grid: PatchGrid, cells: int, classes: int) -> None:
    """Squares of `SQUARE_CELLS` cells with classes, all over the part of a scene with whole patches.

    Args:
        path: A GeoPackage.
        grid: Of the cells.
        cells: How many shall be covered, about; all of them where there are fewer.
        classes: How many classes; each in its turn, at least twice.
    """
    context = -(-grid.margin_px // grid.cell_px) + 1
    rows, cols = grid.rows - 2 * context, grid.cols - 2 * context
    wanted = max(cells, 2 * classes * SQUARE_CELLS**2)
    step = max(1.0, (rows * cols / wanted) ** 0.5) * SQUARE_CELLS
    tops, lefts = (
        (context + np.arange(0, count - SQUARE_CELLS + 1, step)).astype(np.intp)
        for count in (rows, cols)
    )
    row, col = (axis.ravel() for axis in np.meshgrid(tops, lefts, indexing="ij"))
    x0, y0 = grid.map_grid.transform @ (0, 0)
    side = SQUARE_CELLS * grid.cell_m
    left, top = x0 + col * grid.cell_m, y0 - row * grid.cell_m
    names = [f"c{number % classes}" for number in range(len(row))]
    frame = gpd.GeoDataFrame(
        {"class": names},
        geometry=shapely.box(left, top - side, left + side, top),
        crs=f"EPSG:{grid.scene.epsg}",
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    remove(path)
    frame.to_file(path, driver="GPKG")


def write_geotiffs(folder: Path, data: TrainingData) -> None:
    """Write training patches as GeoTIFFs, a folder a class, as EuroSAT has them."""
    store = data.store
    with publish(folder) as partial:
        for name in (info.name for info in store.meta.classes):
            (partial / name).mkdir(parents=True)
        profile = {"driver": "GTiff", "dtype": "uint16", "count": store.pixels.shape[1],
                   "height": store.pixels.shape[2], "width": store.pixels.shape[3]}  # fmt: skip
        for row in data.train.tolist():
            name = store.meta.classes[store.patches["label"][row]].name
            x, y = (float(store.patches[key][row]) for key in ("x", "y"))
            half = store.pixels.shape[2] / 2 * store.meta.geometry.pixel_m
            transform = rasterio.transform.from_origin(x - half, y + half, 10, 10)
            place = {"crs": f"EPSG:{store.patches['epsg'][row]}", "transform": transform}
            with rasterio.open(partial / name / f"{row}.tif", "w", **profile, **place) as out:
                out.write(np.asarray(store.pixels[row]))


def drop_from_cache(path: Path) -> None:
    """Make the system forget the pages of a file that nobody has mapped."""
    with path.open("rb") as stream:
        os.fsync(stream.fileno())
        os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def cached_share(path: Path) -> float:
    """The share of a file that the system keeps in memory (mincore, Linux)."""
    libc = ctypes.CDLL(None, use_errno=True)
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, prot=mmap.PROT_READ) as mapped:
        pages = np.frombuffer(mapped, dtype=np.uint8)
        there = np.zeros(-(-len(pages) // mmap.PAGESIZE), dtype=np.uint8)
        start, size = ctypes.c_void_p(pages.ctypes.data), ctypes.c_size_t(len(pages))
        failed = libc.mincore(start, size, ctypes.c_void_p(there.ctypes.data))
        del pages  # or the map could not be closed
    if failed:
        raise BenchmarkError(f"the system does not say what it keeps of {path}; leave `train` out.")
    return float((there & 1).mean())


def centers(store: PatchStore) -> npt.NDArray[np.float64]:
    """Centres of the patches of a store, (N, 2), m."""
    return np.stack([store.patches["x"], store.patches["y"]], axis=1)
