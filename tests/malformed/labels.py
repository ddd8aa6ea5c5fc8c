"""Labels that are somewhere else, mean nothing or label no ground."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import shapely

from pipeline.geo.raster.grid import PixelGrid
from tests.malformed.case import Case
from tests.support.labelled import px_box
from tests.support.worlds import GRID, positions, write_bands_folder, write_raster

_CLASSES = {
    "credit": "made up",
    "classes": [
        {"name": "wood", "color": "#1b9e77", "values": ["wood", 1]},
        {"name": "water", "color": "#d95f02", "values": ["water", 2]},
    ],
}


def _confs(folder: Path, *labels: dict[str, Any], **tile: Any) -> dict[str, Any]:
    """A good scene, and labels of some kind."""
    bands = write_bands_folder(folder / "bands", GRID, {"B02": positions(GRID)})
    scene = {"id": "s1", "datetime": "2021-05-06T10:21:01Z", "scale": 0.0001, "offset": 0.0}
    return {
        "fetch.yaml": {"train": [scene | {"path": str(bands)}], "map": "train"},
        "tile.yaml": {"labels": list(labels)} | tile,
        "classes.yaml": _CLASSES,
    }


def vectors(
    folder: Path, features: Sequence[tuple[Any, Any]], crs: Any = GRID.epsg, name: str = "labels.gpkg"
) -> dict[str, Any]:
    """A good scene and a file of (value, geometry) pairs."""
    folder.mkdir(parents=True, exist_ok=True)
    values, shapes = [value for value, _ in features], [shape for _, shape in features]
    frame = gpd.GeoDataFrame({"kind": values}, geometry=shapes, crs=crs)
    with warnings.catch_warnings(action="ignore", category=UserWarning):
        frame.to_file(folder / name)
    return _confs(folder, {"path": str(folder / name), "attribute": "kind"})


def field(value: Any = "wood") -> tuple[Any, shapely.Polygon]:
    return value, px_box(GRID, 20, 20, 40, 40)


def _another_continent(folder: Path) -> dict[str, Any]:
    return vectors(folder, [("wood", shapely.box(-78.0, 37.0, -77.9, 37.1))], 4326)


def _swapped_axes(folder: Path) -> dict[str, Any]:
    x, y = GRID.x0 + 300, GRID.y0 - 300
    return vectors(folder, [("wood", shapely.box(y, x, y + 400, x + 400))])


def _no_crs(folder: Path) -> dict[str, Any]:
    return vectors(folder, [field()], crs=None)


def _nan(folder: Path) -> dict[str, Any]:
    x, y = GRID.x0, GRID.y0
    ring = [(x, y), (x + 900, y), (np.nan, np.nan), (x, y - 900), (x, y)]
    with np.errstate(invalid="ignore"):
        polygon = shapely.Polygon(ring)
    return vectors(folder, [field(), ("wood", polygon)])


def _bow_ties(folder: Path) -> dict[str, Any]:
    """Mended, each is two triangles that leave most of every cell without a class."""
    ties = []
    for row in range(12, 108, 24):
        x, y = GRID.x0 + 300, GRID.y0 - 10 * row
        ties.append(shapely.Polygon([(x, y), (x + 80, y - 80), (x + 80, y), (x, y - 80)]))
    assert not shapely.is_valid(ties).any()
    return vectors(folder, [("wood", tie) for tie in ties])


def _collapsed(folder: Path) -> dict[str, Any]:
    x, y = GRID.x0 + 300, GRID.y0 - 300
    there_and_back = shapely.Polygon([(x, y), (x + 400, y - 400), (x, y)])
    return vectors(folder, [("wood", there_and_back)])


def _empty_layer(folder: Path) -> dict[str, Any]:
    return vectors(folder, [])


def _empty_geometries(folder: Path) -> dict[str, Any]:
    return vectors(folder, [("wood", shapely.Polygon()), ("water", None)])


def _unknown_value(folder: Path) -> dict[str, Any]:
    return vectors(folder, [field(), field("sea")])


def _all_ignored(folder: Path) -> dict[str, Any]:
    confs = vectors(folder, [field("road")])
    confs["classes.yaml"] = _CLASSES | {"ignore": ["road"]}
    return confs


def _lines(folder: Path) -> dict[str, Any]:
    line = shapely.LineString([(GRID.x0, GRID.y0), (GRID.x0 + 900, GRID.y0 - 900)])
    return vectors(folder, [("wood", line)])


def _no_attribute(folder: Path) -> dict[str, Any]:
    confs = vectors(folder, [field()])
    confs["tile.yaml"]["labels"][0]["attribute"] = "landuse"
    return confs


def _no_file(folder: Path) -> dict[str, Any]:
    return _confs(folder, {"path": str(folder / "labels.gpkg"), "attribute": "kind"})


def _table(folder: Path) -> dict[str, Any]:
    confs = _confs(folder, {"path": str(folder / "labels.csv"), "attribute": "kind"})
    (folder / "labels.csv").write_text("kind,x,y\nwood,300500,5799500\n")
    return confs


def _no_vectors(folder: Path) -> dict[str, Any]:
    confs = _confs(folder, {"path": str(folder / "labels.gpkg"), "attribute": "kind"})
    (folder / "labels.gpkg").write_text("no GeoPackage")
    return confs


def _several_layers(folder: Path) -> dict[str, Any]:
    confs = vectors(folder, [field()])
    more = gpd.GeoDataFrame({"kind": ["water"]}, geometry=[field()[1]], crs=GRID.epsg)
    more.to_file(folder / "labels.gpkg", layer="lakes")
    return confs


def _points_outside(folder: Path) -> dict[str, Any]:
    return vectors(folder, [("wood", shapely.Point(GRID.x0 - 5, GRID.y0 - 5))])


def _codes(
    folder: Path, pixels: np.ndarray, grid: PixelGrid | None = GRID, **more: Any
) -> dict[str, Any]:
    """A good scene and a raster of codes."""
    confs = _confs(folder, {"raster": str(folder / "cover.tif")})
    write_raster(folder / "cover.tif", pixels, grid, **more)
    return confs


def _cover(value: int = 1) -> np.ndarray:
    return np.full((GRID.height, GRID.width), value, dtype=np.uint8)


def _float_codes(folder: Path) -> dict[str, Any]:
    return _codes(folder, _cover() + np.float32(0.5))


def _codes_without_crs(folder: Path) -> dict[str, Any]:
    return _codes(folder, _cover(), None, transform=GRID.transform)


def _codes_elsewhere(folder: Path) -> dict[str, Any]:
    there = PixelGrid(GRID.epsg, GRID.x0 + 90_000, GRID.y0, GRID.height, GRID.width)
    return _codes(folder, _cover(), there)


def _unknown_code(folder: Path) -> dict[str, Any]:
    return _codes(folder, _cover(7))


def _only_nodata(folder: Path) -> dict[str, Any]:
    return _codes(folder, _cover(0), nodata=0)


def _no_codes_in_conf(folder: Path) -> dict[str, Any]:
    confs = _codes(folder, _cover())
    listed = [{"name": n, "color": c, "values": [n]} for n, c in (("a", "#000000"), ("b", "#ffffff"))]
    confs["classes.yaml"] = {"credit": "made up", "classes": listed}
    return confs


def _codes_cut_off(folder: Path) -> dict[str, Any]:
    confs = _codes(folder, np.random.default_rng(0).integers(1, 3, (132, 120)).astype(np.uint8))
    path = folder / "cover.tif"
    path.write_bytes(path.read_bytes()[:4_000])
    return confs


def _of_other_days(folder: Path) -> dict[str, Any]:
    confs = vectors(folder, [field()])
    confs["tile.yaml"]["labels"][0]["valid_from"] = "2022-01-01"
    return confs


def _of_no_scene(folder: Path) -> dict[str, Any]:
    confs = vectors(folder, [field()])
    confs["tile.yaml"]["labels"][0]["scenes"] = ["s2"]
    return confs


def _no_labels(folder: Path) -> dict[str, Any]:
    return _confs(folder)


def _mixed_levels(folder: Path) -> dict[str, Any]:
    confs = vectors(folder, [field()])
    first = confs["fetch.yaml"]["train"][0]
    confs["fetch.yaml"]["train"] = [first | {"level": "L1C"}, first | {"id": "s2", "level": "L2A"}]
    return confs


CASES = [
    Case(
        "another continent",
        _another_continent,
        r"labels\.gpkg\) do not overlap .*; give labels",
        "tile",
    ),
    Case("swapped axes", _swapped_axes, r"do not overlap the scene s1 .*; give labels", "tile"),
    Case("no CRS", _no_crs, r"labels\.gpkg has no CRS; assign the one", "tile"),
    Case("NaN coordinates", _nan, r"labels\.gpkg: of feature 2 .* NaN or infinite; mend or", "tile"),
    Case("only bow-ties", _bow_ties, r"no cell is left of .* impure.*; in .*tile\.yaml, lower", "tile"),
    Case(
        "polygons without area",
        _collapsed,
        r"of the 1 features .* are empty or have no area; d",
        "tile",
    ),
    Case("empty layer", _empty_layer, r"labels\.gpkg holds no features; draw some", "tile"),
    Case("empty geometries", _empty_geometries, r"2 features .*: 2 are empty .*; draw them", "tile"),
    Case("unknown class value", _unknown_value, r"labels\.gpkg: .* holds 'sea' .*; list it in", "tile"),
    Case("all values ignored", _all_ignored, r"of the 1 features .* ignores; list its values", "tile"),
    Case("lines", _lines, r"1 are neither polygons nor points; buffer them first", "tile"),
    Case("no such attribute", _no_attribute, r"has no attribute 'landuse'; it has kind", "tile"),
    Case("no such file", _no_file, r"labels\.gpkg does not exist; correct the path", "tile"),
    Case("table without geometries", _table, r"labels\.csv has no geometries, nor .*; name", "tile"),
    Case("no vectors", _no_vectors, r"labels\.gpkg cannot be read as vectors .*; give a Geo", "tile"),
    Case("several layers", _several_layers, r"has several layers; name one of", "tile"),
    Case("points outside", _points_outside, r"labels\.gpkg\) do not overlap the scene.*; give", "tile"),
    Case(
        "raster of no codes", _float_codes, r"cover\.tif holds 1\.5 near .*; give a raster of c", "tile"
    ),
    Case("raster without CRS", _codes_without_crs, r"cover\.tif has no CRS; assign one", "tile"),
    Case(
        "raster elsewhere", _codes_elsewhere, r"cover\.tif\) do not overlap the scene s1 .*; g", "tile"
    ),
    Case("unknown code", _unknown_code, r"cover\.tif holds 7 \(\d+ pixels .*; list it in", "tile"),
    Case(
        "raster of nodata", _only_nodata, r"cover\.tif\) do not overlap the scene s1 .*; give", "tile"
    ),
    Case("codes that no class has", _no_codes_in_conf, r"gives no class the codes of .*; list", "tile"),
    Case("raster cut off", _codes_cut_off, r"cover\.tif cannot be read .*: fetch or export", "tile"),
    Case("labels of other days", _of_other_days, r"are not valid on 2021-05-06, .*; change", "tile"),
    Case("labels of no scene", _of_no_scene, r"scenes' names 's2', but .*; correct it", "tile"),
    Case("no labels", _no_labels, r"tile\.yaml: key 'labels' is empty; say where", "tile"),
    Case(
        "mixed levels", _mixed_levels, r"mix processing levels \(s1 is L1C and s2 .*; train on", "tile"
    ),
]
"""Each is a cause of its own."""
