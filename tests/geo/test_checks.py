"""What is refused before it becomes a scene."""

import re
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import RadiometryError, SceneError
from pipeline.geo.checks import (
    require_band,
    require_cover,
    require_positive,
    require_same_ground,
)
from pipeline.geo.grid import SceneGrid
from pipeline.geo.raster import Layer, RasterFile, inspect
from tests.worlds import GRID, write_raster

HUNDRED = SceneGrid(32633, 300_000, 5_800_000, 100, 100)


def band(grid: SceneGrid, nodata: float | None = None) -> RasterFile:
    """What `inspect` would say of a file that is not there."""
    return RasterFile(Layer("x_B11.tif"), grid, "uint16", nodata)


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
    file = inspect(str(write_raster(tmp_path / "x_B03.tif", dark(share), HUNDRED)))
    if not refused:
        require_positive(file, 0.0001, offset)
        return
    stated = f"with scale 0.0001 and offset {offset:g}, {share:.0%} of its valid pixels have"
    with pytest.raises(RadiometryError, match=f"^{re.escape(f'{file.href}: {stated}')}") as caught:
        require_positive(file, 0.0001, offset)
    assert "correct scale and offset of the scene in the conf" in str(caught.value)


def test_invalid_pixels_have_no_part_in_it(tmp_path: Path) -> None:
    """Neither nodata, however much of it, nor saturation counts, as valid pixels or as dark ones."""
    pixels = dark(0)
    pixels[:90] = 0
    require_positive(inspect(str(write_raster(tmp_path / "a.tif", pixels, HUNDRED))), 0.0001, -0.1)
    pixels[:90] = 65_535
    pixels[90, :20] = 1_000  # 20 of 1,000 valid ones
    file = inspect(str(write_raster(tmp_path / "b.tif", pixels, HUNDRED)))
    with pytest.raises(RadiometryError, match="2% of its valid pixels"):
        require_positive(file, 0.0001, -0.1)
    empty = write_raster(tmp_path / "c.tif", np.zeros_like(pixels), HUNDRED)
    require_positive(inspect(str(empty)), 0.0001, -0.1)


def test_large_bands_are_looked_at_all_over(tmp_path: Path) -> None:
    """A decimated look sees what is spread over the band, in the share that it has."""
    pixels = np.full((3_000, 2_000), 3_000, dtype=np.uint16)
    pixels[-300:] = 900
    large = SceneGrid(32633, 300_000, 5_800_000, 3_000, 2_000)
    file = inspect(str(write_raster(tmp_path / "a.tif", pixels, large, compress="deflate")))
    with pytest.raises(RadiometryError, match="10% of its valid pixels"):
        require_positive(file, 0.0001, -0.1)


@pytest.mark.parametrize(
    ("grid", "problem"),
    [
        (
            SceneGrid(32632, 300_000, 5_800_020, 66, 60, 20),
            "has EPSG:32632, the finest band has EPSG:32633",
        ),
        (SceneGrid(32633, 300_100, 5_800_020, 66, 60, 20), r"covers other ground .* 100 m apart"),
        (SceneGrid(32633, 300_000, 5_799_920, 66, 60, 20), r"covers other ground .* 100 m apart"),
        (SceneGrid(32633, 300_000, 5_800_020, 66, 70, 20), r"covers other ground .* 200 m apart"),
        (SceneGrid(32633, 300_000, 5_800_020, 62, 60, 20), r"covers other ground .* 80 m apart"),
    ],
)
def test_bands_of_different_ground(grid: SceneGrid, problem: str) -> None:
    with pytest.raises(SceneError, match=rf"x_B11\.tif {problem}"):
        require_same_ground(band(grid), GRID)


def test_the_edges_of_large_pixels_may_stand_out() -> None:
    require_same_ground(band(SceneGrid(32633, 299_950, 5_800_060, 23, 21, 60)), GRID)


@pytest.mark.parametrize("pixel_m", [5.0, 15.0, 30.0, 10.5])
def test_pixels_of_another_size(pixel_m: float) -> None:
    with pytest.raises(SceneError, match=rf"x_B11\.tif has pixels of {pixel_m:g} m"):
        require_band(band(SceneGrid(32633, 300_000, 5_800_020, 44, 40, pixel_m)))


@pytest.mark.parametrize("nodata", [None, 0.0, 65_535.0])
def test_usual_values_for_nodata(nodata: float | None) -> None:
    require_band(band(GRID, nodata))


def test_another_value_for_nodata() -> None:
    with pytest.raises(SceneError, match=r"x_B11\.tif declares -9999 to be nodata"):
        require_band(band(GRID, -9_999.0))


@pytest.mark.parametrize(
    ("grid", "covers"),
    [
        (SceneGrid(32633, 300_000, 5_800_020, 22, 20, 60), True),
        (SceneGrid(32633, 290_000, 5_810_000, 500, 500, 60), True),
        (SceneGrid(32633, 300_060, 5_799_960, 130, 112), True),
        (SceneGrid(32632, 300_000, 5_800_020, 22, 20, 60), False),
        (SceneGrid(32633, 300_070, 5_800_020, 22, 20, 60), False),
        (SceneGrid(32633, 300_000, 5_799_950, 22, 20, 60), False),
        (SceneGrid(32633, 300_000, 5_800_020, 20, 20, 60), False),
        (SceneGrid(32633, 300_000, 5_800_020, 22, 18, 60), False),
    ],
)
def test_a_mask_covers_its_scene(grid: SceneGrid, *, covers: bool) -> None:
    mask = RasterFile(Layer("m.tif"), grid, "uint8", None)
    if covers:
        require_cover(mask, GRID)
    else:
        with pytest.raises(SceneError, match=r"m\.tif does not cover its scene \(EPSG:32633, bounds 3"):
            require_cover(mask, GRID)
