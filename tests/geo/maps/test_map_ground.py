"""The pixels of a map in an area, beside those of the whole map."""

from __future__ import annotations

import numpy as np
import shapely

from pipeline.geo.maps.map_ground import MapGround
from pipeline.geo.raster.area_of_interest import AreaOfInterest
from pipeline.geo.raster.grid import PatchGrid, PixelGrid

# its edges cut map pixels of 80 m, some of them beyond their centres
GRID = PatchGrid(PixelGrid(32633, 300_050.0, 5_800_030.0, 203, 171), 16, 8)


def in_area(shape: shapely.Geometry) -> MapGround | None:
    return MapGround.of(GRID, None, AreaOfInterest(shape, "EPSG:32633", "an area"))


def test_pixels_at_the_edge_of_a_scene_count_as_they_do_in_the_whole_map() -> None:
    part = in_area(shapely.box(299_000, 5_797_000, 301_000, 5_801_000))
    assert part is not None
    rows, cols = range(part.grid.rows), range(part.grid.cols)
    whole = MapGround(GRID).ground_px(range(GRID.rows), range(GRID.cols))
    np.testing.assert_array_equal(part.ground_px(rows, cols), whole[:, : part.grid.cols])
    assert part.grid.map_grid.bounds[:2] == GRID.map_grid.bounds[:2]


def test_the_pixels_around_an_area_in_a_piece() -> None:
    towns = [
        shapely.box(300_200, 5_799_500, 300_300, 5_799_600),
        shapely.box(301_000, 5_798_300, 301_200, 5_798_400),
    ]
    part = in_area(shapely.union_all(towns))
    assert part is not None
    everything = range(part.grid.rows), range(part.grid.cols)
    assert part.within(*everything) == everything
    inside = part.inside(*everything)
    north, south = range(len(everything[0]) // 2), range(len(everything[0]) // 2, len(everything[0]))
    for half in (north, south):
        rows, cols = part.within(half, everything[1]) or (range(0), range(0))
        assert len(rows) * len(cols) <= 3 * 4
        assert (
            inside[rows.start : rows.stop, cols.start : cols.stop].sum()
            == inside[half.start : half.stop].sum()
            > 0
        )
    assert part.within(range(5, 8), range(6, 8)) is None


def test_a_scene_without_a_pixel_in_an_area() -> None:
    assert in_area(shapely.box(310_000, 5_799_000, 311_000, 5_800_000)) is None
