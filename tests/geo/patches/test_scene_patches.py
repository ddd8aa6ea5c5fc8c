import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.config.compute import ComputeConf
from pipeline.errors import SceneError
from pipeline.geo.patches import scene_patches as module
from pipeline.geo.patches.scene_patches import read_patches
from pipeline.geo.scenes.scene import Scene
from tests.support.labelled import all_of, positions_of
from tests.support.placed import HEIGHT, NODATA, WIDTH, make_scene

BANDS = ("B02", "B03")


def test_patches_are_where_they_say_and_their_context_is_mirrored(scene: Scene) -> None:
    positions = positions_of(scene)
    row, col, pixels, valid, invalid = all_of(list(read_patches(positions, BANDS, 0.75, ComputeConf())))
    assert (row.tolist(), col.tolist()) == (positions.row.tolist(), positions.col.tolist())
    assert pixels.dtype == np.uint16
    assert pixels.shape == (len(positions), 2, 16, 16)
    # the scene mirrored by numpy: B02 is 1 + row, B03 is 1 + column
    rows = np.pad(np.arange(HEIGHT) + 1, 4, mode="symmetric")
    cols = np.pad(np.arange(WIDTH) + 1, 4, mode="symmetric")
    for patch, top, left in zip(pixels, row, col, strict=True):
        np.testing.assert_array_equal(patch[0], np.tile(rows[top : top + 16], (16, 1)).T)
        np.testing.assert_array_equal(patch[1], np.tile(cols[left : left + 16], (16, 1)))
    assert row.min() < 4  # so that some context was mirrored
    assert (valid == 1).all()
    assert invalid == 0


def test_the_order_of_the_bands_is_the_one_asked_for(scene: Scene) -> None:
    forth, back = (
        all_of(list(read_patches(positions_of(scene), bands, 0.75, ComputeConf())))[2]
        for bands in (BANDS, BANDS[::-1])
    )
    np.testing.assert_array_equal(forth, back[:, ::-1])


def test_nodata_stays_0_and_leaves_out_the_cells_that_it_fills(with_nodata: Scene) -> None:
    positions = positions_of(with_nodata)
    row, col, pixels, valid, invalid = all_of(list(read_patches(positions, BANDS, 0.75, ComputeConf())))
    nodata = np.zeros((HEIGHT, WIDTH), dtype=bool)
    for top, left, height, width in NODATA:
        nodata[top : top + height, left : left + width] = True
    cells = zip(positions.row, positions.col, strict=True)
    shares = [1 - nodata[top : top + 8, left : left + 8].mean() for top, left in cells]
    kept = np.array(shares) >= 0.75
    assert (row.tolist(), col.tolist()) == (positions.row[kept].tolist(), positions.col[kept].tolist())
    np.testing.assert_array_equal(valid, np.array(shares, dtype=np.float32)[kept])
    assert invalid == (~kept).sum() > 0
    context = np.pad(nodata, 4, mode="symmetric")
    for patch, top, left in zip(pixels, row, col, strict=True):
        np.testing.assert_array_equal(patch[0] == 0, context[top : top + 16, left : left + 16])


@pytest.mark.parametrize(("min_valid", "count"), [(0.75, 1), (0.76, 0), (0.0, 1)])
def test_a_share_of_exactly_min_valid_is_enough(tmp_path: Path, min_valid: float, count: int) -> None:
    scene = make_scene(tmp_path, [(5, 5, 4, 4)], (13, 13))
    # the one cell that lies wholly inside starts at row 5, col 5 in the CRS's grid of 80 m
    positions = positions_of(scene, stride_px=8)
    assert (positions.row.tolist(), positions.col.tolist()) == ([5], [5])
    cuts = list(read_patches(positions, BANDS, min_valid, ComputeConf()))
    assert sum(len(cut.positions) for cut in cuts) == count


def test_neither_strips_nor_pieces_nor_workers_change_a_patch(
    with_nodata: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    positions = positions_of(with_nodata)
    whole = all_of(list(read_patches(positions, BANDS, 0.75, ComputeConf(workers=1))))
    monkeypatch.setattr(module, "_STRIP_ROWS", 9)
    monkeypatch.setattr(module, "PIECE_BYTES", 5 * 2 * len(BANDS) * positions.grid.patch_px**2)
    pieces = all_of(list(read_patches(positions, BANDS, 0.75, ComputeConf(workers=4))))
    for one, other in zip(whole, pieces, strict=True):
        np.testing.assert_array_equal(one, other)


def test_memory_bounds_the_pixels_read_at_a_time(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Strips of as many pixels as stated, and no more workers than their memory allows."""
    sizes: list[int] = []
    crews: list[int] = []
    read, pieces = Scene.read, module.run_pieces

    def spied(self: Scene, window: module.Window, *how: Any) -> np.ndarray:
        sizes.append(window.height * window.width)
        return read(self, window, *how)

    def counted(function: object, strips: object, workers: int, compute: ComputeConf) -> object:
        crews.append(workers)
        return pieces(function, strips, workers, compute)  # type: ignore[arg-type]

    monkeypatch.setattr(Scene, "read", spied)
    monkeypatch.setattr(module, "run_pieces", counted)
    monkeypatch.setattr(module, "_STRIP_PX", 20 * WIDTH)
    for _ in read_patches(positions_of(scene), BANDS, 0.75, ComputeConf(workers=100)):
        pass
    assert max(sizes) <= (20 + 16) * (WIDTH + 16)
    # of the default of 1,024 MB, three times 300 MB
    monkeypatch.setattr(module, "_WORK_BYTES", 300_000_000 // max(sizes))
    for _ in read_patches(positions_of(scene), BANDS, 0.75, ComputeConf(workers=100)):
        pass
    assert crews == [100, 3]


def test_columns_that_no_patch_sees_are_not_read(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two clusters of positions in one strip: two windows, the same patches."""
    everywhere = positions_of(scene)
    both = everywhere[(everywhere.col < 20) | (everywhere.col > 120)]
    expected = all_of(list(read_patches(everywhere, BANDS, 0.75, ComputeConf())))
    kept = (expected[1] < 20) | (expected[1] > 120)
    sizes: list[int] = []
    read = Scene.read

    def spied(self: Scene, window: module.Window, *how: Any) -> np.ndarray:
        sizes.append(window.width)
        return read(self, window, *how)

    monkeypatch.setattr(Scene, "read", spied)
    found = all_of(list(read_patches(both, BANDS, 0.75, ComputeConf())))
    assert 2 <= len(sizes) <= 4
    assert max(sizes) < 80
    for one, other in zip(found[:4], expected[:4], strict=True):
        np.testing.assert_array_equal(one, other[kept])


def test_nothing_stays_open_when_the_rest_is_not_wanted(scene: Scene) -> None:
    before = threading.active_count()
    cuts = read_patches(positions_of(scene), BANDS, 0.75, ComputeConf(workers=3))
    next(cuts)
    cuts.close()
    assert threading.active_count() == before


def test_a_damaged_file_ends_in_an_error(tmp_path: Path) -> None:
    scene = make_scene(tmp_path)
    path = Path(scene.files["B03"].layer.href)
    path.write_bytes(path.read_bytes()[:-3000])
    with pytest.raises(SceneError, match=r"B03\.tif cannot be read"):
        list(read_patches(positions_of(scene), BANDS, 0.75, ComputeConf()))
