"""Areas in degrees and grids."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from pyproj import Transformer
from shapely.geometry.base import BaseGeometry

from pipeline.geo.raster.area import (
    area_around,
    cut_at_antimeridian,
    enclosing,
    outline,
    region,
    window_of,
)
from pipeline.geo.raster.grid import PixelGrid
from tests.support.catalogs import degrees
from tests.support.examples import examples


def test_the_box_holds_all_squares_of_all_zones():
    epsg = np.array([32633, 32633, 32632])
    x, y = (
        np.array([330_000.0, 345_000.0, 690_000.0]),
        np.array([5_818_000.0, 5_810_000.0, 5_900_000.0]),
    )
    west, south, east, north = region(epsg, x, y, 160.0)
    for code, easting, northing in zip(epsg, x, y, strict=True):
        to_world = Transformer.from_crs(f"EPSG:{code}", "EPSG:4326", always_xy=True)
        for right in (-80, 80):
            for up in (-80, 80):
                lon, lat = to_world.transform(easting + right, northing + up)
                assert west <= lon <= east
                assert south <= lat <= north
    alone = region(epsg[:1], x[:1], y[:1], 160.0)
    assert alone[2] - alone[0] == pytest.approx(160 / 111_320 / np.cos(np.radians(52.5)), rel=0.05)
    assert alone[3] - alone[1] == pytest.approx(160 / 111_320, rel=0.05)


def test_ground_on_both_sides_of_the_antimeridian_has_a_west_above_its_east():
    # zone 60 reaches past 180 degrees
    x, y = np.array([820_000.0, 830_000.0, 840_000.0]), np.full(3, 1_000_000.0)
    west, south, east, north = region(np.full(3, 32660), x, y, 20_000.0)
    assert 179.8 < west < 180
    assert -180 < east < -179.7
    assert 8.9 < south < north < 9.2
    # the same ground, half of it seen from zone 1
    seen = Transformer.from_crs(32660, 32601, always_xy=True).transform(x[1:], y[1:])
    both = (np.append(x[0], own) for own in seen[:1]), (np.append(y[0], own) for own in seen[1:])
    (mixed_x,), (mixed_y,) = both
    mixed = region(np.array([32660, 32601, 32601]), mixed_x, mixed_y, 20_000.0)
    assert mixed == pytest.approx((west, south, east, north), abs=0.01)


def test_a_crs_whose_axes_begin_in_the_north_is_no_other_place():
    # ETRS89-LAEA, in which EPSG writes northing first
    west, south, east, north = region(
        np.array([3035]), np.array([4_321_000.0]), np.array([3_210_000.0]), 160
    )
    assert (west + east) / 2 == pytest.approx(10, abs=1e-3)
    assert (south + north) / 2 == pytest.approx(52, abs=1e-3)


@pytest.mark.parametrize("inset", [0, 7, 100])
def test_windows_of_all_resolutions_cover_the_same_ground(inset: int) -> None:
    grid = PixelGrid(32633, 399_960.0, 5_800_020.0, 1098, 1098)
    area = degrees(grid, inset)
    bounds = set()
    for pixel_m in (10.0, 20.0, 60.0):
        side = int(10_980 / pixel_m)
        native = PixelGrid(32633, grid.x0, grid.y0, side, side, pixel_m)
        window = window_of(native, tuple(area), "")
        x0, y0 = native.transform @ (window.col, window.row)
        bounds.add((x0, y0, window.height * pixel_m, window.width * pixel_m))
    ((x0, y0, height, width),) = bounds
    assert (x0 - grid.x0) % 60 == 0
    assert x0 <= grid.x0 + 10 * inset
    assert y0 >= grid.y0 - 10 * inset
    assert min(height, width) >= 10_980 - 20 * inset
    assert max(height, width) <= 10_980 - 20 * inset + 600


FIJI = (179.9, -17.5, -179.8, -17.0)


@pytest.mark.parametrize(("epsg", "x0"), [(32760, 808_020.0), (32701, 169_980.0)])
def test_an_area_across_the_antimeridian_in_scenes_of_both_zones(epsg: int, x0: float) -> None:
    """A scene of 30 km around the meridian, at 17 degrees south; the area reaches past it both ways."""
    grid = PixelGrid(epsg, x0, 8_112_000.0, 3000, 3000)
    window = window_of(grid, (179.95, -17.12, -179.93, -17.08), "a")
    left, bottom, right, top = grid.part(window).bounds
    to_world = Transformer.from_crs(epsg, "OGC:CRS84", always_xy=True)
    corners = [to_world.transform(x, y) for x in (left, right) for y in (bottom, top)]
    wests = [longitude % 360 for longitude, _ in corners]
    assert min(wests) == pytest.approx(179.95, abs=0.003)
    assert max(wests) == pytest.approx(180.07, abs=0.003)
    # as far as 180 degrees only
    half = window_of(grid, (179.95, -17.12, 180.0, -17.08), "a")
    assert half.width < window.width
    assert half.col == window.col


@pytest.mark.parametrize(
    ("areas", "expected"),
    [
        ([(10, 1, 11, 2)], (10, 1, 11, 2)),
        ([(10, 1, 11, 2), (12, -3, 14, 0)], (10, -3, 14, 2)),
        ([(179, 1, 180, 2), (-180, 1, -179, 2)], (179, 1, -179, 2)),
        ([(179, 1, -179, 2)], (179, 1, -179, 2)),
        ([(170, 1, 172, 2), (-178, 0, -177, 2)], (170, 0, -177, 2)),
        ([(179, 1, -170, 2), (-179.9, 1, -179.8, 2), (-160, 1, -150, 2)], (179, 1, -150, 2)),
        ([(179, 1, -170, 2), (-160, 1, 178, 2)], (-160, 1, -170, 2)),
        ([(-120, 1, 10, 2), (0, 1, 130, 2), (120, 1, -110, 2)], (-180, 1, 180, 2)),
        ([(-180, -90, 180, 90)], (-180, -90, 180, 90)),
    ],
)
def test_the_smallest_area_around_areas(
    areas: list[tuple[float, ...]], expected: tuple[float, ...]
) -> None:
    assert enclosing(areas) == expected
    assert enclosing(areas[::-1]) == expected


@examples(60)
@given(
    st.lists(st.tuples(st.integers(-180, 179), st.integers(1, 120)), min_size=1, max_size=6),
)
def test_each_area_lies_in_the_smallest_around_them(spans: list[tuple[int, int]]) -> None:
    areas = [(west, 0, (west + wide + 180) % 360 - 180, 1) for west, wide in spans]
    west, _, east, _ = enclosing(areas)
    if (west, east) == (-180, 180):
        held = set(range(360))
    else:
        held = {step % 360 for step in range(round(west), round(west + (east - west) % 360))}
    covered = {(first + step) % 360 for first, wide in spans for step in range(wide)}
    assert covered <= held
    # as small as it can be: nothing wider is free than what it leaves out
    free = 360 - len(held)
    assert all(any((start + step) % 360 in covered for step in range(free + 1)) for start in range(360))


def ring(*longitudes: float) -> BaseGeometry:
    """A strip from 1 to 3 degrees north through some longitudes and back."""
    there = [(longitude, 1.0) for longitude in longitudes]
    return shapely.Polygon([*there, *((longitude, 3.0) for longitude in longitudes[::-1])])


def cut(shape: BaseGeometry) -> BaseGeometry:
    return cut_at_antimeridian(np.array([shape], dtype=np.object_))[0]


@pytest.mark.parametrize(
    "shape",
    [ring(178, 179.5, -179), ring(178, 181), ring(-182, -179), ring(-179, 178), ring(178, -179)],
)
def test_a_shape_across_the_antimeridian_is_cut_there(shape: BaseGeometry) -> None:
    found = cut(shape)
    assert found.geom_type == "MultiPolygon"
    assert found.is_valid
    assert found.equals(shapely.union_all([shapely.box(178, 1, 180, 3), shapely.box(-180, 1, -179, 3)]))
    assert all(part.exterior.is_ccw for part in found.geoms)
    assert area_around(found) == (178, 1, -179, 3)
    assert outline((178, 1, -179, 3)).equals(found)


def test_a_hole_stays_where_it_is() -> None:
    holed = shapely.Polygon(
        [(178, 1), (-178, 1), (-178, 3), (178, 3)], [[(179, 1.5), (-179, 1.5), (-179, 2), (179, 2)]]
    )
    found = cut(holed)
    assert found.area == pytest.approx(4 * 2 - 2 * 0.5)
    assert not found.covers(shapely.Point(180, 1.7))
    assert not found.covers(shapely.Point(-179.5, 1.7))
    assert found.covers(shapely.Point(-178.5, 1.7))


def test_shapes_elsewhere_stay_as_they_are() -> None:
    shapes = np.array([ring(10, 12), ring(-180, -179), ring(179, 180), ring(-80, 90)], dtype=object)
    found = cut_at_antimeridian(shapes)
    assert all(one is other for one, other in zip(found, shapes, strict=True))
    world = shapely.box(-180, -90, 180, 90)
    assert cut(world).equals(world)
    already = outline(FIJI)
    assert cut(already).equals(already)
    assert len(cut_at_antimeridian(np.empty(0, dtype=object))) == 0


def test_a_shape_around_a_pole_holds_it() -> None:
    arctic = shapely.Polygon([(-135, 70), (-45, 75), (45, 70), (135, 72)])
    found = cut(arctic)
    assert found.equals(shapely.box(-180, 70, 180, 90))
    south = shapely.transform(arctic, lambda points: points * [1, -1])
    assert cut(south).equals(shapely.box(-180, -90, 180, -70))
