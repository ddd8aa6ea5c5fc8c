"""Keys of the conf that change pixels: a wrong value is refused, warned of, or changes nothing."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

from pipeline.bands import BANDS
from pipeline.errors import LenscapeError
from pipeline.geo.raster.grid import PixelGrid
from pipeline.geo.raster.raster_file import OpenFile, inspect
from pipeline.geo.scenes.scene import open_catalog
from pipeline.stages import fetch
from tests.support.products import L1C, L2A, make_product
from tests.support.projects import ROOT
from tests.support.worlds import GRID, native_grid, write_raster

DEMO = ROOT / "data" / "demo" / "scenes" / "T33UUU_20170216T102101"
SIDE_M = 1_800
WHEN = "2017-02-16T10:21:01Z"
_LAYERS = ("B02", "B04", "B08")

type Made = Callable[[str], Path]
type Pixels = dict[str, tuple[np.ndarray, PixelGrid]]


@pytest.fixture(scope="module")
def ground() -> Pixels:
    """DN of real ground without an offset, of all bands: a corner of the demo's scene."""
    found = {}
    for path in sorted(DEMO.glob("*.jp2")):
        grid = inspect(str(path)).grid
        side = round(SIDE_M / grid.pixel_m)
        file = OpenFile(str(path))
        part = PixelGrid(grid.epsg, grid.x0, grid.y0, side, side, grid.pixel_m)
        found[path.stem[-3:]] = file.read(part.window), part
        file.close()
    assert list(found) == sorted(BANDS)
    return found


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, ground: Pixels) -> Made:
    """The folder of a kind of files, written once."""
    root = tmp_path_factory.mktemp("made")

    def folder(kind: str) -> Path:
        path = root / kind
        return path if path.exists() else bands(path, ground, kind)

    return folder


