"""The store as files: what is read back, and what is refused."""

import json
import pickle
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pipeline.errors import StoreError
from pipeline.files import sha256_of
from pipeline.store import PATCH_COLUMNS, PatchStore
from pipeline.store_meta import Geometry
from tests.support.examples import examples
from tests.support.stores import make_store


@pytest.fixture
def store(tmp_path: Path) -> PatchStore:
    return make_store(tmp_path / "store", count=50, nodata=0.1)


def change(path: Path, **keys: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | keys))


def test_a_store_gives_back_what_was_written(store: PatchStore) -> None:
    pixels = np.load(store.folder / "pixels.npy")
    assert store.pixels.shape == pixels.shape == (50, 4, 16, 16)
    assert len(store) == 50
    np.testing.assert_array_equal(store.pixels, pixels)
    table = pq.read_table(store.folder / "patches.parquet")
    assert set(store.patches) == PATCH_COLUMNS.keys() - {"geometry"}
    for name, values in store.patches.items():
        assert values.tolist() == table.column(name).to_pylist()


def test_pixels_are_mapped_and_read_only(store: PatchStore) -> None:
    assert isinstance(store.pixels, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        store.pixels[0] = 1


def test_another_process_maps_the_pixels_itself(store: PatchStore) -> None:
    assert len(store.pixels) == 50
    sent = pickle.dumps(store)
    assert len(sent) < 5_000
    np.testing.assert_array_equal(pickle.loads(sent).pixels, store.pixels)


@examples(30)
@given(st.lists(st.integers(0, 49), max_size=40), st.integers(1, 50))
def test_chunks_hold_the_rows_in_their_order(rows: list[int], size: int) -> None:
    pixels = np.arange(50, dtype=np.uint16)[:, None, None, None] * np.ones((1, 2, 3, 3), np.uint16)
    chunks = list(_in_memory(pixels).chunks(np.array(rows, dtype=np.intp), size))
    assert [patch[0, 0, 0] for chunk in chunks for patch in chunk] == rows
    assert all(1 <= len(chunk) <= size for chunk in chunks)


def test_chunks_of_large_patches_are_fewer() -> None:
    store = _in_memory(np.zeros((5, 1, 2600, 2600), dtype=np.uint16))  # 13.5 MB each
    assert [len(chunk) for chunk in store.chunks(np.arange(5))] == [2, 2, 1]


@examples(60)
@given(
    arrays(
        np.uint16,
        st.tuples(st.integers(1, 5), st.integers(1, 3), st.just(3), st.just(3)),
        elements=st.one_of(st.just(0), st.integers(0, 65_534)),
    ),
    st.data(),
)
def test_statistics_are_those_of_the_valid_pixels_of_the_rows(
    pixels: np.ndarray, data: st.DataObject
) -> None:
    rows = np.array(data.draw(st.lists(st.integers(0, len(pixels) - 1), unique=True)), dtype=np.intp)
    found = _in_memory(pixels).statistics(rows)
    for band in range(pixels.shape[1]):
        values = pixels[rows, band].astype(float)
        valid = values[values > 0]
        mean = valid.mean() if len(valid) else 0.0
        std = valid.std() if len(valid) and len(np.unique(valid)) > 1 else 1.0
        assert found.mean[band] == pytest.approx(mean, rel=1e-12)
        assert found.std[band] == pytest.approx(std, rel=1e-6)


def _in_memory(pixels: np.ndarray) -> PatchStore:
    """A store of some pixels without its files."""
    meta = type("Meta", (), {"bands": [f"B{i:02d}" for i in range(pixels.shape[1])]})()
    store = PatchStore(Path("nowhere"), meta)
    store.__dict__["pixels"] = pixels
    return store


def test_statistics_do_not_depend_on_the_order_of_the_rows(store: PatchStore) -> None:
    rows = np.arange(50)
    assert store.statistics(rows) == store.statistics(rows[::-1]) != store.statistics(rows[:30])


def test_context_around_a_cell() -> None:
    assert Geometry(patch_px=16, cell_px=8, min_valid=0.5).margin_px == 4
    assert Geometry(patch_px=16, cell_px=16, min_valid=0.5).margin_px == 0


@pytest.mark.parametrize("file", ["meta.json", "pixels.npy", "patches.parquet"])
@pytest.mark.parametrize("how", ["missing", "cut", "rubbish"])
def test_a_file_missing_or_broken(store: PatchStore, file: str, how: str) -> None:
    path = store.folder / file
    if how == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:40] if how == "cut" else b"rubbish")
    with pytest.raises(StoreError, match=rf"{Path(file).stem}.*run `tile` (first|again)"):
        PatchStore.open(store.folder)


