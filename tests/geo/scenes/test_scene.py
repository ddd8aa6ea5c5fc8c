"""Scenes: windows of bands of any resolution on one grid, in pixels that know where they are."""

import json
import os
import pickle
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import SceneError
from pipeline.geo.raster.grid import PixelGrid, Window
from pipeline.geo.scenes import item
from pipeline.geo.scenes.scene import Scene, open_catalog
from tests.support.worlds import (
    EDGE,
    GRID,
    fetched,
    native_grid,
    position_bands,
    positions,
    scene_conf,
    separable_world,
    write_bands_folder,
    write_raster,
)

BANDS = tuple(EDGE)
IN_PHASE = PixelGrid(32755, 600_003.0, 4_000_027.5, height=72, width=66)


@cache
def expected(band: str, grid: PixelGrid = GRID) -> np.ndarray:
    """A band on the 10 m grid, pixel by pixel: where is its centre, and which native pixel is there?"""
    native = native_grid(grid, band, *EDGE[band])
    values = positions(native)
    out = np.zeros((grid.height, grid.width), dtype=np.uint16)
    place, inverse = grid.transform, ~native.transform
    for row in range(grid.height):
        for col in range(grid.width):
            x, y = place @ (col + 0.5, row + 0.5)
            right, down = inverse @ (x, y)
            if 0 <= right < native.width and 0 <= down < native.height:
                out[row, col] = values[int(down), int(right)]
    return out


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    folder = tmp_path_factory.mktemp("scene")
    return fetched(folder / "catalog", position_bands(folder / "bands"))


def test_a_scene_is_on_the_grid_of_its_finest_band(scene: Scene) -> None:
    assert (scene.id, scene.grid, scene.bands) == ("s1", GRID, BANDS)


@pytest.mark.parametrize("grid", [GRID, IN_PHASE], ids=["whole", "in-phase"])
@pytest.mark.parametrize("suffix", [".tif", ".jp2"])
def test_all_bands_come_to_the_grid_by_their_own_geotransform(
    tmp_path: Path, grid: PixelGrid, suffix: str
) -> None:
    opened = fetched(tmp_path / "c", position_bands(tmp_path / "bands", grid, suffix))
    assert opened.grid == grid
    pixels = opened.read(opened.grid.window, BANDS)
    assert (pixels.dtype, pixels.shape) == (np.uint16, (3, grid.height, grid.width))
    for band, plane in zip(BANDS, pixels, strict=True):
        assert np.array_equal(plane, expected(band, grid)), band
    # 20 m pixels begin 10 m west of the scene, 60 m pixels 50 m west and 20 m south of its corner
    assert pixels[1, 0, :4].tolist() == [1, 2, 2, 3]
    assert pixels[2, :4, 0].tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize(
    "window",
    [
        Window(0, 0, 1, 1),
        Window(17, 23, 30, 41),
        Window(131, 119, 1, 1),
        Window(-9, -5, 20, 30),
        Window(120, 100, 40, 50),
        Window(-140, -130, 400, 380),
        Window(-30, 40, 10, 10),
    ],
)
def test_a_window_is_cut_from_the_scene_and_mirrored_beyond_its_edges(
    scene: Scene, window: Window
) -> None:
    around = [
        np.pad(expected(band), ((150, 150), (150, 150)), mode="symmetric")[
            150 + window.row : 150 + window.row + window.height,
            150 + window.col : 150 + window.col + window.width,
        ]
        for band in ("B09", "B02")
    ]
    assert np.array_equal(scene.read(window, ("B09", "B02")), around)


def test_a_scene_without_a_band_of_10_m_covers_the_ground_of_its_finest(tmp_path: Path) -> None:
    grid = native_grid(GRID, "B05")
    write_raster(tmp_path / "bands" / "B05.tif", positions(grid), grid)
    write_raster(
        tmp_path / "bands" / "B09.tif", positions(native_grid(GRID, "B09")), native_grid(GRID, "B09")
    )
    opened = fetched(tmp_path / "c", tmp_path / "bands")
    assert opened.grid == GRID
    pixels = opened.read(Window(0, 0, 12, 12), ("B05", "B09"))
    assert np.array_equal(pixels[0], positions(grid)[:6, :6].repeat(2, axis=0).repeat(2, axis=1))
    assert pixels[1, ::6, ::6].tolist() == positions(native_grid(GRID, "B09"))[:2, :2].tolist()


