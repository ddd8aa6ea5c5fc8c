"""Areas of interest: read from a conf, brought to the ground and the pixels of a grid."""

from __future__ import annotations

import warnings
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pyogrio
import pytest
import shapely
from pydantic import TypeAdapter
from pyproj import Transformer

from pipeline.config.area import AreaConf
from pipeline.errors import ConfigError, SceneError
from pipeline.geo.raster.area_of_interest import (
    AreaOfInterest,
    in_whole_squares,
    mirrored_inside,
    pixels_inside,
)
from pipeline.geo.raster.grid import PixelGrid, Window

GRID = PixelGrid(32633, 300_000.0, 5_800_020.0, 132, 120)
CONF: TypeAdapter[AreaConf] = TypeAdapter(AreaConf)


def area(raw: object) -> AreaOfInterest:
    return AreaOfInterest.read(CONF.validate_python(raw))


def centres(grid: PixelGrid, epsg: str) -> tuple[np.ndarray, np.ndarray]:
    """Where the centres of all pixels lie in a CRS, x and y."""
    x = grid.x0 + grid.pixel_m * (np.arange(grid.width) + 0.5)
    y = grid.y0 - grid.pixel_m * (np.arange(grid.height) + 0.5)
    to_other = Transformer.from_crs(grid.epsg, epsg, always_xy=True)
    return to_other.transform(*np.meshgrid(x, y))


@pytest.mark.parametrize("crs", ["EPSG:32633", "EPSG:32632", "EPSG:4326", "EPSG:3857", "EPSG:2154"])
def test_a_box_holds_the_pixels_whose_centres_lie_in_it_in_its_own_crs(crs: str) -> None:
    x, y = centres(GRID, crs)
    left, right = x.min() + np.ptp(x) * np.array([0.203, 0.707])
    bottom, top = y.min() + np.ptp(y) * np.array([0.303, 0.907])
    shape = area({"bbox": [left, bottom, right, top], "crs": crs}).on(GRID)
    expected = (left < x) & (x < right) & (bottom < y) & (y < top)
    assert 0.2 < expected.mean() < 0.8
    np.testing.assert_array_equal(pixels_inside(shape, GRID), expected)


def test_the_edge_of_a_wide_box_is_the_curve_that_it_is_in_another_crs() -> None:
    tile = PixelGrid(32633, 300_000.0, 5_800_020.0, 1830, 1830, 60.0)
    x, y = centres(tile, "EPSG:4326")
    west, south, east, north = box = [12.2, 51.5, 13.5, 52.2]
    expected = (west < x) & (x < east) & (south < y) & (y < north)
    straight = shapely.transform(
        shapely.box(*box),
        Transformer.from_crs("EPSG:4326", tile.epsg, always_xy=True).transform,
        interleaved=False,
    )
    assert (pixels_inside(straight, tile) != expected).sum() > 1000, "with corners alone"
    assert (pixels_inside(area(box).on(tile), tile) != expected).sum() <= 3


def test_a_box_of_its_own_crs_is_exact() -> None:
    box = [300_115.0, 5_799_015.0, 300_815.0, 5_799_515.0]
    shape = area({"bbox": box, "crs": "EPSG:32633"}).on(GRID)
    assert shape.normalize().equals_exact(shapely.box(*box).normalize(), 0)
    assert in_whole_squares(GRID, shape.bounds) == Window(48, 6, 54, 78), "whole 60 m around"


@pytest.mark.parametrize(
    "raw", [[-180, -90, 180, 90], {"bbox": [-2e7, -2e7, 2e7, 2e7], "crs": "EPSG:3857"}]
)
def test_an_area_much_larger_than_a_scene(raw: object) -> None:
    raw = [float(edge) for edge in raw] if isinstance(raw, list) else raw
    assert area(raw).on(GRID).equals(shapely.box(*GRID.bounds))


@pytest.mark.parametrize(
    "raw", [[100.0, -40.0, 101.0, -39.0], {"bbox": [0.0, 0.0, 1e4, 1e4], "crs": "EPSG:2193"}]
)
def test_an_area_elsewhere_is_empty(raw: object) -> None:
    shape = area(raw).on(GRID)
    assert shape.is_empty
    assert not pixels_inside(shape, GRID).any()


