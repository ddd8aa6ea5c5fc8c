"""Where maps come to lie in the CRS of the map over all zones."""

from __future__ import annotations

import pytest
from pyproj import Transformer

from pipeline.errors import ConfigError
from pipeline.geo.mosaics.target_grid import grid_around, layout
from pipeline.geo.raster.area import crs_of
from pipeline.geo.raster.grid import PixelGrid

BERLIN = PixelGrid(32633, 380_000, 5_820_000, 100, 120, 80)
WEST = PixelGrid(32632, 700_000, 5_820_000, 60, 50, 80)
QUITO = PixelGrid(32717, 780_000, 9_980_000, 30, 30, 160)


@pytest.mark.parametrize("side", [0.1, 0.0012, 130.0, 80.0])
def test_a_grid_covers_with_whole_pixels_and_no_more(side: float) -> None:
    grid = grid_around("EPSG:3857", side, (10.2 * side, -3.5 * side, 14.1 * side, 7.0 * side))
    assert (grid.height, grid.width) == (11, 5)
    assert (grid.transform.c, grid.transform.f) == pytest.approx((10 * side, 7 * side))
    edges = grid_around("EPSG:3857", side, grid.bounds)
    assert edges == grid, "bounds that are pixel edges already gained a row"


@pytest.mark.parametrize("crs", ["EPSG:3857", "EPSG:3035", "EPSG:4326", "EPSG:32633"])
def test_each_corner_of_each_map_lies_inside_and_all_pixels_on_one_grid(crs: str) -> None:
    grids = [BERLIN, WEST]
    whole, parts = layout(crs, grids, "here")
    side = whole.transform.a
    for grid, part in zip(grids, parts, strict=True):
        to_crs = Transformer.from_crs(grid.epsg, crs, always_xy=True)
        for col, row in ((0, 0), (grid.width, 0), (0, grid.height), (grid.width, grid.height)):
            at_col, at_row = ~part.transform @ to_crs.transform(*(grid.transform @ (col, row)))
            assert -1e-6 <= at_col <= part.width + 1e-6
            assert -1e-6 <= at_row <= part.height + 1e-6
        offset = ~whole.transform @ (part.transform.c, part.transform.f)
        assert offset == pytest.approx((round(offset[0]), round(offset[1])), abs=1e-6)
        assert 0 <= round(offset[0]) <= whole.width - part.width
        assert 0 <= round(offset[1]) <= whole.height - part.height
        assert part.transform.a == side
        assert part.height * part.width < 4 * grid.height * grid.width


@pytest.mark.parametrize(("grid", "side"), [(BERLIN, 130), (QUITO, 160)])
def test_a_pixel_is_a_cell_as_large_as_it_comes_out_there(grid: PixelGrid, side: float) -> None:
    """Web Mercator stretches by 1 / cos(latitude): 1.64 at 52.5 degrees, 1 at the equator."""
    assert layout("EPSG:3857", [grid], "here")[0].transform.a == side


def test_the_smallest_of_the_cells_counts() -> None:
    coarse = PixelGrid(32633, 380_160, 5_820_160, 20, 20, 320)
    assert layout("EPSG:32633", [coarse, BERLIN], "here")[0].transform.a == 80


@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:3857"])
def test_a_map_across_the_edge_of_a_crs_is_refused(crs: str) -> None:
    across_180 = PixelGrid(32601, 160_000, 200_000, 400, 400, 80)
    crs_of(crs, "here")
    with pytest.raises(ConfigError, match=f"^here: {crs} cannot hold the maps of EPSG:32601"):
        layout(crs, [BERLIN, across_180], "here")
    assert layout("EPSG:32601", [across_180], "here")[0] == across_180
