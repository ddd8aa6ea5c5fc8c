"""Rasters of codes as labels: places, resampling, codes and counts against plain references."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from pyproj import Transformer
from rasterio.crs import CRS

from pipeline.config.classes import ClassesConf
from pipeline.config.labels import RasterLabelConf
from pipeline.errors import LabelError
from pipeline.geo.labels import rasters
from pipeline.geo.labels.rasters import RasterLabels, open_raster
from pipeline.geo.raster.grid import PatchGrid, PixelGrid, Window
from tests.support.labelled import make_classes
from tests.support.worlds import GRID, write_raster

CELLS = PatchGrid(GRID, 16, 8)
CODES = {10: 0, 30: 1, 40: 1, 80: 2}


def classes() -> ClassesConf:
    """Codes 10, 30 and 40, 80; 50 is ignored."""
    made = make_classes("trees", "open", "water", ignore=[50])
    values: list[list[str | int]] = [[10], [30, 40], [80]]
    listed = [one.model_copy(update={"values": v}) for one, v in zip(made.classes, values, strict=True)]
    return made.model_copy(update={"classes": listed})


def cover(
    folder: Path, codes: np.ndarray, place: Affine, epsg: int = GRID.epsg, **more: Any
) -> RasterLabels | None:
    """What a raster of codes says of the scene."""
    path = folder / "cover.tif"
    write_raster(path, codes, None, crs=CRS.from_epsg(epsg), transform=place, **more)
    return open_raster(RasterLabelConf(raster=str(path)), classes(), "classes.yaml").on(CELLS)


def pixels(labels: RasterLabels | None) -> np.ndarray:
    assert labels is not None
    found, numbers = labels.pixels(GRID.window)
    assert (numbers == -1).all()
    return found


def random_codes(
    shape: tuple[int, int], codes: tuple[int, ...] = (0, 10, 30, 40, 50, 80)
) -> np.ndarray:
    return np.random.default_rng(1).choice(codes, shape).astype(np.uint8)


def meaning(codes: np.ndarray) -> np.ndarray:
    found = np.full(codes.shape, -1, dtype=np.int16)
    for code, label in CODES.items():
        found[codes == code] = label
    return found


def test_on_the_grid_of_the_scene_codes_stay_where_they_are(tmp_path: Path) -> None:
    codes = random_codes((GRID.height, GRID.width))
    labels = cover(tmp_path, codes, GRID.transform, nodata=0)
    np.testing.assert_array_equal(pixels(labels), meaning(codes))
    assert labels is not None
    assert labels.counts == {
        "pixels": int(np.isin(codes, list(CODES)).sum()),
        "ignored": int((codes == 50).sum()),
        "nodata": int((codes == 0).sum()),
    }


@pytest.mark.parametrize("value", [-9_999, -32_768, 32_767])
@pytest.mark.parametrize("declared", [True, False])
def test_any_code_may_stand_for_none(tmp_path: Path, value: int, *, declared: bool) -> None:
    """As the file declares it, or the conf states it."""
    codes = random_codes((GRID.height, GRID.width)).astype(np.int16)
    codes[codes == 0] = value
    path = tmp_path / "cover.tif"
    options = {"nodata": value} if declared else {}
    write_raster(path, codes, GRID, **options)
    conf = RasterLabelConf(raster=str(path), nodata=None if declared else value)
    labels = open_raster(conf, classes(), "classes.yaml").on(CELLS)
    np.testing.assert_array_equal(pixels(labels), meaning(codes))
    assert labels is not None
    assert labels.counts["nodata"] == int((codes == value).sum())


def test_coarse_codes_come_by_the_nearest_pixel(tmp_path: Path) -> None:
    """100 m, beginning 30 m west and 40 m north of the scene."""
    codes = random_codes((15, 14), (10, 30, 80))
    place = Affine(100, 0, GRID.x0 - 30, 0, -100, GRID.y0 + 40)
    rows = (np.arange(GRID.height) * 10 + 5 + 40) // 100
    cols = (np.arange(GRID.width) * 10 + 5 + 30) // 100
    np.testing.assert_array_equal(
        pixels(cover(tmp_path, codes, place)), meaning(codes)[np.ix_(rows, cols)]
    )


def test_fine_codes_come_by_mode(tmp_path: Path) -> None:
    """Five metres: of four codes the most frequent, of equal ones the first class."""
    quarters = {
        (10, 10, 80, 30): 0,
        (30, 40, 80, 10): 1,  # two codes of one class
        (80, 80, 80, 10): 2,
        (80, 30, 10, 50): 0,  # a tie between all
        (30, 80, 30, 80): 1,
        (50, 50, 50, 10): -1,  # most of it has none
    }
    codes = np.zeros((2 * GRID.height, 2 * GRID.width), dtype=np.uint8)
    codes[:] = 50
    for place, four in enumerate(quarters):
        codes[0, 2 * place : 2 * place + 2], codes[1, 2 * place : 2 * place + 2] = four[:2], four[2:]
    found = pixels(cover(tmp_path, codes, GRID.transform @ Affine.scale(0.5)))
    assert found[0, : len(quarters)].tolist() == list(quarters.values())
    assert (found[1:] == -1).all()


def test_codes_in_degrees_are_found_by_their_place(tmp_path: Path) -> None:
    """WorldCover's grid: 1/12000 of a degree."""
    step = 1 / 12_000
    to_degrees = Transformer.from_crs(GRID.epsg, 4326, always_xy=True)
    west, south = to_degrees.transform(GRID.x0 - 500, GRID.y0 - 2_000)
    codes = random_codes((700, 800), (10, 30, 80))
    # squares of 20 pixels, within which resampling makes no difference
    codes = codes[::20, ::20].repeat(20, axis=0).repeat(20, axis=1)
    place = Affine(step, 0, west, 0, -step, south + 700 * step)
    found = pixels(cover(tmp_path, codes, place, 4326))
    compared = 0
    for row, col in np.ndindex(GRID.height, GRID.width):
        x, y = to_degrees.transform(GRID.x0 + 10 * col + 5, GRID.y0 - 10 * row - 5)
        across, down = ~place @ (x, y)
        around = codes[int(down) - 2 : int(down) + 3, int(across) - 2 : int(across) + 3]
        if len(np.unique(around)) == 1:
            compared += 1
            assert found[row, col] == CODES[int(around[0, 0])]
    assert compared > 5_000


