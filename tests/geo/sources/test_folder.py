"""A folder of one file per band: which file is which band, and what the conf must say."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

from pipeline.bands import BANDS
from pipeline.errors import RadiometryError, SceneError
from pipeline.geo.raster.grid import PixelGrid
from pipeline.geo.scenes.scene_files import MaskLayer
from pipeline.geo.sources.folder import band_files, scene_files
from tests.support.worlds import scene_conf, write_raster


def touch(folder: Path, *names: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).touch()
    return folder


def test_bands_are_found_by_the_end_of_their_names(tmp_path: Path) -> None:
    named = {
        "B01": "B01.tif",
        "B02": "T33UUU_20170216T102101_B02.jp2",
        "B03": "b03.TIF",
        "B05": "T33UUU_20170216T102101_B05_20m.jp2",
        "B8A": "x-b8a.tiff",
        "B09": "L2A B09_60m.JP2",
        "B12": "scene.B12.tif",
        "B04": "img.B4.tif",
        "B08": "SENTINEL2B_20190101-102030_T33UUU_D_V1-0_FRE_B8.tif",
        "B06": "b6_20m.tif",
        "B07": "2020-05-06_B07_(Raw).tiff",
        "B11": "x_swir16.tif",
    }
    others = (
        "notes.txt", "T33UUU_TCI.jp2", "B02.tif.aux.xml", "B04.png", "B04", "SUB04.tif", "B04_30m.tif",
        "B13.tif", "x_B13.tif", "B04_clouds.tif", "CLD.tif", "B120.tif", "MSK_DETFOO_B04.jp2",
        "cirrus.tif", "._B04.tif", "infrared.tif", "band4.tif",
    )  # fmt: skip
    touch(tmp_path, *named.values(), *others)
    found = band_files(tmp_path)
    assert {band: path.name for band, path in found.items()} == named
    assert list(found) == sorted(named, key=list(BANDS).index)


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        (["x_B02.tif", "y_b02.jp2"], "has two files of band B02, x_B02.tif and y_b02.jp2"),
        (["B05_20m.jp2", "B05_60m.jp2"], "has two files of band B05"),
        (["TCI.jp2", "B99.tif"], "holds no file that is named after a .*, but B99.tif, TCI.jp2; name"),
        ([], "holds no file that is named after a Sentinel-2 band"),
    ],
)
def test_a_folder_that_is_no_scene(tmp_path: Path, names: list[str], problem: str) -> None:
    folder = touch(tmp_path / "bands", *names)
    with pytest.raises(SceneError, match=f"^{re.escape(str(folder))} {problem}"):
        band_files(folder)


def test_a_path_that_is_no_folder(tmp_path: Path) -> None:
    touch(tmp_path, "B02.tif")
    with pytest.raises(SceneError, match=r"nowhere does not exist; name a folder"):
        band_files(tmp_path / "nowhere")
    with pytest.raises(SceneError, match=r"B02\.tif is a file; name a folder"):
        band_files(tmp_path / "B02.tif")


def band(folder: Path, name: str = "B02", **said: Any) -> Path:
    """A folder with one more band, of whose layer the file says something."""
    pixels = np.full((12, 12), 3_000, dtype=np.uint16)
    path = write_raster(folder / f"{name}.tif", pixels, PixelGrid(32633, 300_000, 5_800_020, 12, 12))
    with rasterio.open(path, "r+") as dataset:
        dataset.scales, dataset.offsets = (said.get("scale", 1.0),), (said.get("offset", 0.0),)
    return folder


def radiometry(folder: Path, **keys: Any) -> list[tuple[float, float]]:
    bands = scene_files(scene_conf(folder, **keys)).bands.values()
    return [(band.scale, band.offset) for band in bands]


def test_known_radiometry(tmp_path: Path) -> None:
    assert radiometry(band(tmp_path), scale=0.0002, offset=-0.1) == [(0.0002, -0.1)]


@pytest.mark.parametrize(
    ("keys", "missing"),
    [
        ({"scale": None}, "add scale to"),
        ({"offset": None}, "add offset to"),
        ({"scale": None, "offset": None}, "add scale and offset to"),
    ],
)
def test_unknown_radiometry_is_refused(tmp_path: Path, keys: dict[str, Any], missing: str) -> None:
    with pytest.raises(RadiometryError, match=rf"scene s1 \(.*\): its radiometry .* {missing} it"):
        radiometry(band(tmp_path), **keys)


UNSTATED: dict[str, Any] = {"scale": None, "offset": None}


def test_radiometry_of_each_file(tmp_path: Path) -> None:
    band(tmp_path, "B02", scale=0.0001, offset=-0.1)
    band(tmp_path, "B03", scale=0.0002)  # with a scale, no offset is 0
    assert radiometry(tmp_path, **UNSTATED) == [(0.0001, -0.1), (0.0002, 0.0)]


def test_the_conf_adds_what_the_files_do_not_say(tmp_path: Path) -> None:
    folder = band(tmp_path, scale=0.0001)
    assert radiometry(folder, scale=None, offset=-0.1) == [(0.0001, -0.1)]
    assert radiometry(folder, scale=0.0001, offset=-0.1) == [(0.0001, -0.1)]


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        ({"scale": 0.0002}, "its scale is 0.0002, but scene s1 in the conf says 0.0001; correct"),
        ({"offset": -0.1}, "its offset is -0.1, but scene s1 in the conf says 0; correct"),
    ],
)
def test_conf_and_file_must_not_differ(tmp_path: Path, said: dict[str, Any], problem: str) -> None:
    with pytest.raises(RadiometryError, match=rf"B02\.tif says that {problem}"):
        radiometry(band(tmp_path, **said))


def test_a_scene_classification_is_its_mask(tmp_path: Path) -> None:
    write_raster(tmp_path / "x_SCL_20m.tif", np.full((6, 6), 9, np.uint8), PixelGrid(
        32633, 300_000, 5_800_020, 6, 6, 20))  # fmt: skip
    scene = scene_files(scene_conf(band(tmp_path)))
    (mask,) = scene.masks
    assert isinstance(mask, MaskLayer)
    assert (Path(mask.layer.href).name, mask.classes[9]) == ("x_SCL_20m.tif", "cloud_high")
    assert list(band_files(tmp_path)) == ["B02"]


def test_rasters_that_are_not_used_are_named(tmp_path: Path) -> None:
    folder = band(tmp_path)
    touch(folder, "x_NDVI.tif", "B04_30m.tif", "B03.img", "._B04.tif", "notes.txt", "clouds.tif")
    mask = {"path": str(folder / "clouds.tif")}
    scene = scene_files(scene_conf(folder, mask=mask))
    assert list(scene.bands) == ["B02"]
    assert scene.unused == ("B03.img", "B04_30m.tif", "x_NDVI.tif")
    for name in ("x_NDVI.tif", "B04_30m.tif", "B03.img"):
        (folder / name).unlink()
    assert scene_files(scene_conf(folder, mask=mask)).unused == ()


def test_a_folder_of_folders_is_refused_by_what_it_holds(tmp_path: Path) -> None:
    (tmp_path / "GRANULE").mkdir()
    with pytest.raises(SceneError, match=r"but GRANULE/; name the folder .*, or a product as `safe`"):
        band_files(tmp_path)
