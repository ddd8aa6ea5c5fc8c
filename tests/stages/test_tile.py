"""Stage tile: a catalog and labels in, a PatchStore out, nothing half-written when it fails."""

from __future__ import annotations

import errno
import json
import re
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
import shapely
from click.testing import CliRunner
from ruamel.yaml import YAML

from pipeline import files
from pipeline.cli import cli
from pipeline.errors import (
    ConfigError,
    LabelError,
    LenscapeError,
    OutputError,
    RadiometryError,
    SceneError,
)
from pipeline.files import sha256_of
from pipeline.geo.patches.patch_writer import PatchWriter
from pipeline.geo.raster.area_of_interest import AreaOfInterest
from pipeline.geo.raster.grid import PixelGrid
from pipeline.geo.scenes.catalog import scene_item, write_catalog
from pipeline.geo.sources.folder import scene_files
from pipeline.stages import tile
from pipeline.store import PatchStore
from tests.support.clusters import cluster
from tests.support.labelled import make_labels, px_box
from tests.support.placed import describe
from tests.support.worlds import (
    EDGE,
    GRID,
    native_grid,
    position_bands,
    positions,
    scene_conf,
    separable_world,
    write_bands_folder,
)

ROOT = Path(__file__).parents[2]
BANDS = ("B02", "B05", "B09")
CLASSES: dict[str, Any] = {
    "credit": "made up",
    "classes": [
        {"name": "wood", "title": "Wald", "color": "#1b9e77"},
        {"name": "lake", "color": "#7570b3", "description": "Water"},
    ],
}


class Place:
    """A folder with the inputs of the stage, and its output."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.out = folder / "patches"
        self.labels = {"path": str(folder / "labels.gpkg"), "attribute": "kind"}
        folder.mkdir(parents=True, exist_ok=True)

    def scenes(self, **bands: Path | dict[str, Any]) -> Place:
        """A catalog of scenes: a folder of bands each, or all keys of its conf."""
        confs = [
            scene_conf(**({"id": name} | ({"path": keys} if isinstance(keys, Path) else keys)))
            for name, keys in bands.items()
        ]
        items = [scene_item(scene_files(conf)) for conf in confs]
        write_catalog(self.folder / "train", items, "train")
        return self

    def label(self, *features: tuple[Any, shapely.Geometry], **keys: Any) -> Place:
        make_labels(self.folder / "labels.gpkg", features, **keys)
        return self

    def tile(self, classes: dict[str, Any] | None = None, **keys: Any) -> PatchStore:
        """Run the stage with these keys of its conf."""
        self.write({"labels": [self.labels]} | keys, classes or CLASSES)
        sources = [self.folder]
        compute = self.folder / "compute.yaml"
        arguments = (self.folder / "tile.yaml", self.folder / "classes.yaml", self.folder / "train")
        tile.run(*arguments, self.out, compute if compute.exists() else None, sources)
        return PatchStore.open(self.out)

    def write(self, conf: dict[str, Any], classes: dict[str, Any]) -> None:
        for name, content in (("tile", conf), ("classes", classes)):
            YAML().dump(content, self.folder / f"{name}.yaml")

    def refused(self, error: type[LenscapeError], **keys: Any) -> str:
        """The message of the error that running ends in; nothing new lies there then."""
        before = sorted(self.folder.rglob("*"))
        with pytest.raises(error) as found:
            self.tile(**keys)
        written = {self.folder / "tile.yaml", self.folder / "classes.yaml"}
        assert set(self.folder.rglob("*")) - set(before) <= written
        return str(found.value)


@pytest.fixture(scope="module")
def bands(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bands of 10, 20 and 60 m whose pixels know where they are."""
    return position_bands(tmp_path_factory.mktemp("bands"))


@pytest.fixture
def place(bands: Path, tmp_path: Path) -> Place:
    """A scene, a wood in its west and a lake in the north of its east."""
    wood, lake = px_box(GRID, 0, 0, 132, 50), px_box(GRID, 0, 50, 60, 70)
    return Place(tmp_path / "place").scenes(s1=bands).label(("wood", wood), ("lake", lake))