def test_the_pieces_in_which_it_is_read_make_no_difference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    codes = random_codes((400, 400), (0, 10, 30, 80))
    place = Affine(7, 1, GRID.x0 - 400, 1, -7, GRID.y0 + 90)  # rotated a little
    whole = pixels(cover(tmp_path, codes, place, nodata=0))
    monkeypatch.setattr(rasters, "_PIECE_PX", 3_000)
    labels = cover(tmp_path, codes, place, nodata=0)
    np.testing.assert_array_equal(pixels(labels), whole)
    assert labels is not None
    window = Window(-3, 17, 40, 30)  # reaches out of the scene
    np.testing.assert_array_equal(labels.pixels(window)[0][3:], whole[:37, 17:47])


def test_ground_without_the_raster_is_unlabelled(tmp_path: Path) -> None:
    codes = np.full((40, 30), 10, dtype=np.uint8)
    found = pixels(cover(tmp_path, codes, GRID.transform @ Affine.translation(60, 50)))
    expected = np.full(found.shape, -1)
    expected[50:90, 60:90] = 0
    np.testing.assert_array_equal(found, expected)


def test_a_raster_elsewhere_or_of_nodata_says_nothing(tmp_path: Path) -> None:
    codes = random_codes((40, 30), (10,))
    assert cover(tmp_path, codes, GRID.transform @ Affine.translation(900, 0)) is None
    assert cover(tmp_path, 0 * codes, GRID.transform, nodata=0) is None


def test_codes_far_from_the_scene_need_no_meaning(tmp_path: Path) -> None:
    codes = np.full((GRID.height, GRID.width + 200), 10, dtype=np.uint8)
    codes[:, -1] = 99
    assert (pixels(cover(tmp_path, codes, GRID.transform)) == 0).all()
    codes[0, 0] = 99
    with pytest.raises(
        LabelError, match=r"cover\.tif holds 99 \(1 pixels near the scene\), which is no"
    ):
        cover(tmp_path, codes, GRID.transform)


def test_one_of_several_layers(tmp_path: Path) -> None:
    path = tmp_path / "cover.tif"
    with rasterio.open(
        path, "w", driver="GTiff", count=2, dtype="int16", height=GRID.height, width=GRID.width,
        crs=CRS.from_epsg(GRID.epsg), transform=GRID.transform,
    ) as file:  # fmt: skip
        file.write(np.stack([np.full((132, 120), code, np.int16) for code in (10, 80)]))
    conf = RasterLabelConf(raster=str(path), layer=2)
    assert (pixels(open_raster(conf, classes(), "c").on(CELLS)) == 2).all()
    for layer, says in (
        (None, "name the one with the codes as `layer`"),
        (3, "none of them is number 3"),
    ):
        with pytest.raises(LabelError, match=says):
            open_raster(RasterLabelConf(raster=str(path), layer=layer), classes(), "c")


