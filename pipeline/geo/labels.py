"""Label polygons -> one class, or none, per cell.

A pixel of 10 m has the class of the polygon that holds its centre. Where polygons of several classes
hold it, the smallest of them wins (a pond in a park; of equal ones the first in the file), or the
pixel stays unlabelled, as the conf says. A cell has the class that covers the largest share of it,
if that is at least `min_purity`; of equal shares, the class that stands first in the conf.
Unlabelled ground is unknown, never background.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import pyogrio
import shapely
from pyogrio.errors import DataLayerError, DataSourceError
from rasterio.features import rasterize

from pipeline.config import ClassesConf, LabelConf
from pipeline.errors import LabelError
from pipeline.geo.grid import SceneGrid, Window

UNLABELLED = -1
_AREAL = (shapely.GeometryType.POLYGON, shapely.GeometryType.MULTIPOLYGON)


@dataclass(frozen=True)
class LabelCounts:
    """What was found in the label files of a scene."""

    polygons: int = 0
    """Polygons with a class."""
    ignored: int = 0
    """Polygons whose value the conf ignores."""
    repaired: int = 0
    """Polygons that were invalid and were mended."""
    empty: int = 0
    """Features without a geometry, passed over."""
    outside: int = 0
    """Polygons that do not touch the scene."""

    def __add__(self, other: LabelCounts) -> LabelCounts:
        """The counts of two sources together."""
        return LabelCounts(*(a + b for a, b in zip(self.values, other.values, strict=True)))

    @property
    def values(self) -> tuple[int, ...]:
        """The counts in the order of the fields."""
        return self.polygons, self.ignored, self.repaired, self.empty, self.outside


@dataclass(frozen=True)
class Labels:
    """The polygons that label one scene, in its CRS, the largest first."""

    grid: SceneGrid
    shapes: npt.NDArray[np.object_]
    """Polygons, by decreasing area: what is painted later wins."""
    classes: npt.NDArray[np.int16]
    """Class of each, 0-based."""
    numbers: npt.NDArray[np.int32]
    """Running number of each over all sources, as the files order them."""
    counts: LabelCounts
    keep_overlaps: bool
    """Whether the smallest polygon wins; else pixels of several classes stay unlabelled."""

    def pixels(self, window: Window) -> tuple[npt.NDArray[np.int16], npt.NDArray[np.int32]]:
        """Class and polygon number of each pixel of a window, both (H, W), -1 where there is none."""
        transform = self.grid.transform * self.grid.transform.translation(window.col, window.row)
        left, top = transform * (0, 0)
        right, bottom = transform * (window.width, window.height)
        shape = (window.height, window.width)
        bounds = shapely.bounds(self.shapes)
        near = np.flatnonzero(
            (bounds[:, 0] < right)
            & (bounds[:, 2] > left)
            & (bounds[:, 1] < top)
            & (bounds[:, 3] > bottom)
        )
        places = _burnt(self.shapes[near], np.arange(1, len(near) + 1), shape, transform)
        hit = places > 0
        chosen = near[places[hit] - 1]
        classes = np.full(shape, UNLABELLED, dtype=np.int16)
        numbers = np.full(shape, UNLABELLED, dtype=np.int32)
        classes[hit], numbers[hit] = self.classes[chosen], self.numbers[chosen]
        if not self.keep_overlaps:
            disputed = self._disputed(near, shape, transform)
            classes[disputed], numbers[disputed] = UNLABELLED, UNLABELLED
        return classes, numbers

    def _disputed(
        self, near: npt.NDArray[np.intp], shape: tuple[int, int], transform: Any
    ) -> npt.NDArray[np.bool_]:
        """Whether each pixel lies under polygons of several classes."""
        claims = np.zeros(shape, dtype=np.uint8)
        for label in np.unique(self.classes[near]):
            of_class = near[self.classes[near] == label]
            ones = np.ones(len(of_class), dtype=np.int64)
            claims += (_burnt(self.shapes[of_class], ones, shape, transform) > 0).astype(np.uint8)
        return claims > 1


def _burnt(
    shapes: npt.NDArray[np.object_],
    values: npt.NDArray[np.int64],
    shape: tuple[int, int],
    transform: Any,
) -> npt.NDArray[np.int32]:
    if not len(shapes):
        return np.zeros(shape, dtype=np.int32)
    pairs = [(geometry, int(value)) for geometry, value in zip(shapes, values, strict=True)]
    burnt: npt.NDArray[np.int32] = rasterize(pairs, shape, transform=transform, dtype="int32")
    return burnt


def read_labels(
    sources: Sequence[LabelConf], classes: ClassesConf, grid: SceneGrid, overlap: str
) -> Labels:
    """The polygons of some sources that touch a scene.

    Raises:
        LabelError: when a file cannot be read, has no CRS, lacks the attribute, holds a value without
            a class or no polygons, or when nothing is left on the scene.
    """
    counts, first, frames = LabelCounts(), 0, []
    for source in sources:
        frame, found = _read_source(source, classes, grid)
        frame["number"] = frame.index + first
        first += found.polygons + found.ignored + found.empty
        counts += found
        frames.append(frame)
    _require_some(frames, sources, grid)
    shapes, labels, numbers = (
        np.concatenate([frame[column].to_numpy() for frame in frames])
        for column in ("geometry", "class", "number")
    )
    # the last key sorts first: by decreasing area, and of equal areas the first in the file comes last
    order = np.lexsort((-np.arange(len(shapes)), -shapely.area(shapes)))
    return Labels(
        grid,
        shapes[order],
        labels[order].astype(np.int16),
        numbers[order].astype(np.int32),
        counts,
        keep_overlaps=overlap == "smallest",
    )


def _read_source(
    source: LabelConf, classes: ClassesConf, grid: SceneGrid
) -> tuple[gpd.GeoDataFrame, LabelCounts]:
    """The polygons of one source that touch the scene; the index is the row in the file."""
    frame = read_vectors(source.path, source.layer)
    _require_usable(frame, source)
    known = {value: place for place, c in enumerate(classes.classes) for value in c.label_values}
    values = frame[source.attribute]
    for value in values.dropna().unique():
        if value not in known and value not in classes.ignore:
            raise LabelError(
                f"{source.path}: {value!r} of attribute {source.attribute!r} is no class; add it to "
                "the `values` of a class, or to `ignore`, in the classes conf."
            )
    frame["class"] = values.map(known)
    empty = frame.geometry.isna() | frame.geometry.is_empty
    ignored = frame["class"].isna() & ~empty
    frame = frame[~empty & ~ignored]
    _require_areal(frame, source)
    invalid = ~frame.geometry.is_valid
    frame = frame.set_geometry(frame.geometry.where(~invalid, frame.geometry.make_valid()))
    frame = frame.to_crs(grid.epsg)
    west, south, east, north = grid.bounds
    touching = frame.geometry.intersects(shapely.box(west, south, east, north)).to_numpy()
    counts = LabelCounts(
        polygons=len(frame),
        ignored=int(ignored.sum()),
        repaired=int(invalid.sum()),
        empty=int(empty.sum()),
        outside=int((~touching).sum()),
    )
    polygons = gpd.GeoDataFrame({"class": frame["class"]}, geometry=frame.geometry)
    return polygons[touching], counts


def read_vectors(path: str, layer: str | None = None) -> gpd.GeoDataFrame:
    """A layer of a vector file; the first where none is named.

    Raises:
        LabelError: when the file or the layer is missing or unreadable.
    """
    if not Path(path).exists():
        raise LabelError(f"{path} does not exist; correct the path of the labels.")
    try:
        layers = [str(name) for name in pyogrio.list_layers(path)[:, 0]]
        if layer is not None and layer not in layers:
            raise LabelError(f"{path} has no layer {layer!r}; it has {', '.join(layers)}.")
        return gpd.read_file(path, layer=layer or layers[0])
    except (DataSourceError, DataLayerError, IndexError, ValueError, OSError) as error:
        raise LabelError(
            f"{path} cannot be read as vectors ({error}); give a GeoPackage, Shapefile or GeoJSON."
        ) from error


def _require_usable(frame: gpd.GeoDataFrame, source: LabelConf) -> None:
    if not isinstance(frame, gpd.GeoDataFrame):
        raise LabelError(f"{source.path} has no geometries; give a layer of polygons.")
    if frame.crs is None:
        raise LabelError(f"{source.path} has no CRS; assign the one that its coordinates are in.")
    if source.attribute not in frame.columns:
        there = ", ".join(c for c in frame.columns if c != frame.geometry.name)
        raise LabelError(f"{source.path} has no attribute {source.attribute!r}; it has {there}.")


def _require_areal(frame: gpd.GeoDataFrame, source: LabelConf) -> None:
    kinds = shapely.get_type_id(frame.geometry.to_numpy())
    if not np.isin(kinds, _AREAL).all():
        other = frame.geometry.geom_type[~np.isin(kinds, _AREAL)].iloc[0]
        raise LabelError(
            f"{source.path} holds a {other}; labels are polygons for now: buffer it first."
        )


def _require_some(
    frames: Sequence[gpd.GeoDataFrame], sources: Sequence[LabelConf], grid: SceneGrid
) -> None:
    if not any(len(frame) for frame in frames):
        paths = ", ".join(source.path for source in sources) or "no source"
        left, bottom, right, top = grid.bounds
        raise LabelError(
            f"the labels ({paths}) do not overlap the scene (EPSG:{grid.epsg}, x {left:.0f} to "
            f"{right:.0f}, y {bottom:.0f} to {top:.0f}); give labels of its ground."
        )


def classify_cells(
    classes: npt.NDArray[np.int16], numbers: npt.NDArray[np.int32], count: int
) -> tuple[npt.NDArray[np.int16], npt.NDArray[np.float32], npt.NDArray[np.int32]]:
    """The class of each cell from its pixels, however small its share.

    Args:
        classes: Class of each pixel, (N, cell_px, cell_px), -1 unlabelled.
        numbers: Polygon of each pixel, alike.
        count: Number of classes.

    Returns:
        For each cell its class (-1 where no pixel has one), the share of the cell that this class
        covers, and the polygon that covers most of it within this class.
    """
    flat = classes.reshape(len(classes), -1)
    shares = np.stack([(flat == label).mean(axis=1) for label in range(count)], axis=1)
    label = shares.argmax(axis=1).astype(np.int16)
    purity = shares.max(axis=1).astype(np.float32)
    label[purity == 0] = UNLABELLED
    of_class = np.where(flat == label[:, None], numbers.reshape(len(numbers), -1), UNLABELLED)
    return label, purity, _most_frequent(of_class)


def _most_frequent(values: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    """The most frequent value that is not -1 of each row, the smallest of equals; -1 where none is."""
    ordered = np.sort(values, axis=1)
    width = ordered.shape[1]
    # the length of the run of equal values that ends at each place
    starts = np.ones(ordered.shape, dtype=bool)
    starts[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    since = np.maximum.accumulate(np.where(starts, np.arange(width), 0), axis=1)
    runs = np.where(ordered == UNLABELLED, 0, np.arange(width) - since + 1)
    best = runs.argmax(axis=1)
    return ordered[np.arange(len(ordered)), best]
