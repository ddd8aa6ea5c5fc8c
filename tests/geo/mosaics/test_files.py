"""The folder of a mosaic appears whole or not at all, and its picture shows what its maps hold."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.errors import OutputError, SceneError
from pipeline.geo.mosaics import files
from pipeline.geo.mosaics.files import shades, write_mosaic
from pipeline.geo.mosaics.mosaic import Mosaic, mosaics
from pipeline.geo.raster.grid import PixelGrid
from pipeline.geo.style.colors import PER_CENT_RAMP, rgb
from tests.support.mapped import CLASSES, constant_cells, mapped

ONE = PixelGrid(32633, 300_000.0, 5_800_000.0, 160, 160)
NEXT = PixelGrid(32633, 301_600.0, 5_800_000.0, 160, 160)


@pytest.fixture
def mosaic(tmp_path: Path) -> Mosaic:
    """Two maps side by side, one surer than the other."""
    scenes = [
        mapped(tmp_path, "one", ONE, constant_cells(ONE, 1, 20)),
        mapped(tmp_path, "next", NEXT, constant_cells(NEXT, 2, 100)),
    ]
    return mosaics(scenes, 2)[0]


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_disk_that_is_too_small_is_said_before_any_work(
    mosaic: Mosaic, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = digests(tmp_path)
    monkeypatch.setattr("pipeline.files.free_bytes", lambda _: 1_000_000)
    with pytest.raises(OutputError, match=r"The mosaic .*needs 0\.01 GB but only 0\.00 GB"):
        write_mosaic(mosaic, CLASSES, tmp_path)
    assert digests(tmp_path) == before


def test_a_damaged_map_leaves_the_earlier_mosaic_as_it_was(mosaic: Mosaic, tmp_path: Path) -> None:
    files = write_mosaic(mosaic, CLASSES, tmp_path)
    path = tmp_path / "next" / "next_classmap.tif"
    path.write_bytes(path.read_bytes()[:400])
    before = digests(tmp_path)
    assert write_mosaic(mosaic, CLASSES, tmp_path).folder == files.folder, "kept: it was whole before"
    assert digests(tmp_path) == before
    files.areas.unlink()
    before = digests(tmp_path)
    with pytest.raises(SceneError, match=r"next_classmap\.tif"):
        write_mosaic(mosaic, CLASSES, tmp_path)
    assert digests(tmp_path) == before
    assert files.class_map.exists()
    assert {entry.name for entry in tmp_path.iterdir()} == {"one", "next", mosaic.id}


def test_no_more_than_a_square_of_cells_is_read_at_a_time(
    mosaic: Mosaic, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = []
    joined = files.joined

    def counted(mosaic: Mosaic, side: int):  # type: ignore[no-untyped-def]
        for square in joined(mosaic, side):
            sizes.append(square.classes.size)
            yield square

    monkeypatch.setattr(files, "joined", counted)
    monkeypatch.setattr(files, "_SIDE", 7)
    write_mosaic(mosaic, CLASSES, tmp_path)
    assert max(sizes) == 49
    assert sum(sizes) == mosaic.grid.height * mosaic.grid.width == 20 * 40


def test_the_picture_shows_classes_and_how_sure_they_are(mosaic: Mosaic, tmp_path: Path) -> None:
    files = write_mosaic(mosaic, CLASSES, tmp_path)
    picture = np.asarray(Image.open(files.preview).convert("RGB")).reshape(-1, 3)
    colors = {tuple(color) for color in np.unique(picture, axis=0).tolist()}
    assert rgb(CLASSES[0].color) in colors
    assert rgb(CLASSES[1].color) in colors
    bright = rgb(PER_CENT_RAMP[100])
    assert bright in colors
    assert (picture == bright).all(axis=1).sum() > 0.1 * len(picture)


def test_shades_run_from_the_first_to_the_last_colour_of_the_style() -> None:
    cells = np.array([[0, 100, 255]], dtype=np.uint8)
    image = shades(cells)
    assert tuple(image[0, 0]) == rgb(PER_CENT_RAMP[0])
    assert tuple(image[0, 1]) == rgb(PER_CENT_RAMP[100])
    assert tuple(image[0, 2]) not in {tuple(shade) for shade in image[0, :2].tolist()}
