"""Writing a PatchStore: the patches around positions, cut strip by strip and written in their order.

Strips are read side by side, each source block decoded once; one thread cuts, another hashes, the
caller's writes. Memory is bounded by a strip of a scene and a group of rows of the table, whatever the
size of the store.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import cache, partial
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import shapely
from numpy.lib.stride_tricks import sliding_window_view
from pyproj import Transformer

from pipeline.config import ComputeConf
from pipeline.geo.blockcache import BlockCache
from pipeline.geo.grid import Window
from pipeline.geo.positions import Positions, runs, square_sums
from pipeline.scale import AHEAD, run_pieces, worker_count

_STRIP_PX = 4_000_000
"""Pixels of a strip, about; it also has at most `_STRIP_ROWS` rows, for several workers to share."""
_STRIP_ROWS = 512
_CHUNK_BYTES = 16_000_000
"""Patches that are cut at a time, about: memory blocks of this size are used again and again."""
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
    def windows(self) -> list[Window]:
        """The pixels of their patches, without the columns that none of them sees, left to right."""
        row, grid = self.positions.row, self.positions.grid
        top, margin, side = int(row.min()), grid.margin_px, grid.patch_px
        height = int(row.max()) - top + side
        cols = np.unique(self.positions.col)
        ends = [0, *(np.flatnonzero(np.diff(cols) > 2 * side) + 1).tolist(), len(cols)]
        spans = [(int(cols[first]), int(cols[end - 1])) for first, end in pairwise(ends)]
        return [
            Window(top - margin, left - margin, height, right - left + side) for left, right in spans
        ]


@dataclass(frozen=True)
class _Read:
    """A strip with its pixels."""

    strip: _Strip
    windows: list[Window]
    pixels: list[npt.NDArray[np.uint16]]
    """(C, H, W) of each window."""
    valid: npt.NDArray[np.float64]
    """The share of valid band pixels of each cell."""

    def chunks(self) -> Iterator[tuple[_Read, slice]]:
        """The positions in runs whose patches take about `_CHUNK_BYTES`."""
        each = 2 * len(self.strip.bands) * self.strip.positions.grid.patch_px**2
        size = max(1, _CHUNK_BYTES // each)
        return ((self, slice(start, start + size)) for start in range(0, len(self.valid), size))

    def window_of(self, positions: Positions) -> npt.NDArray[np.intp]:
        """The number of the window in which each position lies."""
        starts = [window.col + positions.grid.margin_px for window in self.windows]
        return np.searchsorted(starts, positions.col, side="right") - 1


def _read(strip: _Strip, cache: BlockCache | None) -> _Read:
    windows, positions = strip.windows, strip.positions
    pixels = [positions.scene.read(window, strip.bands, cache) for window in windows]
    read = _Read(strip, windows, pixels, np.zeros(len(positions)))
    size, numbers = positions.grid.cell_px, read.window_of(positions)
    for number, (window, values) in enumerate(zip(windows, pixels, strict=True)):
        mine = numbers == number
        row, col = positions.row[mine] - window.row, positions.col[mine] - window.col
        valid = square_sums(np.count_nonzero(values, axis=0), row, col, size)
        read.valid[mine] = valid / (len(strip.bands) * size**2)
    return read


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
    here = compute.scheduler is None
    windows = (window for strip in strips for window in strip.windows) if here else ()
    with positions.scene.cache(bands, windows) as cache:
        work = partial(_read, cache=cache if here else None)
        # closed before the cache is, also when nobody wants the rest
        with closing(run_pieces(work, strips, workers, compute.scheduler)) as read:
            chunks = (chunk for strip in read for chunk in strip.chunks())
            with closing(run_pieces(partial(_cut, min_valid=min_valid), chunks, workers=1)) as cuts:
                yield from cuts


def _cut(chunk: tuple[_Read, slice], min_valid: float) -> Cut:
    """Patches of some positions of a strip, out of the pixels of its windows."""
    read, some = chunk
    share = read.valid[some]
    enough = share >= min_valid
    kept = read.strip.positions[some][enough]
    side, margin = kept.grid.patch_px, kept.grid.margin_px
    patches = np.empty((len(kept), len(read.strip.bands), side, side), dtype=np.uint16)
    numbers = read.window_of(kept)
    for number in np.unique(numbers):
        window, mine = read.windows[number], numbers == number
        views = sliding_window_view(read.pixels[number], (side, side), axis=(1, 2))
        row, col = kept.row[mine] - margin - window.row, kept.col[mine] - margin - window.col
        # axis order (rows, cols, C, P, P): a view, of which only the patches are copied
        patches[mine] = views.transpose(1, 2, 0, 3, 4)[row, col]
    return Cut(kept, patches, share[enough].astype(np.float32), int((~enough).sum()))


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
        self._hash = hashlib.sha256()
        self._hashing: list[Future[None]] = []
        self._hasher = ThreadPoolExecutor(1)
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
            self._hasher.shutdown()
            self._table.close()
            self._pixels.close()

    @property
    def pixels_sha256(self) -> str:
        """SHA-256 of the values of `pixels.npy`, behind its header."""
        for future in self._hashing:
            future.result()
        return self._hash.hexdigest()

    def write(self, cut: Cut) -> None:
        """Add some patches."""
        self.invalid += cut.invalid
        classes, positions = len(self.kept), cut.positions
        if not len(positions):
            return
        values = cut.pixels.astype("<u2", copy=False).data
        if len(self._hashing) == AHEAD:
            self._hashing.pop(0).result()
        self._hashing.append(self._hasher.submit(self._hash.update, values))
        self._pixels.write(values)
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
