"""Makers of label files, and of scenes that are only a grid."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import geopandas as gpd
import shapely

from pipeline.config import ClassesConf, LabelConf
from pipeline.geo.grid import SceneGrid
from pipeline.geo.scene import Scene
from pipeline.store import SceneInfo

EPSG = 32633
COLORS = ("#1b9e77", "#d95f02", "#7570b3", "#e7298a")


def make_labels(
    path: Path, features: Sequence[tuple[Any, Any]], attribute: str = "kind", crs: Any = EPSG
) -> LabelConf:
    """Write a file of (value, geometry) pairs, coordinates in `crs`, and describe it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    values = [value for value, _ in features]
    frame = gpd.GeoDataFrame({attribute: values}, geometry=[g for _, g in features], crs=crs)
    frame.to_file(path)
    return LabelConf(path=str(path), attribute=attribute)


def make_classes(*names: str, **more: Any) -> ClassesConf:
    """Classes of some names; `more` are further keys of the conf."""
    listed = [{"name": name, "color": COLORS[i]} for i, name in enumerate(names)]
    return ClassesConf.model_validate({"classes": listed, "credit": "made up"} | more)


def px_box(grid: SceneGrid, row: float, col: float, height: float, width: float) -> shapely.Polygon:
    """A rectangle given in pixels of a grid, in its CRS."""
    x, y = (grid.x0 + 10 * col, grid.y0 - 10 * row)
    return shapely.box(x, y - 10 * height, x + 10 * width, y)


def bare_scene(grid: SceneGrid, name: str = "s1") -> Scene:
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
    return Scene(name, Path(name), grid, {}, None, info)
