from __future__ import annotations

import numpy as np
import pytest

from pipeline.learn.stats.area_estimation import adjusted, allocate, sample_size

# Olofsson et al. 2014, section 5: deforestation, gain, stable forest, stable non-forest; 30 m pixels
COUNTS = np.array([[66, 0, 5, 4], [0, 55, 8, 12], [1, 0, 153, 11], [2, 1, 9, 313]])
HECTARES = np.array([200_000, 150_000, 3_200_000, 6_450_000]) * 30**2 / 1e4


def test_the_worked_example_of_the_paper():
    actual = adjusted(COUNTS, HECTARES)
    assert actual.overall.value == pytest.approx(0.95, abs=0.005)
    assert actual.overall.half == pytest.approx(0.02, abs=0.005)
    assert actual.users.value == pytest.approx([0.88, 0.73, 0.93, 0.96], abs=0.005)
    assert actual.producers.value == pytest.approx([0.75, 0.85, 0.93, 0.96], abs=0.005)
    assert actual.areas.value == pytest.approx([21_158, 11_686, 285_770, 581_386], abs=0.6)
    assert actual.areas.half == pytest.approx([6_158, 3_756, 15_510, 16_282], abs=1)


def test_intervals_hold_the_truth_of_maps_whose_truth_is_known():
    random = np.random.default_rng(5)
    truth = np.array([[0.30, 0.05, 0.01], [0.04, 0.35, 0.05], [0.01, 0.04, 0.15]])  # of the ground
    mapped = truth.sum(axis=1)
    exact = {
        "overall": np.trace(truth),
        "users": np.diag(truth) / mapped,
        "producers": np.diag(truth) / truth.sum(axis=0),
        "areas": truth.sum(axis=0),
    }
    held = {name: np.zeros(np.shape(values)) for name, values in exact.items()}
    for _ in range(1000):
        counts = np.stack([random.multinomial(200, row / row.sum()) for row in truth])
        actual = adjusted(counts, mapped)
        for name, values in exact.items():
            estimate = getattr(actual, name)
            held[name] += np.abs(estimate.value - values) <= estimate.half
    for name, times in held.items():
        assert (times / 1000).tolist() == pytest.approx(
            np.full(times.shape, 0.95).tolist(), abs=0.025
        ), name


def test_a_perfect_map_is_perfect_and_its_areas_are_those_of_the_map():
    actual = adjusted(np.diag([10, 20, 5]), [1.0, 2.0, 3.0])
    assert (actual.overall.value, actual.overall.half) == (1, 0)
    assert actual.areas.value.tolist() == [1.0, 2.0, 3.0]
    assert actual.areas.half.tolist() == [0.0, 0.0, 0.0]


def test_a_class_that_is_not_mapped_needs_no_points():
    actual = adjusted(np.array([[9, 1, 0], [0, 10, 0], [0, 0, 0]]), [5.0, 5.0, 0.0])
    assert actual.areas.value[2] == 0
    assert np.isnan([actual.users.value[2], actual.producers.value[2]]).all()


def test_too_few_points_and_no_map_are_refused():
    with pytest.raises(ValueError, match="class 1 of the map has 1 points"):
        adjusted(np.array([[5, 0], [0, 1]]), [1.0, 1.0])
    with pytest.raises(ValueError, match="nothing is mapped"):
        adjusted(np.array([[5, 0], [0, 5]]), [0.0, 0.0])


def test_the_size_is_that_of_the_papers_formula():
    # equation 13 with user's accuracies of 0.8 everywhere: (0.4 / 0.01) ** 2
    assert sample_size(0.01) == 1600
    assert sample_size(0.02) == 400


def test_large_classes_get_their_share_and_rare_ones_the_least():
    assert allocate([9000, 900, 100], total=500, fewest=50).tolist() == [450, 50, 50]


@pytest.mark.parametrize("cells", [[30, 10_000, 0], [1, 1, 1], [0, 0, 7]])
def test_never_more_than_there_are_and_nothing_of_what_is_not_mapped(cells):
    drawn = allocate(cells, total=400, fewest=50).tolist()
    assert all(0 <= count <= mapped for count, mapped in zip(drawn, cells, strict=True))
    assert all(count > 0 for count, mapped in zip(drawn, cells, strict=True) if mapped)
