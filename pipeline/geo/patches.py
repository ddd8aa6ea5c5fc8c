"""Writing a PatchStore: the patches around positions, cut strip by strip and written in their order.

Memory is bounded by a strip of a scene and a group of rows of the table, whatever the size of the
store.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import shapely
from pyproj import Transformer

from pipeline.config import ComputeConf
from pipeline.geo.grid import Window
from pipeline.geo.positions import Positions, runs, square_sums
from pipeline.scale import run_pieces, worker_count

_STRIP_PX = 4_000_000
"""Pixels of a strip, about; it also has at most `_STRIP_ROWS` rows, for several workers to share."""
_STRIP_ROWS = 512
_CHUNK = 1024
"""Patches that are cut at a time."""
_ROW_GROUP = 65_536
_WORK_BYTES = 36
"""Bytes a pixel for the work on one band: native values, harmonised ones, indices."""

SCHEMA = pa.schema(
    [
        ("scene", pa.string()),
        ("epsg", pa.int32()),
        ("x", pa.float64()),
        ("y", pa.float64()),
        ("label", pa.int16()),
        ("purity", pa.float32()),
        ("valid", pa.float32()),
        ("on_grid", pa.bool_()),
        ("polygon", pa.int32()),
        ("geometry", pa.binary()),
    ],
    # GeoParquet 1.1.0: a column without `crs` is in OGC:CRS84, longitude first
    metadata={
        "geo": json.dumps(
            {
                "version": "1.1.0",
                "primary_column": "geometry",
                "columns": {"geometry": {"encoding": "WKB", "geometry_types": ["Polygon"]}},
            }
        )
    },
)
"""Columns of `patches.parquet` (`store.PATCH_COLUMNS`)."""


@dataclass(frozen=True)
class Cut:
    """Some patches, cut from their scene, in the order of their positions."""

    positions: Positions
    pixels: npt.NDArray[np.uint16]
    """(n, C, P, P)."""
    valid: npt.NDArray[np.float32]
    """Share of the cell's band pixels that is valid."""
    invalid: int
    """How many more there would be, had their cells enough valid band pixels."""


@dataclass(frozen=True)
class _Strip:
    """Positions in a few rows of one scene."""

    positions: Positions
    bands: tuple[str, ...]

    @property
    def window(self) -> Window:
        """The pixels of their patches."""
        row, col, grid = self.positions.row, self.positions.col, self.positions.grid
        top, left = int(row.min()), int(col.min())
        height, width = int(row.max()) - top, int(col.max()) - left
        margin, side = grid.margin_px, grid.patch_px
        return Window(top - margin, left - margin, height + side, width + side)


def _read(strip: _Strip) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.float64]]:
    """Pixels (C, H, W) of a strip and the share of valid band pixels of each of its cells."""
    window, positions = strip.window, strip.positions
    pixels = positions.scene.read(window, strip.bands)
    size = positions.grid.cell_px
    row, col = positions.row - window.row, positions.col - window.col
    valid = square_sums(np.count_nonzero(pixels, axis=0), row, col, size)
    return pixels, valid / (len(strip.bands) * size**2)