def test_dn_are_harmonised_band_by_band(tmp_path: Path) -> None:
    dn = np.array([[0, 1, 1_000], [1_001, 20_000, 65_535]], dtype=np.uint16)
    grid = PixelGrid(32633, 300_000, 5_800_000, 2, 3)
    bands = write_bands_folder(tmp_path / "bands", grid, {"B02": dn, "B03": dn})
    opened = fetched(tmp_path / "c", bands)
    content = json.loads(opened.path.read_text())
    content["assets"]["B03"] |= {"raster:scale": 0.0002, "raster:offset": -0.1}
    opened.path.write_text(json.dumps(content))
    pixels = Scene.open(opened.path).read(grid.window, ("B02", "B03"))
    assert pixels[0].tolist() == [[0, 1, 1_000], [1_001, 20_000, 0]]
    assert pixels[1].tolist() == [[0, 1, 1_000], [1_002, 39_000, 0]]


@pytest.mark.parametrize(("pixel_m", "west_m"), [(5.0, 0.0), (20.0, 10.0), (30.0, 70.0), (60.0, 60.0)])
def test_a_mask_of_any_resolution_empties_all_bands(
    tmp_path: Path, pixel_m: float, west_m: float
) -> None:
    size = round(1_500 / pixel_m)
    mask_grid = PixelGrid(GRID.epsg, GRID.x0 - west_m, GRID.y0 + 60, size, size, pixel_m)
    values = np.random.default_rng(0).integers(0, 12, (size, size), dtype=np.uint8)
    mask = write_raster(tmp_path / "mask.tif", values, mask_grid)
    bands = position_bands(tmp_path / "bands")
    opened = fetched(tmp_path / "c", bands, mask={"path": str(mask), "invalid": [3, 8]})
    pixels = opened.read(GRID.window, BANDS)
    for row in range(0, GRID.height, 7):
        for col in range(GRID.width):
            right, down = ~mask_grid.transform @ (GRID.transform @ (col + 0.5, row + 0.5))
            masked = values[int(down), int(right)] in (3, 8)
            found = pixels[:, row, col].tolist()
            there = [int(expected(band)[row, col]) for band in BANDS]
            assert found == ([0, 0, 0] if masked else there), (row, col)


def test_where_a_mask_ends_just_before_its_scene_pixels_stay(tmp_path: Path) -> None:
    values = np.ones((GRID.height - 2, GRID.width), dtype=np.uint8)
    mask_grid = PixelGrid(GRID.epsg, GRID.x0, GRID.y0, *values.shape)
    mask = write_raster(tmp_path / "mask.tif", values, mask_grid)
    bands = position_bands(tmp_path / "bands")
    pixels = fetched(tmp_path / "c", bands, mask={"path": str(mask)}).read(GRID.window, ("B02",))[0]
    assert not pixels[:-2].any()
    assert np.array_equal(pixels[-2:], expected("B02")[-2:])


def test_scenes_are_read_from_many_threads_and_other_processes(scene: Scene) -> None:
    copy: Scene = pickle.loads(pickle.dumps(scene))
    assert copy == scene
    windows = [Window(row, col, 11, 13) for row in range(-11, 140, 11) for col in range(-13, 130, 13)]
    with ThreadPoolExecutor(8) as pool:
        found = pool.map(lambda window: copy.read(window, BANDS), windows)
        for window, pixels in zip(windows, found, strict=True):
            assert np.array_equal(pixels, scene.read(window, BANDS))


def test_what_a_scene_remembers(tmp_path: Path) -> None:
    bands = position_bands(tmp_path / "bands")
    stated = {
        "datetime": "2021-05-06T12:21:01+02:00",
        "platform": "sentinel-2b",
        "level": "L2A",
        "baseline": "03.01",
    }
    info = fetched(tmp_path / "a", bands, **stated).info
    assert (info.id, info.epsg, info.datetime) == ("s1", 32633, "2021-05-06T10:21:01Z")
    assert (info.platform, info.level, info.baseline) == ("sentinel-2b", "L2A", "03.01")
    bare = fetched(tmp_path / "b", bands).info
    assert (bare.platform, bare.level, bare.baseline) == (None, None, None)
    assert bare.checksum == info.checksum
    mask = write_raster(tmp_path / "m.tif", np.zeros((132, 120), dtype=np.uint8), GRID)
    masked = fetched(tmp_path / "c", bands, mask={"path": str(mask)}).info
    write_raster(bands / "x_B02.tif", positions(GRID)[::-1], GRID)
    other = fetched(tmp_path / "d", bands).info
    brighter = fetched(tmp_path / "e", bands, scale=0.00012).info
    assert len({info.checksum, masked.checksum, other.checksum, brighter.checksum}) == 4


