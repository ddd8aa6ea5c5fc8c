"""Features of label files, each with its class: checked, counted, brought to a scene.

What follows from the file alone is checked here, once for all scenes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import shapely
from pyproj import CRS
from pyproj.exceptions import ProjError

from pipeline.config.classes import ClassesConf
from pipeline.config.labels import VectorLabelConf
from pipeline.errors import LabelError
from pipeline.geo.labels.encodings import misread
from pipeline.geo.labels.vector_files import read_frame
from pipeline.geo.raster.area import cut_at_antimeridian, transformer
from pipeline.geo.raster.grid import PixelGrid

Shapes = npt.NDArray[np.object_]

AREAL = (shapely.GeometryType.POLYGON,)
PUNCTUAL = (shapely.GeometryType.POINT,)
_MULTIPLE = (
    shapely.GeometryType.MULTIPOINT,
    shapely.GeometryType.MULTILINESTRING,
    shapely.GeometryType.MULTIPOLYGON,
    shapely.GeometryType.GEOMETRYCOLLECTION,
)
_EDGE_POINTS = 21
"""Points along each edge of a scene that are looked up in the CRS of the labels: the edge bends."""


@dataclass(frozen=True)
class Features:
    """Features of one source of labels, in its CRS, in the order of the file.

    One of several parts, such as all polygons of a class dissolved into one, stands once a part.
    """

    conf: VectorLabelConf
    crs: CRS
    shapes: Shapes
    classes: npt.NDArray[np.int16]
    """Class of each, 0-based."""
    numbers: npt.NDArray[np.int32]
    """Row of each in the file; further parts of a feature are numbered on behind the last row, and the
    files on behind each other."""
    counts: dict[str, int]
    """What was found in the file, by what it is: `features` are its rows; they, or `single_parts` where
    there are more of those, are the sum of `polygons` or `points`, which label ground, `ignored`
    (without a value, or with one that the conf ignores), `empty` (no geometry, or one without area) and
    `other` (of another kind); `repaired` are polygons that were invalid and were mended."""

    def intersecting(self, grid: PixelGrid) -> tuple[Shapes, npt.NDArray[np.intp]]:
        """The features that intersect a scene, in its CRS, and their indices among all of them.

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
        intersecting = shapely.intersects(shapes, shapely.box(*grid.bounds))
        return shapes[intersecting], near[intersecting]

    def _near(self, grid: PixelGrid) -> npt.NDArray[np.intp]:
        """Indices of the features whose bounds intersect those of the scene.

        Only these are reprojected: far from a UTM zone its coordinates are not defined.
        """
        left, bottom, right, top = transformer(grid.epsg, self.crs).transform_bounds(
            *grid.bounds, densify_pts=_EDGE_POINTS
        )
        west, south, east, north = shapely.bounds(self.shapes).reshape(-1, 4).T
        # a scene at the 180th meridian has its left edge east of its right one
        across = (west <= right) & (east >= left) if left <= right else (west <= right) | (east >= left)
        return np.flatnonzero(across & (south <= top) & (north >= bottom))


@dataclass(frozen=True)
class FileFeatures:
    """All features of a vector file, with their classes."""

    conf: VectorLabelConf
    classes_file: str
    """For the messages."""
    crs: CRS
    rows: int
    """Features in the file."""
    shapes: Shapes
    """All features, part by part, without heights."""
    numbers: npt.NDArray[np.int32]
    """Number of each, as in `Features`."""
    classes: npt.NDArray[np.int16]
    """Class of each, -1 without one."""
    empty: npt.NDArray[np.bool_]
    """Whether each has no geometry."""

    @property
    def ignored(self) -> npt.NDArray[np.bool_]:
        """Whether each has a geometry and no class."""
        return ~self.empty & (self.classes < 0)

    def of(self, kinds: Iterable[int]) -> npt.NDArray[np.intp]:
        """The indices of those with a class whose geometries are of some kinds."""
        kind = np.isin(shapely.get_type_id(self.shapes), list(kinds))
        return np.flatnonzero(kind & ~self.empty & ~self.ignored)

    def counts(self, of_kind: int, kept: int, name: str) -> dict[str, int]:
        """The counts of a source of which `of_kind` features have its kind and `kept` label ground.

        Raises:
            LabelError: when none does.
        """
        total, ignored, empty = len(self.shapes), int(self.ignored.sum()), int(self.empty.sum())
        counts = {"features": self.rows} | ({"single_parts": total} if total > self.rows else {})
        counts |= {name: kept, "ignored": ignored}
        counts |= {"empty": empty + of_kind - kept, "other": total - of_kind - ignored - empty}
        if not kept:
            raise LabelError(self._nothing(counts))
        return counts

    def _nothing(self, counts: Mapping[str, int]) -> str:
        """Why none of the features labels ground, and what to do."""
        path = self.conf.path
        if not counts["features"]:
            return f"{path} holds no features; draw some, or name another layer or file."
        reasons = {
            "ignored": (
                f"have no value of {self.conf.attribute!r} or one that {self.classes_file} ignores",
                f"list its values under the classes of {self.classes_file}",
            ),
            "empty": ("are empty or have no area", "draw them again"),
            "other": ("are neither polygons nor points", "buffer them first"),
        }
        remedy = reasons[max(reasons, key=lambda key: counts[key])][1]
        why = ", ".join(f"{counts[key]} {text}" for key, (text, _) in reasons.items() if counts[key])
        return f"none of the {len(self.shapes)} features of {path} labels ground: {why}; {remedy}."