def mirrored(places: np.ndarray, low: float, high: float) -> np.ndarray:
    """Coordinates brought into a scene by mirrors at its edges."""
    return np.where(places < low, 2 * low - places, np.where(places > high, 2 * high - places, places))


@pytest.mark.parametrize("stride", [8, 4])
def test_every_pixel_of_every_patch_is_the_one_of_its_ground(place: Place, stride: int) -> None:
    """Each band at its own resolution, on its own grid, is asked by coordinates."""
    store = place.tile(stride_px=stride)
    left, bottom, right, top = GRID.bounds
    offsets = 10 * np.arange(16) - 75
    wanted = list(BANDS)
    assert store.meta.bands == wanted
    for pixels, x, y in zip(store.pixels, store.patches["x"], store.patches["y"], strict=True):
        east, north = mirrored(x + offsets, left, right), mirrored(y - offsets, bottom, top)
        for plane, band in zip(pixels, wanted, strict=True):
            native = native_grid(GRID, band, *EDGE[band])
            rows = np.floor((native.y0 - north) / native.pixel_m).astype(int)
            cols = np.floor((east - native.x0) / native.pixel_m).astype(int)
            there = (rows[:, None] >= 0) & (cols >= 0)
            expected = np.where(there, positions(native)[np.ix_(rows, cols)], 0)
            np.testing.assert_array_equal(plane, expected)
    assert (store.patches["x"] - 75 < left).any()  # so that context was mirrored
    assert len(store) > 150


def test_labels_are_those_of_the_ground(place: Place) -> None:
    store = place.tile(min_purity=0.8)
    x, y = store.patches["x"], store.patches["y"]
    np.testing.assert_array_equal(store.patches["label"], (x > 300_500).astype(int))
    np.testing.assert_array_equal(store.patches["polygon"], store.patches["label"])
    assert (y[store.patches["label"] == 1] > GRID.y0 - 600).all()
    # the border of wood and lake is at column 50, in cells that begin at column 48
    assert store.patches["purity"].min() == 1.0
    assert place.tile(min_purity=0.75).patches["purity"].min() == 0.75


def test_the_metadata_carry_what_later_stages_need(place: Place) -> None:
    meta = place.tile(patch_px=12, stride_px=4, min_valid=0.5).meta
    assert [c.title for c in meta.classes] == ["Wald", "lake"]
    assert [c.description for c in meta.classes] == ["", "Water"]
    assert meta.credit == "made up"
    assert (meta.geometry.patch_px, meta.geometry.cell_px, meta.geometry.min_valid) == (12, 8, 0.5)
    assert (meta.stride_px, meta.min_purity) == (4, 0.6)
    (scene,) = meta.scenes
    assert (scene.id, scene.epsg, scene.datetime) == ("s1", 32633, "2021-05-06T10:21:01Z")
    assert meta.patches_sha256 == sha256_of(place.out / "patches.parquet")


def test_counts_add_up_and_are_those_of_the_table(place: Place) -> None:
    store = place.tile(stride_px=4, max_per_class=100)
    counts = store.meta.counts
    labels, on_grid = store.patches["label"], store.patches["on_grid"]
    assert counts["kept"] == {"wood": (labels == 0).sum(), "lake": (labels == 1).sum()}
    assert counts["kept_on_grid"] == {
        name: (on_grid & (labels == label)).sum() for label, name in enumerate(["wood", "lake"])
    }
    assert counts["kept"] == {"wood": 100, "lake": 100}
    # cells that meet the scene of 132 x 120 px begin in rows -6, -2, ..., 130, columns -4, ..., 116
    assert counts["positions"] == 35 * 31
    assert counts["positions"] == len(store) + sum(counts["left_out"].values())
    assert counts["left_out"].keys() == {"invalid", "unlabelled", "impure", "edge", "drawn_out"}
    assert all(counts["left_out"][why] for why in ("unlabelled", "impure", "edge", "drawn_out"))


