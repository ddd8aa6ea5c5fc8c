"""Maps of scenes as `predict` leaves them, from cells that a test makes up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.geo.maps import class_map
from pipeline.geo.maps.catalog import MapFolder
from pipeline.geo.maps.map_ground import MapGround
from pipeline.geo.maps.raster_writer import temporary_raster
from pipeline.geo.mosaics.mosaic import MappedScene
from pipeline.geo.raster.grid import PatchGrid, PixelGrid
from pipeline.store_meta import ClassInfo, SceneInfo

CLASSES = [
    ClassInfo(name="forest", title="Wald & Forst", color="#1b7837"),
    ClassInfo(name="water", title="水域", color="#2166ac"),
    ClassInfo(name="meadow", title="Wiese", color="#ffee08"),
]
TIME = "2021-05-06T10:21:01Z"

type Cells = npt.NDArray[np.uint8]


def cells_of(grid: PixelGrid, cell_px: int = 8) -> PatchGrid:
    return PatchGrid(grid, 2 * cell_px, cell_px)


def info(name: str, **stated: Any) -> SceneInfo:
    """A scene as its model and its map remember it; `stated` are other fields of the record."""
    fields = {"datetime": TIME, "level": "L1C", "platform": None, "baseline": None}
    return SceneInfo.model_validate({"id": name, "epsg": 32633, "checksum": ""} | fields | stated)


def mapped(
    out: Path, name: str, grid: PixelGrid, values: tuple[Cells, Cells] | None = None, **origin: Any
) -> MappedScene:
    """A scene with its class map and confidence in `out/<name>/`, at random where none are given."""
    cells = cells_of(grid)
    classes, confidence = values or random_cells(cells, seed=len(name))
    note = origin.pop("note", "")
    stated = {"baseline": "02.04", "platform": "sentinel-2a"} | origin
    provenance = class_map.Provenance(
        [info(name, **stated)], ["B02"], 80, 160, {"weights": "ab" * 32}, "© a mapper", note
    )
    files = MapFolder(out / name, name)
    files.folder.mkdir(parents=True)
    grid = cells.map_grid
    with (
        temporary_raster(files.folder / "a", grid, class_map.NODATA) as first,
        temporary_raster(files.folder / "b", grid, class_map.CONFIDENCE_NODATA) as second,
    ):
        first.write(0, 0, classes)
        second.write(0, 0, confidence)
        kind = class_map.class_map_kind(CLASSES)
        class_map.write_map(first, files.class_map, kind, provenance)
        class_map.write_map(second, files.confidence, class_map.CONFIDENCE, provenance)
    return MappedScene(files, MapGround(cells), provenance)


def random_cells(cells: PatchGrid, seed: int) -> tuple[Cells, Cells]:
    """Classes from 0 (nodata) to 3, and few values of confidence, so that many are equal."""
    rng = np.random.default_rng(seed)
    classes = rng.integers(0, 4, (cells.rows, cells.cols)).astype(np.uint8)
    confidence = (10 * rng.integers(0, 4, classes.shape)).astype(np.uint8)
    confidence[classes == class_map.NODATA] = class_map.CONFIDENCE_NODATA
    return classes, confidence


def constant_cells(grid: PixelGrid, value: int, per_cent: int) -> tuple[Cells, Cells]:
    """One class and one confidence everywhere."""
    shape = cells_of(grid).rows, cells_of(grid).cols
    return np.full(shape, value, dtype=np.uint8), np.full(shape, per_cent, dtype=np.uint8)