def find_features(conf: VectorLabelConf, classes: ClassesConf, file: str) -> FileFeatures:
    """The features of a vector file and the class of each.

    Raises:
        LabelError: when the file cannot be read, has no CRS, lacks the attribute, or holds a value
            that is no class or a coordinate that is no number.
    """
    frame = read_frame(conf)
    labels = _classes_of(frame[conf.attribute], conf, classes, file)
    shapes = shapely.force_2d(frame.geometry.to_numpy())
    _require_finite(shapes, conf)
    parts, rows = _single_parts(shapes)
    if CRS(frame.crs).is_geographic:
        parts, of = _single_parts(cut_at_antimeridian(parts))
        rows = rows[of]
    numbers, further = rows.astype(np.int32), np.flatnonzero(rows[1:] == rows[:-1]) + 1
    numbers[further] = len(shapes) + np.arange(len(further))
    empty = shapely.is_missing(parts) | shapely.is_empty(parts)
    return FileFeatures(conf, file, CRS(frame.crs), len(shapes), parts, numbers, labels[rows], empty)


def _single_parts(shapes: Shapes) -> tuple[Shapes, npt.NDArray[np.intp]]:
    """The parts of all shapes in their order, and the row of each; one without any stays as it is."""
    rows = np.arange(len(shapes))
    while True:
        several = np.isin(shapely.get_type_id(shapes), _MULTIPLE) & ~shapely.is_empty(shapes)
        if not several.any():
            return shapes, rows
        parts, of = shapely.get_parts(shapes[several], return_index=True)
        shapes = np.concatenate([shapes[~several], parts])
        rows = np.concatenate([rows[~several], rows[several][of]])
        order = np.argsort(rows, kind="stable")
        shapes, rows = shapes[order], rows[order]


def meanings(classes: ClassesConf) -> dict[str | int, int]:
    """The class of each label value, -1 for those to ignore."""
    known = {value: label for label, c in enumerate(classes.classes) for value in c.label_values}
    return known | dict.fromkeys(classes.ignore, -1)


def unknown_values(counts: Mapping[Any, int], unit: str, file: str) -> str:
    """What is wrong with values that are no class, by how often they occur, and what to do."""
    by_count = sorted(counts.items(), key=lambda item: (-item[1], str(item[0])))
    shown = ", ".join(f"{repr(value)[:80]} ({count} {unit})" for value, count in by_count[:8])
    more = f" and {len(by_count) - 8} more" if len(by_count) > 8 else ""
    return (
        f"{shown}{more}, which is no class; list it in {file}, under the `values` of a class or under "
        "`ignore`."
    )


def _classes_of(
    values: Any, conf: VectorLabelConf, classes: ClassesConf, file: str
) -> npt.NDArray[np.int16]:
    """The class of each feature, -1 where it has no value or an ignored one."""
    known = meanings(classes)
    try:
        counts = Counter(values.dropna().tolist())
    except TypeError:
        raise LabelError(
            f"{conf.path}: attribute {conf.attribute!r} holds lists or the like; it must hold one "
            "text or number a feature."
        ) from None
    if unknown := {value: count for value, count in counts.items() if value not in known}:
        if wrong := misread(
            (value for value in unknown if isinstance(value, str)),
            {value for value in known if isinstance(value, str)},
        ):
            raise LabelError(f"{conf.path}: attribute {conf.attribute!r}: {wrong}.")
        listed = unknown_values(unknown, "features", file)
        raise LabelError(f"{conf.path}: attribute {conf.attribute!r} holds {listed}")
    return np.fromiter(
        (-1 if missing else known[value] for value, missing in zip(values, values.isna(), strict=True)),
        dtype=np.int16,
        count=len(values),
    )


def _require_finite(shapes: Shapes, conf: VectorLabelConf) -> None:
    points, rows = shapely.get_coordinates(shapes, return_index=True)
    if len(odd := np.unique(rows[~np.isfinite(points).all(axis=1)])):
        raise LabelError(
            f"{conf.path}: of feature {odd[0] + 1} (there are {len(odd)} such) a coordinate is NaN or "
            "infinite; mend or delete it."
        )