def test_no_store_at_all(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"meta\.json does not exist; run `tile` first"):
        PatchStore.open(tmp_path)


def test_a_store_of_another_version(store: PatchStore) -> None:
    change(store.folder / "meta.json", format=99)
    with pytest.raises(StoreError, match=r"meta\.json has format 99, .* reads 2; run `tile` again"):
        PatchStore.open(store.folder)


def test_files_that_disagree(store: PatchStore) -> None:
    change(store.folder / "meta.json", bands=["B02"])
    with pytest.raises(StoreError, match=r"shape \(50, 4, 16, 16\) .* \(50, 1, 16, 16\)"):
        PatchStore.open(store.folder)


def test_pixels_of_fewer_patches_than_the_table(store: PatchStore) -> None:
    np.save(store.folder / "pixels.npy", np.load(store.folder / "pixels.npy")[:49])
    with pytest.raises(StoreError, match=r"shape \(49, 4, 16, 16\) .* \(50, 4, 16, 16\)"):
        PatchStore.open(store.folder)


def test_a_table_without_a_column(store: PatchStore) -> None:
    path = store.folder / "patches.parquet"
    pq.write_table(pq.read_table(path).drop_columns(["on_grid"]), path)
    with pytest.raises(StoreError, match=r"patches\.parquet is broken"):
        PatchStore.open(store.folder)


def test_a_table_that_changed_since(store: PatchStore) -> None:
    path = store.folder / "patches.parquet"
    table = pq.read_table(path)
    label = (table["label"].to_numpy() + 1) % 2
    pq.write_table(table.set_column(table.schema.get_field_index("label"), "label", [label]), path)
    with pytest.raises(StoreError, match=r"patches\.parquet is broken: it has changed since `tile` wr"):
        PatchStore.open(store.folder)


def test_lists_that_changed_since(store: PatchStore) -> None:
    path = store.folder / "lists.parquet"
    pq.write_table(pa.table({"mine": ["train"] * 50}), path)
    images = {"name": "x", "whole": False, "lists": ["mine"], "published_lists": []}
    change(store.folder / "meta.json", images=images | {"lists_sha256": sha256_of(path)})
    assert set(PatchStore.open(store.folder).published_parts("mine")) == {"train"}
    pq.write_table(pa.table({"mine": ["test"] * 50}), path)
    with pytest.raises(
        StoreError, match=r"lists\.parquet is broken: it has changed since `tile` wrote"
    ):
        PatchStore.open(store.folder).published_parts("mine")


def test_pixels_of_another_type(store: PatchStore) -> None:
    path = store.folder / "pixels.npy"
    np.save(path, np.load(path).astype(np.float64))
    with pytest.raises(StoreError, match=r"of float64 where .* of uint16; run `tile` again"):
        PatchStore.open(store.folder)


@pytest.mark.parametrize(
    ("column", "values", "says"),
    [
        ("label", [9], "column 'label' holds what is no class"),
        ("label", [None], "column 'label' does not hold what it should"),
        ("scene", [7], "column 'scene' does not hold what it should"),
        ("x", [float("nan")], "column 'x' does not hold what it should"),
        ("epsg", ["a"], "column 'epsg' does not hold what it should"),
    ],
)
def test_a_table_that_holds_something_else(
    store: PatchStore, column: str, values: list[object], says: str
) -> None:
    path = store.folder / "patches.parquet"
    table = pq.read_table(path)
    index = table.column_names.index(column)
    pq.write_table(table.set_column(index, column, pa.array(values * len(table))), path)
    change(store.folder / "meta.json", patches_sha256=sha256_of(path))
    with pytest.raises(StoreError, match=rf"patches\.parquet is broken \(ValueError: {says}\)"):
        PatchStore.open(store.folder)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("geometry", {"patch_px": 4, "cell_px": 8, "min_valid": 0.5, "pixel_m": 10.0}),
        ("stride_px", 0),
        ("classes", []),
        ("counts", {"kept": {}}),
        ("scenes", [{"id": "s1"}]),
        ("min_purity", float("inf")),
    ],
)
def test_metadata_that_mean_nothing(store: PatchStore, key: str, value: object) -> None:
    change(store.folder / "meta.json", **{key: value})
    with pytest.raises(StoreError, match=rf"meta\.json is broken \(key '{key}.*run `tile` again"):
        PatchStore.open(store.folder)


def test_the_identity_follows_the_metadata(store: PatchStore) -> None:
    before = store.sha256
    assert before == PatchStore.open(store.folder).sha256
    change(store.folder / "meta.json", credit="somebody else")
    assert store.sha256 != before