def test_holes_are_left_out_and_counted(tmp_path: Path) -> None:
    values = {"B02": positions(GRID), "B03": positions(GRID).copy()}
    values["B03"][:64, :64] = 0
    bands = write_bands_folder(tmp_path / "bands", GRID, values)
    place = Place(tmp_path / "place").scenes(s1=bands)
    place.label(("wood", px_box(GRID, 0, 0, 132, 120)))
    store = place.tile(min_valid=0.51)
    # cells begin in rows 2, 10, ..., 50, 58 and columns 0, ..., 56: those of row 58 lose 6 of 8 rows
    assert store.meta.counts["left_out"]["invalid"] == 7 * 8
    assert store.patches["valid"].min() == 1 - 0.5 * 6 / 8
    everything = place.tile(min_valid=0.5)
    assert everything.meta.counts["left_out"]["invalid"] == 0
    assert (everything.pixels[:, 1] == 0).any()
    assert not (everything.pixels[:, 0] == 0).any()


def test_what_is_printed(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    place.label(("wood", px_box(GRID, 0, 0, 132, 50)), ("wood", None)).tile()
    shown = capsys.readouterr()
    first = "the store takes 0.3 MB: up to 96 patches of 3 x 16 x 16 pixels"
    assert shown.out.splitlines()[0] == first
    assert "wood                96            96" in shown.out
    assert "lake                 0             0" in shown.out
    assert "of 270 positions: 30 edge, " in shown.out
    assert "1 empty" in shown.out
    assert "warning: no cell has the class 'lake'" in shown.err
    assert "%|" not in shown.err  # no progress bar where nobody looks


def test_the_same_bytes_from_any_number_of_workers(place: Place) -> None:
    contents = []
    for workers in (1, 3):
        YAML().dump({"workers": workers, "memory_mb": 4096}, place.folder / "compute.yaml")
        place.tile(stride_px=4)
        contents.append({path.name: path.read_bytes() for path in sorted(place.out.iterdir())})
    assert contents[0].keys() == {"meta.json", "patches.parquet", "pixels.npy"}
    assert contents[0] == contents[1]


@pytest.fixture
def many(place: Place, bands: Path, tmp_path: Path) -> Place:
    """Scenes enough for two processes, every other one with a hole, one without a valid cell."""
    for name, hole in (("holed", np.s_[20:90, 5:80]), ("empty", np.s_[1:])):
        values = {band: positions(native_grid(GRID, band)) for band in BANDS}
        values["B02"][hole] = 0
        write_bands_folder(tmp_path / name, GRID, values)
    folders = {f"s{n}": (bands, tmp_path / "holed")[n % 2] for n in range(40)}
    return place.scenes(**folders, last=tmp_path / "empty")


def contents(place: Place, **compute: Any) -> dict[str, bytes]:
    """The files of the store that `tile` writes on such a machine, and nothing beside them."""
    YAML().dump(compute, place.folder / "compute.yaml")
    place.tile(stride_px=4, min_valid=0.9)
    assert not list(place.folder.glob(".*"))
    return {path.name: path.read_bytes() for path in sorted(place.out.iterdir())}


@pytest.mark.slow
def test_many_scenes_are_cut_side_by_side_with_the_same_bytes(many: Place) -> None:
    expected = contents(many, workers=1)
    assert json.loads(expected["meta.json"])["counts"]["left_out"]["invalid"] > 1000
    assert contents(many, workers=2) == expected
    with cluster(many.folder) as started:
        first, _ = started.worker(), started.worker()
        killing = when_one_is_there(many.folder / ".patches.work", first.kill)
        assert contents(many, scheduler=started.address, wait_s=120) == expected
        assert not killing.is_alive()


def when_one_is_there(folder: Path, act: Callable[[], object]) -> threading.Thread:
    """Do something once there is a file in a folder."""

    def wait() -> None:
        while not any(folder.glob("*")):
            time.sleep(0.01)
        act()

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread


def test_patches_come_scene_by_scene_in_rows(place: Place, bands: Path) -> None:
    store = place.scenes(b=bands, a=bands).tile(stride_px=4)
    table = store.patches
    half = len(store) // 2
    assert table["scene"].tolist() == ["b"] * half + ["a"] * half
    order = np.lexsort((table["x"][:half], -table["y"][:half]))
    assert order.tolist() == list(range(half))
    np.testing.assert_array_equal(store.pixels[:half], store.pixels[half:])
    assert [scene.id for scene in store.meta.scenes] == ["b", "a"]


def test_labels_of_some_scenes_only(place: Place, bands: Path) -> None:
    make_labels(place.folder / "more.gpkg", [("lake", px_box(GRID, 0, 0, 132, 120))])
    more = {"path": str(place.folder / "more.gpkg"), "attribute": "kind", "scenes": ["b"]}
    store = place.scenes(a=bands, b=bands).tile(labels=[place.labels | {"scenes": ["a"]}, more])
    table = store.patches
    of_b = table["scene"] == "b"
    assert set(table["label"][~of_b]) == {0, 1}
    assert set(table["label"][of_b]) == {1}
    # rows of the second file are counted on from the first
    assert set(table["polygon"][of_b]) == {2}


def test_labels_in_degrees(place: Place) -> None:
    here = place.tile().patches
    frame = gpd.read_file(place.folder / "labels.gpkg").to_crs(4326)
    (place.folder / "labels.gpkg").unlink()
    frame.to_file(place.folder / "labels.gpkg")
    there = place.tile().patches
    for name in ("x", "y", "label", "polygon"):
        assert there[name].tolist() == here[name].tolist()


def test_bands_in_the_order_asked_for(place: Place) -> None:
    every, some = place.tile().pixels[:], place.tile(bands=["B09", "B02"])
    assert some.meta.bands == ["B09", "B02"]
    np.testing.assert_array_equal(some.pixels, every[:, [2, 0]])


def test_only_the_bands_asked_for_are_read(place: Place, tmp_path: Path) -> None:
    own = position_bands(tmp_path / "own")
    place.scenes(s1=own)
    path = own / "x_B09.tif"
    path.write_bytes(b"\0" * path.stat().st_size)
    describe(place.folder / "train" / "s1" / "s1.json", "B09", path)
    assert len(place.tile(bands=["B02", "B05"])) > 0
    assert "B09" in place.refused(SceneError)


def test_all_means_the_bands_of_all_scenes(place: Place, bands: Path, tmp_path: Path) -> None:
    fewer = write_bands_folder(tmp_path / "fewer", GRID, {"B02": positions(GRID)})
    assert place.scenes(a=bands, b=fewer).tile().meta.bands == ["B02"]
    message = place.refused(ConfigError, bands=["B02", "B05"])
    for part in ("tile.yaml: key 'bands', scene b", "band B05 is not in the data", "B02"):
        assert part in message


def test_scenes_without_a_common_band(place: Place, bands: Path, tmp_path: Path) -> None:
    other = write_bands_folder(tmp_path / "other", GRID, {"B03": positions(GRID)})
    assert "no band in common" in place.scenes(a=bands, b=other).refused(SceneError)


def test_processing_levels_do_not_mix(place: Place, bands: Path) -> None:
    place.scenes(a={"path": bands, "level": "L1C"}, b={"path": bands, "level": "L2A"})
    assert "a is L1C and b is L2A" in place.refused(SceneError)
    assert len(place.scenes(a={"path": bands, "level": "L1C"}, b={"path": bands}).tile()) > 0


@pytest.mark.parametrize("side", [12, 4])
def test_patches_of_pixels_that_are_no_reflectance(tmp_path: Path, side: int) -> None:
    """A spot so small that nothing is wrong with the scene, but the labels lie on it."""

    def with_spot(band: str) -> np.ndarray:
        native = native_grid(GRID, band)
        pixels = (positions(native) % 4_007 + 300).astype(np.uint16)
        spot = round(side * 10 / native.pixel_m)
        start = round(480 / native.pixel_m)
        pixels[start : start + spot, start : start + spot] = 65_534
        return pixels

    bands = write_bands_folder(
        tmp_path / "in", GRID, {band: with_spot(band) for band in ("B02", "B05")}
    )
    place = Place(tmp_path).scenes(s=bands)
    place.label(("wood", px_box(GRID, 40, 40, 24, 12)), ("lake", px_box(GRID, 40, 52, 24, 12)))
    keys = {"patch_px": 16, "cell_px": 8, "stride_px": 8}
    if side == 12:
        message = place.refused(RadiometryError, **keys)
        assert re.match(r"\d+% of the pixels of B02 in the patches have a reflectance of 6\.6", message)
        assert message.endswith("correct scale and offset of the scenes in the conf of fetch.")
    else:
        assert (place.tile(**keys).pixels[:] == 65_534).any()


@pytest.mark.parametrize(
    ("keys", "error", "parts"),
    [
        ({"stride": 4}, ConfigError, ["tile.yaml", "'stride'", "unknown"]),
        ({"stride_px": 3}, ConfigError, ["tile.yaml", "3", "divide"]),
        ({"bands": ["B99"]}, ConfigError, ["tile.yaml: key 'bands'", "'B99'"]),
        ({"min_purity": 1.5}, ConfigError, ["tile.yaml", "min_purity", "1.5"]),
    ],
)
def test_a_wrong_conf(
    place: Place, keys: dict[str, Any], error: type[LenscapeError], parts: list[str]
) -> None:
    message = place.refused(error, **keys)
    assert all(part in message for part in parts)


def test_labels_of_a_scene_that_is_not_there(place: Place) -> None:
    message = place.refused(ConfigError, labels=[place.labels | {"scenes": ["s1", "s2"]}])
    assert "key 'labels[0].scenes' names 's2', but the scenes to train on are s1" in message


def test_a_scene_without_labels(place: Place, bands: Path) -> None:
    place.scenes(s1=bands, s2=bands)
    message = place.refused(LabelError, labels=[place.labels | {"scenes": ["s1"]}])
    assert "no labels describe the scene s2" in message


def test_labels_outside_of_the_sources(place: Place, tmp_path: Path) -> None:
    away = make_labels(tmp_path / "away.gpkg", [("wood", px_box(GRID, 0, 0, 50, 50))])
    message = place.refused(LabelError, labels=[away.model_dump(exclude_none=True)])
    assert "key 'labels[0].path'" in message
    assert "DVC would not notice" in message
    # a link inside is what DVC follows
    (place.folder / "link.gpkg").symlink_to(tmp_path / "away.gpkg")
    assert len(place.tile(labels=[place.labels | {"path": str(place.folder / "link.gpkg")}])) > 0


def test_an_unknown_class_names_the_file_to_change(place: Place) -> None:
    place.label(("wood", px_box(GRID, 0, 0, 50, 50)), ("sea", px_box(GRID, 0, 0, 50, 50)))
    message = place.refused(LabelError)
    for part in ("labels.gpkg", "'kind'", "'sea'", str(place.folder / "classes.yaml")):
        assert part in message


def test_labels_elsewhere(place: Place) -> None:
    place.label(("wood", px_box(GRID, 500, 500, 50, 50)))
    assert "do not overlap the scene s1" in place.refused(LabelError)


def test_no_cell_left_says_why(place: Place, tmp_path: Path) -> None:
    place.label(("wood", px_box(GRID, 20, 20, 3, 3)))
    message = place.refused(LabelError)
    for part in ("no cell is left", "impure", "unlabelled", "min_purity (0.6)", "tile.yaml"):
        assert part in message
    # a scene of which only a corner is valid, which no cell lies in for the most part
    corner = 0 * positions(GRID)
    corner[:2, :2] = 3_000
    nothing = write_bands_folder(tmp_path / "nothing", GRID, {"B02": corner})
    place.scenes(s1=nothing).label(("wood", px_box(GRID, 0, 0, 132, 120)))
    assert "240 invalid" in place.refused(LabelError)


def test_no_catalog(place: Place) -> None:
    (place.folder / "train" / "catalog.json").unlink()
    assert "run `fetch` first" in place.refused(SceneError)


def test_an_empty_catalog(place: Place) -> None:
    assert "no scene to train on" in place.scenes().refused(SceneError)


def test_a_store_that_does_not_fit_is_not_begun(
    place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(files, "free_bytes", lambda _: 1000)
    message = place.refused(OutputError)
    assert "GB are free" in message
    assert str(place.out) in message
    assert "the store takes" in capsys.readouterr().out


def test_a_disk_that_fills_up_leaves_the_store_that_was_there(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path.name: path.read_bytes() for path in place.tile().folder.iterdir()}

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(PatchWriter, "write", full)
    assert "the disk is full" in place.refused(OutputError, stride_px=4)
    assert {path.name: path.read_bytes() for path in place.out.iterdir()} == before


@pytest.mark.parametrize("suffix", [".jp2", ".tif"])
def test_a_truncated_scene_leaves_nothing_behind(tmp_path: Path, suffix: str) -> None:
    side = 138  # positions are reflectances below 2
    grid = PixelGrid(32633, 300_000.0, 5_800_020.0, side, side)
    bands = position_bands(tmp_path / "bands", grid, suffix)
    place = Place(tmp_path / "place").scenes(s1=bands).label(("wood", px_box(grid, 0, 0, side, side)))
    path = bands / f"x_B02{suffix}"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert "run `fetch` again" in place.refused(SceneError)
    describe(place.folder / "train" / "s1" / "s1.json", "B02", path)
    assert f"x_B02{suffix} cannot be read" in place.refused(SceneError)


def test_a_separable_world_as_its_truth(tmp_path: Path) -> None:
    world = separable_world(tmp_path / "world")
    place = Place(tmp_path / "place").scenes(s1=world.bands)
    place.labels = {"path": str(world.labels), "attribute": "value"}
    names = [{"name": f"c{label}", "color": f"#0000f{label}"} for label in range(3)]
    conf = {"labels": [place.labels], "cell_px": 4, "patch_px": 4, "stride_px": 4}
    place.write(conf, {"credit": "made up", "classes": names})
    arguments = (place.folder / "tile.yaml", place.folder / "classes.yaml", place.folder / "train")
    tile.run(*arguments, place.out)
    store = PatchStore.open(place.out)
    assert len(store) > 500
    for x, y, label, purity in zip(
        *(store.patches[name] for name in ("x", "y", "label", "purity")), strict=True
    ):
        row, col = round((GRID.y0 - y) / 10) - 2, round((x - GRID.x0) / 10) - 2
        cell = world.truth[row : row + 4, col : col + 4]
        assert (cell == label).mean() == purity >= 0.6


@pytest.mark.slow
def test_the_command_ends_in_one_sentence_and_exit_code_2(place: Place) -> None:
    place.write({"labels": [place.labels | {"attribute": "fclass"}]}, CLASSES)
    words = [
        "--conf",
        "tile.yaml",
        "--classes",
        "classes.yaml",
        "--scenes",
        "train",
        "--out",
        "patches",
    ]
    done = subprocess.run(
        [sys.executable, "-m", "pipeline.cli", "tile", *words],
        cwd=place.folder, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.startswith("lenscape: ")
    assert "no attribute 'fclass'; it has kind" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not place.out.exists()


@pytest.mark.slow
def test_the_command_writes_a_store_without_torch(place: Place) -> None:
    place.write({"labels": [place.labels], "stride_px": 4}, CLASSES)
    program = (
        "import sys; from click.testing import CliRunner; from pipeline.cli import cli; "
        "done = CliRunner().invoke(cli, ['tile', *sys.argv[1:]], catch_exceptions=False); "
        "print(done.output); assert done.exit_code == 0; "
        "print([name for name in ('torch', 'mlflow', 'lightning') if name in sys.modules])"
    )
    words = [
        "--conf",
        "tile.yaml",
        "--classes",
        "classes.yaml",
        "--scenes",
        "train",
        "--out",
        "patches",
    ]
    done = subprocess.run(
        [sys.executable, "-c", program, *words, "--sources", "."],
        cwd=place.folder, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith("[]")
    assert len(PatchStore.open(place.out)) > 0


def test_the_options_have_defaults() -> None:
    shown = CliRunner().invoke(cli, ["tile", "--help"]).output
    for path in ("conf/tile.yaml", "conf/classes.yaml", "data/scenes/train", "data/patches"):
        assert path in shown


def test_metadata_are_canonical_json(place: Place) -> None:
    place.tile()
    text = (place.out / "meta.json").read_text()
    assert text == files.canonical_json(json.loads(text))
    assert str(place.folder) not in text


def test_edits_of_an_open_geopackage_are_read_and_warned_of(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    """QGIS keeps one open in write-ahead mode: edits that were saved stand beside a linked file."""
    link, real = place.folder / "labels.gpkg", place.folder / "elsewhere" / "drawn.gpkg"
    real.parent.mkdir()
    link.rename(real)
    link.symlink_to(real)
    with closing(sqlite3.connect(real)) as editor:
        triggers = editor.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall()
        for (name,) in triggers:  # they call functions that SQLite by itself does not have
            editor.execute(f'DROP TRIGGER "{name}"')
        editor.commit()
        editor.execute("PRAGMA journal_mode=WAL")
        before = real.read_bytes()
        editor.execute("UPDATE labels SET kind = 'lake'")
        editor.commit()
        store = place.tile()
        assert real.read_bytes() == before
    assert store.meta.counts["kept"]["wood"] == 0
    warned = (
        f"warning: {link} is open in another program, which keeps edits in drawn.gpkg-wal, where DVC"
    )
    assert warned in capsys.readouterr().err
    assert place.tile().meta.counts["kept"] == store.meta.counts["kept"]
    assert "open in another program" not in capsys.readouterr().err


def test_no_patch_shows_excluded_ground(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    everything = place.tile(stride_px=4)
    excluded = shapely.Polygon([(300_300, 5_799_700), (300_700, 5_799_600), (300_400, 5_799_200)])
    path = place.folder / "test.geojson"
    gpd.GeoDataFrame(geometry=[excluded], crs=32633).to_crs(4326).to_file(path)
    store = place.tile(stride_px=4, exclude=str(path))
    x, y = (everything.patches[axis] for axis in ("x", "y"))
    offsets = 10 * (np.arange(16) - 7.5)
    in_patch = np.array(
        [shapely.contains_xy(excluded, *np.meshgrid(east + offsets, north + offsets)).any()
         for east, north in zip(x, y, strict=True)]
    )  # fmt: skip
    assert 0 < in_patch.sum() < len(in_patch) / 2
    kept = set(zip(store.patches["x"], store.patches["y"], strict=True))
    assert kept == set(zip(x[~in_patch], y[~in_patch], strict=True))
    counts = store.meta.counts
    assert counts["left_out"]["excluded"] == in_patch.sum()
    assert counts["positions"] == len(store) + sum(counts["left_out"].values())
    assert f"{in_patch.sum()} excluded" in capsys.readouterr().out


def test_all_ground_excluded(place: Place) -> None:
    box = {"bbox": [290_000.0, 5_790_000.0, 310_000.0, 5_810_000.0], "crs": "EPSG:32633"}
    assert "key 'exclude' leaves no labelled cell; make the area" in place.refused(
        LabelError, exclude=box
    )


def test_cells_outside_of_the_area_of_a_scene(place: Place, bands: Path) -> None:
    """Those with too few pixels inside are invalid, those with none are not even read."""
    town = shapely.box(300_200, 5_799_000, 300_804, 5_799_604)
    area = AreaOfInterest(
        town - shapely.box(300_400, 5_799_200, 300_600, 5_799_400), "EPSG:32633", "town"
    )
    files = replace(scene_files(scene_conf(id="s1", path=str(bands))), area=area)
    write_catalog(place.folder / "train", [scene_item(files)], "train")
    store = place.tile()
    counts = store.meta.counts
    assert counts["left_out"]["outside_area"] > 0
    assert counts["positions"] == len(store) + sum(counts["left_out"].values())
    x, y = (store.patches[axis] for axis in ("x", "y"))
    cells = shapely.box(x - 40, y - 40, x + 40, y + 40)
    share = shapely.area(shapely.intersection(cells, area.shape)) / 6400
    assert share.min() >= 0.75
    assert len(store) > 10
