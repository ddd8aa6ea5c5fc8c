"""Files behind HTTP: patient with a server that fails, and strict about which file it is."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import SceneError
from pipeline.geo.raster import remote
from pipeline.geo.raster.grid import PixelGrid, Window
from pipeline.geo.raster.raster_file import OpenFile, opened
from pipeline.geo.raster.remote import download, look_up
from pipeline.geo.scenes.scene import Scene
from tests.support.catalogs import write_cog
from tests.support.projects import ROOT
from tests.support.servers import FileServer, Request, faults_of, serving
from tests.support.worlds import EDGE, fetched, position_bands

BANDS = tuple(EDGE)
FILES = {band: f"x_{band}.tif" for band in EDGE}
BIG = PixelGrid(32633, 300_000.0, 5_800_020.0, 3072, 3072)
CONTENT = bytes(range(256)) * 1000


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "WAIT_S", 0.01)
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "a.bin").write_bytes(CONTENT)
    return tmp_path


def test_what_a_server_says_of_a_file(folder: Path) -> None:
    with serving(folder) as server:
        file = look_up(server.url("a.bin"))
        assert (file.size, file.ranges) == (256_000, True)
        assert len(file.etag) == 18
        assert server.requests == [Request("GET", "/a.bin", "", (0, 0))]
        assert server.sent["/a.bin"] <= 1


@pytest.mark.parametrize("faults", [[500, 503], ["cut"], ["stall"], ["cut", 429, "stall", 504]])
def test_a_download_from_a_server_that_fails_for_a_while(
    folder: Path, tmp_path: Path, faults: list, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Must show: what has arrived is not sent again."""
    with serving(folder) as server:
        file = look_up(server.url("a.bin"))
        if "stall" in faults:
            monkeypatch.setattr(remote, "TIMEOUT_S", 1.0)
        server.fault = faults_of("a.bin", faults)
        server.forget()
        download(file, tmp_path / "to" / "a")
        assert (tmp_path / "to" / "a").read_bytes() == CONTENT
        assert len(server.requests) == len(faults) + 1
        assert server.sent["/a.bin"] <= len(CONTENT) + len(faults) * remote._CHUNK + 1
        assert [one.name for one in (tmp_path / "to").iterdir()] == ["a"]


