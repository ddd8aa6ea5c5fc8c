"""What fetch keeps of a scene: taken up while no file is touched, and never after."""

from __future__ import annotations

import os
import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pystac
import pytest
import rasterio
import shapely

from pipeline.config.sources import SceneConf
from pipeline.errors import SceneError
from pipeline.geo.scenes import kept
from pipeline.geo.sources.find import source_files
from pipeline.stages import fetch
from pipeline.stages.fetch import run
from tests.support.products import make_product, zipped
from tests.support.worlds import GRID, native_grid, position_bands, write_raster

SCENE = "{id: one, path: own, datetime: '2021-05-06T10:21:01Z', scale: 0.0001, offset: 0}"
STACK = SCENE.replace("path: own", "stack: s1.tif, bands: [B02]")
MASKED = Path("own/x_SCL.tif")
BAND = Path("own/x_B05.tif")
OUT, MAP, CHECKED = Path("out/train"), Path("out/map"), Path("out/train.checked")


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A scene with cloud, dark pixels, and ground without data: it has a mask of each kind."""
    monkeypatch.chdir(tmp_path)
    position_bands(Path("own"))
    grid = native_grid(GRID, "B05")
    classes = np.full((grid.height, grid.width), 4, dtype=np.uint8)
    classes[10:20, 10:20] = 9
    write_raster(MASKED, classes, grid)
    for path in Path("own").glob("x_B*"):
        with rasterio.open(path, "r+") as band:
            pixels = band.read(1)
            pixels[-3:] = 0
            if path == BAND:
                pixels[5, 5] = 0
            band.write(pixels, 1)
    return tmp_path


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The scenes that were read; files that were written a moment ago are taken for settled."""
    monkeypatch.setattr(kept, "_SETTLED_NS", -1)
    read, real = [], fetch.checked_scene
    monkeypatch.setattr(
        fetch, "checked_scene", lambda files, *more: read.append(files.id) or real(files, *more)
    )
    return read


def fetched(scene: str = SCENE, others: str = "") -> dict[str, bytes]:
    """The files of the two catalogs after `fetch`."""
    Path("fetch.yaml").write_text(f"train: [{scene}]\n{others}")
    run(Path("fetch.yaml"), OUT, MAP)
    files = [path for folder in (OUT, MAP) for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path): path.read_bytes() for path in files}


