"""Patches cut from a scene whose pixels know where they are, and the files they are written to."""

from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pyarrow.parquet as pq
import pytest
import shapely

from pipeline.config import ComputeConf, LabelConf, TileConf
from pipeline.errors import SceneError
from pipeline.geo import patches as module
from pipeline.geo.labels import Labels
from pipeline.geo.patches import Cut, PatchWriter, outlines, read_patches, store_bytes
from pipeline.geo.positions import Positions, labelled_positions
from pipeline.geo.scene import Scene
from pipeline.store import PATCH_COLUMNS
from tests.labelled import px_box
from tests.placed import HEIGHT, WIDTH, make_scene

BANDS = ("B02", "B03")
HOLES = [(100, 60, 7, 8), (30, 30, 40, 40)]


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    return make_scene(tmp_path_factory.mktemp("whole"))


@pytest.fixture(scope="module")
def holed(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    return make_scene(tmp_path_factory.mktemp("holed"), HOLES)


def positions_of(scene: Scene, **keys: int) -> Positions:
    """All positions of a scene; its west is class 0, its east class 1."""
    conf = TileConf(labels=[LabelConf(path="", attribute="")], **({"stride_px": 4} | keys))
    half = scene.grid.width // 2
    rest = scene.grid.width - half
    shapes = [
        px_box(scene.grid, 0, 0, scene.grid.height, half),
        px_box(scene.grid, 0, half, scene.grid.height, rest),
    ]
    labels = Labels(
        scene.grid,
        np.array(shapes, dtype=object),
        np.arange(2, dtype=np.int16),
        np.arange(2, dtype=np.int32),
    )
    return labelled_positions(scene, labels, conf, 2)


def all_of(cuts: list[Cut]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, int]:
    """Row, col, pixels and valid shares of some cuts, and how many more were invalid."""
    return (
        np.concatenate([cut.positions.row for cut in cuts]),
        np.concatenate([cut.positions.col for cut in cuts]),
        np.concatenate([cut.pixels for cut in cuts]),
        np.concatenate([cut.valid for cut in cuts]),
        sum(cut.invalid for cut in cuts),
    )


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
        next(iter(read_patches(positions_of(scene), bands, 0.75, ComputeConf()))).pixels
        for bands in (BANDS, BANDS[::-1])
    )
    np.testing.assert_array_equal(forth, back[:, ::-1])


def test_holes_stay_0_and_leave_out_the_cells_that_they_fill(holed: Scene) -> None:
    positions = positions_of(holed)
    row, col, pixels, valid, invalid = all_of(list(read_patches(positions, BANDS, 0.75, ComputeConf())))
    hole = np.zeros((HEIGHT, WIDTH), dtype=bool)
    for top, left, height, width in HOLES:
        hole[top : top + height, left : left + width] = True
    cells = zip(positions.row, positions.col, strict=True)
    shares = [1 - hole[top : top + 8, left : left + 8].mean() for top, left in cells]
    kept = np.array(shares) >= 0.75
    assert (row.tolist(), col.tolist()) == (positions.row[kept].tolist(), positions.col[kept].tolist())
    np.testing.assert_array_equal(valid, np.array(shares, dtype=np.float32)[kept])
    assert invalid == (~kept).sum() > 0
    context = np.pad(hole, 4, mode="symmetric")
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