def test_a_look_up_at_a_server_that_fails_for_a_while(folder: Path) -> None:
    with serving(folder) as server:
        file = look_up(server.url("a.bin"))
        server.fault = faults_of("a.bin", [500, 429, 503])
        server.forget()
        assert look_up(server.url("a.bin")) == file
        assert len(server.requests) == 4


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (500, "its server answers 500"),
        ("cut", "the connection was cut"),
        ("stall", r"no answer within 0\.2 s"),
    ],
)
def test_a_server_that_keeps_failing(
    folder: Path, tmp_path: Path, fault: int | str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(folder) as server:
        file = look_up(server.url("a.bin"))
        if fault == "stall":
            monkeypatch.setattr(remote, "TIMEOUT_S", 0.2)
        # half of each answer arrives, until there is no half of the last byte
        partial = tmp_path / f"a.{file.key}.part"
        partial.write_bytes(CONTENT[:-1])
        server.fault = faults_of("a.bin", [fault] * 99)
        server.forget()
        with pytest.raises(
            SceneError, match=rf"a\.bin cannot be fetched: {reason}, 6 times in a row; c"
        ):
            download(file, tmp_path / "a")
        assert len(server.requests) == 6
        assert partial.read_bytes() == CONTENT[:-1]


def test_a_download_goes_on_where_an_earlier_run_stopped(folder: Path, tmp_path: Path) -> None:
    with serving(folder) as server:
        file = look_up(server.url("a.bin"))
        (tmp_path / f"a.{file.key}.part").write_bytes(CONTENT[:100_000])
        server.forget()
        download(file, tmp_path / "a")
        assert server.requests[-1].range == (100_000, 1 << 62)
        assert server.sent["/a.bin"] - (len(CONTENT) - 100_000) in (0, 1), "a byte to look it up"
        assert (tmp_path / "a").read_bytes() == CONTENT
        nameless = replace(file, etag="")
        (tmp_path / f"a.{nameless.key}.part").write_bytes(b"of another file")
        server.tags = False
        download(nameless, tmp_path / "a")
        assert (tmp_path / "a").read_bytes() == CONTENT


def test_nobody_there() -> None:
    with pytest.raises(SceneError, match=r"cannot be fetched: no connection, 6 times in a row"):
        look_up("http://127.0.0.1:9/a.bin")


def test_what_is_not_there_is_not_asked_for_again(folder: Path) -> None:
    with serving(folder) as server:
        with pytest.raises(SceneError, match=r"b\.bin cannot be fetched: its server answers 404 \("):
            look_up(server.url("b.bin"))
        assert len(server.requests) == 1


def test_waits_grow(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr("urllib3.util.retry.time.sleep", waits.append)
    with serving(folder, fault=lambda _: 503) as server, pytest.raises(SceneError):
        look_up(server.url("a.bin"))
    assert waits == [0.02, 0.04, 0.08, 0.16], "the second try comes at once"


@pytest.mark.parametrize("held", [0, 1000])
def test_a_file_that_changes_while_it_is_fetched(folder: Path, tmp_path: Path, held: int) -> None:
    with serving(folder) as server:
        file = look_up(server.url("a.bin"))
        (tmp_path / f"b.{file.key}.part").write_bytes(CONTENT[:held])
        (folder / "a.bin").write_bytes(CONTENT[::-1])
        with pytest.raises(SceneError, match=r"a\.bin changed while it was fetched; run `fetch` again"):
            download(file, tmp_path / "b")
        assert not (tmp_path / "b").exists()


def test_a_server_that_sends_no_parts(folder: Path, tmp_path: Path) -> None:
    with serving(folder, ranges=False) as server:
        file = look_up(server.url("a.bin"))
        assert (file.size, file.ranges) == (256_000, False)
        server.fault = faults_of("a.bin", ["cut"])
        download(file, tmp_path / "b")
        assert (tmp_path / "b").read_bytes() == CONTENT
        server.fault = faults_of("a.bin", ["cut"] * 99)
        server.forget()
        with pytest.raises(SceneError, match="the connection was cut, 6 times in a row"):
            download(file, tmp_path / "c")
        assert len(server.requests) == 6


def _remote(own: Scene, server: FileServer, files: dict[str, str]) -> dict:
    """The Item of a scene whose files, by band, lie on a server."""
    content = json.loads(own.path.read_text())
    for band, name in files.items():
        asset = content["assets"][band]
        file = look_up(server.url(name))
        asset |= {"href": file.href, "lenscape:etag": file.etag, "file:size": file.size}
        del asset["file:checksum"]
    return content


@pytest.fixture
def cog(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    pixels = rng.integers(1, 4000, (BIG.height, BIG.width), dtype=np.uint16)
    return write_cog(tmp_path / "B02.tif", pixels, BIG, block=512)


def _tile_bytes(path: Path, window: Window) -> int:
    """The bytes of the tiles that a window touches, as GDAL knows them."""
    total = 0
    with opened(str(path)) as dataset:
        for row in range(window.row // 512, (window.row + window.height - 1) // 512 + 1):
            for col in range(window.col // 512, (window.col + window.width - 1) // 512 + 1):
                total += int(dataset.get_tag_item(f"BLOCK_SIZE_{col}_{row}", "TIFF", bidx=1))
    return total


@pytest.mark.parametrize("window", [Window(300, 400, 2000, 2300), Window(700, 600, 2300, 1900)])
def test_a_remote_window_costs_little_more_than_its_tiles(cog: Path, window: Window) -> None:
    """Seen at the server: at most 1.3 times their bytes, several requests at a time."""
    own = fetched(cog.parent / "catalog", cog.parent)
    pixels = own.read(window, ["B02"])
    assert pixels.nbytes >= 8_000_000
    with serving(cog.parent, delay_s=0.05) as server:
        own.path.write_text(json.dumps(_remote(own, server, {"B02": "B02.tif"})))
        scene = Scene.open(own.path)
        assert np.array_equal(scene.read(window, ["B02"]), pixels)
        assert server.sent["/B02.tif"] <= 1.3 * _tile_bytes(cog, window)
        assert server.most_at_once > 1
        assert {one.path for one in server.requests} == {"/B02.tif"}, (
            "no files beside it are looked for"
        )


def test_threads_share_the_header_of_a_remote_file(cog: Path) -> None:
    """Two that read it would wait for each other for ever, for a download and for Python's lock."""
    with serving(cog.parent, delay_s=0.05) as server, ThreadPoolExecutor(4) as threads:
        address = server.url(cog.name)
        for file in threads.map(lambda _: OpenFile(address), range(4)):
            file.close()
        assert server.most_at_once == 1
        assert [one.method for one in server.requests] == ["HEAD", "GET"]


@pytest.mark.parametrize("faults", [[500], ["cut"], ["stall"]])
def test_remote_pixels_survive_a_server_that_fails(
    cog: Path, faults: list, monkeypatch: pytest.MonkeyPatch
) -> None:
    window = Window(0, 0, 1024, 1024)
    with opened(str(cog)) as dataset:
        local = dataset.read(1, window=((0, 1024), (0, 1024)))
    with serving(cog.parent) as server:
        if "stall" in faults:
            monkeypatch.setattr(remote, "TIMEOUT_S", 1.0)  # GDAL counts whole seconds
        server.fault = faults_of("B02.tif", [None, *faults])  # the first is the header's
        file = OpenFile(server.url("B02.tif"))
        assert np.array_equal(file.read(window), local)
        file.close()


def test_remote_pixels_that_cannot_be_had(cog: Path) -> None:
    with serving(cog.parent) as server:
        file = OpenFile(server.url("B02.tif"))
        server.fault = lambda _: 500
        with pytest.raises(SceneError, match=r"http.*B02\.tif cannot be read \(.*check the connection"):
            file.read(Window(1000, 1000, 1000, 1000))
        file.close()


@pytest.mark.slow
def test_nothing_is_said_of_tries_that_failed(cog: Path) -> None:
    """GDAL's warnings would stand on stderr beside our one sentence."""
    code = (
        "import sys; from pipeline.geo.raster import remote; remote.WAIT_S = 0.01; "
        "from pipeline.geo.raster.raster_file import OpenFile; "
        "from pipeline.geo.raster.grid import Window; "
        "print(OpenFile(sys.argv[1]).read(Window(0, 0, 1024, 1024)).shape)"
    )
    with serving(cog.parent, fault=faults_of("B02.tif", [None, 503, 500, "cut"])) as server:
        done = subprocess.run(
            [sys.executable, "-c", code, server.url("B02.tif")],
            capture_output=True, text=True, check=False, cwd=ROOT,
        )  # fmt: skip
        assert len(server.requests) > 4
    assert (done.stdout, done.stderr) == ("(1024, 1024)\n", "")


def test_a_scene_may_be_remote(tmp_path: Path) -> None:
    own = fetched(tmp_path / "catalog", position_bands(tmp_path / "bands"))
    window = Window(-3, 5, 30, 40)
    with serving(tmp_path / "bands") as server:
        pixels = own.read(window, BANDS)
        own.path.write_text(json.dumps(_remote(own, server, FILES)))
        assert np.array_equal(Scene.open(own.path).read(window, BANDS), pixels)


def _another_tag(content: dict) -> None:
    content["assets"]["B05"]["lenscape:etag"] = "x"


def _another_size(content: dict) -> None:
    content["assets"]["B05"]["file:size"] += 1


@pytest.mark.parametrize("change", [_another_tag, _another_size])
def test_a_remote_scene_that_has_changed(tmp_path: Path, change: Callable[[dict], None]) -> None:
    own = fetched(tmp_path / "catalog", position_bands(tmp_path / "bands"))
    with serving(tmp_path / "bands") as server:
        content = _remote(own, server, FILES)
        change(content)
        own.path.write_text(json.dumps(content))
        with pytest.raises(
            SceneError, match=r"x_B05\.tif has changed since it was fetched; run `fetch`"
        ):
            Scene.open(own.path)
