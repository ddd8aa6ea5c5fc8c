"""Writing the patches of a PatchStore and their table, in their order.

Memory is bounded by a group of rows of the table, whatever the size of the store.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import shapely

from pipeline.bands import LARGEST_DN
from pipeline.geo.raster.area import cut_at_antimeridian
from pipeline.geo.scenes.stac import to_degrees

_ROW_GROUP = 65_536


def _geo(*kinds: str) -> dict[str, str]:
    """The metadata of GeoParquet 1.1.0: a column without `crs` is in OGC:CRS84, longitude first."""
    column = {"encoding": "WKB", "geometry_types": list(kinds)}
    described = {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": column}}
    return {"geo": json.dumps(described)}


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
    metadata=_geo("Polygon"),
)
"""Columns of `patches.parquet` (`store.PATCH_COLUMNS`)."""


class Patches(Protocol):
    """Some patches, in the order of their positions."""

    @property
    def columns(self) -> dict[str, Any]:
        """Their rows of the table, but for the outline."""

    @property
    def invalid(self) -> int:
        """How many more there would be, had their cells enough valid band pixels."""

    def pieces(self) -> Iterator[npt.NDArray[np.uint16]]:
        """A few of them at a time, (m, C, P, P)."""


class PatchWriter:
    """Writes `pixels.npy` and `patches.parquet` of a store, patch by patch, in order.

    Pixels are written by a thread of its own, which is at most one call of `write` behind.
    """

    def __init__(self, folder: Path, shape: tuple[int, int, int], classes: int, cell_m: float) -> None:
        """Begin a store of patches of the shape (C, P, P) in a folder that is there."""
        self._cell_m = cell_m
        self.kept = np.zeros(classes, dtype=np.int64)
        """Patches written so far, per class."""
        self.kept_on_grid = np.zeros(classes, dtype=np.int64)
        self.clipped = np.zeros(shape[0], dtype=np.int64)
        """Pixels of each band as bright as a store can say."""
        self.invalid = 0
        """Patches passed over because of their pixels."""
        self._shape = shape
        self._filler = ThreadPoolExecutor(1)
        self._filling: Future[None] | None = None
        self._rows = SCHEMA.empty_table()
        self._cut = False  # whether the antimeridian cuts an outline
        # a full disk is an error of write(); of a memory map it would kill the process
        self._pixels = (folder / "pixels.npy").open("wb")
        self._write_header()
        self._table = pq.ParquetWriter(folder / "patches.parquet", SCHEMA, compression="zstd")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        try:
            if error is None:
                self._wait()
                self._flush(1)
                if self._cut:
                    self._table.add_key_value_metadata(_geo("Polygon", "MultiPolygon"))
                start = self._pixels.tell()
                self._pixels.seek(0)
                self._write_header()
                self._pixels.seek(start)
        finally:
            self._filler.shutdown(cancel_futures=True)
            self._table.close()
            self._pixels.close()

    def write(self, patches: Patches) -> int:
        """Add some patches; how many there are, those with an invalid cell among them.

        Raises:
            OSError: when they, or those of the call before, cannot be written.
        """
        columns, classes = patches.columns, len(self.kept)
        label, on_grid = columns["label"], columns["on_grid"]
        self.invalid += patches.invalid
        self._wait()
        if len(label):
            self._filling = self._filler.submit(self._fill, patches)
            self.kept += np.bincount(label, minlength=classes)
            self.kept_on_grid += np.bincount(label[on_grid], minlength=classes)
            shapes = _shapes(columns, self._cell_m)
            self._cut |= bool((shapely.get_type_id(shapes) != shapely.GeometryType.POLYGON).any())
            rows = pa.table({**columns, "geometry": shapely.to_wkb(shapes)}, schema=SCHEMA)
            self._rows = pa.concat_tables([self._rows, rows])
            self._flush(_ROW_GROUP)
        return len(label) + patches.invalid

    def _fill(self, patches: Patches) -> None:
        for piece in patches.pieces():
            if piece.size and piece.max() >= LARGEST_DN:
                self.clipped += (piece >= LARGEST_DN).sum(axis=(0, 2, 3))
            self._pixels.write(piece.astype("<u2", copy=False).data)

    def _wait(self) -> None:
        """Until the pixels of the last call are written."""
        if self._filling is not None:
            self._filling.result()

    def _flush(self, least: int) -> None:
        """Write the rows that wait in groups of `_ROW_GROUP`, unless they are fewer than `least`."""
        while len(self._rows) >= least:
            self._table.write_table(self._rows.slice(0, _ROW_GROUP).combine_chunks())
            self._rows = self._rows.slice(_ROW_GROUP)

    def _write_header(self) -> None:
        # numpy leaves room in a header for the first axis to grow: its length stays the same
        header = {"descr": "<u2", "fortran_order": False, "shape": (int(self.kept.sum()), *self._shape)}
        np.lib.format.write_array_header_1_0(self._pixels, header)


def _shapes(columns: Mapping[str, Any], cell_m: float) -> npt.NDArray[np.object_]:
    x, y, epsg = (columns[name] for name in ("x", "y", "epsg"))
    shapes = np.empty(len(x), dtype=np.object_)
    for code in np.unique(epsg):
        same = epsg == code
        shapes[same] = outlines(x[same], y[same], cell_m, int(code))
    return shapes


def outlines(
    x: npt.NDArray[np.float64], y: npt.NDArray[np.float64], side_m: float, epsg: int
) -> npt.NDArray[np.object_]:
    """Squares around points of a CRS, as polygons in OGC:CRS84, cut at the antimeridian."""
    half = side_m / 2
    corners = [(-half, -half), (half, -half), (half, half), (-half, half), (-half, -half)]
    rings = [np.stack(to_degrees(epsg).transform(x + dx, y + dy), axis=-1) for dx, dy in corners]
    # axis order (N, 5, 2); 1e-8 degrees is a millimetre, below which versions of PROJ differ
    points = np.round(np.stack(rings, axis=1), 8)
    return cut_at_antimeridian(shapely.polygons(points))
