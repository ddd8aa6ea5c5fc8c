"""Writing a PatchStore: which positions of a scene become patches, and their pixels in order.

Positions are decided from labels alone, then pixels are read strip by strip, so that memory is
bounded by a strip, whatever the size of scene and store.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import shapely
from pyproj import Transformer

from pipeline.config import TileConf
from pipeline.geo.grid import Indices, PatchGrid, Window
from pipeline.geo.labels import UNLABELLED, Labels, classify_cells
from pipeline.geo.scene import Scene
from pipeline.scale import run_pieces

type Coordinates = npt.NDArray[np.floating]

STRIP_PX = 512
"""Rows of pixels that are read at a time."""
_CHUNK = 1024
_COLUMNS = ("row", "col", "label", "purity", "polygon")


@dataclass(frozen=True)
class Positions:
    """Cells of one scene that have a class, row-major: arrays of N values each."""

    scene: Scene
    grid: PatchGrid
    row: Indices
    """Top row of the cell, pixels of the scene."""
    col: Indices
    """Left column of the cell."""
    label: npt.NDArray[np.int16]
    purity: npt.NDArray[np.float32]
    polygon: npt.NDArray[np.int32]
    left_out: dict[str, int] = field(default_factory=dict)
    """Positions that are not among them, by reason."""

    def __len__(self) -> int:
        return len(self.row)

    def __getitem__(self, rows: npt.NDArray[Any]) -> Positions:
        """Some of the positions, by places or by a mask."""
        columns = {name: getattr(self, name)[rows] for name in _COLUMNS}
        return Positions(self.scene, self.grid, left_out=self.left_out, **columns)

    @property
    def centers(self) -> tuple[Coordinates, Coordinates]:
        """World coordinates (x, y) of the centres, m."""
        half, scene = self.grid.cell_px / 2, self.scene.grid
        x = scene.x0 + (self.col + half) * scene.pixel_m
        y = scene.y0 - (self.row + half) * scene.pixel_m
        return x, y

    @property
    def on_grid(self) -> npt.NDArray[np.bool_]:
        """Whether each cell lies on the cell grid."""
        size = self.grid.cell_px
        on_rows, on_cols = (self.row - self.grid.row0) % size, (self.col - self.grid.col0) % size
        return np.asarray((on_rows == 0) & (on_cols == 0))


def labelled_positions(scene: Scene, labels: Labels, conf: TileConf, classes: int) -> Positions:
    """The positions of a scene, at the stride of the conf, whose cell has a class.

    `left_out` counts the others: `edge` (the cell reaches past the scene), `unlabelled` (no polygon
    in it) and `impure` (no class covers `min_purity` of it).
    """
    grid = PatchGrid(scene.grid, conf.patch_px, conf.cell_px)
    rows, cols = grid.positions(conf.stride_px)
    everywhere = _reaching(grid.row0, scene.grid.height, conf) * _reaching(
        grid.col0, scene.grid.width, conf
    )
    found: list[tuple[npt.NDArray[Any], ...]] = []
    unlabelled = impure = 0
    for strip in _strips(rows):
        row, col, label, purity, polygon = _classified(labels, strip, cols, conf.cell_px, classes)
        # a share is a quotient of two whole numbers: compare with room for its last bit
        pure = purity >= conf.min_purity - 1e-6
        unlabelled += int((label == UNLABELLED).sum())
        impure += int((~pure & (label != UNLABELLED)).sum())
        kept = pure & (label != UNLABELLED)
        found.append(tuple(column[kept] for column in (row, col, label, purity, polygon)))
    columns = dict(zip(_COLUMNS, map(np.concatenate, zip(*found, strict=True)), strict=True))
    left_out = {
        "edge": everywhere - len(rows) * len(cols),
        "unlabelled": unlabelled,
        "impure": impure,
    }
    return Positions(scene, grid, left_out=left_out, **columns)


def _reaching(first: int, size: int, conf: TileConf) -> int:
    """How many positions along one axis have a cell that shares a pixel with the scene."""
    start = first % conf.stride_px - conf.cell_px
    return sum(1 for edge in range(start, size, conf.stride_px) if edge > -conf.cell_px)


def _strips(rows: Indices) -> list[Indices]:
    """Rows of positions in runs whose pixels span about `STRIP_PX`."""
    if not len(rows):
        return []
    cuts = np.flatnonzero(np.diff((rows - rows[0]) // STRIP_PX)) + 1
    return np.split(rows, cuts)


def _classified(
    labels: Labels, rows: Indices, cols: Indices, cell_px: int, classes: int
) -> tuple[Indices, Indices, npt.NDArray[np.int16], npt.NDArray[np.float32], npt.NDArray[np.int32]]:
    """Row, column, class, purity and polygon of all positions of a strip, row-major."""
    top, left = int(rows[0]), int(cols[0])
    window = Window(top, left, int(rows[-1]) - top + cell_px, int(cols[-1]) - left + cell_px)
    pixels, numbers = labels.pixels(window)
    view = partial(np.lib.stride_tricks.sliding_window_view, window_shape=(cell_px, cell_px))
    row, col = (axis.ravel() for axis in np.meshgrid(rows, cols, indexing="ij"))
    label = np.full(len(row), UNLABELLED, dtype=np.int16)
    purity = np.zeros(len(row), dtype=np.float32)
    polygon = np.full(len(row), UNLABELLED, dtype=np.int32)
    some = np.flatnonzero(_sums((pixels >= 0)[None], row - top, col - left, cell_px)[0])
    for start in range(0, len(some), _CHUNK * 16):
        part = some[start : start + _CHUNK * 16]
        at = (row[part] - top, col[part] - left)
        label[part], purity[part], polygon[part] = classify_cells(
            view(pixels)[at], view(numbers)[at], classes
        )
    return row, col, label, purity, polygon


def _sums(planes: npt.NDArray[Any], row: Indices, col: Indices, size: int) -> npt.NDArray[np.int64]:
    """Sums (C, N) of squares of planes (C, H, W) with their top left corners at row and col."""
    table = np.zeros((len(planes), planes.shape[1] + 1, planes.shape[2] + 1), dtype=np.int64)
    np.cumsum(np.cumsum(planes, axis=1, dtype=np.int64), axis=2, out=table[:, 1:, 1:])
    end_row, end_col = row + size, col + size
    corners = table[:, end_row, end_col] + table[:, row, col]
    return corners - table[:, row, end_col] - table[:, end_row, col]


def draw(scenes: Sequence[Positions], conf: TileConf) -> list[Positions]:
    """At most `max_per_scene` and `max_per_class` positions, drawn by ground position.

    The rank of a position is a hash of (seed, EPSG, x, y): the same ground has the same rank on every
    date and whatever else is drawn from. What is left out is counted as `drawn_out`.
    """
    ranks = [_ranks(p, conf.seed) for p in scenes]
    kept = [np.ones(len(p), dtype=bool) for p in scenes]
    if conf.max_per_scene is not None:
        kept = [_smallest(rank, conf.max_per_scene) for rank in ranks]
    if conf.max_per_class is not None and scenes:
        labels, every = np.concatenate([p.label for p in scenes]), np.concatenate(ranks)
        flat = np.concatenate(kept)
        for label in np.unique(labels):
            mine = np.flatnonzero(flat & (labels == label))
            flat[mine] = _smallest(every[mine], conf.max_per_class)
        kept = np.split(flat, np.cumsum([len(p) for p in scenes])[:-1])
    drawn = []
    for positions, keep in zip(scenes, kept, strict=True):
        left_out = positions.left_out | {"drawn_out": int((~keep).sum())}
        some = positions[keep]
        drawn.append(Positions(**(vars(some) | {"left_out": left_out})))
    return drawn


def _smallest(ranks: npt.NDArray[np.uint64], count: int) -> npt.NDArray[np.bool_]:
    """Whether each rank is among the `count` smallest, the earlier of equals first."""
    chosen = np.zeros(len(ranks), dtype=bool)
    chosen[np.argsort(ranks, kind="stable")[:count]] = True
    return chosen


def _ranks(positions: Positions, seed: int) -> npt.NDArray[np.uint64]:
    x, y = positions.centers
    rank = np.full(len(positions), seed, dtype=np.uint64)
    epsg = np.full(len(positions), positions.scene.grid.epsg)
    # half metres as whole numbers: cells of odd size have their centre between two metres
    for values in (epsg, np.rint(2 * x), np.rint(2 * y)):
        rank = _mixed(rank ^ values.astype(np.int64).astype(np.uint64))
    return rank


def _mixed(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """The finaliser of SplitMix64 (Steele, Lea and Flood 2014): each input bit moves all of them."""
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


@dataclass(frozen=True)
class Cut:
    """Some patches, cut from their scene, in the order of their positions."""

    positions: Positions
    pixels: npt.NDArray[np.uint16]
    """(n, C, P, P)."""
    valid: npt.NDArray[np.float32]
    """Share of the cell's band pixels that is valid."""
    invalid: int
    """How many more there would be, had they `min_valid` of valid band pixels."""


