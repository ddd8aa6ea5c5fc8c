"""A small picture of a scene whose pixels know where they are."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from pipeline.geo.raster.grid import Window
from pipeline.geo.raster.raster_file import OpenFile
from pipeline.geo.scenes.scene import Scene
from pipeline.geo.scenes.thumbnail import Thumbnail
from tests.support.worlds import EDGE, GRID, fetched, native_grid, position_bands

BANDS = tuple(EDGE)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    folder = tmp_path_factory.mktemp("scene")
    return fetched(folder / "catalog", position_bands(folder / "bands"))


def small(scene: Scene, bands: Sequence[str], max_px: int) -> np.ndarray:
    return Thumbnail(scene, bands, max_px).pixels()


def test_a_small_scene_is_its_own_picture(scene: Scene) -> None:
    """Coarser bands lie in the picture where they lie in the scene."""
    assert np.array_equal(small(scene, BANDS, 500), scene.read(GRID.window, BANDS))


def test_a_picture_is_spread_over_the_whole(scene: Scene) -> None:
    picture = small(scene, ("B02",), 33)[0]
    assert picture.shape == (33, 30)
    rows, cols = np.divmod(picture.astype(int) - 1, GRID.width)
    assert np.array_equal(rows // 4, np.indices(picture.shape)[0])
    assert np.array_equal(cols // 4, np.indices(picture.shape)[1])
    assert small(scene, BANDS, 1).shape == (3, 1, 1)


def test_a_coarse_band_lies_where_the_fine_one_does(scene: Scene) -> None:
    fine, coarse = (small(scene, (band,), 66)[0].astype(int) for band in ("B02", "B05"))
    native = native_grid(GRID, "B05", *EDGE["B05"])
    (rows, cols), (down, right) = np.divmod(fine - 1, GRID.width), np.divmod(coarse - 1, native.width)
    assert np.abs(down - rows / 2).max() <= 1
    assert np.abs(right - (cols + 1) / 2).max() <= 1


@pytest.mark.parametrize("max_px", [40, 500])
def test_blocks_that_others_decode_give_the_same_picture(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, max_px: int
) -> None:
    expected = small(scene, BANDS, max_px)
    shown = Thumbnail(scene, BANDS, max_px)
    windows = [Window(row, col, 50, 47) for row in range(0, 132, 50) for col in range(0, 120, 47)]
    with scene.cache(BANDS, windows, shown.show) as cache:
        for window in windows:
            scene.read(window, BANDS, cache)

    def unread(self: OpenFile, *_: object) -> np.ndarray:
        raise AssertionError(self.href)

    monkeypatch.setattr(OpenFile, "read", unread)
    assert np.array_equal(shown.pixels(), expected)


def test_what_was_not_shown_is_read(scene: Scene) -> None:
    half = Thumbnail(scene, BANDS, 40)
    with scene.cache(BANDS, (), half.show) as cache:
        scene.read(Window(0, 0, 20, 20), BANDS[:1], cache)
    assert np.array_equal(half.pixels(), small(scene, BANDS, 40))
    assert Path(scene.files["B02"].layer.href).is_file()
