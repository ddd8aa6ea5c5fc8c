"""Source blocks: each decoded once, given to whoever needs it, forgotten after the last one."""

from __future__ import annotations

import gc
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.errors import SceneError
from pipeline.geo.raster import block_cache
from pipeline.geo.raster.block_cache import BlockCache, Need
from pipeline.geo.raster.grid import PixelGrid, Window
from pipeline.geo.raster.raster_file import Layer, OpenFile
from tests.support.worlds import write_raster

GRID = PixelGrid(32633, 300_000.0, 5_800_000.0, height=150, width=130)
PIXELS = (np.arange(150)[:, None] * 200 + np.arange(130)).astype(np.uint16)
PLAN = [Window(row, col, 60, 50) for row in range(0, 91, 30) for col in range(0, 81, 40)]


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Two files in blocks of 16 x 16, of which a chunk has 32 x 48 pixels."""
    monkeypatch.setattr(block_cache, "CHUNK_PX", (32, 48))
    blocks = {"tiled": True, "blockxsize": 16, "blockysize": 16}
    return [
        str(write_raster(tmp_path / name, pixels, GRID, **blocks))
        for name, pixels in (("a.tif", PIXELS), ("b.tif", PIXELS + 7))
    ]


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Counter[Any]:
    """How often each window of each file was read."""
    counted: Counter[Any] = Counter()
    lock, read = threading.Lock(), OpenFile.read

    def spied(self: OpenFile, window: Window, layer: int | None = None) -> Any:
        with lock:
            counted[self.href, window] += 1
        return read(self, window, layer)

    monkeypatch.setattr(OpenFile, "read", spied)
    return counted


def needs(files: list[str], window: Window) -> list[Need]:
    return [Need(Layer(href), window) for href in files]


def twice(values: Any) -> Any:
    return values * 2


@pytest.mark.parametrize("workers", [1, 4])
def test_every_block_is_decoded_once_for_all_windows(
    files: list[str], reads: Counter[Any], workers: int
) -> None:
    plan = [needs(files, window) for window in PLAN]
    with BlockCache(dict.fromkeys(map(Layer, files), twice), plan) as cache:
        with ThreadPoolExecutor(workers) as pool:
            found = list(pool.map(cache.read, plan))
        assert not cache._slots  # nothing is kept once all have been served
    for window, (first, second) in zip(PLAN, found, strict=True):
        rows, cols = slice(window.row, window.row + 60), slice(window.col, window.col + 50)
        assert np.array_equal(first, 2 * PIXELS[rows, cols])
        assert np.array_equal(second, 2 * (PIXELS + 7)[rows, cols])
    assert set(reads.values()) == {1}
    covered = np.zeros(PIXELS.shape, dtype=int)
    for _, window in (key for key in reads if key[0] == files[0]):
        assert window.row % 16 == window.col % 16 == 0
        covered[window.row : window.row + window.height, window.col : window.col + window.width] += 1
    assert set(covered.ravel()) == {1}


@pytest.mark.parametrize("workers", [1, 3])
def test_a_file_is_open_once_a_thread_that_reads(
    files: list[str], monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    """What was opened for the plan is read from."""
    opened: list[str] = []

    def counted(href: str) -> OpenFile:
        opened.append(href)
        return OpenFile(href)

    monkeypatch.setattr(block_cache, "OpenFile", counted)
    together = threading.Barrier(workers)

    def read(planned: list[Need]) -> None:
        together.wait()
        cache.read(planned)

    plan = [needs(files, window) for window in PLAN[:workers]]
    decode = dict.fromkeys(map(Layer, files), twice)
    with BlockCache(decode, plan) as cache, ThreadPoolExecutor(workers) as pool:
        list(pool.map(read, plan))
    assert Counter(opened) == dict.fromkeys(files, workers)


def test_blocks_go_as_soon_as_nobody_needs_them(files: list[str]) -> None:
    plan = [needs(files[:1], Window(row, 0, 32, 130)) for row in range(0, 128, 16)]
    with BlockCache({Layer(files[0]): twice}, plan) as cache:
        for planned in plan:
            cache.read(planned)
            assert len(cache._slots) <= 3  # a row of chunks that the next window sees again


def test_what_was_not_planned_is_served_too(files: list[str], reads: Counter[Any]) -> None:
    with BlockCache({Layer(files[0]): twice}) as cache:
        for _ in range(2):
            (found,) = cache.read([Need(Layer(files[0]), Window(3, 4, 5, 6))])
            assert np.array_equal(found, 2 * PIXELS[3:8, 4:10])
        assert not cache._slots
    assert set(reads.values()) == {2}


def test_damage_reaches_everybody_who_waits(files: list[str]) -> None:
    path = Path(files[1])
    path.write_bytes(path.read_bytes()[:9000])
    plan = [needs(files, window) for window in PLAN]
    decode = dict.fromkeys(map(Layer, files), twice)
    with BlockCache(decode, plan) as cache, ThreadPoolExecutor(4) as pool:
        futures = [pool.submit(cache.read, planned) for planned in plan]
        errors = [future.exception(timeout=30) for future in futures]
    assert any(isinstance(error, SceneError) for error in errors)
    assert all(error is None or isinstance(error, SceneError) for error in errors)
    assert "b.tif cannot be read" in str(next(filter(None, errors)))


def test_the_error_of_a_chunk_reaches_the_thread_that_did_not_decode_it(files: list[str]) -> None:
    begun, waited_for = threading.Event(), threading.Event()
    needed = needs(files[:1], Window(3, 4, 5, 6))  # of one chunk

    def failing(values: Any) -> Any:
        begun.set()
        assert waited_for.wait(30)
        raise SceneError(f"{values.shape} is damaged")

    with BlockCache({Layer(files[0]): failing}) as cache, ThreadPoolExecutor(2) as pool:
        first = pool.submit(cache.read, needed)
        assert begun.wait(30)
        begun.clear()
        second = pool.submit(cache.read, needed)
        # whether the second thread is there in time or not, it decodes nothing
        waited_for.set()
        errors = [reader.exception(timeout=30) for reader in (first, second)]
    assert not begun.is_set()
    assert errors[0] is errors[1]
    assert "is damaged" in str(errors[0])


def test_scratch_is_used_again_by_its_own_thread_only() -> None:
    with BlockCache({}) as cache, ThreadPoolExecutor(1) as pool:
        mine = cache.scratch((3, 4), np.uint16)
        assert cache.scratch((3, 4), np.uint16) is mine
        assert cache.scratch((4, 3), np.uint16).shape == (4, 3)
        assert pool.submit(cache.scratch, (3, 4), np.uint16).result() is not mine


def test_files_are_closed(files: list[str]) -> None:
    with BlockCache({Layer(files[0]): twice}) as cache:
        cache.read([Need(Layer(files[0]), Window(0, 0, 1, 1))])
        opened = cache._open
        assert len(opened) == 1
    assert all(file._dataset.closed for file in opened)
    gc.collect()
