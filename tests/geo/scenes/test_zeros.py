"""DN 0 in some bands only: dark, or the edge of a swath."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pipeline.geo.raster.grid import PixelGrid, Window
from pipeline.geo.scenes import zeros
from pipeline.geo.scenes.scene import Scene, open_catalog
from pipeline.stages import fetch
from tests.support.worlds import GRID, native_grid, position_bands, positions, write_raster

BANDS = ("B02", "B05", "B09")
NO_DATA = np.s_[:, :30]
"""Rows and columns of 10 m on which all bands are 0."""
FRAYED = np.s_[:, 30:36]
"""Beside them, B02 is 0 as well."""
LAKE = np.s_[60:90, 60:84]
"""B05 is 0."""


def written(folder: Path, *, lake: bool = True, bridge: bool = False) -> Path:
    """Three bands; a `bridge` connects the lake with the ground without data."""
    for band in BANDS:
        native = native_grid(GRID, band)
        factor = round(native.pixel_m / 10)
        pixels = positions(native) + 300
        areas = [NO_DATA] + [FRAYED] * (band == "B02") + [LAKE] * (band == "B05" and lake)
        if bridge and band == "B05":
            areas.append(np.s_[70:72, 36:60])
        for rows, cols in areas:
            pixels[_coarse(rows, factor), _coarse(cols, factor)] = 0
        write_raster(folder / f"x_{band}.tif", pixels, native)
    return folder


def _coarse(axis: slice, factor: int) -> slice:
    start, stop = (None if end is None else end // factor for end in (axis.start, axis.stop))
    return slice(start, stop)


def fetched(folder: Path, bands: Path, **keys: object) -> Scene:
    entry = {"id": "s", "path": str(bands), "datetime": "2019-05-06T10:21:01Z", "scale": 0.0001}
    conf = folder / "fetch.yaml"
    conf.write_text(json.dumps({"train": [entry | {"offset": 0} | keys]}))
    fetch.run(conf, folder / "train", folder / "map")
    return open_catalog(folder / "train")[0]


def zeros_of(scene: Scene) -> dict[str, set[tuple[int, int]]]:
    pixels = scene.read(GRID.window, BANDS)
    return {
        name: set(zip(*np.nonzero(plane == 0), strict=True))
        for name, plane in zip(BANDS, pixels, strict=True)
    }


def test_zeros_of_some_bands_are_dark_unless_they_touch_ground_without_data(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scene = fetched(tmp_path, written(tmp_path / "in"))
    empty = np.zeros((GRID.height, GRID.width), dtype=bool)
    empty[NO_DATA] = empty[FRAYED] = True
    pixels = scene.read(GRID.window, BANDS)
    for plane in pixels:
        np.testing.assert_array_equal(plane == 0, empty)
    assert (pixels[1][LAKE] == 1).all()
    assert (pixels[0][LAKE] > 300).all()
    said = capsys.readouterr().out
    assert "DN 0 in some bands: 720 dark, 792 nodata" in said
    assert "in all bands: 3,960, nodata" in said


def test_one_band_alone_knows_it_too(tmp_path: Path) -> None:
    """A network of the infrared alone maps the lake, and no ground without data."""
    scene = fetched(tmp_path, written(tmp_path / "in"))
    (plane,) = scene.read(Window(50, 20, 50, 70), ("B05",))
    assert (plane[:, :16] == 0).all()
    assert (plane[:, 16:] > 0).all()


@pytest.mark.parametrize("strip_px", [7, 16, 512])
def test_what_is_connected_is_found_across_strips(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, strip_px: int
) -> None:
    monkeypatch.setattr(zeros, "_STRIP_PX", strip_px)
    scene = fetched(tmp_path, written(tmp_path / "in", bridge=True))
    # nothing is dark: the zeros of each band stay nodata of that band
    assert "nodata" not in scene.item.assets
    assert (scene.read(GRID.window, ("B05",))[0][LAKE] == 0).all()
    assert (scene.read(GRID.window, ("B02",))[0][LAKE] > 300).all()


@pytest.mark.parametrize("strip_px", [7, 512])
def test_the_mask_is_the_same_whatever_the_strips(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, strip_px: int
) -> None:
    whole = zeros_of(fetched(tmp_path, written(tmp_path / "in")))
    monkeypatch.setattr(zeros, "_STRIP_PX", strip_px)
    assert zeros_of(fetched(tmp_path, tmp_path / "in")) == whole


def test_without_a_dark_zero_nothing_changes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scene = fetched(tmp_path, written(tmp_path / "in", lake=False))
    assert set(scene.item.assets) == set(BANDS)
    assert "792 nodata" in capsys.readouterr().out


def test_ground_beyond_a_file_is_not_dark(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scene = fetched(tmp_path, position_bands(tmp_path / "in"))
    assert (scene.read(GRID.window, ("B09",))[0][:2] == 0).all()
    assert "DN 0" not in capsys.readouterr().out


def test_the_conf_may_say_that_every_zero_is_nodata(tmp_path: Path) -> None:
    scene = fetched(tmp_path, written(tmp_path / "in"), nodata=0)
    assert (scene.read(GRID.window, ("B05",))[0][LAKE] == 0).all()
    assert (scene.read(GRID.window, ("B02",))[0][LAKE] > 300).all()


def test_a_mask_of_the_user_counts_too(tmp_path: Path) -> None:
    marked = np.zeros((GRID.height, GRID.width), dtype=np.uint8)
    marked[100:, 100:] = 1
    mask = write_raster(tmp_path / "mask.tif", marked, GRID)
    scene = fetched(tmp_path, written(tmp_path / "in"), mask={"path": str(mask)})
    pixels = scene.read(GRID.window, BANDS)
    assert (pixels[:, 100:, 100:] == 0).all()
    assert (pixels[(slice(None), *NO_DATA)] == 0).all()
    assert (pixels[1][LAKE] == 1).all()
    assert scene.info.checksum != fetched(tmp_path, tmp_path / "in").info.checksum


def test_where_all_ground_has_data_there_is_no_mask(tmp_path: Path) -> None:
    pixels = positions(GRID) + 300
    write_raster(tmp_path / "in" / "x_B02.tif", pixels, GRID)
    pixels[5, 7] = 0
    write_raster(tmp_path / "in" / "x_B08.tif", pixels, GRID)
    scene = fetched(tmp_path, tmp_path / "in")
    assert set(scene.item.assets) == {"B02", "B08"}
    assert scene.read(Window(5, 6, 1, 3), ("B08",)).tolist() == [[[907, 1, 909]]]


def test_a_mapped_file_has_its_space_from_the_beginning(tmp_path: Path) -> None:
    """On a full disk the first write to a page without space ends the process (SIGBUS)."""
    grid = PixelGrid(32633, 300_000.0, 5_800_000.0, 700, 1000, 10.0)
    mapped = zeros._mapped(tmp_path / "s.zeros", grid)
    assert mapped.shape == (700, 1000)
    assert not mapped.any()
    assert 512 * (tmp_path / "s.zeros").stat().st_blocks >= 700 * 1000
