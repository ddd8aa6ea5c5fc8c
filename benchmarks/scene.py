"""A scene as large as wanted, made by mirroring a real one at the native resolution of each band."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
import rasterio.shutil
from rasterio.windows import Window

from benchmarks.errors import BenchmarkError
from pipeline.bands import BANDS
from pipeline.files import publish, write_json
from pipeline.geo.raster.grid import mirror_index
from pipeline.geo.scenes.scene import Scene, open_catalog
from pipeline.geo.sources.folder import band_files
from pipeline.stages import fetch

BLOCK_PX = 512
LEAST_PX = 240
"""Side of the smallest scene."""
COG = {"driver": "COG", "COMPRESS": "DEFLATE", "PREDICTOR": "STANDARD", "BLOCKSIZE": BLOCK_PX}
"""With predictor 2, the standard one; overviews are left out, nobody here reads them."""
_STEP_PX = 6
"""Pixels of 10 m in one of 60 m."""

Pixels = npt.NDArray[Any]


@dataclass(frozen=True)
class Made:
    """A scene that was made: its files and its catalogs."""

    folder: Path

    @property
    def bands(self) -> dict[str, Path]:
        """Files by band, at native resolution."""
        return band_files(self.folder / self.folder.name)

    @property
    def catalog(self) -> Path:
        """Of `fetch`: the scenes to map, which are those to train on."""
        return self.folder / "map"

    @property
    def stack(self) -> Path:
        """All bands on the 10 m grid in one COG, pixel by pixel, for torchgeo."""
        return self.folder / "stack" / "stack.tif"

    @property
    def scene(self) -> Scene:
        """It, opened."""
        return open_catalog(self.catalog)[0]


def make(source: Path, work: Path, size_px: int) -> Made:
    """The mirrored scene of a folder of bands, made where it is not there yet.

    Args:
        source: One file per band.
        work: Where scenes are kept.
        size_px: Side, pixels of 10 m.

    Raises:
        BenchmarkError: when the side is no multiple of 60 m, or bands are missing.
    """
    require_size(size_px)
    files = band_files(source)
    if missing := [name for name in BANDS if name not in files]:
        raise BenchmarkError(f"--scene {source} lacks {', '.join(missing)}; name one with 13 bands.")
    made = Made(work / f"{source.name}_{size_px}")
    if made.catalog.is_dir():
        return made
    bands = made.folder / made.folder.name
    for name, path in files.items():
        _mirrored(path, bands / f"{made.folder.name}_{name}.tif", size_px)
    _stacked(list(made.bands.values()), made.stack, size_px)
    _fetch(made, bands)
    return made


def require_size(size_px: int) -> None:
    """Refuse a side that bands of 60 m cannot have, or that leaves too few patches.

    Raises:
        BenchmarkError: when it cannot be used.
    """
    if size_px < LEAST_PX or size_px % _STEP_PX:
        raise BenchmarkError(
            f"--size {size_px} cannot be used; give a multiple of {_STEP_PX} px (60 m) of at least "
            f"{LEAST_PX} px."
        )


def _fetch(made: Made, bands: Path) -> None:
    scene = {
        "id": made.folder.name,
        "path": str(bands),
        "datetime": "2017-02-16T10:21:01Z",
        "level": "L1C",
        "scale": 0.0001,
        "offset": 0.0,
    }
    conf = made.folder / "fetch.yaml"
    write_json(conf, {"train": [scene], "map": "train"})  # JSON is YAML
    fetch.run(conf, made.folder / "train", made.catalog)


def _mirrored(source: Path, target: Path, size_px: int) -> None:
    """Write a band, continued by mirrors along its edges, strip by strip."""
    with rasterio.open(source) as dataset:
        side = round(size_px * 10 / dataset.transform.a)
        cols = mirror_index(np.arange(side), dataset.width)

        def strip(start: int, stop: int) -> Pixels:
            rows = mirror_index(np.arange(start, stop), dataset.height)
            top = int(rows.min())
            window = Window(0, top, dataset.width, int(rows.max()) + 1 - top)
            return np.asarray(dataset.read([1], window=window)[:, rows - top][:, :, cols])

        _write(target, dataset.profile | {"count": 1, "width": side, "height": side}, strip)


def _stacked(sources: list[Path], target: Path, size_px: int) -> None:
    """Write bands side by side on the 10 m grid, by nearest neighbour."""
    datasets = [rasterio.open(path) for path in sources]
    try:
        finest = min(datasets, key=lambda dataset: dataset.transform.a)

        def strip(start: int, stop: int) -> Pixels:
            return np.stack([_upsampled(dataset, start, stop, size_px) for dataset in datasets])

        profile = finest.profile | {"count": len(datasets), "width": size_px, "height": size_px}
        _write(target, profile, strip)
    finally:
        for dataset in datasets:
            dataset.close()


def _upsampled(dataset: Any, start: int, stop: int, size_px: int) -> Pixels:
    factor = round(dataset.transform.a / 10)
    top, bottom = start // factor, -(-stop // factor)
    native = dataset.read(1, window=Window(0, top, dataset.width, bottom - top))
    pixels: Pixels = native.repeat(factor, axis=0).repeat(factor, axis=1)
    return pixels[start - top * factor : stop - top * factor, :size_px]


def _write(target: Path, profile: dict[str, Any], strip: Callable[[int, int], Pixels]) -> None:
    """Write a COG from strips (C, rows, W) of block height, so that only one is in memory."""
    shape = {key: profile[key] for key in ("count", "width", "height", "crs", "transform", "dtype")}
    tiled = {"tiled": True, "blockxsize": BLOCK_PX, "blockysize": BLOCK_PX, "interleave": "pixel"}
    plain = {"driver": "GTiff", "BIGTIFF": "IF_SAFER"}
    with publish(target) as cog, _scratch(target.with_suffix(".plain.tif")) as scratch:
        with rasterio.open(scratch, "w", **shape, **tiled, **plain) as out:
            for start in range(0, out.height, BLOCK_PX):
                stop = min(start + BLOCK_PX, out.height)
                out.write(strip(start, stop), window=Window(0, start, out.width, stop - start))
        options = {"OVERVIEWS": "NONE", "NUM_THREADS": "ALL_CPUS", "BIGTIFF": "IF_SAFER"}
        rasterio.shutil.copy(scratch, cog, **COG, **options, INTERLEAVE="PIXEL")


@contextmanager
def _scratch(path: Path) -> Iterator[Path]:
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)
