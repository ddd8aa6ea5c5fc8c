"""What is refused before it becomes a scene."""

import re
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import RadiometryError, SceneError
from pipeline.geo.raster.grid import PixelGrid
from pipeline.geo.raster.raster_file import Layer, RasterFile, inspect
from pipeline.geo.scenes.checks import (
    require_band,
    require_cover,
    require_pixels,
    require_same_ground,
)
from pipeline.geo.scenes.scene_files import BandLayer
from tests.support.worlds import GRID, write_raster

HUNDRED = PixelGrid(32633, 300_000, 5_800_000, 100, 100)


def band(grid: PixelGrid, nodata: float | None = None) -> RasterFile:
    """What `inspect` would say of a file that is not there."""
    return RasterFile(Layer("x_B11.tif"), grid, "uint16", nodata)


def look(path: Path, offset: float = 0.0, scene: PixelGrid = HUNDRED) -> None:
    """The checks of the pixels of a file of DN."""
    file = inspect(str(path))
    require_pixels(file, BandLayer(file.layer, 0.0001, offset), scene)


def look_at_floats(path: Path, nodata: float | None = None) -> None:
    """The checks of the pixels of a file of reflectance."""
    file = inspect(str(path), floats=True)
    require_pixels(file, BandLayer(file.layer, 1.0, 0.0, floats=True, nodata=nodata), HUNDRED)


def dark(share: float) -> np.ndarray:
    """10,000 pixels of which that share has the DN 1000 and the others 3000, well mixed."""
    pixels = np.full(10_000, 3_000, dtype=np.uint16)
    pixels[: round(share * 10_000)] = 1_000
    return np.random.default_rng(0).permutation(pixels).reshape(100, 100)


@pytest.mark.parametrize(
    ("share", "offset", "refused"),
    [
        (0.02, -0.1, True),
        (0.0101, -0.1, True),
        (0.01, -0.1, False),
        (0.02, -0.09, False),
        (1, 0, False),
    ],
)
def test_radiometry_that_the_pixels_contradict(
    tmp_path: Path, share: float, offset: float, *, refused: bool
) -> None:
    path = write_raster(tmp_path / "x_B03.tif", dark(share), HUNDRED)
    if not refused:
        look(path, offset)
        return
    stated = f"with scale 0.0001 and offset {offset:g}, {share:.0%} of its valid pixels have"
    with pytest.raises(RadiometryError, match=f"^{re.escape(f'{path}: {stated}')}") as caught:
        look(path, offset)
    assert "correct scale and offset of the scene in the conf" in str(caught.value)


def test_invalid_pixels_have_no_part_in_it(tmp_path: Path) -> None:
    """Neither nodata, however much of it, nor saturation counts, as valid pixels or as dark ones."""
    pixels = dark(0)
    pixels[:90] = 0
    look(write_raster(tmp_path / "a.tif", pixels, HUNDRED), -0.1)
    pixels[:90] = 65_535
    pixels[90, :20] = 1_000  # 20 of 1,000 valid ones
    path = write_raster(tmp_path / "b.tif", pixels, HUNDRED)
    with pytest.raises(RadiometryError, match="2% of its valid pixels"):
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
    pixels = np.zeros((100, 100), dtype=np.uint16)
    pixels[:, 50:] = 1_000
    pixels[50:, 50:] = 3_000
    path = write_raster(tmp_path / "a.tif", pixels, HUNDRED)
    look(path, -0.1, PixelGrid(32633, 300_500, 5_799_500, 50, 50))
    with pytest.raises(SceneError, match="no valid pixel"):
        look(path, -0.1, PixelGrid(32633, 300_000, 5_800_000, 100, 50))
    with pytest.raises(RadiometryError, match="100% of its valid pixels"):
        look(path, -0.1, PixelGrid(32633, 300_500, 5_800_000, 50, 50))