def test_a_box_across_the_antimeridian_reaches_the_scenes_of_both_sides() -> None:
    for epsg, x0 in ((32701, 176_000.0), (32760, 823_000.0)):  # zones 1 and 60, at 180 degrees
        grid = PixelGrid(epsg, x0, 8_000_040.0, 60, 60, 20.0)
        shape = area([179.5, -19.0, -179.5, -17.0]).on(grid)
        assert shape.area == pytest.approx(1200**2, rel=1e-6)


@pytest.mark.parametrize("crs", [32633, 4326, 3035])
@pytest.mark.parametrize("suffix", [".gpkg", ".geojson", ".parquet", ".shp"])
def test_a_file_of_polygons(tmp_path: Path, crs: int, suffix: str) -> None:
    corner = shapely.Polygon([(300_000, 5_800_020), (301_200, 5_800_020), (300_000, 5_798_700)])
    hole = shapely.box(300_100, 5_799_700, 300_300, 5_799_900)
    frame = gpd.GeoDataFrame({"n": [1]}, geometry=[corner - hole], crs=32633).to_crs(crs)
    path = tmp_path / f"town{suffix}"
    frame.to_parquet(path) if suffix == ".parquet" else frame.to_file(path)
    x, y = centres(GRID, "EPSG:32633")
    expected = shapely.contains_xy(corner - hole, x, y)
    found = pixels_inside(area(str(path)).on(GRID), GRID)
    assert (found != expected).mean() < 2e-4, "of the hypotenuse, on which pixels have their centres"
    assert not found[15:25, 12:28].any()


def test_the_layer_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "areas.gpkg"
    west, east = (
        shapely.box(*GRID.bounds[:2], 300_600, 5_800_020),
        shapely.box(300_600, *GRID.bounds[1:]),
    )
    for name, shape in (("west", west), ("east", east)):
        gpd.GeoDataFrame(geometry=[shape], crs=32633).to_file(path, layer=name)
    found = pixels_inside(area({"path": str(path), "layer": "east"}).on(GRID), GRID)
    assert not found[:, :60].any()
    assert found[:, 60:].all()
    with pytest.raises(
        SceneError, match=r"areas.gpkg has several layers; name one of west, east as `layer`"
    ):
        area(str(path))
    with pytest.raises(SceneError, match=r"has no layer 'town'; name one of west, east as `layer`\.$"):
        area({"path": str(path), "layer": "town"})


def test_what_is_no_area(tmp_path: Path) -> None:
    path = tmp_path / "area.gpkg"
    with pytest.raises(SceneError, match=r"the area .*area.gpkg cannot be read .*; give a vector file"):
        area(str(path))
    gpd.GeoDataFrame(geometry=[shapely.Point(1, 2)], crs=32633).to_file(path)
    with pytest.raises(SceneError, match="holds no polygon; draw one and save it again"):
        area(str(path))
    with warnings.catch_warnings(action="ignore"):
        gpd.GeoDataFrame(geometry=[shapely.box(1, 2, 3, 4)]).to_file(path)
    with pytest.raises(SceneError, match="has no CRS; assign the one it was drawn in"):
        area(str(path))
    for code, reason in {
        "EPSG:9999": "is no CRS that PROJ knows; name another one",
        "EPSG:4978": r"\(WGS 84\) has no plane of two axes; name a projected CRS",
    }.items():
        with pytest.raises(ConfigError, match=rf"^the area \[1.0, 2.0, 3.0, 4.0\]: {code} {reason}"):
            area({"bbox": [1.0, 2.0, 3.0, 4.0], "crs": code})


def test_a_table_without_geometries_is_no_layer(tmp_path: Path) -> None:
    path = tmp_path / "area.gpkg"
    pyogrio.write_dataframe(pd.DataFrame({"owner": ["town"]}), path, layer="owners")
    with pytest.raises(SceneError, match=r"area.gpkg has no layer; give another file\.$"):
        area(str(path))
    frame = gpd.GeoDataFrame(geometry=[shapely.box(*GRID.bounds)], crs=32633)
    frame.to_file(path, layer="town")
    assert pixels_inside(area(str(path)).on(GRID), GRID).all()


def test_pixels_beyond_the_edge_are_as_those_that_they_mirror() -> None:
    shape = shapely.box(GRID.x0, GRID.y0 - 300, GRID.x0 + 200, GRID.y0)
    inside = mirrored_inside(shape, GRID, Window(-20, -5, 60, 40))
    whole = np.zeros((132, 120), dtype=bool)
    whole[:30, :20] = True
    np.testing.assert_array_equal(inside, np.pad(whole, ((20, 0), (5, 0)), "symmetric")[:60, :40])
