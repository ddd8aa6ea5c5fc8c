"""The area's pixels as local COGs, whatever the server does meanwhile; bytes are counted there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rio_cogeo.cogeo import cog_validate

from pipeline.errors import OutputError, SceneError
from pipeline.geo.raster import remote
from pipeline.geo.raster.area import window_of
from pipeline.geo.raster.grid import PixelGrid, Window
from pipeline.geo.raster.raster_file import inspect
from pipeline.geo.sources.download import Downloads
from tests.support.catalogs import degrees, write_cog
from tests.support.servers import Fault, FileServer, Request, faults_of, serving
from tests.support.worlds import write_raster

GRID = PixelGrid(32633, 300_000.0, 5_800_020.0, 3072, 3072)
PATH = "tile/B02.tif"


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "WAIT_S", 0.01)
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(1, 4000, (GRID.height, GRID.width), dtype=np.uint16)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, pixels: np.ndarray) -> Path:
    """A COG of 20 MB whose pixels are hard to compress."""
    folder = tmp_path_factory.mktemp("files")
    write_cog(folder / PATH, pixels, GRID, block=512)
    return folder


@pytest.fixture
def server(folder: Path) -> Iterator[FileServer]:
    with serving(folder) as server:
        yield server


AREA = tuple(degrees(PixelGrid(32633, GRID.x0 + 4_000, GRID.y0 - 5_000, 2100, 2000)))
"""An area whose pixels are over 8 MB."""
_west, _south, _east, _north = degrees(PixelGrid(32633, GRID.x0 + 1_000, GRID.y0 - 1_000, 300, 300))
ELSEWHERE = (_west, _south, _east, _north)
"""A small one."""


def fetched(server: FileServer, to: Path, area: Sequence[float] = AREA) -> tuple[Path, Downloads]:
    downloads = Downloads(to)
    west, south, east, north = area
    return downloads.band(server.url(PATH), (west, south, east, north), "s/B02"), downloads


def test_the_pixels_of_the_area_as_a_cog(
    server: FileServer, tmp_path: Path, pixels: np.ndarray, folder: Path
) -> None:
    server.delay_s = 0.05
    path, downloads = fetched(server, tmp_path)
    window = window_of(GRID, AREA, "")
    assert window.height * window.width * 2 >= 8_000_000
    with rasterio.open(path) as dataset:
        found = dataset.read(1)
        assert dataset.nodata == 0
        assert dataset.profile["blockxsize"] == 512
        assert dataset.profile["compress"] == "deflate"
        assert dataset.overviews(1)
    rows = slice(window.row, window.row + window.height)
    assert np.array_equal(found, pixels[rows, window.col : window.col + window.width])
    assert inspect(str(path)).grid.bounds[3] == GRID.y0 - 10 * window.row
    assert cog_validate(path, quiet=True)[0]
    # Must show: what was transferred, seen at the server and printed
    tiles, size = _tile_bytes(folder / PATH, window), (folder / PATH).stat().st_size
    assert tiles <= server.sent[f"/{PATH}"] <= 1.02 * tiles < 0.7 * size
    assert server.most_at_once > 1
    assert downloads.summary() == (
        f"downloaded {tiles / 1e6:.2f} MB, of 1 files of {size / 1e6:.2f} MB: the tiles that the areas "
        "touch"
    )
    assert {one.name for one in path.parent.iterdir()} == {path.name}, "nothing half-finished"


def _tile_bytes(path: Path, window: Window) -> int:
    with rasterio.open(path) as dataset:
        return sum(
            int(dataset.get_tag_item(f"BLOCK_SIZE_{col}_{row}", "TIFF", bidx=1))
            for row in range(window.row // 512, (window.row + window.height - 1) // 512 + 1)
            for col in range(window.col // 512, (window.col + window.width - 1) // 512 + 1)
        )


def test_a_finished_file_is_not_fetched_again(server: FileServer, tmp_path: Path) -> None:
    first, _ = fetched(server, tmp_path)
    server.forget()
    again, downloads = fetched(server, tmp_path)
    assert again == first
    assert [one.range for one in server.requests] == [(0, 0)], "to see that it is the same file"
    assert downloads.summary() is None


def test_a_small_area_costs_its_tiles(server: FileServer, tmp_path: Path, folder: Path) -> None:
    """Must show: of 22 MB the tiles of the area, and of the header no more than 64 kB."""
    area = degrees(PixelGrid(32633, GRID.x0 + 10_600, GRID.y0 - 10_600, 60, 60))
    fetched(server, tmp_path, area)
    west, south, east, north = area
    tiles = _tile_bytes(folder / PATH, window_of(GRID, (west, south, east, north), ""))
    assert tiles < 1_000_000
    assert tiles <= server.sent[f"/{PATH}"] <= tiles + 65_536


def test_scale_offset_and_nodata_stay(tmp_path: Path) -> None:
    grid = PixelGrid(32633, 300_000.0, 5_800_020.0, 240, 240)
    path = write_raster(tmp_path / "files" / PATH, np.full((240, 240), 7, np.int16), grid, nodata=-9)
    with rasterio.open(path, "r+") as dataset:
        dataset.scales, dataset.offsets = (0.0001,), (-0.1,)
    with serving(tmp_path / "files") as server:
        local, _ = fetched(server, tmp_path / "to", degrees(grid, 20))
    with rasterio.open(local) as dataset:
        assert (dataset.scales, dataset.offsets, dataset.nodata) == ((0.0001,), (-0.1,), -9)
        assert dataset.dtypes == ("int16",)


FAULTS: list[list[Fault | None]] = [
    [None, None, 500, 503, 429],
    [None, None, "cut", "cut"],
    [None, None, "silence"],
    [500, 503, None, None, "cut", None, 503],
]


@pytest.mark.parametrize("faults", FAULTS)
def test_a_server_that_fails_for_a_while_gives_the_same_bytes(
    server: FileServer, tmp_path: Path, faults: list[Fault | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = fetched(server, tmp_path / "one")[0].read_bytes()
    if "silence" in faults:  # after half an answer GDAL would wait for seconds more
        monkeypatch.setattr(remote, "TIMEOUT_S", 1.0)  # GDAL counts whole seconds
    server.fault = faults_of(PATH, faults)
    assert fetched(server, tmp_path / "two")[0].read_bytes() == expected


@pytest.mark.parametrize("fault", [500, "cut", "silence"])
def test_a_run_that_failed_leaves_nothing_half_written_and_fetches_no_finished_file_again(
    server: FileServer, tmp_path: Path, fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    finished, downloads = fetched(server, tmp_path)
    before = finished.read_bytes()
    monkeypatch.setattr(remote, "TRIES", 2)
    if fault == "silence":
        monkeypatch.setattr(remote, "TIMEOUT_S", 1.0)  # GDAL counts whole seconds
    # every answer but those of the look-up and of the header fails
    server.fault = lambda one: fault if one.range is not None and one.range[0] else None
    with pytest.raises(
        SceneError, match=r"^http://.*B02\.tif cannot be read \(.*; check the connection"
    ):
        downloads.band(server.url(PATH), ELSEWHERE, "s/B03")
    assert [one for one in tmp_path.rglob("*") if one.is_file()] == [finished]
    server.fault = lambda _: None
    server.forget()
    monkeypatch.setattr(remote, "TIMEOUT_S", 30.0)
    downloads = Downloads(tmp_path)
    assert downloads.band(server.url(PATH), (AREA[0], AREA[1], AREA[2], AREA[3]), "s/B02") == finished
    assert [one.range for one in server.requests] == [(0, 0)]
    downloads.band(server.url(PATH), ELSEWHERE, "s/B03")
    assert downloads.files == 1
    assert finished.read_bytes() == before


def test_a_file_that_changes_while_it_is_read(tmp_path: Path, pixels: np.ndarray) -> None:
    write_cog(tmp_path / PATH, pixels, GRID, block=512)
    content = bytearray((tmp_path / PATH).read_bytes())
    content[-1] ^= 1
    (tmp_path / "changed.tif").write_bytes(content)
    changes = iter([tmp_path / "changed.tif"])
    with serving(tmp_path) as server:

        def change(request: Request) -> None:
            if request.range is not None and request.range[0]:
                # requests come side by side, and none may meet half a file
                for changed in changes:
                    changed.replace(tmp_path / PATH)

        server.fault = change
        with pytest.raises(SceneError, match=r"B02\.tif changed while it was fetched; run `fetch`"):
            fetched(server, tmp_path / "to")
        assert not [one for one in (tmp_path / "to").rglob("*") if one.is_file()]


def test_a_file_that_has_changed_is_fetched_anew(tmp_path: Path, pixels: np.ndarray) -> None:
    write_cog(tmp_path / PATH, pixels, GRID, block=512)
    with serving(tmp_path) as server:
        old, _ = fetched(server, tmp_path / "to")
        write_cog(tmp_path / PATH, pixels[::-1], GRID, block=512)
        new, _ = fetched(server, tmp_path / "to")
    assert new != old
    window = window_of(GRID, AREA, "")
    with rasterio.open(new) as dataset:
        found = dataset.read(1)
    rows = slice(window.row, window.row + window.height)
    assert np.array_equal(found, pixels[::-1][rows, window.col : window.col + window.width])


def test_a_server_that_sends_no_parts(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], server: FileServer
) -> None:
    """The whole file is fetched, with a warning."""
    expected = fetched(server, tmp_path / "one")[0].read_bytes()
    with serving(folder, ranges=False) as plain:
        plain.fault = faults_of(PATH, [None, "cut"])
        path, _ = fetched(plain, tmp_path / "two")
        size = (folder / PATH).stat().st_size
        assert path.read_bytes() == expected
        assert capsys.readouterr().err == (
            f"lenscape: the server of {plain.url(PATH)} sends no parts of files: it was fetched whole, "
            f"{size / 1e6:.1f} MB.\n"
        )


def test_a_file_that_is_no_tiff_is_fetched_whole(tmp_path: Path) -> None:
    grid = PixelGrid(32633, 300_000.0, 5_800_020.0, 240, 240)
    values = np.arange(1, 240 * 240 + 1, dtype=np.uint16).reshape(240, 240)
    write_raster(tmp_path / "files" / PATH.replace("tif", "jp2"), values, grid)
    with serving(tmp_path / "files") as server:
        area = degrees(PixelGrid(32633, grid.x0 + 600, grid.y0 - 600, 60, 60))
        downloads = Downloads(tmp_path / "to")
        path = downloads.band(server.url(PATH.replace("tif", "jp2")), tuple(area), "s/B02")
        (size,) = {one.stat().st_size for one in (tmp_path / "files").rglob("*.jp2")}
        assert server.sent[f"/{PATH.replace('tif', 'jp2')}"] - size in (0, 1), "a byte to look it up"
    window = window_of(grid, tuple(area), "")
    with rasterio.open(path) as dataset:
        assert dataset.read(1)[0, 0] == values[window.row, window.col]


def test_an_area_elsewhere(server: FileServer, tmp_path: Path) -> None:
    with pytest.raises(SceneError, match=r"B02\.tif has no pixel in the area; correct the area"):
        fetched(server, tmp_path, (0.0, 10.0, 1.0, 11.0))


def test_a_file_with_damaged_tiles(folder: Path, tmp_path: Path) -> None:
    content = bytearray((folder / PATH).read_bytes())
    content[4_000_000:9_000_000] = bytes(5_000_000)
    (tmp_path / "tile").mkdir()
    (tmp_path / PATH).write_bytes(content)
    with serving(tmp_path) as server:
        with pytest.raises(SceneError, match=r"^http://.*tile/B02\.tif cannot be read \("):
            fetched(server, tmp_path / "to")
        assert not [one for one in (tmp_path / "to").rglob("*") if one.is_file()]


def test_a_page_in_place_of_a_file(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        server.answers[f"/{PATH}"] = (200, "text/html", b"<html>Please log in</html>")
        with pytest.raises(SceneError, match=r"^http://.*tile/B02\.tif cannot be read \("):
            fetched(server, tmp_path / "to")


def test_no_room(server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.files.free_bytes", lambda _: 1000)
    with pytest.raises(
        OutputError, match=r"the download at .* needs 0\.02 GB but only 0\.00 GB are free"
    ):
        fetched(server, tmp_path)


VRT = """<VRTDataset rasterXSize="240" rasterYSize="240"><SRS>EPSG:32633</SRS>
<GeoTransform>300000, 10, 0, 5800020, 0, -10</GeoTransform><VRTRasterBand dataType="UInt16" band="1">
<SimpleSource><SourceFilename>{source}</SourceFilename><SourceBand>1</SourceBand></SimpleSource>
</VRTRasterBand></VRTDataset>"""


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("suffix", ["tif", "jp2"])
def test_a_file_that_names_others_is_not_opened(tmp_path: Path, ranges: bool, suffix: str) -> None:
    """What a server sends must not read files of the machine that fetches it."""
    grid = PixelGrid(32633, 300_000.0, 5_800_020.0, 240, 240)
    secret = write_raster(tmp_path / "secret.tif", np.full((240, 240), 7, np.uint16), grid)
    path = PATH.replace("tif", suffix)
    (tmp_path / "files" / "tile").mkdir(parents=True)
    (tmp_path / "files" / path).write_text(VRT.format(source=secret))
    with serving(tmp_path / "files", ranges=ranges) as server:
        west, south, east, north = degrees(grid, 20)
        with pytest.raises(
            SceneError, match=rf"^http://.*B02\.{suffix} (cannot be read|is a VRT file)"
        ):
            Downloads(tmp_path / "to").band(server.url(path), (west, south, east, north), "s/B02")
    assert not [one for one in (tmp_path / "to").rglob("*") if one.is_file()]
