"""Label polygons as their file has them: read, checked, mended, each with its class.

What can be told from the file alone is told here, once for all scenes; `labels.py` brings the
polygons to a scene.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import pyogrio
import shapely
from pyogrio.errors import DataLayerError, DataSourceError
from pyproj import CRS, Transformer
from pyproj.exceptions import ProjError

from pipeline.config.classes import ClassesConf
from pipeline.config.tile import LabelConf
from pipeline.errors import LabelError
from pipeline.geo.grid import SceneGrid

_AREAL = (shapely.GeometryType.POLYGON, shapely.GeometryType.MULTIPOLYGON)
_EDGE_POINTS = 21
"""Points along each edge of a scene that are looked up in the CRS of the labels: the edge bends."""


@dataclass(frozen=True)
class PolygonCounts:
    """What was found in label files; features = polygons + ignored + empty + other."""

    features: int = 0
    polygons: int = 0
    """Features that label ground."""
    ignored: int = 0
    """Those without a value, or with one that the conf ignores."""
    empty: int = 0
    """Those without a geometry, or whose geometry has no area."""
    other: int = 0
    """Points and lines among the polygons."""
    repaired: int = 0
    """Polygons that were invalid (crossing themselves) and were mended."""

    def __add__(self, more: PolygonCounts) -> PolygonCounts:
        """The counts of two files together."""
        return PolygonCounts(*(a + b for a, b in zip(astuple(self), astuple(more), strict=True)))


@dataclass(frozen=True)
class Polygons:
    """The polygons of one source of labels, in its CRS, in the order of the file."""

    conf: LabelConf
    crs: CRS
    shapes: npt.NDArray[np.object_]
    """Valid polygons and multipolygons."""
    classes: npt.NDArray[np.int16]
    """Class of each, 0-based."""
    numbers: npt.NDArray[np.int32]
    """Row of each in the file, the rows of several files counted on."""
    counts: PolygonCounts

    def on(self, grid: SceneGrid) -> tuple[npt.NDArray[np.object_], npt.NDArray[np.intp]]:
        """The polygons that touch a scene, in its CRS, and their places among all of them.

        Raises:
            LabelError: when there is no way from the CRS of the labels to that of the scene.
        """
        try:
            near = self._near(grid)
            shapes = gpd.GeoSeries(self.shapes[near], crs=self.crs).to_crs(grid.epsg).to_numpy()
        except ProjError as error:
            raise LabelError(
                f"{self.conf.path}: its CRS ({self.crs.name}) has no way to EPSG:{grid.epsg} of the "
                "scene; reproject the labels to it."
            ) from error
        touching = shapely.intersects(shapes, shapely.box(*grid.bounds))
        return shapes[touching], near[touching]

    def _near(self, grid: SceneGrid) -> npt.NDArray[np.intp]:
        """Places of the polygons whose bounds meet those of the scene.

        Only these are reprojected: far from a UTM zone its coordinates are not defined.
        """
        transformer = Transformer.from_crs(grid.epsg, self.crs, always_xy=True)
        left, bottom, right, top = transformer.transform_bounds(*grid.bounds, densify_pts=_EDGE_POINTS)
        west, south, east, north = shapely.bounds(self.shapes).reshape(-1, 4).T
        # a scene at the 180th meridian has its left edge east of its right one
        across = (west <= right) & (east >= left) if left <= right else (west <= right) | (east >= left)
        return np.flatnonzero(across & (south <= top) & (north >= bottom))


def read_sources(
    confs: Sequence[LabelConf], classes: ClassesConf, where: str = "classes.yaml"
) -> list[Polygons]:
    """The polygons of all sources of labels, numbered through.

    They are held in memory, a kilobyte or so each.

    Args:
        confs: The sources.
        classes: What their values mean.
        where: The file of `classes`, for the messages.

    Raises:
        LabelError: when a file cannot be read, has no CRS, lacks the attribute, holds a value that is
            no class, or no polygon.
    """
    sources: list[Polygons] = []
    for conf in confs:
        first = sum(source.counts.features for source in sources)
        sources.append(_read_source(conf, classes, where, first))
    return sources


def _read_source(conf: LabelConf, classes: ClassesConf, where: str, first: int) -> Polygons:
    frame = read_frame(conf)
    labels = _classes_of(frame[conf.attribute], conf, classes, where)
    raw = shapely.force_2d(frame.geometry.to_numpy())
    empty = shapely.is_missing(raw) | shapely.is_empty(raw)
    ignored = ~empty & (labels < 0)
    other = ~empty & ~ignored & ~np.isin(shapely.get_type_id(raw), _AREAL)
    if other.any() and not (~empty & ~ignored & ~other).any():
        kind = shapely.GeometryType(shapely.get_type_id(raw[other][0])).name.lower()
        raise LabelError(
            f"{conf.path} holds no polygons but {other.sum()} features such as a {kind}; labels are "
            "polygons for now: buffer them first."
        )
    rows = np.flatnonzero(~empty & ~ignored & ~other)
    invalid = ~shapely.is_valid(raw[rows])
    shapes = raw[rows]
    # the other method of GEOS would keep spikes as lines, which would be painted as pixels
    shapes[invalid] = shapely.make_valid(shapes[invalid], method="structure", keep_collapsed=False)
    whole = ~shapely.is_empty(shapes)
    counts = PolygonCounts(
        features=len(frame),
        polygons=int(whole.sum()),
        ignored=int(ignored.sum()),
        empty=int(empty.sum() + (~whole).sum()),
        other=int(other.sum()),
        repaired=int((invalid & whole).sum()),
    )
    numbers = (first + rows[whole]).astype(np.int32)
    return Polygons(conf, CRS(frame.crs), shapes[whole], labels[rows][whole], numbers, counts)


def _classes_of(
    values: Any, conf: LabelConf, classes: ClassesConf, where: str
) -> npt.NDArray[np.int16]:
    """The class of each feature, -1 where it has no value or an ignored one."""
    known = {value: place for place, c in enumerate(classes.classes) for value in c.label_values}
    known |= dict.fromkeys(classes.ignore, -1)
    there = values.dropna().unique().tolist()
    if unknown := [value for value in there if value not in known]:
        shown = ", ".join(map(repr, unknown[:8])) + (", ..." if len(unknown) > 8 else "")
        raise LabelError(
            f"{conf.path}: attribute {conf.attribute!r} holds {shown}, which is no class; list it in "
            f"{where}, under the `values` of a class or under `ignore`."
        )
    return np.fromiter(
        (-1 if missing else known[value] for value, missing in zip(values, values.isna(), strict=True)),
        dtype=np.int16,
        count=len(values),
    )


def read_frame(conf: LabelConf) -> gpd.GeoDataFrame:
    """The features of a source, with the one attribute that is asked for.

    Raises:
        LabelError: when file, layer, geometries, CRS or attribute are missing, or it cannot be read.
    """
    if not Path(conf.path).exists():
        raise LabelError(f"{conf.path} does not exist; correct the path of the labels.")
    try:
        layer = _layer(conf)
        info = pyogrio.read_info(conf.path, layer=layer)
        _require_usable(info, conf)
        return pyogrio.read_dataframe(conf.path, layer=layer, columns=[conf.attribute])
    except (DataSourceError, DataLayerError, ValueError, OSError) as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise LabelError(
            f"{conf.path} cannot be read as vectors ({reason}); give a GeoPackage, Shapefile or "
            "GeoJSON."
        ) from error


def _layer(conf: LabelConf) -> str:
    """The layer that is named, or the only one with geometries."""
    layers = [str(name) for name, kind in pyogrio.list_layers(conf.path) if kind is not None]
    if conf.layer is None and len(layers) == 1:
        return layers[0]
    if not layers:
        raise LabelError(f"{conf.path} has no geometries; give a layer of polygons.")
    if conf.layer in layers:
        return conf.layer
    what = "several layers" if conf.layer is None else f"no layer {conf.layer!r} with geometries"
    raise LabelError(f"{conf.path} has {what}; name one of {', '.join(layers)} as `layer`.")


def _require_usable(info: dict[str, Any], conf: LabelConf) -> None:
    if info["crs"] is None:
        raise LabelError(f"{conf.path} has no CRS; assign the one that its coordinates are in.")
    if conf.attribute not in info["fields"]:
        there = ", ".join(info["fields"]) or "none"
        raise LabelError(f"{conf.path} has no attribute {conf.attribute!r}; it has {there}.")
