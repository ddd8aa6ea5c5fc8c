"""Areas of interest: polygons in a CRS of their own, on the pixels of a grid in another."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import pyogrio
import shapely
from pyproj import CRS
from pyproj.exceptions import ProjError
from rasterio.features import rasterize
from shapely.geometry.base import BaseGeometry

from pipeline.config.area import AreaConf, AreaFileConf, BoxConf
from pipeline.config.opening import opening
from pipeline.errors import SceneError
from pipeline.geo.raster.archive import layer_problem, vectors_for_gdal
from pipeline.geo.raster.area import (
    Area,
    covering,
    crs_of,
    cut_at_antimeridian,
    outline,
    to_whole_squares,
    transformer,
)
from pipeline.geo.raster.grid import PixelGrid, Window, mirror_index
from pipeline.watched import open_edits, unwatched

_RASTERIZING = Lock()
"""rasterio silences a warning of its own while it paints, which threads cannot do side by side."""
_PIECES = 64
"""Of an edge as long as a grid: in another CRS it is a curve, followed to decimetres by so many."""
_MM = 0.001
"""To which the corners of an area are rounded: below it, versions of PROJ differ."""
_POLYGONAL = ("Polygon", "MultiPolygon")
_PARQUET = (".parquet", ".geoparquet")


@dataclass(frozen=True)
class AreaOfInterest:
    """Ground that is wanted, or is not."""

    shape: BaseGeometry
    """Polygons in its CRS, x first; those in degrees are cut at the antimeridian."""
    crs: str
    """As pyproj reads it."""
    name: str
    """What the conf calls it; for people."""

    @classmethod
    def read(cls, conf: AreaConf) -> AreaOfInterest:
        """The area that a conf describes.

        Raises:
            ConfigError: when its CRS does not exist.
            SceneError: when its file cannot be read or holds no polygon.
        """
        if isinstance(conf, BoxConf):
            west, south, east, north = conf.bbox
            crs_of(conf.crs, f"the area {conf.bbox}")
            return cls(outline((west, south, east, north)), conf.crs, str(conf.bbox))
        with opening(
            lambda why: SceneError(
                f"the area {conf.path} cannot be read ({why}); give a vector file with a CRS, or "
                "[west, south, east, north] in degrees."
            )
        ):
            frame = _read(conf.path, conf.layer)
            if frame.crs is None:
                raise SceneError(f"the area {conf.path} has no CRS; assign the one it was drawn in.")
            shapes = frame.geometry.dropna().to_numpy()
            shapes = shapes[np.isin([shape.geom_type for shape in shapes], _POLYGONAL)]
            shapes = shapely.force_2d(shapes)
            if frame.crs.is_geographic:
                shapes = cut_at_antimeridian(shapes)
            shape = shapely.union_all(shapely.make_valid(shapes))
        if shape.is_empty or shape.area == 0 or not np.isfinite(shape.bounds).all():
            raise SceneError(f"the area {conf.path} holds no polygon; draw one and save it again.")
        return cls(shape, frame.crs.to_wkt(), conf.path)

    @property
    def sha256(self) -> str:
        """Of its ground, whatever it is called."""
        return hashlib.sha256(self.shape.wkb + self.crs.encode()).hexdigest()

    @property
    def in_degrees(self) -> BaseGeometry:
        """Its polygons in longitude and latitude, cut at the antimeridian."""
        crs = CRS(self.crs)
        if crs.equals(CRS("EPSG:4326"), ignore_axis_order=True):
            return self.shape
        frame = gpd.GeoSeries([self.shape], crs=crs).to_crs("OGC:CRS84")
        return shapely.union_all(cut_at_antimeridian(frame.to_numpy()))

    def on(self, grid: PixelGrid) -> BaseGeometry:
        """Its polygons on the ground of a grid, in the CRS of that, m; empty where they do not meet.

        The longer edges become curves in another CRS and are followed.
        """
        ground, own = CRS.from_epsg(grid.epsg), CRS(self.crs)
        box = shapely.box(*grid.bounds)
        if own.equals(ground, ignore_axis_order=True):
            return _polygons(shapely.intersection(self.shape, box))
        try:
            around = _around(grid, own)
            near = shapely.intersection(self.shape, around)
            if near.is_empty:
                return near
            left, bottom, right, top = around.bounds
            near = shapely.segmentize(near, max(right - left, top - bottom) / _PIECES)
            shape = shapely.transform(near, transformer(own, ground).transform, interleaved=False)
        except ProjError:  # it lies where one of the two does not reach
            return shapely.Polygon()
        shape = shapely.set_precision(shapely.make_valid(shape), _MM)
        return _polygons(shapely.intersection(shape, box))


def require_watched(area: AreaConf | None, sources: Sequence[Path], key: str) -> None:
    """Refuse the file of an area that lies in none of `sources`, the folders that DVC watches.

    Raises:
        SceneError: when it does; the message begins with `key`.
    """
    if not isinstance(area, AreaFileConf):
        return
    path = Path(area.path)
    if reason := unwatched(path, sources):
        raise SceneError(f"{key} is {area.path!r}, which {reason}.")
    if warning := open_edits(path):
        print(f"warning: {warning}", file=sys.stderr)


def in_whole_squares(grid: PixelGrid, bounds: Area) -> Window:
    """The pixels of a grid between some bounds in its CRS that have some, grown to whole 60 m."""
    return covering(grid, to_whole_squares(bounds)) or grid.window


def pixels_inside(shape: BaseGeometry, grid: PixelGrid) -> npt.NDArray[np.bool_]:
    """Whether the centre of each pixel (H, W) of a grid lies in a shape, which has its CRS."""
    box = shapely.box(*grid.bounds)
    if not shapely.intersects(shape, box):
        return np.zeros((grid.height, grid.width), dtype=bool)
    if shapely.covers(shape, box):
        return np.ones((grid.height, grid.width), dtype=bool)
    # of a coast line with many corners, those elsewhere would be followed each time
    near = shapely.clip_by_rect(shape, *grid.bounds)
    return rasterized([] if near.is_empty else [(near, 1)], grid, "uint8") > 0


def mirrored_inside(shape: BaseGeometry, scene: PixelGrid, window: Window) -> npt.NDArray[np.bool_]:
    """Which pixels (H, W) of a window lie in a shape; those beyond the scene's edge are mirrored."""
    rows, cols = (
        mirror_index(at, size) for at, size in ((window.rows, scene.height), (window.cols, scene.width))
    )
    top, left = int(rows.min()), int(cols.min())
    part = Window(top, left, int(rows.max()) - top + 1, int(cols.max()) - left + 1)
    inside = pixels_inside(shape, scene.part(part))
    return inside[np.ix_(rows - top, cols - left)]


