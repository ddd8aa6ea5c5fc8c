"""From a scene and a function that classifies to a folder of maps, piece by piece.

The pieces are anchored at the cell grid and always of the same size, whatever the machine: neither
the number of workers nor the memory changes a byte. Only pieces in flight are in memory.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from pipeline.files import require_space
from pipeline.geo import classmap, preview
from pipeline.geo.areas import Tally, areas_csv
from pipeline.geo.canvas import Canvas, Cells, MapGrid, canvas
from pipeline.geo.classmap import Provenance
from pipeline.geo.cog import read_small
from pipeline.geo.grid import Indices, PatchGrid
from pipeline.geo.mapitem import MapFolder, MapRecord, write_item
from pipeline.geo.scene import Scene
from pipeline.scale import run_pieces
from pipeline.store import ClassInfo, Geometry

PIECE_PX = 1024
"""Side of a piece, pixels of the scene; a constant, so that it cannot change a result."""
_PREVIEW_PX = 1024
_NETWORK_BYTES = 80_000_000
"""What a batch of patches takes inside the network, measured; one for each piece in flight."""

Classify = Callable[[npt.NDArray[np.uint16], int, int], npt.NDArray[np.float32]]
"""Pixels (C, H, W) of a piece with its context, rows, cols -> probabilities (K, rows, cols)."""


@dataclass(frozen=True)
class Mapper:
    """What turns a scene into a class map."""

    classify: Classify
    """A function that can be pickled."""
    bands: Sequence[str]
    """Its input bands, in their order."""
    geometry: Geometry
    classes: Sequence[ClassInfo]
    piece_px: int = PIECE_PX

    def grid(self, scene: Scene) -> PatchGrid:
        """The cells of a scene."""
        return PatchGrid(scene.grid, self.geometry.patch_px, self.geometry.cell_px)


@dataclass(frozen=True)
class Crew:
    """Who does the work: threads of this process, or a Dask scheduler."""

    workers: int = 1
    scheduler: str | None = None


@dataclass(frozen=True)
class Piece:
    """A rectangle of cells of the class map."""

    rows: range
    cols: range


def map_scene(
    scene: Scene, mapper: Mapper, provenance: Provenance, place: Path, folder: Path, crew: Crew
) -> Tally:
    """Map a scene into `folder`, which will lie at `place`: maps, styles, areas, preview, Item.

    Returns:
        The cells and the ground of each value of the class map.

    Raises:
        SceneError: when its pixels cannot be read.
        OutputError: when the disk is full or cannot be written.
    """
    grid = mapper.grid(scene)
    cells = MapGrid(scene.grid.epsg, grid.transform, grid.rows, grid.cols)
    # two maps, uncompressed, with overviews, then as COGs, and a picture
    require_space(place, 5 * grid.rows * grid.cols + 8_000_000, f"The class map of {scene.id}")
    files = MapFolder(folder, scene.id)
    folder.mkdir()
    with (
        canvas(folder / "classes.partial", cells, classmap.NODATA) as classes,
        canvas(folder / "confidence.partial", cells, classmap.CONFIDENCE_NODATA) as confidence,
    ):
        tally = _paint(scene, mapper, crew, classes, confidence)
        classmap.write_class_map(classes, files.class_map, mapper.classes, provenance)
        classmap.write_confidence(confidence, files.confidence, provenance)
    files.areas.write_text(areas_csv(tally, mapper.classes, scene.grid.pixel_m), encoding="utf-8")
    _draw(scene, mapper, provenance, files, tally)
    record = MapRecord(provenance, cells, mapper.classes, tally, scene.path)
    write_item(files, record, place)
    return tally


def pieces(grid: PatchGrid, piece_px: int) -> list[Piece]:
    """The pieces of a scene's cells, row by row."""
    side = max(1, piece_px // grid.cell_px)
    return [
        Piece(range(row, min(row + side, grid.rows)), range(col, min(col + side, grid.cols)))
        for row in range(0, grid.rows, side)
        for col in range(0, grid.cols, side)
    ]


def map_piece(scene: Scene, mapper: Mapper, piece: Piece) -> tuple[Cells, Cells]:
    """Class map and confidence of a piece, uint8 (rows, cols) twice."""
    grid = mapper.grid(scene)
    pixels = scene.read(grid.read_window(piece.rows, piece.cols), mapper.bands)
    mapped = valid_share(pixels, grid, piece) >= mapper.geometry.min_valid
    probabilities = mapper.classify(pixels, len(piece.rows), len(piece.cols))
    return classmap.decide(probabilities, mapped)


def valid_share(
    pixels: npt.NDArray[np.uint16], grid: PatchGrid, piece: Piece
) -> npt.NDArray[np.float64]:
    """The share of each cell's band pixels that are valid, of those inside the scene, (rows, cols).

    Args:
        pixels: Harmonised DN (C, H, W) of the piece with its context, 0 is invalid.
        grid: The cells of the scene.
        piece: The cells of the piece.
    """
    rows_px, cols_px = _inside_px(grid, piece)
    window = grid.read_window(piece.rows, piece.cols, margin_px=0)
    inside_rows = (window.rows >= 0) & (window.rows < grid.scene.height)
    inside_cols = (window.cols >= 0) & (window.cols < grid.scene.width)
    margin = grid.margin_px
    own = pixels[:, margin : margin + window.height, margin : margin + window.width]
    valid = np.count_nonzero(own, axis=0) * np.outer(inside_rows, inside_cols)
    side = grid.cell_px
    summed = valid.reshape(len(piece.rows), side, len(piece.cols), side).sum(axis=(1, 3))
    share: npt.NDArray[np.float64] = summed / (len(pixels) * np.outer(rows_px, cols_px))
    return share


def _inside_px(grid: PatchGrid, piece: Piece) -> tuple[Indices, Indices]:
    rows, cols = grid.inside_px()
    return rows[piece.rows.start : piece.rows.stop], cols[piece.cols.start : piece.cols.stop]


def piece_bytes(mapper: Mapper) -> int:
    """About the memory that one piece in flight takes."""
    side = max(mapper.piece_px, mapper.geometry.cell_px) + 2 * mapper.geometry.margin_px
    pixels = side * side * (2 * len(mapper.bands) + 16)  # uint16; one band as int32 and its copies
    cells = math.ceil(side / mapper.geometry.cell_px) ** 2 * (12 * len(mapper.classes) + 32)
    return pixels + cells + _NETWORK_BYTES


def _paint(scene: Scene, mapper: Mapper, crew: Crew, classes: Canvas, confidence: Canvas) -> Tally:
    grid = mapper.grid(scene)
    parts = pieces(grid, mapper.piece_px)
    results = run_pieces(partial(map_piece, scene, mapper), parts, crew.workers, crew.scheduler)
    tally = Tally.empty()
    bar = tqdm(total=len(parts), desc=scene.id, unit="piece", file=sys.stderr, disable=None)
    with bar:
        for piece, (values, per_cent) in zip(parts, results, strict=True):
            row, col = piece.rows.start, piece.cols.start
            classes.paint(row, col, values)
            confidence.paint(row, col, per_cent)
            tally = tally.plus(values, *_inside_px(grid, piece))
            bar.update()
    return tally


def _draw(scene: Scene, mapper: Mapper, provenance: Provenance, files: MapFolder, tally: Tally) -> None:
    bands = preview.photo_bands(scene.bands)
    photo = preview.Photo(scene.read_decimated(bands, _PREVIEW_PX), bands, scene.grid.bounds)
    cells, bounds = read_small(files.class_map, _PREVIEW_PX)
    picture = preview.MapPicture(cells, bounds, mapper.classes, tally.shares())
    facts = [
        f"{provenance.datetime[:10]} {provenance.datetime[11:16]} UTC",
        provenance.platform,
        provenance.level,
        f"EPSG:{scene.grid.epsg}",
        f"cells of {mapper.grid(scene).cell_m:g} m",
        provenance.note,
    ]
    subtitle = " · ".join(fact for fact in facts if fact)
    caption = preview.Caption(scene.id, subtitle, provenance.attribution)
    preview.draw(files.preview, photo, picture, caption)