def test_a_scene_that_nobody_touched_is_not_read_again(
    checks: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    first, said = fetched(), capsys.readouterr()
    assert {"out/train/one/mask.tif", "out/train/one/nodata.tif"} <= first.keys()
    assert "masked" in said.out
    assert fetched() == first
    assert capsys.readouterr() == said
    shutil.rmtree("out/train")
    shutil.rmtree("out/map")
    assert fetched() == first
    assert checks == ["one"]


def _pixel() -> None:
    with rasterio.open(BAND, "r+") as band:
        band.write(band.read(1)[:1, :1] + 1, 1, window=((0, 1), (0, 1)))


def _pixel_with_the_time_set_back() -> None:
    before = BAND.stat()
    _pixel()
    os.utime(BAND, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (BAND.stat().st_size, BAND.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)


def _another_file() -> None:
    other = shutil.copy2(BAND, "other.tif")
    with rasterio.open(other, "r+") as band:
        band.write(band.read(1)[:1, :1] + 1, 1, window=((0, 1), (0, 1)))
    shutil.copystat(BAND, other)
    Path(other).replace(BAND)


def _mask() -> None:
    with rasterio.open(MASKED, "r+") as band:
        band.write(np.full((1, 1), 9, dtype=np.uint8), 1, window=((0, 1), (0, 1)))


@pytest.mark.parametrize("change", [_pixel, _pixel_with_the_time_set_back, _another_file, _mask])
def test_what_was_changed_is_read_again(checks: list[str], change: Callable[[], None]) -> None:
    first = fetched()
    change()
    second = fetched()
    assert checks == ["one"] * 2
    assert second != first
    shutil.rmtree(CHECKED)
    assert fetched() == second
    assert len(list(CHECKED.iterdir())) == 1, "what is kept of files that were changed goes"


@pytest.mark.parametrize(
    "scene", [SCENE.replace("0.0001", "0.00012"), SCENE.replace("{", "{mask_grow_m: 50, ")]
)
def test_a_scene_that_is_read_otherwise_is_another(checks: list[str], scene: str) -> None:
    first = fetched()
    assert fetched(scene) != first
    assert checks == ["one"] * 2
    assert fetched() == first


def test_an_area_that_is_drawn_otherwise_is_another_scene(checks: list[str]) -> None:
    mask = "mask: {path: own/x_SCL.tif, invalid: [9]}"
    forms = (SCENE.replace("{", f"{{{mask}, area: area.shp, "), ""), (SCENE, "area: area.shp")
    for scene, others in forms:
        for side in (600, 900):
            box = shapely.box(GRID.x0, GRID.y0 - side, GRID.x0 + side, GRID.y0)
            gpd.GeoDataFrame(geometry=[box], crs=GRID.epsg).to_file("area.shp")
            assert fetched(scene, others) == fetched(scene, others)
    assert checks == ["one"] * 4


@pytest.mark.parametrize("name", ["", "MTD_MSIL1C.xml", "manifest.safe", ".zip"])
def test_no_file_of_a_product_is_opened_until_one_is_touched(
    checks: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The conf names its folder, one of the two files that describe it, or a zip."""
    safe = make_product(tmp_path)
    (safe / "manifest.safe").write_text("<manifest/>")
    path = zipped(safe) if name == ".zip" else safe / name
    both = f"{SCENE}, {{safe: {path.relative_to(tmp_path)}}}"
    first = fetched(both)
    with monkeypatch.context() as patch:
        patch.setattr(fetch, "find_scenes", None)
        assert fetched(both) == first
    assert len(checks) == 2
    band = path if path.suffix == ".zip" else next(safe.rglob("*_B02.jp2"))
    band.touch()
    assert fetched(both) == first
    assert len(checks) == 3


def test_a_mask_in_a_zip_that_is_written_anew(checks: list[str]) -> None:
    scene = STACK.replace("{", "{mask: {path: m.zip!/x_SCL.tif, invalid: [9]}, ")
    shutil.copy("own/x_B02.tif", "s1.tif")
    for _ in range(2):
        with zipfile.ZipFile("m.zip", "w") as archive:
            archive.write(MASKED, MASKED.name)
        assert fetched(scene) == fetched(scene)
        _mask()
    assert checks == ["one"] * 2


def test_nothing_is_kept_of_an_entry_with_a_file_that_is_not_seen() -> None:
    stated = {"id": "one", "path": "own", "datetime": "2021-05-06T10:21:01Z"}
    assert len(source_files(SceneConf(**stated)) or ()) == 4
    for mask in ("gone.tif", "gone.zip!/a.tif", "https://example.org/a.tif"):
        assert source_files(SceneConf(**stated, mask={"path": mask})) is None


def test_a_stack_beside_another_is_none_of_its_files(checks: list[str]) -> None:
    shutil.copy("own/x_B02.tif", "s1.tif")
    fetched(STACK)
    shutil.copy("own/x_B02.tif", "s10.tif")
    fetched(STACK)
    assert checks == ["one"]


def test_other_code_may_find_otherwise(checks: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    fetched()
    monkeypatch.setattr(kept, "code_sha256", lambda: "that of another version")
    fetched()
    assert checks == ["one"] * 2


def test_what_is_kept_is_used_as_it_was_written(checks: list[str]) -> None:
    """The catalog has a link of a mask that is kept: who writes to the one changes the other."""
    first = fetched()
    fetched()
    with (OUT / "one" / "mask.tif").open("r+b") as mask:
        mask.write(b"another")
    assert fetched() == first
    (record,) = CHECKED.glob("*/checked.json")
    record.write_text("{}")
    assert fetched() == first
    assert checks == ["one"] * 3


def test_what_is_kept_may_be_removed_meanwhile(
    checks: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = fetched()
    real = kept.Record.ids

    def removing(record: kept.Record) -> list[str] | None:
        ids = real(record)
        shutil.rmtree(record.folder)
        return ids

    with monkeypatch.context() as patch:
        patch.setattr(kept.Record, "ids", removing)
        with pytest.raises(SceneError, match=r"has been removed meanwhile; run `fetch` again"):
            fetched()
    assert fetched() == first
    assert checks == ["one"] * 2


def test_files_that_were_just_written_may_change_unseen(
    checks: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within a tick of the clock of the file system."""
    monkeypatch.setattr(kept, "_SETTLED_NS", 3600 * 10**9)
    fetched()
    fetched()
    assert checks == ["one"] * 2
    assert not CHECKED.exists()


def test_files_that_change_while_they_are_read(
    checks: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = fetch.checked_scene

    def changing(*given: Any) -> tuple[pystac.Item, list[str]]:
        found = real(*given)
        _pixel()
        return found

    with monkeypatch.context() as patch:
        patch.setattr(fetch, "checked_scene", changing)
        fetched()
    assert not CHECKED.exists()
    fetched()
    assert checks == ["one"] * 2
