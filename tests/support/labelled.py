"""Makers of label files, and of scenes that are only a grid."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import shapely

from pipeline.config.classes import ClassesConf
from pipeline.config.labels import VectorLabelConf
from pipeline.config.tile import TileConf
from pipeline.geo.labels.polygons import PolygonLabels
from pipeline.geo.patches.positions import Positions, labelled_positions
from pipeline.geo.patches.scene_patches import StripPatches
from pipeline.geo.raster.grid import PixelGrid
from pipeline.geo.scenes.scene import Scene
from pipeline.store_meta import SceneInfo

EPSG = 32633
COLORS = ("#1b9e77", "#d95f02", "#7570b3", "#e7298a")


def make_labels(
    path: Path, features: Sequence[tuple[Any, Any]], attribute: str = "kind", crs: Any = EPSG
) -> VectorLabelConf:
    """Write a file of (value, geometry) pairs, coordinates in `crs`, and describe it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    values = [value for value, _ in features]
    frame = gpd.GeoDataFrame({attribute: values}, geometry=[g for _, g in features], crs=crs)
    frame.to_file(path)
    return VectorLabelConf(path=str(path), attribute=attribute)


def make_classes(*names: str, **more: Any) -> ClassesConf:
    """Classes of some names; `more` are further keys of the conf."""
    listed = [{"name": name, "color": COLORS[i]} for i, name in enumerate(names)]
    return ClassesConf.model_validate({"classes": listed, "credit": "made up"} | more)


def px_box(grid: PixelGrid, row: float, col: float, height: float, width: float) -> shapely.Polygon:
    """A rectangle given in pixels of a grid, in its CRS."""
    x, y = (grid.x0 + 10 * col, grid.y0 - 10 * row)
    return shapely.box(x, y - 10 * height, x + 10 * width, y)


def bare_scene(grid: PixelGrid, name: str = "s1") -> Scene:
    """A scene without pixels."""
    info = SceneInfo(
        id=name,
        epsg=grid.epsg,
        datetime="2021-05-06T10:21:01Z",
        platform=None,
        level="L1C",
        baseline=None,
        checksum="",
    )
    return Scene(name, Path(name), grid, {}, None, {}, info)


def positions_of(scene: Scene, **keys: int) -> Positions:
    """All positions of a scene; its west is class 0, its east class 1."""
    conf = TileConf(labels=[VectorLabelConf(path="", attribute="")], **({"stride_px": 4} | keys))
    half = scene.grid.width // 2
    rest = scene.grid.width - half
    shapes = [
        px_box(scene.grid, 0, 0, scene.grid.height, half),
        px_box(scene.grid, 0, half, scene.grid.height, rest),
    ]
    labels = PolygonLabels(
        scene.grid,
        np.array(shapes, dtype=object),
        np.arange(2, dtype=np.int16),
        numbers=np.arange(2, dtype=np.int32),
    )
    return labelled_positions(scene, labels, conf, 2)


def all_of(cuts: list[StripPatches]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, int]:
    """Row, col, pixels and valid shares of some cuts, and how many more were invalid."""
    return (
        np.concatenate([cut.positions.row for cut in cuts]),
        np.concatenate([cut.positions.col for cut in cuts]),
        np.concatenate([piece.copy() for cut in cuts for piece in cut.pieces()]),
        np.concatenate([cut.valid for cut in cuts]),
        sum(cut.invalid for cut in cuts),
    )
