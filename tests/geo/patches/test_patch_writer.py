"""Patches cut from a scene whose pixels know where they are, and the files they are written to."""

import json
from pathlib import Path

import geopandas as gpd
import numpy as np
import pyarrow.parquet as pq
import pytest
import shapely

from pipeline.config.compute import ComputeConf
from pipeline.geo.patches import patch_writer as module
from pipeline.geo.patches.image_store import ImagePatches
from pipeline.geo.patches.patch_writer import PatchWriter, outlines
from pipeline.geo.patches.positions import Positions
from pipeline.geo.patches.scene_patches import StripPatches, read_patches
from pipeline.geo.patches.store_writer import store_bytes
from pipeline.geo.scenes.scene import Scene
from pipeline.store import PATCH_COLUMNS
from tests.support.labelled import all_of, positions_of

BANDS = ("B02", "B03")


def write(folder: Path, scene: Scene, bands: tuple[str, ...] = BANDS) -> Positions:
    """Write a store's patches; the positions that there were."""
    folder.mkdir()
    positions = positions_of(scene)
    with PatchWriter(folder, (len(bands), 16, 16), 3, 80.0) as writer:
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


def test_files_hold_what_was_cut(with_nodata: Scene, tmp_path: Path) -> None:
    positions = write(tmp_path / "store", with_nodata)
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


def test_two_runs_write_the_same_bytes(with_nodata: Scene, tmp_path: Path) -> None:
    for name in ("one", "two"):
        write(tmp_path / name, with_nodata)
    for file in ("pixels.npy", "patches.parquet"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_a_store_without_patches_can_be_read(scene: Scene, tmp_path: Path) -> None:
    with PatchWriter(tmp_path, (2, 16, 16), 3, 80.0) as writer:
        nothing = positions_of(scene)[:0]
        writer.write(StripPatches(nothing, np.empty(0, np.float32), 4, [], []))
    assert np.load(tmp_path / "pixels.npy").shape == (0, 2, 16, 16)
    assert len(gpd.read_parquet(tmp_path / "patches.parquet")) == 0
    assert writer.invalid == 4


def test_the_size_stated_before_is_enough_and_no_fantasy(scene: Scene, tmp_path: Path) -> None:
    positions = write(tmp_path / "store", scene)
    size = sum(path.stat().st_size for path in (tmp_path / "store").iterdir())
    assert size <= store_bytes(len(positions), (2, 16, 16)) < 1.3 * size


def test_a_full_disk_is_an_error_and_the_next_call_has_it_at_the_latest(
    scene: Scene, tmp_path: Path
) -> None:
    (tmp_path / "pixels.npy").symlink_to("/dev/full")
    (whole,) = read_patches(positions_of(scene), BANDS, 0.75, ComputeConf())

    def twice() -> None:
        with PatchWriter(tmp_path, (2, 16, 16), 2, 80.0) as writer:
            writer.write(whole)
            writer.write(whole)

    with pytest.raises(OSError, match="No space left"):
        twice()


def test_outlines_of_nothing() -> None:
    assert len(outlines(np.empty(0), np.empty(0), 80.0, 32633)) == 0


def test_outlines_are_cut_at_the_antimeridian(tmp_path: Path) -> None:
    """Cells of 80 m in a row across it, in zone 1."""
    x = 165_960.0 + 80.0 * np.arange(12)
    y = np.full(12, 200_000.0)
    shapes = outlines(x, y, 80.0, 32601)
    assert len({len(shapely.get_parts(shape)) for shape in shapes}) == 2
    assert all(shape.is_valid for shape in shapes)
    in_zone = gpd.GeoSeries(shapes, crs="OGC:CRS84").to_crs(32601)
    assert in_zone.area.tolist() == pytest.approx([80.0**2] * 12, rel=1e-3)

    columns = {
            "scene": np.full(12, "a"), "epsg": np.full(12, 32601, np.int32), "x": x, "y": y,
            "label": np.zeros(12, np.int16), "purity": np.ones(12, np.float32),
            "valid": np.ones(12, np.float32), "on_grid": np.ones(12, bool),
            "polygon": np.zeros(12, np.int32),
        }  # fmt: skip
    pixels = np.ones((12, 1, 2, 2), np.uint16)

    with PatchWriter(tmp_path, (1, 2, 2), 1, 80.0) as writer:
        writer.write(ImagePatches(columns, 0, pixels))
    table = gpd.read_parquet(tmp_path / "patches.parquet")
    assert table.geometry.geom_equals(gpd.GeoSeries(shapes, crs="OGC:CRS84")).all()
    stated = json.loads(pq.read_metadata(tmp_path / "patches.parquet").metadata[b"geo"])
    assert stated["columns"]["geometry"]["geometry_types"] == ["Polygon", "MultiPolygon"]