def _crew(pixels: int, bands: int, compute: ComputeConf) -> int:
    """As many workers as are asked for and as the memory for pixels in flight holds."""
    # for each worker a strip in work and one that waits for its turn to be written
    each = pixels * (2 * 2 * bands + _WORK_BYTES)
    return max(1, min(worker_count(compute), compute.memory_mb * 1_000_000 // each))


def read_patches(
    positions: Positions, bands: tuple[str, ...], min_valid: float, compute: ComputeConf
) -> Iterator[Cut]:
    """The patches of those positions whose cell has `min_valid` of valid band pixels, in order.

    They come a few at a time. Context outside of the scene is mirrored, invalid pixels are 0.

    Raises:
        SceneError: when the pixels cannot be read.
    """
    width = positions.scene.grid.width
    span = max(1, min(_STRIP_ROWS, _STRIP_PX // width))
    strips = [_Strip(positions[run], bands) for run in runs(positions.row, span)]
    workers = _crew((span + positions.grid.patch_px) * width, len(bands), compute)
    results = run_pieces(_read, strips, workers, compute.scheduler)
    for strip, (pixels, valid) in zip(strips, results, strict=True):
        for start in range(0, len(valid), _CHUNK):
            share = valid[start : start + _CHUNK]
            enough = share >= min_valid
            kept = strip.positions[start : start + _CHUNK][enough]
            patches = _cut(pixels, strip.window, kept)
            yield Cut(kept, patches, share[enough].astype(np.float32), int((~enough).sum()))


def _cut(
    pixels: npt.NDArray[np.uint16], window: Window, positions: Positions
) -> npt.NDArray[np.uint16]:
    """The patches (n, C, P, P) around positions, out of the pixels (C, H, W) of a window."""
    side, margin = positions.grid.patch_px, positions.grid.margin_px
    views = np.lib.stride_tricks.sliding_window_view(pixels, (side, side), axis=(1, 2))
    row, col = positions.row - margin - window.row, positions.col - margin - window.col
    # indices after a slice give (C, n, P, P)
    return np.ascontiguousarray(views[:, row, col].transpose(1, 0, 2, 3))


class PatchWriter:
    """Writes `pixels.npy` and `patches.parquet` of a store, patch by patch, in order."""

    def __init__(self, folder: Path, shape: tuple[int, int, int], classes: int) -> None:
        """Begin a store of patches of the shape (C, P, P) in a folder that is there."""
        self.kept = np.zeros(classes, dtype=np.int64)
        """Patches written so far, per class."""
        self.kept_on_grid = np.zeros(classes, dtype=np.int64)
        self.invalid = 0
        """Patches passed over because of their pixels."""
        self._shape = shape
        self._rows = SCHEMA.empty_table()
        # a full disk is an error of write(); of a memory map it would kill the process
        self._pixels = (folder / "pixels.npy").open("wb")
        self._write_header()
        self._table = pq.ParquetWriter(folder / "patches.parquet", SCHEMA, compression="zstd")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if error is None:
                self._flush(1)
                start = self._pixels.tell()
                self._pixels.seek(0)
                self._write_header()
                self._pixels.seek(start)
        finally:
            self._table.close()
            self._pixels.close()

    def write(self, cut: Cut) -> None:
        """Add some patches."""
        self.invalid += cut.invalid
        classes, positions = len(self.kept), cut.positions
        if not len(positions):
            return
        self._pixels.write(cut.pixels.astype("<u2", copy=False).data)
        self.kept += np.bincount(positions.label, minlength=classes)
        self.kept_on_grid += np.bincount(positions.label[positions.on_grid], minlength=classes)
        self._rows = pa.concat_tables([self._rows, _table(positions, cut.valid)])
        self._flush(_ROW_GROUP)

    def _flush(self, least: int) -> None:
        """Write the rows that wait in groups of `_ROW_GROUP`, unless they are fewer than `least`."""
        while len(self._rows) >= least:
            self._table.write_table(self._rows.slice(0, _ROW_GROUP).combine_chunks())
            self._rows = self._rows.slice(_ROW_GROUP)

    def _write_header(self) -> None:
        # numpy leaves room in a header for the first axis to grow: its length stays the same
        header = {"descr": "<u2", "fortran_order": False, "shape": (int(self.kept.sum()), *self._shape)}
        np.lib.format.write_array_header_1_0(self._pixels, header)


def _table(positions: Positions, valid: npt.NDArray[np.float32]) -> pa.Table:
    (x, y), epsg = positions.centers, positions.scene.grid.epsg
    columns: dict[str, Any] = {
        "scene": [positions.scene.id] * len(positions),
        "epsg": np.full(len(positions), epsg, dtype=np.int32),
        "x": x,
        "y": y,
        "label": positions.label,
        "purity": positions.purity,
        "valid": valid,
        "on_grid": positions.on_grid,
        "polygon": positions.polygon,
        "geometry": shapely.to_wkb(outlines(x, y, positions.grid.cell_m, epsg)),
    }
    return pa.table(columns, schema=SCHEMA)


def outlines(
    x: npt.NDArray[np.float64], y: npt.NDArray[np.float64], side_m: float, epsg: int
) -> npt.NDArray[np.object_]:
    """Squares around points of a CRS, as polygons in OGC:CRS84."""
    half = side_m / 2
    corners = [(-half, -half), (half, -half), (half, half), (-half, half), (-half, -half)]
    rings = [np.stack(_to_degrees(epsg).transform(x + dx, y + dy), axis=-1) for dx, dy in corners]
    # axis order (N, 5, 2); 1e-8 degrees is a millimetre, below which versions of PROJ differ
    points = np.round(np.stack(rings, axis=1), 8)
    return shapely.polygons(points)  # type: ignore[no-any-return]


@cache
def _to_degrees(epsg: int) -> Transformer:
    return Transformer.from_crs(epsg, "OGC:CRS84", always_xy=True)


def store_bytes(positions: Sequence[Positions], bands: int) -> int:
    """Bytes of the store of some positions, at most: its pixels and, roughly, its table."""
    row = 2 * bands * positions[0].grid.patch_px ** 2 + 200
    return row * sum(len(p) for p in positions) + 100_000
