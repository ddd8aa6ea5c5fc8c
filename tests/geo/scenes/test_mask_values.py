"""Keys that say what is left out, and those that only describe: a wrong value is refused or warned of,
or changes no pixel."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.errors import LenscapeError
from pipeline.geo.raster.grid import PixelGrid
from pipeline.geo.scenes.scene import open_catalog
from pipeline.stages import fetch
from tests.support.products import L1C, L2A, make_product
from tests.support.worlds import GRID, native_grid, write_bands_folder, write_raster

ELSEWHERE = PixelGrid(GRID.epsg, GRID.x0 + 50_000, GRID.y0, GRID.height, GRID.width)
OTHER_ZONE = PixelGrid(32632, GRID.x0, GRID.y0, GRID.height, GRID.width)
MASKED_ROWS = 40


def pixels_of(grid: PixelGrid) -> np.ndarray:
    count = grid.height * grid.width
    return (300 + np.arange(count) % 3_000).astype(np.uint16).reshape(grid.height, grid.width)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with bands, and what a user may name as their mask."""
    folder = tmp_path_factory.mktemp("files")
    values = {band: pixels_of(native_grid(GRID, band)) for band in ("B02", "B05")}
    write_bands_folder(folder / "bands", GRID, values)
    mask = np.zeros((GRID.height, GRID.width), dtype=np.uint8)
    mask[:MASKED_ROWS] = 1
    for name, grid in (("mask", GRID), ("elsewhere", ELSEWHERE), ("zone", OTHER_ZONE)):
        write_raster(folder / f"{name}.tif", mask, grid)
    write_raster(folder / "floats.tif", mask.astype(np.float32), GRID)
    write_raster(folder / "layers.tif", mask, GRID, count=2)
    (folder / "mask.gpkg").write_bytes(b"SQLite format 3\0")
    (folder / "product").mkdir()

    def classified(band: str, native: PixelGrid) -> np.ndarray:
        if band != "SCL":
            return pixels_of(native) + np.uint16(1_000)
        codes = np.full((native.height, native.width), 4, dtype=np.uint8)
        codes[:8], codes[8:20] = 9, 11
        return codes

    make_product(folder / "product", L2A, classified)
    make_product(folder / "product", L1C, lambda _, native: pixels_of(native))
    return folder


def run(folder: Path, entry: dict[str, Any], **keys: Any) -> np.ndarray:
    """The pixels of the scene of an entry of `fetch.yaml`, through `fetch`."""
    conf = folder / "fetch.yaml"
    conf.write_text(json.dumps({"train": [entry]} | keys))
    fetch.run(conf, folder / "train", folder / "map")
    (scene,) = open_catalog(folder / "train")
    return scene.read(scene.grid.window, ("B02",))[0]


def stated(files: Path, **keys: Any) -> dict[str, Any]:
    """The folder of bands."""
    return {
        "id": "s", "path": str(files / "bands"), "datetime": "2017-02-16T10:21:01Z", "scale": 0.0001,
        "offset": 0,
    } | keys  # fmt: skip


def masked(files: Path, path: str | None = "mask.tif", **keys: Any) -> dict[str, Any]:
    """The folder of bands with a mask of the user."""
    named = {} if path is None else {"path": str(files / path)}
    return stated(files, mask=named | keys)


def product(files: Path, name: str = L2A, **keys: Any) -> dict[str, Any]:
    return {"safe": str(files / "product" / f"{name}.SAFE")} | keys


def says(tmp_path: Path, entry: dict[str, Any], text: str) -> None:
    """That an entry is refused in one sentence."""
    with pytest.raises(LenscapeError, match=text) as caught:
        run(tmp_path, entry)
    assert str(caught.value).endswith(".")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "train").exists()


