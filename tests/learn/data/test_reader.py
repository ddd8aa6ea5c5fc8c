from __future__ import annotations

import gc
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import StoreError
from pipeline.learn.data.reader import PatchReader
from pipeline.store import PatchStore
from tests.support.examples import examples
from tests.support.stores import make_store

COUNT, BANDS, SIDE = 40, 5, 4
NAMES = ("B02", "B03", "B04", "B08", "B11")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Each pixel says which it is: no two of the store are equal."""
    folder = tmp_path_factory.mktemp("reader") / "store"
    make_store(folder, count=COUNT, bands=NAMES, patch_px=SIDE, cell_px=SIDE)
    write(folder, np.arange(COUNT * BANDS * SIDE * SIDE, dtype=np.uint16))
    return PatchStore.open(folder)


def write(folder: Path, pixels: np.ndarray) -> None:
    np.save(folder / "pixels.npy", pixels.reshape(COUNT, BANDS, SIDE, SIDE))


def read(reader: PatchReader, rows) -> np.ndarray:
    out = np.zeros((len(rows), *reader.shape), dtype=np.uint16)
    reader.read(np.asarray(rows), out)
    return out


@examples(150)
@given(
    rows=st.lists(st.integers(0, COUNT - 1), min_size=1, max_size=COUNT).map(sorted),
    bands=st.lists(st.integers(0, BANDS - 1), min_size=1, unique=True),
)
def test_rows_and_bands_are_those_of_the_map(store, rows, bands):
    reader = PatchReader(store, bands)
    assert reader.shape == (len(bands), SIDE, SIDE)
    assert np.array_equal(read(reader, rows), store.pixels[rows][:, bands])


@pytest.mark.parametrize(
    ("rows", "bands", "expected"),
    [
        ([0, 1, 2, 7, 8, 30], range(5), [(0, 3), (7, 2), (30, 1)]),
        ([1, 1, 2], range(5), [(1, 1), (1, 2)]),
        ([3, 4], [4, 3, 2, 1, 0], [(3, 2)]),
        ([3, 4], [0, 4], [(3, 2)]),
    ],
)
def test_neighbours_are_one_read(store, rows, bands, expected):
    band = SIDE * SIDE * 2
    start = (store.folder / "pixels.npy").stat().st_size - COUNT * BANDS * band
    reads = PatchReader(store, list(bands))._reads(np.array(rows))
    assert reads == [(start + row * BANDS * band, count * BANDS * band) for row, count in expected]


def test_bands_before_the_first_and_after_the_last_are_not_read(store):
    band = SIDE * SIDE * 2
    start = (store.folder / "pixels.npy").stat().st_size - COUNT * BANDS * band
    reads = PatchReader(store, [3, 1])._reads(np.array([6, 7]))
    assert reads == [(start + (row * BANDS + 1) * band, 3 * band) for row in (6, 7)]


def test_a_file_cut_short_while_it_is_read_is_an_error(tmp_path):
    store = make_store(tmp_path / "store", count=COUNT)
    reader = PatchReader(store, [0, 1, 2, 3])
    before = store.pixels[:10].copy()
    path = store.folder / "pixels.npy"
    os.truncate(path, path.stat().st_size - 3)
    assert np.array_equal(read(reader, range(10)), before)
    with pytest.raises(StoreError, match=r"pixels\.npy ends at byte \d+, .* run `tile` again"):
        read(reader, [38, 39])


def test_a_file_that_is_gone_is_an_error(tmp_path):
    store = make_store(tmp_path / "store", count=COUNT)
    (store.folder / "pixels.npy").unlink()
    with pytest.raises(StoreError, match=r"pixels\.npy cannot be opened \(.*No such file"):
        PatchReader(store, [0])


def test_a_read_that_fails_is_an_error(tmp_path):
    store = make_store(tmp_path / "store", count=COUNT)
    path = store.folder / "pixels.npy"
    path.unlink()
    path.mkdir()  # opens, but is not read
    with pytest.raises(StoreError, match=r"pixels\.npy cannot be read at byte \d+ \(.* check the disk"):
        read(PatchReader(store, [0]), [0])


def test_a_file_replaced_meanwhile_stays_what_it_was(tmp_path):
    store = make_store(tmp_path / "store", count=COUNT)
    reader = PatchReader(store, [0, 1, 2, 3])
    before = store.pixels[:].copy()
    other = tmp_path / "other.npy"
    np.save(other, before + 1)
    other.replace(store.folder / "pixels.npy")
    assert np.array_equal(read(reader, range(COUNT)), before)


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda pixels: pixels.astype(np.float32), r"has the shape .* of float32 where"),
        (lambda pixels: pixels.astype(">u2"), r"has the shape .* of >u2 where"),
        (np.asfortranarray, "holds uint16 in Fortran order where"),
    ],
)
def test_other_arrays_are_refused(tmp_path, change, found):
    store = make_store(tmp_path / "store", count=COUNT)
    pixels = np.array(store.pixels)
    np.save(store.folder / "pixels.npy", change(pixels))
    with pytest.raises(StoreError, match=rf"pixels\.npy {found} .*uint16"):
        PatchReader(PatchStore.open(store.folder), [0])


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc/self/fd")
def test_the_file_is_closed_with_its_reader(store):
    gc.collect()
    before = open_files()
    readers = [PatchReader(store, [0]) for _ in range(5)]
    assert open_files() == before + 5
    del readers
    assert open_files() == before


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))