def test_its_item_is_read_anew(scene: Scene) -> None:
    assert scene.item.id == "s1"
    assert scene.item.properties["proj:code"] == "EPSG:32633"


class TestBroken:
    """What is not as `fetch` left it."""

    @pytest.fixture
    def own(self, tmp_path: Path) -> Scene:
        return fetched(tmp_path / "catalog", position_bands(tmp_path / "bands"))

    @pytest.mark.parametrize(
        ("change", "problem"),
        [
            (Path.unlink, "does not exist any more; run `fetch` again"),
            (
                lambda path: path.write_bytes(path.read_bytes() + b"x"),
                "has changed since it was fetched",
            ),
        ],
    )
    def test_a_band_that_is_gone_or_changed(
        self, own: Scene, change: Callable[[Path], object], problem: str
    ) -> None:
        path = Path(own.files["B05"].layer.href)
        change(path)
        with pytest.raises(SceneError, match=f"{re.escape(str(path))} {problem}"):
            open_catalog(own.path.parent.parent)

    @pytest.mark.parametrize("keeps_its_time", [False, True])
    def test_a_band_of_other_bytes_and_the_same_size(self, own: Scene, keeps_its_time: bool) -> None:
        path = Path(own.files["B05"].layer.href)
        status, content = path.stat(), bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)
        if keeps_its_time:
            os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        with pytest.raises(
            SceneError, match=r"x_B05\.tif has changed since it was fetched; run `fetch`"
        ):
            open_catalog(own.path.parent.parent)

    def test_a_band_that_was_only_touched(self, own: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
        """It is read through once; a band that was not touched is not."""
        read: list[str] = []
        real = item.checksum_of
        monkeypatch.setattr(item, "checksum_of", lambda href: read.append(href) or real(href))
        later = own.path.stat().st_mtime_ns + 10**9
        os.utime(own.path, ns=(later, later))
        open_catalog(own.path.parent.parent)
        assert read == []
        path = Path(own.files["B05"].layer.href)
        os.utime(path, ns=(later, later))
        open_catalog(own.path.parent.parent)
        open_catalog(own.path.parent.parent)
        assert read == [str(path)]

    def test_a_band_that_goes_while_the_scene_is_open(self, own: Scene) -> None:
        Path(own.files["B05"].layer.href).unlink()
        with pytest.raises(SceneError, match=r"x_B05\.tif does not exist"):
            own.read(Window(0, 0, 4, 4), BANDS)

    @pytest.mark.parametrize(
        ("content", "reason"),
        [
            ("{", "JSONDecodeError"),
            ("[1, 2]", "no keys with their values"),
            ('{"type": "Feature"}', "key 'id': Field required"),
        ],
    )
    def test_an_item_that_is_none(self, own: Scene, content: str, reason: str) -> None:
        own.path.write_text(content)
        with pytest.raises(SceneError, match=rf"s1\.json is no STAC Item of a scene \(({reason})"):
            Scene.open(own.path)

    def test_an_item_of_something_else(self, own: Scene) -> None:
        content = json.loads(own.path.read_text())
        own.path.write_text(json.dumps(content | {"assets": {"thumbnail": {"href": "./a.png"}}}))
        with pytest.raises(SceneError, match=r"s1\.json has no band asset"):
            Scene.open(own.path)

    @pytest.mark.parametrize("key", ["raster:scale", "raster:offset", "proj:transform", "file:size"])
    def test_an_asset_that_does_not_say_enough(self, own: Scene, key: str) -> None:
        content = json.loads(own.path.read_text())
        del content["assets"]["B05"][key]
        own.path.write_text(json.dumps(content))
        with pytest.raises(SceneError, match=rf"is no STAC Item of a scene \(key 'B05.{key}': Field"):
            Scene.open(own.path)

    @pytest.mark.parametrize(
        ("place", "key", "value"),
        [
            (("assets", "B05"), "raster:scale", "0.0001"),
            (("assets", "B05"), "raster:scale", 0),
            (("assets", "B05"), "raster:offset", [0.0]),
            (("assets", "B05"), "raster:offset", float("inf")),
            (("assets", "B05"), "proj:transform", ["http://[::1", 0, 3e5, 0, -10, 5.8e6]),
            (("assets", "B05"), "proj:transform", [0, 0, 3e5, 0, 0, 5.8e6]),
            (("assets", "B05"), "proj:shape", [10**9, 60]),
            (("assets", "B05"), "file:size", None),
            ((), "id", None),
            (("properties",), "proj:code", "EPSG:abc"),
            (("properties",), "proj:code", None),
            (("properties",), "proj:transform", [10.0, "\n", 3e5, 0, -10, 5.8e6]),
            (("properties",), "datetime", "2017-02-30T10:00:00Z"),
        ],
    )
    def test_an_item_of_other_types(
        self, own: Scene, place: tuple[str, ...], key: str, value: object
    ) -> None:
        content = json.loads(own.path.read_text())
        holder = content
        for name in place:
            holder = holder[name]
        holder[key] = value
        own.path.write_text(json.dumps(content))
        where = f"{place[-1]}." if place else ""
        with pytest.raises(
            SceneError, match=rf"s1\.json is no STAC .* \(key '{where}{key}.*run `fetch`"
        ):
            Scene.open(own.path)

    def test_a_crs_that_does_not_exist(self, own: Scene) -> None:
        content = json.loads(own.path.read_text())
        content["properties"]["proj:code"] = "EPSG:99999"
        own.path.write_text(json.dumps(content))
        with pytest.raises(SceneError, match=r"s1\.json is no STAC Item of a scene \(.*99999"):
            Scene.open(own.path)

    def test_a_catalog_that_is_none(self, own: Scene, tmp_path: Path) -> None:
        with pytest.raises(
            SceneError, match=r"nowhere/catalog\.json does not exist; run `fetch` first"
        ):
            open_catalog(tmp_path / "nowhere")
        path = own.path.parent.parent / "catalog.json"
        path.write_text("[]")
        with pytest.raises(SceneError, match=r"catalog\.json is no STAC catalog \("):
            open_catalog(path.parent)

    def test_an_item_that_is_missing(self, own: Scene) -> None:
        own.path.unlink()
        with pytest.raises(SceneError, match=r"s1\.json does not exist; run `fetch` first"):
            open_catalog(own.path.parent.parent)


def test_classes_of_a_separable_world_differ_in_their_pixels(tmp_path: Path) -> None:
    world = separable_world(tmp_path)
    opened = fetched(tmp_path / "c", world.bands)
    pixels = opened.read(GRID.window, BANDS).astype(float)
    means = np.array([pixels[:, world.truth == c].mean(axis=1) for c in range(3)])
    distance = ((pixels[None] - means[:, :, None, None]) ** 2).sum(axis=1)
    assert (distance.argmin(axis=0) == world.truth).mean() > 0.99
    assert scene_conf(world.bands).path == str(world.bands)


def test_bands_of_which_no_block_has_a_hole_have_none(tmp_path: Path) -> None:
    bands = position_bands(tmp_path / "bands")
    pixels = positions(GRID)
    pixels[100, 90] = 0
    write_raster(bands / "x_B02.tif", pixels, GRID, tiled=True, blockxsize=16, blockysize=16)
    mask = np.zeros((GRID.height, GRID.width), dtype=np.uint8)
    mask[50, 10] = 1
    path = write_raster(tmp_path / "m.tif", mask, GRID, tiled=True, blockxsize=16, blockysize=16)
    blockcache_px = (16, 16)
    for masked, found in ((False, [False, False, True, True]), (True, [False, True, True, True])):
        keys = {"mask": {"path": str(path)}} if masked else {}
        scene = fetched(tmp_path / f"catalog{masked}", bands, **keys)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("pipeline.geo.raster.block_cache.CHUNK_PX", blockcache_px)
            with scene.cache(("B02",)) as cache:
                holed = []
                # plain; under the mask; with the hole; past an edge that B05 does not reach
                for window, band in (
                    (Window(0, 0, 20, 20), "B02"),
                    (Window(45, 5, 10, 10), "B02"),
                    (Window(90, 85, 20, 20), "B02"),
                    (Window(85, 85, 16, 16), "B02"),
                ):
                    scene.read(window, (band,), cache)
                    holed.append(scene.bands_with_nodata(window, (band,), cache) == [0])
        assert holed == found


def test_a_band_that_does_not_reach_a_window_has_nodata_there(tmp_path: Path) -> None:
    scene = fetched(tmp_path / "catalog", position_bands(tmp_path / "bands"))
    window, bands = Window(0, 0, 12, 12), ("B02", "B09")
    with scene.cache(bands) as cache:
        pixels = scene.read(window, bands, cache)
        assert [bool((plane == 0).any()) for plane in pixels] == [False, True]
        assert scene.bands_with_nodata(window, bands, cache) == [1]
