"""Classes get colours that an eye can tell apart."""

from itertools import combinations

import numpy as np
import pytest

from pipeline.geo.style.colors import distinct_colors, oklab


def rgb(color: str) -> list[int]:
    return [int(color[i : i + 2], 16) for i in (1, 3, 5)]


def test_oklab_is_that_of_its_author() -> None:
    """White, red and blue as printed in Ottosson's article and the CSS Color 4 samples."""
    expected = [[1, 0, 0], [0.62796, 0.22486, 0.12585], [0.45201, -0.03246, -0.31153]]
    found = oklab(np.array([[255, 255, 255], [255, 0, 0], [0, 0, 255]], dtype=np.uint8))
    np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize(("count", "apart"), [(8, 0.25), (20, 0.15), (60, 0.08)])
def test_colors_are_apart_from_each_other_and_from_paper(count: int, apart: float) -> None:
    """0.02 is about what an eye just notices."""
    colors = ["#ffffff", "#000000", *distinct_colors(count)]
    places = oklab(np.array([rgb(color) for color in colors], dtype=np.uint8))
    assert min(np.linalg.norm(a - b) for a, b in combinations(places, 2)) > apart


def test_as_many_as_a_class_map_can_hold() -> None:
    assert len(set(distinct_colors(254))) == 254


def test_more_classes_leave_the_first_as_they_are() -> None:
    assert distinct_colors(12)[:5] == distinct_colors(5)
