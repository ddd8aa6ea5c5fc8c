"""Makers of synthetic scenes: one file per band at its own resolution, with pixels one can check."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import rasterio
import shapely
from rasterio.crs import CRS

from pipeline.bands import BANDS
from pipeline.config.sources import SceneConf
from pipeline.geo.raster.grid import PixelGrid
from pipeline.geo.scenes.catalog import scene_item, write_catalog
from pipeline.geo.scenes.scene import Scene, open_catalog
from pipeline.geo.sources.folder import scene_files

type Pixels = npt.NDArray[Any]

GRID = PixelGrid(epsg=32633, x0=300_000.0, y0=5_800_020.0, height=132, width=120)
"""The 10 m grid of most scenes here; its ground is whole pixels of 10, 20 and 60 m."""
EDGE = {"B02": (0, 0), "B05": (-10, 0), "B09": (-50, 20)}
"""Metres by which the top left corner of a band lies east and south of the scene's, for bands whose
grids do not begin where the 10 m grid does."""


def native_grid(grid: PixelGrid, band: str, east_m: float = 0, south_m: float = 0) -> PixelGrid:
    """The grid of a band of its own resolution that covers the ground of a 10 m grid."""
    pixel_m = float(BANDS[band].native_m)
    height, width = (
        int(np.ceil((side * grid.pixel_m - moved) / pixel_m))
        for side, moved in ((grid.height, south_m), (grid.width, east_m))
    )
    return PixelGrid(grid.epsg, grid.x0 + east_m, grid.y0 - south_m, height, width, pixel_m)


def positions(grid: PixelGrid) -> Pixels:
    """Pixels that know where they are: 1 + row * width + column, uint16 (H, W)."""
    assert grid.height * grid.width < 65_535
    return 1 + np.arange(grid.height * grid.width, dtype=np.uint16).reshape(grid.height, grid.width)


def write_raster(path: Path, pixels: Pixels, grid: PixelGrid | None, **options: Any) -> Path:
    """A raster of one layer on a grid, or nowhere; `options` are rasterio's and go first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    place = {} if grid is None else {"crs": CRS.from_epsg(grid.epsg), "transform": grid.transform}
    shape = {"height": pixels.shape[0], "width": pixels.shape[1], "count": 1, "dtype": pixels.dtype}
    jp2 = {"driver": "JP2OpenJPEG", "QUALITY": 100, "REVERSIBLE": "YES"}
    driver = jp2 if path.suffix == ".jp2" else {"driver": "GTiff"}
    with rasterio.open(path, "w", **(driver | place | shape | options)) as dataset:
        dataset.write(pixels, 1)
    return path


def write_bands_folder(
    folder: Path, grid: PixelGrid, values: Mapping[str, Pixels], suffix: str = ".tif"
) -> Path:
    """A folder of one file per band from pixels at the native resolution of each band."""
    for band, pixels in values.items():
        write_raster(folder / f"x_{band}{suffix}", pixels, native_grid(grid, band))
    return folder


def position_bands(folder: Path, grid: PixelGrid = GRID, suffix: str = ".tif") -> Path:
    """A band of each resolution whose pixels know where they are, on grids that begin elsewhere."""
    for band, edge in EDGE.items():
        native = native_grid(grid, band, *edge)
        write_raster(folder / f"x_{band}{suffix}", positions(native), native)
    return folder


def scene_conf(path: Path | str, **keys: Any) -> SceneConf:
    """A scene as `fetch.yaml` states it."""
    stated = {"id": "s1", "datetime": "2021-05-06T10:21:01Z", "scale": 0.0001, "offset": 0.0}
    return SceneConf.model_validate(stated | {"path": str(path)} | keys)


def fetched(folder: Path, path: Path, **keys: Any) -> Scene:
    """The scene of a folder of bands, through the checks of `fetch`; its catalog is in `folder`."""
    conf = scene_conf(path, **keys)
    write_catalog(folder, [scene_item(scene_files(conf))], "train")
    return open_catalog(folder)[0]


@dataclass(frozen=True)
class World:
    """A scene and polygons whose classes differ in their spectra alone."""

    bands: Path
    """The folder of band files."""
    labels: Path
    """A GeoPackage of squares with the attribute `value`: `c0`, `c1`, ..."""
    truth: npt.NDArray[np.int64]
    """The class of each pixel of 10 m, (H, W)."""


def separable_world(
    folder: Path, grid: PixelGrid = GRID, classes: int = 3, square_px: int = 12, seed: int = 0
) -> World:
    """A random patchwork of squares, in bands of 10, 20 and 60 m, with little noise.

    The squares are whole pixels of 60 m, so that in no band a pixel is of two classes.
    """
    assert square_px % 6 == 0
    rng = np.random.default_rng(seed)
    shape = (-(-grid.height // square_px), -(-grid.width // square_px))
    squares = rng.integers(classes, size=shape)
    truth = squares.repeat(square_px, axis=0).repeat(square_px, axis=1)[: grid.height, : grid.width]
    values = {}
    for band in EDGE:
        native = native_grid(grid, band)
        factor = round(native.pixel_m / grid.pixel_m)
        # a spectrum of its own a class and band, never nearer than four deviations of the noise
        level = 1000 + 1000 * rng.permutation(classes)
        noise = rng.normal(0, 125, (native.height, native.width))
        values[band] = (level[truth[::factor, ::factor]] + noise).astype(np.uint16)
    side_m = square_px * grid.pixel_m
    rows, cols = np.indices(shape)
    corners = (grid.x0 + cols * side_m, grid.y0 - (rows + 1) * side_m)
    outlines = shapely.box(*corners, corners[0] + side_m, corners[1] + side_m).ravel()
    frame = gpd.GeoDataFrame(
        {"value": [f"c{value}" for value in squares.ravel()]}, geometry=outlines, crs=grid.epsg
    )
    labels = folder / "labels.gpkg"
    folder.mkdir(parents=True, exist_ok=True)
    frame.to_file(labels)
    return World(write_bands_folder(folder / "bands", grid, values), labels, truth)
