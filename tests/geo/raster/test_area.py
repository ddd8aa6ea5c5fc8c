"""Areas in degrees and grids."""

from __future__ import annotations

import numpy as np
import pytest
from pyproj import Transformer

from pipeline.geo.raster.area import region, window_of
from pipeline.geo.raster.grid import PixelGrid
from tests.support.catalogs import degrees


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


def test_ground_on_both_sides_of_the_antimeridian_goes_the_whole_way_round():
    # zone 60 reaches past 180 degrees
    x, y = np.array([820_000.0, 830_000.0, 840_000.0]), np.full(3, 1_000_000.0)
    found = region(np.full(3, 32660), x, y, 20_000.0)
    assert (found[0], found[2]) == (-180, 180)
    assert 8.9 < found[1] < found[3] < 9.2


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