def test_reflectance_in_floats_is_held_to_the_same_rules(tmp_path: Path) -> None:
    reflectance = (dark(0) / 10_000).astype(np.float32)
    reflectance[0, :50], reflectance[1, :50] = np.nan, np.inf
    look_at_floats(write_raster(tmp_path / "a.tif", reflectance, HUNDRED))
    reflectance[2:5] = 0
    path = write_raster(tmp_path / "b.tif", reflectance, HUNDRED)
    with pytest.raises(RadiometryError, match=r"3% of its valid .*; correct .* \(`nodata: 0`\)"):
        look_at_floats(path)
    look_at_floats(path, nodata=0)
    empty = write_raster(tmp_path / "c.tif", np.full_like(reflectance, np.nan), HUNDRED)
    with pytest.raises(SceneError, match="no valid pixel: all are NaN, infinity or the value"):
        look_at_floats(empty)


def test_large_bands_are_looked_at_all_over(tmp_path: Path) -> None:
    """A decimated look sees what is spread over the band, in the share that it has."""
    pixels = np.full((3_000, 2_000), 3_000, dtype=np.uint16)
    pixels[-300:] = 900
    large = PixelGrid(32633, 300_000, 5_800_000, 3_000, 2_000)
    path = write_raster(tmp_path / "a.tif", pixels, large, compress="deflate")
    with pytest.raises(RadiometryError, match="10% of its valid pixels"):
        look(path, -0.1, large)


@pytest.mark.parametrize(
    ("grid", "problem"),
    [
        (
            PixelGrid(32632, 300_000, 5_800_020, 66, 60, 20),
            "has EPSG:32632, the finest band has EPSG:32633",
        ),
        (PixelGrid(32633, 300_100, 5_800_020, 66, 60, 20), r"covers other ground .* 100 m apart"),
        (PixelGrid(32633, 300_000, 5_799_920, 66, 60, 20), r"covers other ground .* 100 m apart"),
        (PixelGrid(32633, 300_000, 5_800_020, 66, 70, 20), r"covers other ground .* 200 m apart"),
        (PixelGrid(32633, 300_000, 5_800_020, 62, 60, 20), r"covers other ground .* 80 m apart"),
    ],
)
def test_bands_of_different_ground(grid: PixelGrid, problem: str) -> None:
    with pytest.raises(SceneError, match=rf"x_B11\.tif {problem}"):
        require_same_ground(band(grid), GRID)


def test_the_edges_of_large_pixels_may_stand_out() -> None:
    require_same_ground(band(PixelGrid(32633, 299_950, 5_800_060, 23, 21, 60)), GRID)


@pytest.mark.parametrize("pixel_m", [5.0, 15.0, 30.0, 10.5])
def test_pixels_of_another_size(pixel_m: float) -> None:
    with pytest.raises(SceneError, match=rf"x_B11\.tif has pixels of {pixel_m:g} m"):
        require_band(band(PixelGrid(32633, 300_000, 5_800_020, 44, 40, pixel_m)))


@pytest.mark.parametrize("nodata", [None, 0.0, 65_535.0])
def test_usual_values_for_nodata(nodata: float | None) -> None:
    require_band(band(GRID, nodata))


def test_another_value_for_nodata() -> None:
    with pytest.raises(SceneError, match=r"x_B11\.tif declares -9999 to be nodata"):
        require_band(band(GRID, -9_999.0))


@pytest.mark.parametrize(
    ("grid", "covers"),
    [
        (PixelGrid(32633, 300_000, 5_800_020, 22, 20, 60), True),
        (PixelGrid(32633, 290_000, 5_810_000, 500, 500, 60), True),
        (PixelGrid(32633, 300_060, 5_799_960, 130, 112), True),
        (PixelGrid(32632, 300_000, 5_800_020, 22, 20, 60), False),
        (PixelGrid(32633, 300_070, 5_800_020, 22, 20, 60), False),
        (PixelGrid(32633, 300_000, 5_799_950, 22, 20, 60), False),
        (PixelGrid(32633, 300_000, 5_800_020, 20, 20, 60), False),
        (PixelGrid(32633, 300_000, 5_800_020, 22, 18, 60), False),
    ],
)
def test_a_mask_covers_its_scene(grid: PixelGrid, *, covers: bool) -> None:
    mask = RasterFile(Layer("m.tif"), grid, "uint8", None)
    if covers:
        require_cover(mask, GRID)
    else:
        with pytest.raises(SceneError, match=r"m\.tif does not cover its scene \(EPSG:32633, bounds 3"):
            require_cover(mask, GRID)
