"""A folder of one file per band: which file is which band, and what the conf must say."""

import re
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import RadiometryError, SceneError
from pipeline.geo.sources.folder import band_files, scene_files
from tests.worlds import scene_conf


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
    }
    others = (
        "notes.txt", "T33UUU_TCI.jp2", "B02.tif.aux.xml", "B04.png", "B04", "SUB04.tif", "B04_30m.tif",
        "B13.tif", "x_B13.tif", "B04_clouds.tif", "CLD.tif", "B8.tif",
    )  # fmt: skip
    touch(tmp_path, *named.values(), *others)
    found = band_files(tmp_path)
    assert {band: path.name for band, path in found.items()} == named
    assert list(found) == list(named)  # in the order of all bands


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        (["x_B02.tif", "y_b02.jp2"], "has two files of band B02, x_B02.tif and y_b02.jp2"),
        (["B05_20m.jp2", "B05_60m.jp2"], "has two files of band B05"),
        (["TCI.jp2", "B99.tif"], "holds no file that is named after a Sentinel-2 band"),
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


def test_known_radiometry(tmp_path: Path) -> None:
    (band,) = scene_files(
        scene_conf(touch(tmp_path, "B02.tif"), scale=0.0002, offset=-0.1)
    ).bands.values()
    assert (band.scale, band.offset) == (0.0002, -0.1)


@pytest.mark.parametrize(
    ("keys", "missing"),
    [
        ({"scale": None}, "add scale to"),
        ({"offset": None}, "add offset to"),
        ({"scale": None, "offset": None}, "add scale and offset to"),
    ],
)
def test_unknown_radiometry_is_refused(keys: dict[str, Any], missing: str) -> None:
    with pytest.raises(RadiometryError, match=rf"scene s1 \(bands\): its radiometry .* {missing} it"):
        scene_files(scene_conf("bands", **keys))
