"""Decoding alone: every source block of some files once, by rasterio, on all cores."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import rasterio
from rasterio.windows import Window


def decode(paths: Iterable[Path], threads: int) -> int:
    """Decode all blocks of some files, each once, row of blocks by row of blocks; bytes decoded.

    Args:
        paths: Files of one band.
        threads: How many work at a time; each has the files open by itself.
    """
    own, opened = threading.local(), []

    def dataset(path: Path) -> Any:
        if path not in own.__dict__.setdefault("files", {}):
            own.files[path] = rasterio.open(path)
            opened.append(own.files[path])
        return own.files[path]

    def read(work: tuple[Path, Window]) -> int:
        path, window = work
        # GDAL's settings are those of a thread
        with rasterio.Env(GDAL_NUM_THREADS="1"):
            return int(dataset(path).read(1, window=window).nbytes)

    works = [(path, window) for path in paths for window in _rows_of_blocks(path)]
    try:
        with ThreadPoolExecutor(threads) as pool:
            return sum(pool.map(read, works))
    finally:
        for file in opened:
            file.close()


def _rows_of_blocks(path: Path) -> list[Window]:
    with rasterio.open(path) as dataset:
        height, step = dataset.height, dataset.block_shapes[0][0]
        return [
            Window(0, row, dataset.width, min(step, height - row)) for row in range(0, height, step)
        ]
