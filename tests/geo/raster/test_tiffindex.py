"""Where the tiles of a TIFF lie: as GDAL says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.errors import SceneError
from pipeline.geo.raster.grid import SceneGrid, Window
from pipeline.geo.raster.raster_file import opened
from pipeline.geo.raster.tiffindex import read_index, with_margin
from tests.support.worlds import write_raster

GRID = SceneGrid(32633, 300_000.0, 5_800_020.0, 300, 420)
FORMS: dict[str, dict[str, Any]] = {
    "COG": {"driver": "COG", "BLOCKSIZE": 128, "COMPRESS": "DEFLATE"},
    "strips": {"COMPRESS": "LZW"},
    "one strip": {"BLOCKYSIZE": 300, "COMPRESS": "LZW"},
    "BigTIFF": {"tiled": True, "blockxsize": 64, "blockysize": 32, "BIGTIFF": "YES"},
    "big endian": {"tiled": True, "blockxsize": 128, "blockysize": 128, "ENDIANNESS": "BIG"},
    "sparse": {"tiled": True, "blockxsize": 64, "blockysize": 64, "SPARSE_OK": True, "COMPRESS": "LZW"},
}


def _written(path: Path, form: str) -> bytes:
    pixels = np.random.default_rng(0).integers(1, 9999, (GRID.height, GRID.width), dtype=np.uint16)
    pixels[:128, :128] = 0
    write_raster(path, pixels, GRID, nodata=0, **FORMS[form])
    return path.read_bytes()


@pytest.mark.parametrize("form", FORMS)
def test_tiles_lie_where_gdal_says(tmp_path: Path, form: str) -> None:
    content = _written(tmp_path / "a.tif", form)
    index = read_index(lambda first, size: content[first : first + size], "a.tif")
    assert index is not None
    with opened(str(tmp_path / "a.tif")) as dataset:
        assert index.tile == dataset.block_shapes[0]
        for window in (Window(0, 0, 300, 420), Window(10, 100, 30, 60), Window(299, 419, 1, 1)):
            expected = set()
            for row in range(GRID.height):
                for col in range(GRID.width):
                    inside = window.row <= row < window.row + window.height
                    if inside and window.col <= col < window.col + window.width:
                        expected.add((row // index.tile[0], col // index.tile[1]))
            named = [(dataset, row, col) for row, col in expected]
            spans = {(_item("OFFSET", *one), _item("SIZE", *one)) for one in named}
            assert index.spans(window) == sorted(spans - {(0, 0)})


def _item(what: str, dataset: Any, row: int, col: int) -> int:
    return int(dataset.get_tag_item(f"BLOCK_{what}_{col}_{row}", "TIFF", bidx=1) or 0)


def test_a_file_of_another_kind() -> None:
    assert read_index(lambda *_: b"\x00\x00\x00\x0cjP  \r\n\x87\n", "a.jp2") is None
    assert read_index(lambda *_: b"", "a") is None


@pytest.mark.parametrize("kept", [12, 60, 200])
def test_a_file_that_was_cut(tmp_path: Path, kept: int) -> None:
    content = _written(tmp_path / "a.tif", "COG")[:kept]
    with pytest.raises(SceneError, match=r"a\.tif is a damaged TIFF; fetch or export it again"):
        read_index(lambda first, size: content[first : first + size], "a.tif")


def test_directories_in_a_circle() -> None:
    content = b"II*\0\x08\0\0\0" + b"\0\0" + b"\x08\0\0\0"
    with pytest.raises(SceneError, match="damaged TIFF"):
        read_index(lambda first, size: content[first : first + size], "a.tif")


def test_a_margin_stays_inside_of_the_file() -> None:
    assert with_margin([(0, 10), (50, 10), (97, 3)], 100) == [(0, 14), (46, 18), (93, 7)]
