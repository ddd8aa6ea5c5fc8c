from __future__ import annotations

from datetime import date
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.learn.stats.applicability import (
    TrainingFeatures,
    days_apart,
    domain_shift,
    patch_features,
    sample_px,
    window_features,
)
from pipeline.store_meta import SceneInfo

HOLES = np.array([700, 800, 900], dtype=np.uint16)


def spectra(count: int, seed: int, gain: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Patches of two classes whose bands rise and fall together, and their classes."""
    random = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    means = np.array([[400, 600, 3000], [1500, 1700, 1200]])[labels]
    light = random.normal(1, 0.1, (count, 1))
    noise = random.normal(0, 40, (count, 3, 8, 8))
    pixels = (gain * means * light)[:, :, None, None] + noise
    return pixels.clip(1, 65534).astype(np.uint16), labels


def features(pixels: np.ndarray) -> np.ndarray:
    return patch_features([pixels], 8, HOLES)


@pytest.fixture(scope="module")
def distribution():
    training, labels = spectra(2000, seed=0)
    described = TrainingFeatures.of(features(training), labels)
    return described.with_threshold(described.distances(features(spectra(1000, seed=1)[0])))


def flagged(distribution: TrainingFeatures, pixels: np.ndarray) -> float:
    return float(np.mean(distribution.relative(features(pixels)) > 1))


def test_one_in_twenty_patches_of_the_same_kind_is_beyond_the_threshold(distribution):
    assert flagged(distribution, spectra(2000, seed=2)[0]) == pytest.approx(0.05, abs=0.02)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda pixels: pixels[:, [2, 0, 1]], id="bands in another order"),
        pytest.param(lambda pixels: pixels // 10, id="a tenth of the reflectance"),
        pytest.param(lambda pixels: np.full_like(pixels, 6000), id="a white wall"),
        pytest.param(lambda pixels: np.where(np.arange(8) < 4, 6000, pixels), id="half of it"),
    ],
)
def test_what_training_never_saw_is_beyond_the_threshold(distribution, change):
    assert flagged(distribution, change(spectra(500, seed=3)[0]).astype(np.uint16)) > 0.99


def test_brighter_light_is_within_the_area_of_applicability(distribution):
    assert flagged(distribution, spectra(2000, seed=4, gain=1.05)[0]) < 0.2


def test_halfway_between_two_classes_is_like_neither(distribution):
    middle = spectra(500, seed=5)[0].astype(float)
    middle = (middle[::2] + middle[1::2]) / 2
    assert flagged(distribution, middle.astype(np.uint16)) > 0.99


def test_a_band_twice_and_a_band_without_contrast_do_no_harm():
    training, labels = spectra(400, seed=0)
    training = training[:, [0, 0, 1]]
    training[:, 2] = 500
    distribution = TrainingFeatures.of(features(training), labels)
    assert np.isfinite(distribution.relative(features(training))).all()


def test_nothing_to_learn_from_is_refused():
    training, labels = spectra(10, seed=0)
    with pytest.raises(ValueError, match="no training patches"):
        TrainingFeatures.of(features(training[:0]), labels[:0])


def test_the_threshold_is_the_95th_percentile_of_held_out_distances(distribution):
    distances = np.arange(101.0)
    again = distribution.with_threshold(distances)
    assert again.limit == 95
    few = features(spectra(20, seed=6)[0])
    assert again.relative(few) == pytest.approx(distribution.distances(few) / 95)
    assert again.distances(few) == pytest.approx(distribution.distances(few))
    assert distribution.with_threshold(np.zeros(3)).limit > 0


sides = st.tuples(st.integers(1, 24), st.integers(0, 12)).map(lambda s: (s[0] + 2 * s[1], s[0]))


@given(sides, st.integers(1, 5), st.integers(1, 5), st.integers(0, 2**32 - 1))
def test_a_block_of_cells_has_the_statistics_of_its_patches(sides_px, rows, cols, seed):
    patch_px, cell_px = sides_px
    context = patch_px - cell_px
    random = np.random.default_rng(seed)
    shape = 3, rows * cell_px + context, cols * cell_px + context
    pixels = random.integers(0, 65536, shape).astype(np.uint16)
    pixels[random.random(shape) < 0.1] = 0
    views = np.lib.stride_tricks.sliding_window_view(pixels, (patch_px, patch_px), axis=(1, 2))
    patches = views[:, ::cell_px, ::cell_px].transpose(1, 2, 0, 3, 4).reshape(-1, 3, patch_px, patch_px)
    block = window_features(pixels, (rows, cols), sides_px, HOLES)
    assert (block == patch_features([patches], cell_px, HOLES)).all()


@pytest.mark.parametrize("pixel_px", [1, 2, 3, 4, 6, 8, 16, 24])
def test_pixels_finer_than_a_cell_have_the_statistics_of_their_patches_too(pixel_px):
    patch_px, cell_px, rows, cols = 48 + pixel_px % 2, 16, 7, 5
    shape = 3, (rows - 1) * pixel_px + patch_px, (cols - 1) * pixel_px + patch_px
    pixels = np.random.default_rng(0).integers(0, 65536, shape).astype(np.uint16)
    views = np.lib.stride_tricks.sliding_window_view(pixels, (patch_px, patch_px), axis=(1, 2))
    patches = views[:, ::pixel_px, ::pixel_px].transpose(1, 2, 0, 3, 4)
    patches = patches.reshape(-1, 3, patch_px, patch_px)
    cell_px += pixel_px % 2
    step = sample_px(patch_px, cell_px)
    block = window_features(pixels, (rows, cols), (patch_px, pixel_px), HOLES, step)
    assert (block == patch_features([patches], cell_px, HOLES)).all()


@pytest.mark.parametrize(
    ("patch_px", "cell_px", "step"), [(64, 8, 8), (16, 8, 2), (64, 64, 8), (12, 8, 1), (9, 3, 1)]
)
def test_patches_are_described_by_pixels_that_neighbours_share(patch_px, cell_px, step):
    assert sample_px(patch_px, cell_px) == step
    assert patch_px % step == cell_px % step == 0


def scene(day: str = "2021-06-01", **keys: Any) -> SceneInfo:
    stated: dict[str, Any] = {
        "id": "s", "epsg": 32633, "datetime": f"{day}T10:21:01Z", "platform": "sentinel-2a",
        "level": "L1C", "baseline": "02.04", "checksum": "",
    }  # fmt: skip
    return SceneInfo(**(stated | keys))


@pytest.mark.parametrize(
    ("first", "second", "days"),
    [
        ("2021-06-01", "2021-06-01", 0),
        ("2017-06-01", "2023-06-01", 0),
        ("2021-06-01", "2019-07-16", 45),
        ("2021-12-31", "2022-01-01", 1),
        ("2021-12-20", "2021-01-10", 21),
        ("2021-01-01", "2021-07-02", 182),
        ("2020-02-29", "2021-03-01", 0),
        ("2020-12-31", "2021-12-31", 0),
    ],
)
def test_days_of_the_year_apart(first: str, second: str, days: int) -> None:
    one, other = date.fromisoformat(first), date.fromisoformat(second)
    assert days_apart(one, other) == days_apart(other, one) == days


@pytest.mark.parametrize(
    ("mapped", "expected"),
    [
        (scene("2021-07-16"), ""),
        (scene("2021-07-17"), "2021-07-17 is 46 days of the year from 2021-06-01, the nearest that"),
        (scene("2023-04-17"), ""),
        (scene("2023-04-16"), "2023-04-16 is 46 days of the year from 2021-06-01, the nearest that"),
        (scene(level="L2A"), "level L2A, but the model was trained on L1C"),
        (scene(platform="sentinel-2c"), "satellite sentinel-2c, but the model was trained on sentinel"),
        (scene(platform="Sentinel-2A"), ""),
        (scene(level=None, platform=None), ""),
        (scene(baseline="05.09"), ""),
    ],
)
def test_differences_are_named(mapped: SceneInfo, expected: str) -> None:
    shift = domain_shift(mapped, [scene()])
    assert shift.startswith(expected)
    assert bool(shift) == bool(expected)


def test_the_nearest_training_scene_counts() -> None:
    trained = [scene("2021-01-10"), scene("2021-06-01"), scene("2019-11-20", level="L2A")]
    assert not domain_shift(scene("2023-12-20"), trained)
    assert "2023-09-01 is 80 days of the year from 2019-11-20" in domain_shift(
        scene("2023-09-01"), trained
    )
    assert not domain_shift(scene("2023-12-20", level="L2A"), trained)


def test_several_differences_are_named_together() -> None:
    actual = domain_shift(scene("2021-12-01", level="L2A", platform="sentinel-2b"), [scene()])
    assert actual.count("; ") == 2


def test_images_of_unknown_days_have_no_season() -> None:
    images = scene(datetime="2015-06-23T00:00:00Z/2017-08-31T00:00:00Z", platform=None)
    assert not domain_shift(scene("2021-12-01"), [images])