def test_neither_strips_nor_chunks_nor_workers_change_a_patch(
    holed: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    positions = positions_of(holed)
    whole = all_of(list(read_patches(positions, BANDS, 0.75, ComputeConf(workers=1))))
    monkeypatch.setattr(module, "_STRIP_ROWS", 9)
    monkeypatch.setattr(module, "_CHUNK_BYTES", 5 * 2 * len(BANDS) * positions.grid.patch_px**2)
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

    def counted(function: object, strips: object, workers: int, scheduler: None = None) -> object:
        crews.append(workers)
        return pieces(function, strips, workers, scheduler)  # type: ignore[arg-type]

    monkeypatch.setattr(Scene, "read", spied)
    monkeypatch.setattr(module, "run_pieces", counted)
    monkeypatch.setattr(module, "_STRIP_PX", 20 * WIDTH)
    for _ in read_patches(positions_of(scene), BANDS, 0.75, ComputeConf(workers=100)):
        pass
    assert max(sizes) <= (20 + 16) * (WIDTH + 16)
    monkeypatch.setattr(module, "_WORK_BYTES", 300_000_000 // (36 * WIDTH))
    for _ in read_patches(positions_of(scene), BANDS, 0.75, ComputeConf(workers=100)):
        pass
    assert crews == [100, 1, 3, 1]  # readers and the one that cuts, twice


def test_a_damaged_file_ends_in_an_error(tmp_path: Path) -> None:
    scene = make_scene(tmp_path, size=(64, 64))
    path = Path(scene.files["B03"].href)
    path.write_bytes(path.read_bytes()[:-3000])
    with pytest.raises(SceneError, match=r"B03\.tif cannot be read"):
        list(read_patches(positions_of(scene), BANDS, 0.75, ComputeConf()))


def write(folder: Path, scene: Scene, bands: tuple[str, ...] = BANDS) -> Positions:
    """Write a store's patches; the positions that there were."""
    folder.mkdir()
    positions = positions_of(scene)
    with PatchWriter(folder, (len(bands), 16, 16), 3) as writer:
        for cut in read_patches(positions, bands, 0.75, ComputeConf()):
            writer.write(cut)
    assert writer.kept.sum() + writer.invalid == len(positions)
    assert writer.kept[2] == 0
    assert writer.kept.tolist()[:2] != writer.kept_on_grid.tolist()[:2]
    table = gpd.read_parquet(folder / "patches.parquet")
    assert np.bincount(table["label"], minlength=3).tolist() == writer.kept.tolist()
    on_grid = table["label"][table["on_grid"]]
    assert np.bincount(on_grid, minlength=3).tolist() == writer.kept_on_grid.tolist()
    return positions


def test_files_hold_what_was_cut(holed: Scene, tmp_path: Path) -> None:
    positions = write(tmp_path / "store", holed)
    row, _, pixels, valid, _ = all_of(list(read_patches(positions, BANDS, 0.75, ComputeConf())))
    stored = np.load(tmp_path / "store" / "pixels.npy", mmap_mode="r")
    assert stored.dtype == np.uint16
    np.testing.assert_array_equal(stored, pixels)
    table = gpd.read_parquet(tmp_path / "store" / "patches.parquet")
    assert len(table) == len(row)
    np.testing.assert_array_equal(table["valid"], valid)
    assert (table["scene"] == "s.1").all()
    # the centre of the patch, in pixels of its own values: between its 8th and 9th
    middle = pixels.astype(float)[:, :, 7:9, 7:9].mean(axis=(2, 3))
    inside = (pixels > 0).all(axis=(1, 2, 3))
    np.testing.assert_array_equal((5_800_050 - table["y"][inside]) / 10 + 0.5, middle[inside, 0])
    np.testing.assert_array_equal((table["x"][inside] - 300_030) / 10 + 0.5, middle[inside, 1])


def test_the_table_has_the_columns_and_types_of_a_store(scene: Scene, tmp_path: Path) -> None:
    write(tmp_path / "store", scene)
    schema = pq.read_schema(tmp_path / "store" / "patches.parquet")
    assert schema.names == list(PATCH_COLUMNS)
    types = [str(schema.field(name).type) for name in schema.names]
    assert types == [
        "string", "int32", "double", "double", "int16", "float", "float", "bool", "int32", "binary",
    ]  # fmt: skip


def test_outlines_are_the_cells_in_degrees(scene: Scene, tmp_path: Path) -> None:
    write(tmp_path / "store", scene)
    table = gpd.read_parquet(tmp_path / "store" / "patches.parquet")
    assert table.crs == "OGC:CRS84"
    cells = shapely.box(table["x"] - 40, table["y"] - 40, table["x"] + 40, table["y"] + 40)
    expected = gpd.GeoSeries(cells, crs=32633).to_crs("OGC:CRS84")
    assert shapely.hausdorff_distance(table.geometry, expected).max() < 2e-8
    assert table.geometry.is_valid.all()
    assert table.geometry.exterior.is_ccw.all()
    assert table.total_bounds[0] == pytest.approx(12.06, abs=0.01)  # longitude goes first


def test_row_groups_are_of_one_size(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_ROW_GROUP", 700)
    positions = write(tmp_path / "store", scene)
    file = pq.ParquetFile(tmp_path / "store" / "patches.parquet")
    sizes = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
    assert sizes[:-1] == [700] * (len(positions) // 700)
    assert sum(sizes) == len(positions)
    x, _ = positions.centers
    assert gpd.read_parquet(tmp_path / "store" / "patches.parquet")["x"].tolist() == x.tolist()


def test_two_runs_write_the_same_bytes(holed: Scene, tmp_path: Path) -> None:
    for name in ("one", "two"):
        write(tmp_path / name, holed)
    for file in ("pixels.npy", "patches.parquet"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_a_store_without_patches_can_be_read(scene: Scene, tmp_path: Path) -> None:
    with PatchWriter(tmp_path, (2, 16, 16), 3) as writer:
        nothing = positions_of(scene)[:0]
        writer.write(Cut(nothing, np.empty((0, 2, 16, 16), np.uint16), np.empty(0, np.float32), 4))
    assert np.load(tmp_path / "pixels.npy").shape == (0, 2, 16, 16)
    assert len(gpd.read_parquet(tmp_path / "patches.parquet")) == 0
    assert writer.invalid == 4


def test_the_size_stated_before_is_enough_and_no_fantasy(scene: Scene, tmp_path: Path) -> None:
    positions = write(tmp_path / "store", scene)
    size = sum(path.stat().st_size for path in (tmp_path / "store").iterdir())
    assert size <= store_bytes([positions], 2) < 1.3 * size


def test_outlines_of_nothing() -> None:
    assert len(outlines(np.empty(0), np.empty(0), 80.0, 32633)) == 0
