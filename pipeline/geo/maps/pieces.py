"""Pieces of a class map: rectangles of map pixels, each computed by itself.

They are anchored at the grid of the map and always of the same size, whatever the machine: neither the
number of workers nor the memory changes a byte.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from pipeline.geo.maps import class_map
from pipeline.geo.maps.map_ground import MapGround
from pipeline.geo.maps.postprocessing import PostProcessing
from pipeline.geo.maps.raster_writer import Cells
from pipeline.geo.raster.area_of_interest import AreaOfInterest
from pipeline.geo.raster.block_cache import CHUNK_PX, BlockCache
from pipeline.geo.raster.grid import Indices, PatchGrid
from pipeline.geo.scenes.scene import Scene
from pipeline.store_meta import ClassInfo, Geometry

Classify = Callable[[npt.NDArray[np.uint16], int, int, Sequence[int] | None], npt.NDArray[np.float32]]
"""Pixels (C, H, W) of a piece with its context, rows, cols, and the indices of the bands that may have
nodata pixels (0), None for any -> probabilities (K, rows, cols)."""

Compare = Callable[[npt.NDArray[np.uint16], int, int], npt.NDArray[np.float64]]
"""The same pixels, rows, cols -> dissimilarity to the training data (rows, cols), 1 at its limit."""


@dataclass(frozen=True)
class Mapper:
    """What turns a scene into a class map."""

    classify: Classify
    """A function that can be pickled."""
    bands: Sequence[str]
    """Its input bands, in their order."""
    geometry: Geometry
    classes: Sequence[ClassInfo]
    piece_cells: tuple[int, int]
    """Rows and columns of a piece; they follow from the model, never from the machine."""
    work_bytes: int = 0
    """What `classify` takes beside its pixels and probabilities, for each piece in flight."""
    probabilities: bool = False
    """Whether the probabilities of all classes are wanted, too."""
    compare: Compare | None = None
    """Where the dissimilarity to the training data is wanted, too: a function that can be pickled."""
    postprocessing: PostProcessing = field(default_factory=PostProcessing)
    """What is made of the maps."""
    area: AreaOfInterest | None = None
    """The ground to map; all of a scene where there is none."""

    @property
    def legend(self) -> Sequence[ClassInfo]:
        """The classes of the map, which may have unclassified pixels beside those of the model."""
        return self.postprocessing.legend(self.classes)

    def ground(self, scene: Scene) -> MapGround | None:
        """The map pixels of a scene; None where it has none in the area."""
        grid = PatchGrid(scene.grid, self.geometry.patch_px, self.geometry.cell_px)
        return MapGround.of(grid, scene.outline, self.area)


@dataclass(frozen=True)
class Piece:
    """A rectangle of map pixels of the class map."""

    rows: range
    cols: range


def pieces(grid: PatchGrid, cells: tuple[int, int], across: int | None = None) -> list[Piece]:
    """The pieces of a scene's map pixels, row by row.

    `cells` are rows and columns of a piece; of a row, at most `across` pieces come before the next
    row.
    """
    rows, cols = cells
    band = cols * (across or grid.cols)
    return [
        Piece(range(row, min(row + rows, grid.rows)), range(col, min(col + cols, grid.cols)))
        for first in range(0, grid.cols, band)
        for row in range(0, grid.rows, rows)
        for col in range(first, min(first + band, grid.cols), cols)
    ]


def map_piece(
    scene: Scene, mapper: Mapper, ground: MapGround, piece: Piece, cache: BlockCache | None = None
) -> list[Cells]:
    """Class map, confidence and what else is asked for of a piece, uint8 ([K,] rows, cols) each.

    `cache` has source blocks of the mapper's bands, shared by the threads of this process.
    """
    grid = ground.grid
    window = grid.read_window(piece.rows, piece.cols)
    shape = len(mapper.bands), window.height, window.width
    # memory that is used again: fresh one costs as much as filling it
    buffer = None if cache is None else cache.scratch(shape, np.uint16)
    pixels = scene.read(window, mapper.bands, cache, buffer)
    size = len(piece.rows), len(piece.cols)
    nodata_bands = None if cache is None else scene.bands_with_nodata(window, mapper.bands, cache)
    mapped = valid_share(pixels, grid, piece, nodata_bands) >= mapper.geometry.min_valid
    if ground.shape is not None:
        mapped &= ground.inside(piece.rows, piece.cols)
    probabilities = mapper.classify(pixels, *size, nodata_bands)
    classes, confidence = class_map.decide(probabilities, mapped)
    if least := mapper.postprocessing.min_confidence:
        # not the map of confidence, whose per cent are rounded
        low = mapped & (probabilities.max(axis=0) < least / 100)
        classes[low] = len(mapper.classes) + 1  # unclassified
    layers = [classes, confidence]
    if mapper.compare is not None:
        layers.append(class_map.of_limit(mapper.compare(pixels, *size), mapped))
    if mapper.probabilities:
        layers.append(class_map.per_cent(probabilities, mapped))
    return layers


def valid_share(
    pixels: npt.NDArray[np.uint16],
    grid: PatchGrid,
    piece: Piece,
    nodata_bands: Sequence[int] | None = None,
) -> npt.NDArray[np.float64]:
    """The valid share of the band pixels of each map pixel, of those inside the scene, (rows, cols).

    `pixels` are harmonised DN (C, H, W) of the piece with its context, 0 is invalid; only the bands
    with indices `nodata_bands` may have invalid pixels, any by default.
    """
    rows_px, cols_px = inside_px(grid, piece)
    total = len(pixels) * np.outer(rows_px, cols_px)
    missing = np.zeros(total.size, dtype=np.intp)
    window = grid.read_window(piece.rows, piece.cols, margin_px=0)
    # the part of the map pixels that lies inside the scene
    top, left = max(0, -window.row), max(0, -window.col)
    bottom = min(window.height, grid.scene.height - window.row)
    right = min(window.width, grid.scene.width - window.col)
    margin, side = grid.margin_px, grid.cell_px
    inside = pixels[:, margin + top : margin + bottom, margin + left : margin + right]
    for band in range(len(inside)) if nodata_bands is None else nodata_bands:
        plane = inside[band]
        if plane.min() == 0:
            row, col = np.nonzero(plane == 0)
            cells = (row + top) // side * len(piece.cols) + (col + left) // side
            missing += np.bincount(cells, minlength=len(missing))
    share: npt.NDArray[np.float64] = (total - missing.reshape(total.shape)) / total
    return share


def inside_px(grid: PatchGrid, piece: Piece) -> tuple[Indices, Indices]:
    """Pixels of each row and each column of the map pixels of a piece that lie inside the scene."""
    rows, cols = grid.inside_px()
    return rows[piece.rows.start : piece.rows.stop], cols[piece.cols.start : piece.cols.stop]


def piece_bytes(mapper: Mapper) -> int:
    """About the memory that one piece in flight takes."""
    cell_px, context_px = mapper.geometry.cell_px, 2 * mapper.geometry.margin_px
    rows, cols = mapper.piece_cells
    pixels = 2 * len(mapper.bands) * (rows * cell_px + context_px) * (cols * cell_px + context_px)
    # probabilities with their maximum; what `valid_share` counts where there is nodata
    others = rows * cols * (12 * len(mapper.classes) + 32 + 3 * cell_px**2)
    return pixels + others + mapper.work_bytes


def column_bytes(scene: Scene, mapper: Mapper) -> int:
    """Source pixels that stay in memory for each piece of a row: its own and those of chunks around."""
    rows, cols = (side * mapper.geometry.cell_px for side in mapper.piece_cells)
    grids = [scene.grids[scene.files[band].layer] for band in mapper.bands]
    per_px = sum(2 * (scene.grid.pixel_m / grid.pixel_m) ** 2 for grid in grids)
    return int(per_px * (rows + 2 * CHUNK_PX[0]) * cols)