def bands(folder: Path, ground: Pixels, kind: str) -> Path:
    """A folder of band files that hold the ground in some way."""
    for band, (dn, grid) in ground.items():
        values: np.ndarray = dn
        options: dict[str, Any] = {}
        if kind == "offset":
            values = dn + np.uint16(1_000)
        elif kind == "reflectance":
            values = (dn / 10_000).astype(np.float32)
        elif kind == "floats":
            values = dn.astype(np.float32)
        elif kind.startswith("int16"):
            values = dn.astype(np.int16)
            values[: grid.height // 6] = -9_999
            options = {"nodata": -9_999} if kind == "int16 that says so" else {}
        write_raster(folder / f"{band}.tif", values, grid, **options)
    return folder


STATED = {
    "plain": {"scale": 0.0001, "offset": 0},
    "offset": {"scale": 0.0001, "offset": -0.1},
    "reflectance": {"values": "reflectance"},
    "floats": {"scale": 0.0001, "offset": 0},
    "int16": {"scale": 0.0001, "offset": 0, "nodata": -9999},
    "int16 that says so": {"scale": 0.0001, "offset": 0},
}
"""What is right of each kind of files."""


def run(folder: Path, entry: dict[str, Any]) -> np.ndarray:
    """The pixels of the scene of an entry of `fetch.yaml`, through `fetch`."""
    folder.mkdir(exist_ok=True)
    conf = folder / "fetch.yaml"
    stated = {key: value for key, value in entry.items() if value is not None}
    conf.write_text(json.dumps({"train": [stated]}))
    fetch.run(conf, folder / "train", folder / "map")
    (scene,) = open_catalog(folder / "train")
    return scene.read(scene.grid.window, scene.bands)


def entry(path: Path, kind: str, **keys: Any) -> dict[str, Any]:
    return {"id": "s", "path": str(path), "datetime": WHEN} | STATED[kind] | keys


@pytest.mark.parametrize("kind", STATED)
def test_right_values_are_taken_without_a_word(
    tmp_path: Path, made: Made, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = run(tmp_path, entry(made("plain"), "plain"))
    pixels = run(tmp_path, entry(made(kind), kind))
    assert "warning" not in capsys.readouterr().err
    if kind.startswith("int16"):
        assert (pixels[:, :30] == 0).all()
        pixels[:, :30] = plain[:, :30]
    np.testing.assert_array_equal(pixels, plain)


FIT = r"`scale: 0\.0001` and `offset: 0` fit the pixels: state them in the conf"
FIT_OFFSET = FIT.replace("offset: 0", r"offset: -0\.1")
FIT_FLOATS = FIT.replace(r"0\.0001", "1")
NODATA = r"where -9999 stands for nodata, add `nodata: -9999`"
WRONG = [
    # kind, keys, refused or warned, what is said
    ("plain", {"scale": 0.001}, "refused", FIT),
    ("plain", {"scale": 0.00001}, "warned", FIT),
    ("plain", {"scale": -0.0001}, "refused", r"train\[0\].*scale"),
    ("plain", {"scale": None}, "refused", "add scale to it in the conf"),
    ("plain", {"scale": 1}, "refused", FIT),
    ("plain", {"scale": 0.01}, "refused", FIT),
    ("plain", {"scale": 1e-6}, "refused", FIT),
    ("plain", {"offset": -0.1}, "refused", FIT),
    ("plain", {"offset": 0.1}, "warned", FIT),
    ("plain", {"offset": None}, "refused", "add offset to it in the conf"),
    ("plain", {"values": "reflectance", "scale": None, "offset": None}, "refused", "drop that"),
    ("offset", {"offset": -1}, "refused", FIT_OFFSET),
    ("offset", {"offset": -0.01}, "warned", FIT_OFFSET),
    ("offset", {"offset": 0.1}, "warned", FIT_OFFSET),
    ("offset", {"offset": 0}, "warned", FIT_OFFSET),
    ("offset", {"offset": None}, "refused", "add offset to it in the conf"),
    ("reflectance", {"scale": 10}, "refused", FIT_FLOATS),
    ("reflectance", {"scale": 0.1}, "warned", FIT_FLOATS),
    ("reflectance", {"scale": -1}, "refused", r"train\[0\].*scale"),
    ("reflectance", {"scale": 0.0001}, "refused", FIT_FLOATS),
    ("reflectance", {"offset": 0.1}, "warned", FIT_FLOATS),
    ("reflectance", {"offset": -0.1}, "refused", FIT_FLOATS),
    ("reflectance", {"values": None}, "refused", "add scale and offset|no whole numbers"),
    ("reflectance", {"values": "dn"} | STATED["plain"], "refused", "add `values: reflectance`"),
    (
        "floats",
        STATED["reflectance"] | {"scale": None, "offset": None},
        "refused",
        f"`values: dn`, {FIT}",
    ),
    ("int16", {"nodata": -99990}, "refused", "holds int16 values, none of which can be -99990"),
    ("int16", {"nodata": -999.9}, "refused", "holds int16 values, none of which can be -999.9"),
    ("int16", {"nodata": 9999}, "refused", "below -0.03"),
    ("int16", {"nodata": None}, "refused", NODATA),
    (
        "int16 that says so",
        {"nodata": 9999},
        "refused",
        "its nodata is -9999, but scene s .* says 9999",
    ),
]


@pytest.mark.parametrize("case", WRONG, ids=lambda case: f"{case[0]}-{case[1]}")
def test_wrong_values_are_loud(
    tmp_path: Path,
    made: Made,
    case: tuple[str, dict[str, Any], str, str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    kind, keys, outcome, says = case
    source = entry(made(kind), kind, **keys)
    if outcome == "refused":
        with pytest.raises(LenscapeError, match=says) as caught:
            run(tmp_path, source)
        assert str(caught.value).count("\n") == 0
        assert str(caught.value).endswith(".")
        return
    run(tmp_path, source)
    (warning, *_) = [line for line in capsys.readouterr().err.splitlines() if "fit the pixels" in line]
    assert warning.startswith("warning: s: ")
    assert re.search(says, warning), warning


def test_the_order_of_layers_that_say_their_band(tmp_path: Path, ground: Pixels) -> None:
    path = tmp_path / "stack.tif"
    grid = ground["B02"][1]
    with rasterio.open(
        path, "w", driver="GTiff", count=3, dtype="uint16", height=grid.height, width=grid.width,
        crs=f"EPSG:{grid.epsg}", transform=grid.transform,
    ) as file:  # fmt: skip
        file.write(np.stack([ground[band][0] for band in _LAYERS]))
        file.descriptions = _LAYERS
    stack = {"id": "s", "stack": str(path), "datetime": WHEN} | STATED["plain"]
    plain = run(tmp_path, stack)
    np.testing.assert_array_equal(run(tmp_path, stack | {"bands": list(_LAYERS)}), plain)
    with pytest.raises(LenscapeError, match=r"says that its layer 1 is B02, .* says B08; correct"):
        run(tmp_path, stack | {"bands": list(reversed(_LAYERS))})


@pytest.mark.parametrize("invalid", [[10], [-1], [0, 7]])
def test_a_mask_that_marks_nothing_is_warned_of(
    tmp_path: Path, ground: Pixels, made: Made, invalid: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    grid = ground["B02"][1]
    values = np.full((grid.height, grid.width), 2, dtype=np.uint8)
    values[:80] = 1
    path = write_raster(tmp_path / "mask.tif", values, grid)
    source = entry(made("plain"), "plain", mask={"path": str(path)})
    marked = run(tmp_path, source)
    assert (marked[:, :80] == 0).all()
    assert capsys.readouterr().err == ""
    plain = run(tmp_path, source | {"mask": {"path": str(path), "invalid": invalid}})
    assert plain.all()
    assert "mask.tif marks no pixel, as none there is" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("value", "outcome"), [(1_000, "masked 70.1%"), (10, "masked 1.6%"), (-100, None), (10_000, None)]
)
def test_the_margin_of_a_mask_is_told_or_refused(
    tmp_path: Path, value: float, outcome: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    def cloudy(band: str, native: PixelGrid) -> np.ndarray:
        shape = native.height, native.width
        if band != "SCL":
            return (
                1_300 + np.arange(native.height * native.width, dtype=np.uint16).reshape(shape) % 3_000
            )
        codes = np.full(shape, 4, dtype=np.uint8)
        codes[:8, :8] = 9
        return codes

    source = {"safe": str(make_product(tmp_path / "in", L2A, cloudy)), "mask_grow_m": value}
    if outcome is None:
        with pytest.raises(LenscapeError, match=r"train\[0\].*mask_grow_m"):
            run(tmp_path, source)
        return
    run(tmp_path, source)
    assert outcome in capsys.readouterr().out


class TestDarkPixels:
    """They are data where the product's own metadata state the offset."""

    @staticmethod
    def product(folder: Path, name: str, dark: dict[str, int], share: float) -> Path:
        """A product with some DN in a share of some bands."""

        def values(band: str, native: PixelGrid) -> np.ndarray:
            count = native.height * native.width
            if band == "SCL":
                return np.full((native.height, native.width), 4, dtype=np.uint8)
            offset = 1_000 if name == L2A else 0
            pixels = (300 + offset + np.arange(count) % 4_000).astype(np.uint16)
            if band in dark:
                pixels[: int(share * count)] = dark[band]
            return pixels.reshape(native.height, native.width)

        return make_product(folder, name, values)

    @pytest.mark.parametrize("share", [0.05, 0.3, 0.9])
    def test_they_are_stored_as_the_darkest_value_and_counted(
        self, tmp_path: Path, share: float, capsys: pytest.CaptureFixture[str]
    ) -> None:
        root = self.product(tmp_path / "in", L2A, {"B11": 950, "B12": 950}, share)
        pixels = run(tmp_path, {"safe": str(root)})
        count = native_grid(GRID, "B11").height * native_grid(GRID, "B11").width
        for band in (-2, -1):
            assert (pixels[band] == 1).sum() == 4 * int(share * count)
        assert (pixels > 0).all()
        said = capsys.readouterr()
        assert f"darkest value: {share:.1%} of B11, {share:.1%} of B12" in said.out
        assert "warning" not in said.err

    def test_more_of_them_may_be_very_dark_where_the_product_states_the_offset(
        self, tmp_path: Path, ground: Pixels
    ) -> None:
        root = self.product(tmp_path / "in", L2A, {"B11": 650}, 0.15)
        assert (run(tmp_path, {"safe": str(root)}) > 0).all()
        folder = bands(tmp_path / "bands", ground, "offset")
        dn, grid = ground["B11"]
        dark = dn + np.uint16(1_000)
        dark[: grid.height * 15 // 100] = 650
        write_raster(folder / "B11.tif", dark, grid)
        with pytest.raises(LenscapeError, match=r"B11\.tif: .* have a reflectance below -0\.03"):
            run(tmp_path, entry(folder, "offset"))

    def test_in_a_conf_they_are_taken_where_the_distribution_is_possible(
        self, tmp_path: Path, ground: Pixels
    ) -> None:
        folder = bands(tmp_path / "in", ground, "offset")
        for band in ("B11", "B12"):
            dn, grid = ground[band]
            dark = dn + np.uint16(1_000)
            dark[: grid.height // 4] = 960
            write_raster(folder / f"{band}.tif", dark, grid)
        pixels = run(tmp_path, entry(folder, "offset"))
        assert (pixels[-1][:44] == 1).all()

    def test_a_product_whose_offset_was_applied_before_is_refused(
        self, tmp_path: Path, ground: Pixels
    ) -> None:
        """The remedy names no key that `safe:` lacks."""
        root = make_product(
            tmp_path / "in",
            L2A,
            lambda band, native: (
                np.full((native.height, native.width), 4, dtype=np.uint8)
                if band == "SCL"
                else np.resize(ground[band][0], (native.height, native.width))
            ),
        )
        with pytest.raises(
            LenscapeError, match=r"below -0\.03; its own metadata .*: download"
        ) as caught:
            run(tmp_path, {"safe": str(root)})
        assert "`offset" not in str(caught.value)

    def test_the_cirrus_band_is_black(self, tmp_path: Path) -> None:
        run(tmp_path, {"safe": str(self.product(tmp_path / "in", L1C, {"B10": 3}, 0.99))})


def test_a_few_per_cent_too_bright_are_refused(tmp_path: Path, ground: Pixels) -> None:
    folder = bands(tmp_path / "in", ground, "plain")
    dn, grid = ground["B02"]
    bright = dn.copy()
    bright[: grid.height // 20] = 25_000
    write_raster(folder / "B02.tif", bright, grid)
    with pytest.raises(LenscapeError, match=r"B02\.tif: .* 5% of its valid pixels .* above 2"):
        run(tmp_path, entry(folder, "plain"))


def test_a_band_that_is_bright_on_the_whole_is_refused(tmp_path: Path, ground: Pixels) -> None:
    folder = bands(tmp_path / "in", ground, "plain")
    dn, grid = ground["B02"]
    write_raster(folder / "B02.tif", np.minimum(dn + 15_000, 19_000).astype(np.uint16), grid)
    with pytest.raises(LenscapeError, match=r"B02\.tif: .* half of its valid pixels .* above 1\.5"):
        run(tmp_path, entry(folder, "plain"))


def test_a_band_of_one_value_is_refused(tmp_path: Path, ground: Pixels) -> None:
    folder = bands(tmp_path / "in", ground, "plain")
    dn, grid = ground["B05"]
    write_raster(folder / "B05.tif", np.full_like(dn, 1_234), grid)
    with pytest.raises(LenscapeError, match=r"B05\.tif: all of its valid pixels are 1234, as in no"):
        run(tmp_path, entry(folder, "plain"))


def test_files_that_state_a_wrong_scale_are_corrected_in_the_files(
    tmp_path: Path, ground: Pixels
) -> None:
    folder = bands(tmp_path / "in", ground, "plain")
    for path in folder.iterdir():
        with rasterio.open(path, "r+") as file:
            file.scales, file.offsets = (0.01,), (0.0,)
    source = entry(folder, "plain", scale=None, offset=None)
    with pytest.raises(LenscapeError, match=r"`scale: 0\.0001` .* in the files themselves \(gdal_edit"):
        run(tmp_path, source)


@pytest.mark.parametrize("value", [-9_999, -10_000, -32_768])
@pytest.mark.parametrize("declared", [True, False])
def test_other_values_for_nodata_in_the_file_or_the_conf(
    tmp_path: Path, ground: Pixels, value: int, declared: bool
) -> None:
    folder = tmp_path / "in"
    for band, (dn, grid) in ground.items():
        pixels = dn.astype(np.int16)
        pixels[: grid.height // 6] = value
        options = {"nodata": value} if declared else {}
        write_raster(folder / f"{band}.tif", pixels, grid, **options)
    found = run(tmp_path, entry(folder, "plain", **({} if declared else {"nodata": value})))
    assert (found[:, :30] == 0).all()
    assert (found[:, 30:] > 0).all()
