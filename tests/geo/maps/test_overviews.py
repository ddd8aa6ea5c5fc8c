from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pipeline.geo.maps import overviews
from tests.support.examples import examples

maps = hnp.arrays(
    np.uint8,
    hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=11),
    elements=st.sampled_from([0, 1, 2, 3, 254, 255]),
)
quick = examples(60)


def squares(cells, factor):
    for row in range(0, cells.shape[0], factor):
        for col in range(0, cells.shape[1], factor):
            place = row // factor, col // factor
            yield place, cells[row : row + factor, col : col + factor].ravel().tolist()


@quick
@given(maps, st.sampled_from([2, 4, 8]), st.sampled_from([0, 255]))
def test_mode_is_the_most_frequent_value_with_data_ties_to_the_lowest(cells, factor, nodata):
    reduced = overviews.mode(cells, factor, nodata)
    assert reduced.shape == tuple(-(-side // factor) for side in cells.shape)
    for place, values in squares(cells, factor):
        counts = Counter(value for value in values if value != nodata)
        most = max(counts.values(), default=0)
        expected = min((v for v, count in counts.items() if count == most), default=nodata)
        assert reduced[place] == expected


@pytest.mark.parametrize("factor", [16, 32, 256])
def test_sums_of_large_squares_do_not_overflow(factor):
    cells = np.full((factor + 3, 2 * factor), 254, dtype=np.uint8)
    cells[:, 1::2] = 253
    cells[0, 0] = 253  # one more, so that the mean is just below the half that is rounded up
    assert overviews.mean(cells, factor, 255).tolist() == [[253, 254], [254, 254]]
    assert overviews.mode(cells, factor, 255).tolist() == [[253, 253], [253, 253]]


@quick
@given(maps, st.sampled_from([2, 4, 8]))
def test_mean_is_of_the_values_with_data_halves_upward(cells, factor):
    reduced = overviews.mean(cells, factor, 255)
    for place, values in squares(cells, factor):
        valid = [value for value in values if value != 255]
        expected = int(sum(valid) / len(valid) + 0.5) if valid else 255
        assert reduced[place] == expected


@pytest.mark.parametrize(
    ("rows", "cols", "expected"),
    [(256, 256, []), (1, 257, [2]), (513, 100, [2, 4]), (1300, 1200, [2, 4, 8])],
)
def test_levels_end_where_one_block_holds_the_map(rows, cols, expected):
    assert overviews.factors(rows, cols, 256) == expected