@dataclass(frozen=True)
class _Piece:
    """The positions of one strip of one scene."""

    positions: Positions
    bands: tuple[str, ...]

    @property
    def window(self) -> Window:
        """The pixels of their patches."""
        row, col, grid = self.positions.row, self.positions.col, self.positions.grid
        top, left = int(row.min()), int(col.min())
        reach = grid.cell_px + 2 * grid.margin_px
        return Window(
            top - grid.margin_px,
            left - grid.margin_px,
            int(row.max()) - top + reach,
            int(col.max()) - left + reach,
        )


def _read(piece: _Piece) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.float64]]:
    """Pixels (C, H, W) of a piece and the share of valid band pixels of each of its cells."""
    window, positions = piece.window, piece.positions
    pixels = positions.scene.read(window, piece.bands)
    size = positions.grid.cell_px
    at = (positions.row - window.row, positions.col - window.col)
    valid = _sums((pixels > 0).sum(axis=0, dtype=np.int64)[None], *at, size)[0]
    return pixels, valid / (len(piece.bands) * size**2)


def read_patches(
    positions: Positions, conf: TileConf, bands: tuple[str, ...], workers: int, scheduler: str | None
) -> Iterator[Cut]:
    """The patches of the positions whose cells are valid enough, in order, a few at a time."""
    pieces = [
        _Piece(positions[np.isin(positions.row, strip)], bands)
        for strip in _strips(np.unique(positions.row))
    ]
    results = run_pieces(_read, pieces, workers, scheduler)
    for piece, (pixels, valid) in zip(pieces, results, strict=True):
        window, side = piece.window, conf.patch_px
        views = np.lib.stride_tricks.sliding_window_view(pixels, (side, side), axis=(1, 2))
        for start in range(0, len(piece.positions), _CHUNK):
            some = np.arange(start, min(start + _CHUNK, len(piece.positions)))
            enough = some[valid[some] >= conf.min_valid]
            kept = piece.positions[enough]
            margin = kept.grid.margin_px
            at = (kept.row - margin - window.row, kept.col - margin - window.col)
            # fancy indices after a slice give (C, n, P, P)
            patches = np.ascontiguousarray(views[:, *at].transpose(1, 0, 2, 3))
            share = valid[enough].astype(np.float32)
            yield Cut(kept, patches, share, len(some) - len(enough))


