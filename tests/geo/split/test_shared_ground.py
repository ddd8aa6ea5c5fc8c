"""Windows of 60 m pixels: which of them overlap, wherever they lie."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyproj import Transformer

from pipeline.geo.split.shared_ground import Ground
from tests.support.examples import examples

quick = examples(80)
PIXEL = 60.0


def coarse_pixels(x, y, side):
    """The 60 m pixels that a window lies on: plain sets, no arithmetic of rectangles."""
    first = [int((c - side / 2) // PIXEL) for c in (x, y)]
    last = [int(-((-(c + side / 2)) // PIXEL)) for c in (x, y)]
    return {(i, j) for i in range(first[0], last[0]) for j in range(first[1], last[1])}


def overlaps(x, y, epsg, side, candidates, others):
    x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    here = Ground.of(x, y, np.asarray(epsg), side)
    return here.overlaps(np.asarray(candidates), np.asarray(others)).tolist()


@quick
@given(data=st.data(), side_px=st.integers(1, 40))
def test_two_windows_overlap_where_they_lie_on_a_pixel_of_60_m_together(data, side_px):
    count = data.draw(st.integers(2, 12))
    places = st.lists(st.integers(-60, 60), min_size=count, max_size=count)
    # centres of windows on 10 m pixels, on both sides of the axes
    x, y = (np.array(data.draw(places)) * 10.0 + side_px * 5 for _ in "xy")
    others = np.array(data.draw(st.lists(st.booleans(), min_size=count, max_size=count)))
    side = side_px * 10.0
    on = [coarse_pixels(a, b, side) for a, b in zip(x, y, strict=True)]
    kept = set().union(*(on[i] for i in np.flatnonzero(others)))
    expected = [not others[i] and bool(on[i] & kept) for i in range(count)]
    assert overlaps(x, y, np.full(count, 32633), side, ~others, others) == expected


def test_windows_that_touch_along_an_edge_of_60_m_share_nothing():
    x = [300_000 + 60, 300_000 + 180, 300_000 + 60]
    y = [5_000_040.0, 5_000_040.0, 5_000_040.0 - 120]
    nothing = overlaps(x, y, [32633] * 3, 120.0, [False, True, True], [True, False, False])
    assert nothing == [False, False, False]
    nearer = [x[0], x[1] - 10, x[2]]  # one pixel of 10 m further, a whole one of 60 m is shared
    shared = overlaps(nearer, y, [32633] * 3, 120.0, [False, True, True], [True, False, False])
    assert shared == [False, True, False]


def test_the_noise_of_floats_grows_no_window():
    x = [300_060.0 + 1e-6, 300_180.0 - 1e-6]
    assert overlaps(x, [60.0, 60.0], [32633] * 2, 120.0, [True, False], [False, True]) == [False] * 2


def test_a_window_overlaps_the_pixels_that_it_lies_on_and_no_others():
    # sixteen pixels of 60 m around a corner of pixels, and a window across that corner
    corner = np.array([3.0, 45.0]) * 2048 * PIXEL
    steps = np.array([-90.0, -30.0, 30.0, 90.0])
    x, y = (axis.ravel() for axis in np.meshgrid(corner[0] + steps, corner[1] + steps))
    near = (abs(x - corner[0]) < 60) & (abs(y - corner[1]) < 60)
    across = Ground.of(np.append(x, corner[0]), np.append(y, corner[1]), np.full(17, 32633), 60.0)
    last = np.arange(17) == 16
    assert across.overlaps(~last, last).tolist() == [*near.tolist(), False]
    for pixel in range(16):
        here = Ground.of(np.append(x, x[pixel]), np.append(y, y[pixel]), np.full(17, 32633), 60.0)
        assert np.flatnonzero(here.overlaps(~last, last)).tolist() == [pixel]


def test_nothing_overlaps_where_one_side_has_no_window():
    for candidates in (True, False):
        masks = [candidates] * 2, [not candidates] * 2
        assert overlaps([60.0, 60.0], [60.0, 60.0], [32633, 32634], 120.0, *masks) == [False] * 2


def test_windows_far_apart_take_no_memory_for_the_ground_between_them():
    x = [300_060.0, 699_900.0, 699_900.0]
    y = [60.0, 9_000_060.0, 9_000_060.0]
    assert overlaps(x, y, [32633] * 3, 160.0, [True, True, False], [False, False, True]) == [
        False,
        True,
        False,
    ]


@pytest.mark.parametrize("away", [32632, 32634, 3035])
def test_windows_overlap_across_two_crs(away):
    rng = np.random.default_rng(3)
    x, y = 330_000 + rng.uniform(0, 3e4, 200), 5_800_000 + rng.uniform(0, 3e4, 200)
    seen_x, seen_y = Transformer.from_crs(32633, away, always_xy=True).transform(x, y)
    epsg = np.repeat([32633, away], 200)
    for first in (True, False):
        candidates = np.repeat([first, not first], 200)
        hit = overlaps([*x, *seen_x], [*y, *seen_y], epsg, 160.0, candidates, ~candidates)
        assert hit == candidates.tolist()


def test_windows_overlap_across_the_antimeridian():
    x, y = 164_000 + np.linspace(0, 12_000, 50), np.full(50, 1_000_000.0)  # it is at about 170,000
    seen_x, seen_y = Transformer.from_crs(32601, 32660, always_xy=True).transform(x, y)
    epsg, first = np.repeat([32601, 32660], 50), np.repeat([True, False], 50)
    hit = overlaps([*x, *seen_x], [*y, *seen_y], epsg, 160.0, first, ~first)
    assert hit == first.tolist()


def test_other_ground_in_another_crs_is_left_alone():
    to_32 = Transformer.from_crs(32633, 32632, always_xy=True)
    x, y = np.array([330_000.0, 330_000.0]), np.array([5_800_000.0, 5_800_000.0])
    # 1 km east of each; and zone 10, from where zone 33 cannot be seen
    seen_x, seen_y = to_32.transform(x + 1000, y)
    epsg = [32633, 32633, 32632, 32610]
    candidates = [True, True, False, False]
    hit = overlaps(
        [*x, seen_x[0], 330_000.0],
        [*y, seen_y[0], 5_800_000.0],
        epsg,
        160.0,
        candidates,
        ~np.array(candidates),
    )
    assert hit == [False] * 4
