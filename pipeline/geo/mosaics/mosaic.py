"""Mosaics: maps of one UTM zone, joined pixel by pixel on their common grid; nothing is resampled.

Map pixels are anchored at multiples of their size in the CRS, in the phase of the scene's pixels. Maps
of one zone and one phase therefore fall on each other. Scenes of another phase, such as exports whose
edges are no multiples of the pixel, would have to be resampled: they make a mosaic of their own.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import numpy.typing as npt
from rasterio.windows import Window as RasterWindow

from pipeline.geo.maps import class_map
from pipeline.geo.maps.catalog import MapFolder
from pipeline.geo.maps.class_map import Provenance
from pipeline.geo.maps.map_ground import MapGround
from pipeline.geo.maps.raster_writer import Cells
from pipeline.geo.raster.grid import PatchGrid, PixelGrid
from pipeline.geo.raster.raster_file import opened

type Ground = npt.NDArray[np.int64]


@dataclass(frozen=True)
class MappedScene:
    """A scene whose maps are there."""

    files: MapFolder
    ground: MapGround
    origin: Provenance

    @property
    def time(self) -> datetime:
        """Of the acquisition."""
        return datetime.fromisoformat(self.origin.scenes[0].datetime)


@dataclass(frozen=True)
class Member:
    """A map that is part of a mosaic."""

    scene: MappedScene
    row: int
    """Of the mosaic, where the first row of its map pixels lies."""
    col: int
    """Of the mosaic, where the first column of its map pixels lies."""

    @property
    def rows_px(self) -> tuple[int, int]:
        """First row of pixels under the map and the one after its last, from the top of the mosaic."""
        grid = self.scene.ground.grid
        first = self.row * grid.cell_px - grid.row0 + grid.pixels.row
        return first, first + grid.pixels.height

    @property
    def cols_px(self) -> tuple[int, int]:
        """First column of pixels and the one after the last, from the left edge of the mosaic."""
        grid = self.scene.ground.grid
        first = self.col * grid.cell_px - grid.col0 + grid.pixels.col
        return first, first + grid.pixels.width


@dataclass(frozen=True)
class Mosaic:
    """Maps on one grid, to be joined."""

    id: str
    grid: PixelGrid
    members: tuple[Member, ...]
    """In the order in which they win where they are equally sure: the newest first, then by id."""

    @property
    def cell_px(self) -> int:
        """Side of a map pixel in pixels of the scenes."""
        return self.members[0].scene.ground.grid.cell_px


@dataclass(frozen=True)
class Square:
    """A part of a mosaic."""

    row: int
    col: int
    classes: Cells
    """Class map, uint8 (h, w)."""
    confidence: Cells
    """Per cent, uint8 (h, w)."""
    ground_px: Ground
    """Scene pixels under each map pixel, (h, w); those of several scenes count once."""


def mosaics(scenes: Iterable[MappedScene], least: int) -> list[Mosaic]:
    """The mosaics of all grids that at least `least` of the scenes share, by name."""
    groups = defaultdict(list)
    for scene in scenes:
        groups[grid_key(scene.ground.grid)].append(scene)
    due = [_mosaic(key, group) for key, group in groups.items() if len(group) >= least]
    return sorted(due, key=lambda mosaic: mosaic.id)


type GridKey = tuple[int, int, int]
"""EPSG code, and by how many millimetres map pixels lie east and north of multiples of their size."""


def grid_key(cells: PatchGrid) -> GridKey:
    """What the map pixels of scenes have in common that can be joined without resampling."""
    side = round(1000 * cells.cell_m)
    grid = cells.map_grid
    return grid.epsg, round(1000 * grid.x0) % side, round(1000 * grid.y0) % side


def mosaic_id(key: GridKey) -> str:
    """The name of the mosaic of a grid: `mosaic_EPSG32633`, `mosaic_EPSG32633_x5_y2.5`."""
    epsg, east_mm, north_mm = key
    phase = f"_x{east_mm / 1000:g}_y{north_mm / 1000:g}" if east_mm or north_mm else ""
    return f"mosaic_EPSG{epsg}{phase}"


def _mosaic(key: GridKey, scenes: Sequence[MappedScene]) -> Mosaic:
    # sorted() keeps the order of equals, here by id
    by_id = sorted(scenes, key=lambda scene: scene.files.scene)
    ordered = sorted(by_id, key=lambda scene: scene.time, reverse=True)
    grids = [scene.ground.grid.map_grid for scene in ordered]
    pixel_m = grids[0].pixel_m
    left, top = min(grid.x0 for grid in grids), max(grid.y0 for grid in grids)
    members = tuple(
        Member(scene, round((top - grid.y0) / pixel_m), round((grid.x0 - left) / pixel_m))
        for scene, grid in zip(ordered, grids, strict=True)
    )
    rows = max(member.row + member.scene.ground.grid.rows for member in members)
    cols = max(member.col + member.scene.ground.grid.cols for member in members)
    return Mosaic(mosaic_id(key), PixelGrid(key[0], left, top, rows, cols, pixel_m), members)


def joined(mosaic: Mosaic, side: int) -> Iterator[Square]:
    """The map pixels of a mosaic in squares of at most `side`, row by row.

    Where maps overlap, the class of the higher confidence is taken; where they are equally sure, that
    of the newer scene, then that of the id that comes first.

    Raises:
        SceneError: when a map cannot be read.
    """
    for part in mosaic.grid.window.parts(side, side):
        rows = range(part.row, part.row + part.height)
        cols = range(part.col, part.col + part.width)
        classes = np.full((len(rows), len(cols)), class_map.NODATA, dtype=np.uint8)
        surest = np.full(classes.shape, -1, dtype=np.int16)  # below a map's 0 %
        for member in mosaic.members:
            _join(member, rows, cols, (classes, surest))
        confidence = np.where(surest < 0, class_map.CONFIDENCE_NODATA, surest).astype(np.uint8)
        yield Square(part.row, part.col, classes, confidence, covered_px(mosaic, rows, cols))


def _join(member: Member, rows: range, cols: range, best: tuple[Cells, npt.NDArray[np.int16]]) -> None:
    """Take over the map pixels of a map that are surer than what a square has so far."""
    if (common := _common(member, rows, cols)) is None:
        return
    (top, bottom), (left, right), at = common
    window = RasterWindow(left, top, right - left, bottom - top)
    with opened(str(member.scene.files.class_map)) as dataset:
        classes: Cells = dataset.read(1, window=window)
    with opened(str(member.scene.files.confidence)) as dataset:
        confidence = dataset.read(1, window=window).astype(np.int16)
    confidence[classes == class_map.NODATA] = -1
    surer = confidence > best[1][at]
    np.copyto(best[0][at], classes, where=surer)
    np.copyto(best[1][at], confidence, where=surer)


type _Ends = tuple[int, int]


def _common(
    member: Member, rows: range, cols: range
) -> tuple[_Ends, _Ends, tuple[slice, slice]] | None:
    """The rows and the columns of a map in a square of a mosaic, and where in the square they lie."""
    grid = member.scene.ground.grid
    top, bottom = max(rows.start, member.row), min(rows.stop, member.row + grid.rows)
    left, right = max(cols.start, member.col), min(cols.stop, member.col + grid.cols)
    if top >= bottom or left >= right:
        return None
    at = np.s_[top - rows.start : bottom - rows.start, left - cols.start : right - cols.start]
    return (top - member.row, bottom - member.row), (left - member.col, right - member.col), at


def _counted(mosaic: Mosaic, rows: range, cols: range) -> npt.NDArray[np.bool_]:
    """Which pixels of a square count in one of the maps at least, (rows, cols)."""
    counted = np.zeros((len(rows), len(cols)), dtype=bool)
    for member in mosaic.members:
        if (common := _common(member, rows, cols)) is not None:
            own_rows, own_cols, at = common
            counted[at] |= member.scene.ground.inside(range(*own_rows), range(*own_cols))
    return counted


def covered_px(mosaic: Mosaic, rows: range, cols: range) -> Ground:
    """Scene pixels under some map pixels, int64 (rows, cols); those of several scenes count once.

    None are under a pixel that does not count in any of the maps.
    """
    size = mosaic.cell_px
    # between these lines of pixels nothing changes: neither the map pixel nor the scenes that cover it
    row_lines = _lines(rows, size, [member.rows_px for member in mosaic.members])
    col_lines = _lines(cols, size, [member.cols_px for member in mosaic.members])
    covered = np.zeros((len(row_lines) - 1, len(col_lines) - 1), dtype=bool)
    for member in mosaic.members:
        (top, bottom), (left, right) = (
            np.searchsorted(lines, np.clip(edges, lines[0], lines[-1]))
            for lines, edges in ((row_lines, member.rows_px), (col_lines, member.cols_px))
        )
        covered[top:bottom, left:right] = True
    area = covered * np.outer(np.diff(row_lines), np.diff(col_lines))
    first_row, first_col = (
        np.searchsorted(lines, size * np.asarray(cells))
        for lines, cells in ((row_lines, rows), (col_lines, cols))
    )
    ground: Ground = np.add.reduceat(np.add.reduceat(area, first_row, axis=0), first_col, axis=1)
    return ground * _counted(mosaic, rows, cols)


def _lines(cells: range, size: int, edges: Sequence[tuple[int, int]]) -> Ground:
    """The edges of some map pixels and those edges of scenes that lie between them, px, ascending."""
    first, last = cells.start * size, cells.stop * size
    scenes = np.clip(np.asarray(edges, dtype=np.int64).ravel(), first, last)
    return np.unique(np.concatenate([np.arange(first, last + 1, size), scenes]))
