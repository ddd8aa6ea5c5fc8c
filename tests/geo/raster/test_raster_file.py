"""The door to raster files: what is refused, and in which words."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from affine import Affine
from rasterio.crs import CRS

from pipeline.errors import SceneError
from pipeline.geo.raster.grid import PixelGrid, Window
from pipeline.geo.raster.raster_file import OpenFile, inspect, opened, read_decimated
from tests.support.worlds import native_grid, positions, write_raster

GRID = PixelGrid(32633, 300_000, 5_800_000, height=120, width=90)
PIXELS = positions(GRID)


@pytest.mark.parametrize("name", ["a.tif", "a.jp2", "a.TIFF"])
def test_a_good_file_says_what_it_is(tmp_path: Path, name: str) -> None:
    path = write_raster(tmp_path / name, PIXELS, GRID)
    file = inspect(str(path))
    assert (file.href, file.grid, file.dtype, file.nodata) == (str(path), GRID, "uint16", None)


def test_the_grid_is_the_files_own(tmp_path: Path) -> None:
    grid = native_grid(GRID, "B09", east_m=-50, south_m=20)
    path = write_raster(tmp_path / "a.tif", positions(grid), grid, nodata=0)
    assert inspect(str(path)).grid == grid
    assert (grid.x0, grid.y0, grid.pixel_m) == (299_950, 5_799_980, 60)
    assert inspect(str(path)).nodata == 0


@pytest.mark.parametrize(
    "noisy",
    [
        Affine(10.000000000000002, 0, 3e5, 0, -9.999999999999998, 5.8e6),
        Affine(9.999999999999998, 0, 3e5, 0, -9.999999999999998, 5.8e6),
        Affine(10, 1e-15, 3e5, -1e-15, -10, 5.8e6),
        Affine(10, 0, 300_000.00000000006, 0, -10, 5_799_999.999999999),
        Affine(10.00000001, 0, 3e5, 0, -10, 5.8e6),
    ],
)
def test_float_noise_in_a_geotransform(tmp_path: Path, noisy: Affine) -> None:
    path = write_raster(tmp_path / "a.tif", PIXELS, GRID, transform=noisy)
    assert inspect(str(path)).grid == GRID


@pytest.mark.parametrize(
    ("transform", "problem"),
    [
        (Affine(10.000001, 0, 3e5, 0, -10, 5.8e6), "has pixels of 10.000001 x 10 m"),
        (Affine(10, 1e-6, 3e5, 0, -10, 5.8e6), "is rotated"),
        (Affine(-10, 0, 3e5, 0, -10, 5.8e6), "has pixels of -10 x 10 m"),
    ],
)
def test_more_than_noise(tmp_path: Path, transform: Affine, problem: str) -> None:
    path = write_raster(tmp_path / "a.tif", PIXELS, GRID, transform=transform)
    with pytest.raises(SceneError, match=problem):
        inspect(str(path))


def test_pixels_of_any_size_stay_as_they_are(tmp_path: Path) -> None:
    """Such as `gdalwarp` gives a mask."""
    side = 10.784313725490197
    path = write_raster(
        tmp_path / "a.tif", PIXELS, GRID, transform=Affine(side, 0, 3e5, 0, -side, 5.8e6)
    )
    assert inspect(str(path)).grid.pixel_m == side


UTM, PLACE = CRS.from_epsg(32633), GRID.transform
FEET = CRS.from_epsg(2263)  # US survey feet
NO_CODE = CRS.from_proj4("+proj=tmerc +lat_0=1 +lon_0=13.3 +k=0.9 +x_0=5 +datum=WGS84 +units=m")


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"crs": None}, "has no CRS; assign one"),
        ({"crs": CRS.from_epsg(4326)}, "has the CRS EPSG:4326, which is not in metres"),
        ({"crs": FEET}, "has the CRS EPSG:2263, which is not in metres"),
        ({"crs": NO_CODE}, "has a CRS without EPSG code"),
        ({"transform": None}, "does not say where it lies"),
        ({"transform": PLACE @ Affine.rotation(3)}, "is rotated"),
        ({"transform": Affine(10, 0, 3e5, 0, 10, 5.8e6)}, "is south-up"),
        ({"transform": Affine(10, 0, 3e5, 0, -20, 5.8e6)}, "has pixels of 10 x 20 m"),
        ({"dtype": "float32"}, "holds float32 values"),
        ({"dtype": "complex64"}, "holds complex64 values"),
        ({"dtype": "complex_int16"}, "holds complex_int16 values"),
    ],
)
def test_a_grid_or_type_that_cannot_be_used(
    tmp_path: Path, options: dict[str, Any], problem: str
) -> None:
    path = tmp_path / "a.tif"
    options = {"crs": UTM, "transform": PLACE, "dtype": "uint16"} | options
    pixels = np.zeros((GRID.height, GRID.width), dtype=np.complex64)
    if not options["dtype"].startswith("complex"):
        pixels = pixels.real.astype(options["dtype"])
    write_raster(path, pixels, None, **options)
    with pytest.raises(SceneError) as caught:
        inspect(str(path))
    assert str(caught.value).startswith(f"{path} {problem}")


def test_several_layers(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    with rasterio.open(
        path, "w", driver="GTiff", count=3, dtype="uint16", height=4, width=4, crs=UTM, transform=PLACE
    ) as dataset:
        dataset.write(np.ones((3, 4, 4), dtype=np.uint16))
    with pytest.raises(SceneError, match=r"a\.tif has 3 layers; give a file of one"):
        inspect(str(path))


def test_a_picture_with_another_name(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.png", PIXELS, None, driver="PNG").rename(tmp_path / "a.tif")
    with pytest.raises(SceneError, match=r"a\.tif is a PNG file whatever its name says"):
        inspect(str(path))


@pytest.mark.parametrize("content", [b"", b"no raster at all"])
@pytest.mark.parametrize("name", ["a.tif", "a.jp2"])
def test_no_raster(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(SceneError, match=rf"{name} cannot be read .* it is damaged or no raster"):
        inspect(str(path))


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(SceneError, match=r"a\.tif does not exist; name a raster file"):
        inspect(str(tmp_path / "a.tif"))
    with pytest.raises(SceneError, match="is a folder; name a raster file"):
        inspect(str(tmp_path))


def _noise() -> np.ndarray:
    """Pixels that compress badly, so that a file holds them throughout."""
    return np.random.default_rng(0).integers(1, 60_000, (GRID.height, GRID.width), dtype=np.uint16)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.jp2", {}),
        ("a.tif", {}),
        ("a.tif", {"tiled": True, "blockxsize": 32, "blockysize": 32, "compress": "deflate"}),
        ("a.tif", {"driver": "COG"}),
    ],
)
def test_a_file_that_was_cut_off(
    tmp_path: Path, name: str, options: dict[str, Any], share: float
) -> None:
    path = write_raster(tmp_path / name, _noise(), GRID, **options)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(SceneError) as caught:
        inspect(str(path))
    assert str(caught.value).startswith(f"{path} ")
    assert str(caught.value).endswith("again.")


def test_a_jpeg2000_file_whose_last_box_is_open_may_end_where_its_image_does(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.jp2", _noise(), GRID)
    content = path.read_bytes()
    start = content.index(b"jp2c") - 4
    assert int.from_bytes(content[start : start + 4], "big") == len(content) - start
    # length 0: the box reaches to the end of the file (ISO/IEC 15444-1, annex I.4)
    path.write_bytes(content[:start] + bytes(4) + content[start + 4 :])
    assert inspect(str(path)).grid == GRID
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(SceneError, match="is truncated"):
        inspect(str(path))


def test_damage_shows_while_reading_too(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif", _noise(), GRID)
    path.write_bytes(path.read_bytes()[:8_000])
    file = OpenFile(str(path))
    with pytest.raises(SceneError, match=r"a\.tif cannot be read"):
        file.read(GRID.window)
    file.close()
    with pytest.raises(SceneError, match=r"gone\.tif does not exist"):
        OpenFile(str(tmp_path / "gone.tif"))


def test_sidecars_have_no_say(tmp_path: Path) -> None:
    """They are no part of the checksum of a file, so nothing may depend on them."""
    path = write_raster(tmp_path / "a.tif", PIXELS, None, crs=UTM)
    (tmp_path / "a.tfw").write_text("10\n0\n0\n-10\n300005\n5799995\n")
    with pytest.raises(SceneError, match="does not say where it lies"):
        inspect(str(path))


def test_an_open_file_gives_windows(tmp_path: Path) -> None:
    file = OpenFile(str(write_raster(tmp_path / "a.tif", PIXELS, GRID, blockysize=7)))
    assert (file.height, file.width, file.block_px) == (GRID.height, GRID.width, (7, GRID.width))
    assert np.array_equal(file.read(Window(3, 5, 40, 20)), PIXELS[3:43, 5:25])
    file.close()


@pytest.mark.parametrize("name", ["a.tif", "a.jp2"])
def test_where_only_pixels_count_no_crs_is_read(tmp_path: Path, name: str) -> None:
    path = write_raster(tmp_path / name, PIXELS, GRID, nodata=0)
    with opened(str(path)) as whole, opened(str(path), pixels_only=True) as pixels:
        assert (whole.crs, pixels.crs) == (CRS.from_epsg(GRID.epsg), None)
        assert pixels.nodatavals == whole.nodatavals
        np.testing.assert_array_equal(pixels.read(1), whole.read(1))


def test_decimated_pixels_are_spread_over_the_whole(tmp_path: Path) -> None:
    path = str(write_raster(tmp_path / "a.tif", PIXELS, GRID))
    with opened(path) as dataset:
        small = read_decimated(dataset, 30)
        whole = read_decimated(dataset, 500)
    assert np.array_equal(whole, PIXELS)
    assert small.shape == (30, 22)
    rows, cols = np.divmod(small.astype(int) - 1, GRID.width)
    # pixel i of the small picture lies within the pixels i * 4 to i * 4 + 3 of the large one
    assert np.array_equal(rows // 4, np.arange(30)[:, None].repeat(22, axis=1))
    assert np.abs(cols - (np.arange(22) + 0.5) * 90 / 22).max() <= 2.5


def test_no_driver_but_those_of_products_looks_at_a_file(tmp_path: Path) -> None:
    source = write_raster(tmp_path / "source.tif", PIXELS, GRID)
    path = tmp_path / "a.tif"
    with rasterio.open(source) as dataset:
        rasterio.shutil.copy(dataset, path, driver="VRT")
    says = r"a\.tif is a VRT file whatever its name says; give a GeoTIFF or JPEG 2000 file\.$"
    for attempt in (inspect, OpenFile):
        with pytest.raises(SceneError, match=says):
            attempt(str(path))
    with opened(str(path), any_format=True) as dataset:
        assert dataset.driver == "VRT"