def rasterized(
    shapes: Iterable[tuple[BaseGeometry, int]], grid: PixelGrid, dtype: str
) -> npt.NDArray[Any]:
    """The values of polygons at the pixels (H, W) whose centres they hold; the last wins, else 0."""
    pairs, size = list(shapes), (grid.height, grid.width)
    if not pairs:
        return np.zeros(size, dtype=dtype)
    with _RASTERIZING:
        values: npt.NDArray[Any] = rasterize(pairs, size, transform=grid.transform, dtype=dtype)
    return values


def _read(path: str, layer: str | None) -> gpd.GeoDataFrame:
    if Path(path).suffix.lower() in _PARQUET:
        return gpd.read_parquet(path)
    name = vectors_for_gdal(path)
    layers = [str(found) for found, kind in pyogrio.list_layers(name) if kind is not None]
    if problem := layer_problem(layer, layers):
        raise SceneError(f"the area {path} has {problem}.")
    return gpd.read_file(name, layer=layer or layers[0], columns=[])


def _around(grid: PixelGrid, crs: CRS) -> BaseGeometry:
    """A box in a CRS around the ground of a grid and some of its surroundings."""
    to_own = transformer(grid.epsg, crs)
    left, bottom, right, top = grid.bounds
    margin = 0.1 * max(right - left, top - bottom)
    bounds: Area = to_own.transform_bounds(left - margin, bottom - margin, right + margin, top + margin)
    return outline(bounds) if crs.is_geographic else shapely.box(*bounds)


def _polygons(shape: BaseGeometry) -> BaseGeometry:
    """The polygons of a shape, without the points and lines of a cut along an edge."""
    parts = shapely.get_parts(shapely.get_parts(shape))
    return shapely.union_all([part for part in parts if part.area > 0])
