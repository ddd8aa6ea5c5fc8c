"""What is refused before it becomes a scene."""

import pytest

from pipeline.errors import SceneError
from pipeline.geo.raster.grid import PixelGrid
from pipeline.geo.raster.raster_file import Layer, RasterFile
from pipeline.geo.scenes.checks import (
    require_band,
    require_cover,
    require_same_ground,
    require_true_scale,
    with_nodata,
)
from pipeline.geo.scenes.scene_files import BandLayer
from tests.support.worlds import GRID


def band(grid: PixelGrid, nodata: float | None = None) -> RasterFile:
    """What `inspect` would say of a file that is not there."""
    return RasterFile(Layer("x_B11.tif"), grid, "uint16", nodata)


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


@pytest.mark.parametrize(
    ("dtype", "declared", "stated", "taken"),
    [
        ("uint16", None, None, None),
        ("uint16", 0.0, None, None),
        ("uint16", 65_535.0, None, None),
        ("uint16", -9_999.0, None, None),
        ("int16", -9_999.0, None, -9_999.0),
        ("int16", None, -32_768.0, -32_768.0),
        ("uint16", None, 0.0, 0.0),
        ("float32", float("nan"), None, None),
        ("float32", -9_999.0, None, -9_999.0),
    ],
)
def test_values_for_nodata_that_files_declare_or_the_conf_states(
    dtype: str, declared: float | None, stated: float | None, taken: float | None
) -> None:
    file = RasterFile(Layer("x_B11.tif"), GRID, dtype, declared)
    assert with_nodata(BandLayer(file.layer, 0.0001, 0.0, nodata=stated), file).nodata == taken


@pytest.mark.parametrize(
    ("dtype", "stated"), [("uint16", -9_999.0), ("int16", -99_990.0), ("int16", -999.9)]
)
def test_a_value_for_nodata_that_no_pixel_can_have(dtype: str, stated: float) -> None:
    file = RasterFile(Layer("x_B11.tif"), GRID, dtype, None)
    with pytest.raises(SceneError, match=rf"holds {dtype} values, none of which can be {stated:g},"):
        with_nodata(BandLayer(file.layer, 0.0001, 0.0, nodata=stated), file)


@pytest.mark.parametrize(
    ("epsg", "x0", "y0", "problem"),
    [
        (32633, 300_000, 5_800_000, None),
        (3035, 4_500_000, 3_200_000, None),
        (32661, 2_000_000, 1_500_000, None),
        (27700, 400_000, 300_000, None),
        (
            3857,
            1_170_000,
            6_800_000,
            "a metre on the ground is 1.6[0-9] m there; warp it to EPSG:32632",
        ),
        (3857, -10_600_000, 2_040_000, "a metre on the ground is 1.06 m there; warp it to EPSG:32615"),
        (3857, 2_000_000, -2_040_000, "is 1.06 m there; warp it to EPSG:32733"),
        (32633, 1_500_000, 100_000, "is 1.01 m there; warp it to EPSG:32634"),
        (3395, 1_170_000, 6_800_000, "m there; warp it to EPSG:32632"),
        (3035, 2_500_000, 1_000_000, "m there; warp it to EPSG:326"),
    ],
)
def test_a_crs_in_which_lengths_are_wrong(epsg: int, x0: float, y0: float, problem: str | None) -> None:
    grid = PixelGrid(epsg, x0, y0, 100, 100)
    if problem is None:
        require_true_scale(grid, "x_B02.tif")
        return
    with pytest.raises(SceneError, match=rf"x_B02\.tif has EPSG:{epsg}, in which .*{problem}"):
        require_true_scale(grid, "x_B02.tif")


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