class TestMask:
    @pytest.mark.parametrize(
        ("keys", "text"),
        [
            ({"path": "none.tif"}, r"none\.tif does not exist"),
            ({"path": "bands"}, r"bands cannot be read|bands is "),
            ({"path": "mask.gpkg"}, r"mask\.gpkg "),
            ({"path": "elsewhere.tif"}, r"elsewhere\.tif does not cover its scene .*; give a mask"),
            ({"path": "zone.tif"}, r"zone\.tif does not cover its scene .*; give a mask"),
            ({"path": "floats.tif"}, r"floats\.tif .*; give whole numbers"),
            ({"path": "layers.tif"}, r"layers\.tif "),
            (
                {"path": "bands/x_B02.tif"},
                r"x_B02\.tif is named as the mask .*, but holds its band B02",
            ),
            (
                {"path": "bands/../bands/x_B05.tif"},
                "holds its band B05; name a raster of what to leave",
            ),
            ({"path": None}, r"train\[0\]\.mask\.path' is missing; add it"),
            ({"invalid": []}, r"train\[0\]\.mask\.invalid' is \[\]"),
            ({"invalid": [0.1]}, r"train\[0\]\.mask\.invalid\[0\]' is 0\.1"),
            ({"invalid": ["1"]}, r"train\[0\]\.mask\.invalid\[0\]' is '1'"),
            ({"invalid": 1}, r"train\[0\]\.mask\.invalid' is 1"),
        ],
        ids=str,
    )
    def test_what_is_refused(
        self, tmp_path: Path, files: Path, keys: dict[str, Any], text: str
    ) -> None:
        says(tmp_path, masked(files, **keys), text)

    def test_a_right_one_is_used_without_a_word(
        self, tmp_path: Path, files: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        found = run(tmp_path, masked(files))
        assert (found[:MASKED_ROWS] == 0).all()
        np.testing.assert_array_equal(found[MASKED_ROWS:], pixels_of(GRID)[MASKED_ROWS:])
        assert capsys.readouterr().err == ""

    def test_no_mask_leaves_out_nothing(self, tmp_path: Path, files: Path) -> None:
        np.testing.assert_array_equal(run(tmp_path, stated(files)), pixels_of(GRID))

    def test_values_the_wrong_way_round(
        self, tmp_path: Path, files: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert (run(tmp_path, masked(files, invalid=[0]))[MASKED_ROWS:] == 0).all()
        assert warned("mask.tif leaves out 69.7% of the scene", capsys)


def warned(text: str, capsys: pytest.CaptureFixture[str]) -> bool:
    """Whether one warning was given, which has a text."""
    (line,) = capsys.readouterr().err.splitlines()
    return line.startswith("warning: ") and text in line and line.endswith(".")


class TestMaskClasses:
    @pytest.mark.parametrize("wrong", [[9], [90], [-9], [0.9], ["clouds"], ["CLOUD_HIGH"]], ids=str)
    @pytest.mark.parametrize("everywhere", [False, True])
    def test_what_is_no_class_is_refused(
        self, tmp_path: Path, files: Path, wrong: list[Any], everywhere: bool
    ) -> None:
        keys, entry = {"mask_classes": wrong}, product(files)
        with pytest.raises(
            LenscapeError, match=r"mask_classes\[0\]' is .* must be 'no_data', .*'snow'"
        ):
            run(tmp_path, entry if everywhere else entry | keys, **(keys if everywhere else {}))

    def test_missing_ones_are_the_usual(
        self, tmp_path: Path, files: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        found = run(tmp_path, product(files, mask_grow_m=0))
        assert (found[:16] == 0).all()
        assert found[16:].all()
        assert run(tmp_path, product(files, mask_classes=[])).all()
        assert capsys.readouterr().err == ""

    @pytest.mark.parametrize(
        ("classes", "text"),
        [
            (["cloud_opaque"], "its masks have no cloud_opaque, which `mask_classes` names"),
            (["cloud_opaque", "snow"], "its masks have no cloud_opaque, which `mask_classes` names"),
        ],
        ids=str,
    )
    def test_those_of_other_products_are_warned_of(
        self,
        tmp_path: Path,
        files: Path,
        classes: list[str],
        text: str,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        run(tmp_path, product(files, mask_classes=classes))
        assert warned(text, capsys)

    def test_of_all_scenes_they_may_be_of_other_products(
        self, tmp_path: Path, files: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        run(tmp_path, product(files), mask_classes=["cloud_opaque", "cloud_high"])
        assert capsys.readouterr().err == ""
        run(tmp_path, product(files), mask_classes=["cloud_opaque"])
        assert warned("; choose from no_data, saturated, cloud_high, cloud_medium, cirrus", capsys)

    @pytest.mark.parametrize("keys", [{"mask_classes": ["snow"]}, {"mask_grow_m": 60}], ids=str)
    def test_without_a_mask_or_with_another_one_they_are_refused(
        self, tmp_path: Path, files: Path, keys: dict[str, Any]
    ) -> None:
        key = next(iter(keys))
        none = rf"scene s: its key '{key}' is of a scene classification, but .*bands has none \(SCL\)"
        says(tmp_path, stated(files) | keys, none)
        both = rf"train\[0\]': {key} is of the masks of the source itself, .*drop one of the two"
        says(tmp_path, masked(files) | keys, both)
        says(tmp_path, product(files, mask="none") | keys, both)


class TestDescribing:
    """`level`, `platform`, `baseline` and `datetime`."""

    @pytest.mark.parametrize(
        "keys",
        [
            {"level": "L2A", "platform": "sentinel-2b", "baseline": "05.09"},
            {"level": "L1C", "platform": "landsat-8", "baseline": "00.51"},
            {"datetime": "2023-02-16T10:21:01Z"},
        ],
        ids=str,
    )
    def test_they_change_no_pixel(self, tmp_path: Path, files: Path, keys: dict[str, Any]) -> None:
        np.testing.assert_array_equal(run(tmp_path, stated(files, **keys)), pixels_of(GRID))

    @pytest.mark.parametrize(
        ("keys", "text"),
        [
            ({"level": "L10C"}, r"train\[0\]\.level' is 'L10C', but it must be 'L1C' or 'L2A'"),
            ({"level": 2}, r"train\[0\]\.level' is 2, but it must be 'L1C' or 'L2A'"),
            ({"level": -1}, r"train\[0\]\.level' is -1, but it must be 'L1C' or 'L2A'"),
            ({"platform": 2}, r"train\[0\]\.platform' is 2, but it must be a valid string"),
            ({"baseline": 5.09}, r"train\[0\]\.baseline' is 5\.09, but it must be .*in quotes"),
            ({"baseline": "5.09"}, r"train\[0\]\.baseline' is '5\.09', but it must be four digits"),
            ({"baseline": "50.9"}, r"train\[0\]\.baseline' is '50\.9', but it must be four digits"),
            ({"baseline": "-05.09"}, r"train\[0\]\.baseline' is '-05\.09', but it must be four digits"),
        ],
        ids=str,
    )
    def test_what_is_none_is_refused(
        self, tmp_path: Path, files: Path, keys: dict[str, Any], text: str
    ) -> None:
        says(tmp_path, stated(files, **keys), text)

    @pytest.mark.parametrize("key", ["level", "platform", "baseline", "scale", "offset", "nodata"])
    @pytest.mark.parametrize("name", [L1C, L2A])
    def test_a_product_states_them_itself(
        self, tmp_path: Path, files: Path, name: str, key: str
    ) -> None:
        text = rf"train\[0\]\.{key}' is unknown; the keys there are .*safe"
        says(tmp_path, product(files, name, **{key: "L1C"}), text)