def test_a_scene_in_the_south(tmp_path: Path) -> None:
    south = PixelGrid(32733, 300_000.0, 9_200_020.0, 60, 60)
    codes = np.full((60, 60), 30, dtype=np.uint8)
    path = write_raster(tmp_path / "c.tif", codes, south)
    labels = open_raster(RasterLabelConf(raster=str(path)), classes(), "c").on(PatchGrid(south, 16, 8))
    assert labels is not None
    assert (labels.pixels(south.window)[0] == 1).all()


@pytest.mark.parametrize(
    "dtype",
    ["uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float32", "float64"],
)
def test_whole_numbers_of_any_type(tmp_path: Path, dtype: str) -> None:
    codes = random_codes((GRID.height, GRID.width)).astype(dtype)
    labels = cover(tmp_path, codes, GRID.transform, nodata=0)
    np.testing.assert_array_equal(pixels(labels), meaning(codes))
    assert labels is not None
    assert labels.counts["nodata"] == (codes == 0).sum()
    codes[3, 3] = 99
    with pytest.raises(
        LabelError, match=r"cover\.tif holds 99 \(1 pixels near the scene\), which is no"
    ):
        cover(tmp_path, codes, GRID.transform, nodata=0)


@pytest.mark.parametrize(
    ("dtype", "none"),
    [("int16", -9999), ("int16", -32768), ("uint16", 65535), ("int64", -9999), ("float32", -9999),
     ("float32", np.finfo("float32").min), ("float64", -1.5), ("float32", np.nan)],
)  # fmt: skip
@pytest.mark.parametrize("stated", ["in the file", "in the conf"])
def test_nodata_of_any_value(tmp_path: Path, dtype: str, none: float, stated: str) -> None:
    codes = random_codes((GRID.height, GRID.width), (10, 30, 80)).astype(dtype)
    codes[40:, :50] = none
    options = {"nodata": none} if stated == "in the file" else {}
    path = write_raster(tmp_path / "cover.tif", codes, GRID, **options)
    told = {} if options or np.isnan(none) else {"nodata": float(none)}
    labels = open_raster(RasterLabelConf(raster=str(path), **told), classes(), "c").on(CELLS)
    expected = meaning(codes)
    assert (expected[40:, :50] == -1).all()
    np.testing.assert_array_equal(pixels(labels), expected)
    assert labels is not None
    assert labels.counts["nodata"] == codes[40:, :50].size


def test_the_nodata_of_the_file_stays_one_beside_that_of_the_conf(tmp_path: Path) -> None:
    codes = random_codes((GRID.height, GRID.width), (0, 10, 99))
    path = write_raster(tmp_path / "cover.tif", codes, GRID, nodata=0)
    labels = open_raster(RasterLabelConf(raster=str(path), nodata=99), classes(), "c").on(CELLS)
    np.testing.assert_array_equal(pixels(labels), np.where(codes == 10, 0, -1))


@pytest.mark.parametrize(
    ("value", "says"),
    [(0.25, "holds 0.25 near"), (np.inf, "holds inf near"), (-3e38, r"holds -3.*e\+38 near")],
)
def test_floats_that_are_no_codes(tmp_path: Path, value: float, says: str) -> None:
    codes = random_codes((GRID.height, GRID.width), (10, 30)).astype(np.float32)
    codes[100, 100] = value
    with pytest.raises(LabelError, match=rf"cover\.tif {says} the scene, .*whole numbers; .*`nodata`"):
        cover(tmp_path, codes, GRID.transform)


def test_codes_that_no_raster_can_hold_are_no_harm(tmp_path: Path) -> None:
    made = classes()
    huge = made.model_copy(update={"ignore": [50, 10**30, -(10**30)]})
    path = write_raster(tmp_path / "cover.tif", random_codes((132, 120), (10, 50)), GRID)
    assert open_raster(RasterLabelConf(raster=str(path)), huge, "c").on(CELLS) is not None


def test_what_a_mask_beside_the_codes_leaves_out_is_nodata(tmp_path: Path) -> None:
    """As GDAL writes where no value is left that could stand for none."""
    codes = random_codes((GRID.height, GRID.width), (0, 10, 30))
    path = tmp_path / "cover.tif"
    profile = {
        "driver": "GTiff",
        "count": 1,
        "dtype": "uint8",
        "height": GRID.height,
        "width": GRID.width,
    }
    place = {"crs": CRS.from_epsg(GRID.epsg), "transform": GRID.transform}
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        rasterio.open(path, "w", **profile, **place) as file,
    ):
        file.write(codes, 1)
        file.write_mask(codes > 0)
    labels = open_raster(RasterLabelConf(raster=str(path)), classes(), "c").on(CELLS)
    np.testing.assert_array_equal(pixels(labels), meaning(codes))
    assert labels is not None
    assert labels.counts["nodata"] == (codes == 0).sum()
