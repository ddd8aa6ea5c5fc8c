from __future__ import annotations

import pytest

from pipeline.learn.stats.sampling import allocate, sample_size


def test_the_size_is_that_of_the_papers_formula():
    # equation 13 with user's accuracies of 0.8 everywhere: (0.4 / 0.01) ** 2
    assert sample_size(0.01) == 1600
    assert sample_size(0.02, accuracy=0.5) == 625


def test_large_classes_get_their_share_and_rare_ones_the_least():
    assert allocate([9000, 900, 100], total=500, fewest=50).tolist() == [450, 50, 50]


@pytest.mark.parametrize("cells", [[30, 10_000, 0], [1, 1, 1], [0, 0, 7]])
def test_never_more_than_there_are_and_nothing_of_what_is_not_mapped(cells):
    drawn = allocate(cells, total=400, fewest=50).tolist()
    assert all(0 <= some <= there for some, there in zip(drawn, cells, strict=True))
    assert all(some > 0 for some, there in zip(drawn, cells, strict=True) if there)