def patch_table(kept: Sequence[tuple[Positions, npt.NDArray[np.float32]]]) -> gpd.GeoDataFrame:
    """The table of patches (`PATCH_COLUMNS`) of positions with their valid shares, in store order."""
    parts = []
    for positions, valid in kept:
        x, y = positions.centers
        frame = gpd.GeoDataFrame(
            {
                "scene": np.full(len(positions), positions.scene.id, dtype=object),
                "epsg": np.full(len(positions), positions.scene.grid.epsg, dtype=np.int32),
                "x": x,
                "y": y,
                "label": positions.label,
                "purity": positions.purity,
                "valid": valid,
                "on_grid": positions.on_grid,
                "polygon": positions.polygon,
            },
            geometry=_outlines(x, y, positions.grid.cell_m, positions.scene.grid.epsg),
            crs="OGC:CRS84",
        )
        parts.append(frame)
    return gpd.GeoDataFrame(
        {column: np.concatenate([part[column].to_numpy() for part in parts]) for column in parts[0]},
        geometry="geometry",
        crs="OGC:CRS84",
    )


def _outlines(x: Coordinates, y: Coordinates, cell_m: float, epsg: int) -> npt.NDArray[np.object_]:
    """Squares of `cell_m` around points, as polygons in OGC:CRS84."""
    half = cell_m / 2
    corners = [(-half, half), (half, half), (half, -half), (-half, -half), (-half, half)]
    to_degrees = Transformer.from_crs(epsg, "OGC:CRS84", always_xy=True)
    rings = [to_degrees.transform(x + dx, y + dy) for dx, dy in corners]
    # (N, 5, 2); 1e-8 degrees is a millimetre, below which versions of PROJ differ
    points = np.round(np.stack([np.stack(ring, axis=-1) for ring in rings], axis=1), 8)
    return shapely.polygons(points)  # type: ignore[no-any-return]


def write_table(path: Path, table: gpd.GeoDataFrame) -> None:
    """Write the table as GeoParquet; the same table gives the same bytes."""
    table.to_parquet(path, index=False, compression="zstd")
