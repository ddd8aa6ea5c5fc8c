"""A look at the pixels of a band: which count, and where they lie."""

import re
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import RadiometryError, SceneError
from pipeline.geo.raster.grid import PixelGrid
from pipeline.geo.raster.raster_file import inspect
from pipeline.geo.scenes.radiometry import require_plausible
from pipeline.geo.scenes.samples import sampled
from pipeline.geo.scenes.scene_files import BandLayer, Origin
from tests.support.worlds import write_raster

HUNDRED = PixelGrid(32633, 300_000, 5_800_000, 100, 100)


def look(
    path: Path, offset: float = 0.0, scene: PixelGrid = HUNDRED, origin: Origin = "conf"
) -> list[str]:
    """The checks of the pixels of a file of DN."""
    file = inspect(str(path), None, "dn")
    band = BandLayer(file.layer, 0.0001, offset, origin=origin)
    return require_plausible({"B03": sampled(file, band, scene)})


def look_at_reflectance(path: Path, nodata: float | None = None) -> None:
    """The checks of the pixels of two bands of reflectance in one file."""
    file = inspect(str(path), None, "reflectance")
    band = BandLayer(file.layer, 1.0, 0.0, True, nodata)
    require_plausible(dict.fromkeys(("B03", "B04"), sampled(file, band, HUNDRED)))


def dark(share: float, value: int = 600) -> np.ndarray:
    """10,000 pixels of which that share has one value, and the others about 3000, well mixed."""
    pixels = 3_000 + np.arange(10_000, dtype=np.uint16) % 50
    pixels[: round(share * 10_000)] = value
    return np.random.default_rng(0).permutation(pixels).reshape(100, 100)


@pytest.mark.parametrize(
    ("share", "offset", "origin", "refused"),
    [
        (0.07, -0.1, "conf", True),
        (0.07, -0.1, "baseline", True),
        (0.04, -0.1, "conf", False),
        (0.9, -0.08, "conf", False),
        (0.15, -0.1, "item", False),
        (0.15, -0.1, "product", False),
        (0.25, -0.1, "product", True),
        (0.9, 0, "conf", False),
    ],
)
def test_radiometry_that_the_pixels_contradict(
    tmp_path: Path, share: float, offset: float, origin: Origin, *, refused: bool
) -> None:
    path = write_raster(tmp_path / "x_B03.tif", dark(share), HUNDRED)
    if not refused:
        look(path, offset, origin=origin)
        return
    stated = f"with scale 0.0001 and offset {offset:g}, {share:.0%} of its valid pixels have"
    with pytest.raises(RadiometryError, match=f"^{re.escape(f'{path}: {stated}')}"):
        look(path, offset, origin=origin)


def test_invalid_pixels_have_no_part_in_it(tmp_path: Path) -> None:
    """Neither nodata, however much of it, nor saturation counts, as valid pixels or as dark ones."""
    pixels = dark(0)
    pixels[:90] = 0
    look(write_raster(tmp_path / "a.tif", pixels, HUNDRED), -0.1)
    pixels[:90] = 65_535
    pixels[90, :100] = 600  # 100 of 1,000 valid ones
    path = write_raster(tmp_path / "b.tif", pixels, HUNDRED)
    with pytest.raises(RadiometryError, match="10% of its valid pixels"):
        look(path, -0.1)


@pytest.mark.parametrize(
    ("pixels", "problem"),
    [
        ([[0, 0], [0, 0]], "all are 0, which is nodata"),
        ([[0, 65_535], [0, 0]], "all are 65535, which is saturated, or 0"),
    ],
)
def test_a_band_without_a_valid_pixel(tmp_path: Path, pixels: list[list[int]], problem: str) -> None:
    grid = PixelGrid(32633, 300_000, 5_800_000, 2, 2)
    path = write_raster(tmp_path / "x_B03.tif", np.array(pixels, dtype=np.uint16), grid)
    with pytest.raises(SceneError, match=rf"x_B03\.tif has no valid pixel: {problem}.*; give"):
        look(path, scene=grid)


def test_one_valid_pixel_is_found_wherever_it_is(tmp_path: Path) -> None:
    """A decimated look does not see it."""
    pixels = np.zeros((2_100, 2_100), dtype=np.uint16)
    large = PixelGrid(32633, 300_000, 5_800_000, 2_100, 2_100)
    for row, col in ((0, 0), (1_233, 1_231), (2_099, 2_099)):
        pixels[:] = 0
        pixels[row, col] = 3_000
        look(write_raster(tmp_path / "a.tif", pixels, large, compress="deflate"), -0.1, large)


def test_only_the_ground_of_the_scene_counts(tmp_path: Path) -> None:
    pixels = dark(0)
    pixels[:, :50] = 0
    pixels[:50, 50:] = 600 + np.arange(50)
    path = write_raster(tmp_path / "a.tif", pixels, HUNDRED)
    look(path, -0.1, PixelGrid(32633, 300_500, 5_799_500, 50, 50))
    with pytest.raises(SceneError, match="no valid pixel"):
        look(path, -0.1, PixelGrid(32633, 300_000, 5_800_000, 100, 50))
    with pytest.raises(RadiometryError, match="100% of its valid pixels"):
        look(path, -0.1, PixelGrid(32633, 300_500, 5_800_000, 50, 50))


def test_reflectance_is_held_to_the_same_rules(tmp_path: Path) -> None:
    reflectance = (dark(0.5, 500) / 10_000).astype(np.float32)
    reflectance[0, :50], reflectance[1, :50] = np.nan, np.inf
    look_at_reflectance(write_raster(tmp_path / "a.tif", reflectance, HUNDRED))
    reflectance[2:5] = 0
    path = write_raster(tmp_path / "b.tif", reflectance, HUNDRED)
    with pytest.raises(RadiometryError, match=r"3% of the pixels of all .* add `nodata: 0`\.$"):
        look_at_reflectance(path)
    look_at_reflectance(path, nodata=0)
    empty = write_raster(tmp_path / "c.tif", np.full_like(reflectance, np.nan), HUNDRED)
    with pytest.raises(SceneError, match="no valid pixel: all are NaN, infinity or the value"):
        look_at_reflectance(empty)


def test_large_bands_are_looked_at_all_over(tmp_path: Path) -> None:
    """A decimated look sees what is spread over the band, in the share that it has."""
    pixels = np.tile(3_000 + np.arange(2_000, dtype=np.uint16) % 50, (3_000, 1))
    pixels[-300:] = 600
    large = PixelGrid(32633, 300_000, 5_800_000, 3_000, 2_000)
    path = write_raster(tmp_path / "a.tif", pixels, large, compress="deflate")
    with pytest.raises(RadiometryError, match="10% of its valid pixels"):
        look(path, -0.1, large)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_dn_may_be_floats_if_they_are_whole(tmp_path: Path, dtype: str) -> None:
    values = dark(0.5, 500).astype(dtype)
    values[:3] = np.nan
    look(write_raster(tmp_path / "a.tif", values, HUNDRED))
    values[50, 50] += 0.25
    path = write_raster(tmp_path / "b.tif", values, HUNDRED)
    with pytest.raises(
        RadiometryError, match=r"b\.tif holds .* no whole numbers, .*; add `values: refl"
    ):
        look(path)
