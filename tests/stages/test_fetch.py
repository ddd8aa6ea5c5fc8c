"""Stage fetch: from a conf to two catalogs, or to one sentence and nothing written."""

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import geopandas as gpd
import numpy as np
import pystac
import pytest
import rasterio
import shapely

from pipeline import cli
from pipeline.bands import BANDS
from pipeline.errors import ConfigError, LenscapeError, OutputError, RadiometryError, SceneError
from pipeline.geo.raster.grid import PixelGrid, Window
from pipeline.geo.scenes.scene import open_catalog
from pipeline.stages.fetch import run
from tests.support.holders import held
from tests.support.worlds import GRID, position_bands, write_raster

DEMO = Path(__file__).parents[2] / "data" / "demo" / "scenes" / "T33UUU_20170216T102101"
SCENE = "{id: one, path: own/one, datetime: '2021-05-06T10:21:01Z', scale: 0.0001, offset: 0}"
TRAIN, MAP = Path("out/train"), Path("out/map")

type Write = Callable[[str], Path]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with two scenes under `own`."""
    root = tmp_path / "root"
    position_bands(root / "own" / "one")
    position_bands(root / "own" / "two", suffix=".jp2")
    monkeypatch.chdir(root)
    return root


@pytest.fixture
def conf(root: Path) -> Write:
    def write(text: str) -> Path:
        (root / "fetch.yaml").write_text(text)
        return Path("fetch.yaml")

    return write


def bytes_below(folder: Path) -> dict[str, bytes]:
    """Files by name, but for those that `fetch` keeps for its next run."""
    files = (path for path in folder.rglob("*") if path.is_file() and "train.checked" not in path.parts)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_the_same_scenes_to_train_on_and_to_map(
    conf: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    run(conf(f"train: [{SCENE}]"), TRAIN, MAP)
    for folder in (TRAIN, MAP):
        assert set(bytes_below(folder)) == {"catalog.json", "one/one.json"}
        (scene,) = open_catalog(folder)
        assert (scene.id, scene.grid, scene.bands) == ("one", GRID, ("B02", "B05", "B09"))
    assert capsys.readouterr().out == (
        "train: one  2021-05-06  B02, B05, B09  (own/one)\nscenes to map: one\n"
    )


@pytest.mark.slow
def test_many_scenes_are_checked_side_by_side_with_the_same_bytes(
    root: Path, conf: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    scenes = [SCENE.replace("one,", f"s{n:02d},", 1) for n in range(33)]
    written = conf(f"train: [{', '.join(scenes)}]")
    for folder, workers in (("1", 1), ("2", 2)):
        (root / "compute.yaml").write_text(f"workers: {workers}\n")
        run(written, Path(folder, "train"), Path(folder, "map"), compute=Path("compute.yaml"))
    assert bytes_below(Path("1")) == bytes_below(Path("2"))
    assert len(open_catalog(Path("2/map"))) == 33
    lines = capsys.readouterr().out.splitlines()
    assert lines[:34] == lines[34:]


def test_scenes_of_their_own_to_map_in_the_order_of_the_conf(conf: Write) -> None:
    two = SCENE.replace("one", "two")
    run(conf(f"train: [{SCENE}]\nmap: [{two}, {SCENE}]"), TRAIN, MAP)
    assert [scene.id for scene in open_catalog(TRAIN)] == ["one"]
    assert [scene.id for scene in open_catalog(MAP)] == ["two", "one"]
    # the other scene is as large and lies there too, as lossless JPEG 2000
    two_of, one_of = open_catalog(MAP)
    window = Window(-5, -5, 60, 60)
    assert np.array_equal(two_of.read(window, two_of.bands), one_of.read(window, one_of.bands))


def test_a_scene_to_map_that_is_one_to_train_on_is_the_same_wherever_the_catalogs_lie(
    conf: Write,
) -> None:
    two = SCENE.replace("one", "two")
    run(conf(f"train: [{SCENE}, {two}]\nmap: [{two}]"), TRAIN, Path("elsewhere/deep/map"))
    (mapped,) = open_catalog(Path("elsewhere/deep/map"))
    assert mapped.files == open_catalog(TRAIN)[1].files
    assert mapped.info == open_catalog(TRAIN)[1].info
    assert '"../../../../own/two/x_B02.jp2"' in mapped.path.read_text()
    # with the same id and another radiometry, it is another scene
    brighter = SCENE.replace("0.0001", "0.00012")
    run(conf(f"train: [{SCENE}]\nmap: [{brighter}]"), TRAIN, MAP)
    assert [open_catalog(folder)[0].files["B02"].scale for folder in (TRAIN, MAP)] == [0.0001, 0.00012]


def test_a_scene_that_is_no_longer_named_goes(conf: Write) -> None:
    run(conf(f"train: [{SCENE}, {SCENE.replace('one', 'two')}]"), TRAIN, MAP)
    run(conf(f"train: [{SCENE}]"), TRAIN, MAP)
    assert set(bytes_below(TRAIN)) == {"catalog.json", "one/one.json"}


def test_the_same_input_gives_the_same_bytes_wherever_it_lies(conf: Write, root: Path) -> None:
    path = conf(f"train: [{SCENE}, {SCENE.replace('one', 'two')}]")
    run(path, TRAIN, MAP)
    first = bytes_below(root / "out")
    run(path, TRAIN, MAP)
    assert bytes_below(root / "out") == first
    other = root.with_name("Ort #2 mit Umlaut ä%20?")
    shutil.copytree(root, other, ignore=shutil.ignore_patterns("out"))
    os.chdir(other)
    run(path, TRAIN, MAP)
    assert bytes_below(other / "out") == first
    assert Path(open_catalog(MAP)[0].files["B02"].layer.href).is_relative_to(other)


def test_a_catalog_moves_with_its_repository(conf: Write, root: Path) -> None:
    run(conf(f"train: [{SCENE}]"), TRAIN, MAP)
    moved = root.rename(root.with_name("moved"))
    (scene,) = open_catalog(moved / TRAIN)
    assert scene.files["B02"].layer.href == str(moved / "own" / "one" / "x_B02.tif")
    assert scene.read(Window(0, 0, 1, 3), ["B02"]).tolist() == [[[1, 2, 3]]]


def test_a_changed_pixel_changes_the_item(conf: Write) -> None:
    path = conf(f"train: [{SCENE}]")
    run(path, TRAIN, MAP)
    before = bytes_below(TRAIN)
    size = Path("own/one/x_B02.tif").stat().st_size
    with rasterio.open("own/one/x_B02.tif", "r+") as dataset:
        dataset.write(dataset.read() + 1)
    assert Path("own/one/x_B02.tif").stat().st_size == size
    run(path, TRAIN, MAP)
    after = bytes_below(TRAIN)
    assert [name for name in after if after[name] != before[name]] == ["one/one.json"]


class TestSources:
    """Where sources are named, DVC must see every pixel."""

    @pytest.mark.parametrize("path", ["own/one", "./own/../own/one", "own/one/"])
    def test_inside(self, conf: Write, path: str) -> None:
        run(conf(f"train: [{SCENE.replace('own/one', path)}]"), TRAIN, MAP, [Path("demo"), Path("own")])
        assert open_catalog(TRAIN)

    def test_inside_by_an_absolute_path(self, conf: Write, root: Path) -> None:
        scene = SCENE.replace("own/one", str(root / "own" / "one"))
        run(conf(f"train: [{scene}]"), TRAIN, MAP, [Path("own")])

    @pytest.mark.parametrize("path", ["elsewhere/one", "own/../elsewhere/one", "own-2/one", "own2"])
    def test_outside(self, conf: Write, root: Path, path: str) -> None:
        for place in ("elsewhere/one", "own-2/one", "own2"):
            shutil.copytree(root / "own" / "one", root / place)
        scene = SCENE.replace("own/one", path)
        with pytest.raises(SceneError) as caught:
            run(conf(f"train: [{scene}]"), TRAIN, MAP, [Path("demo/scenes"), Path("own")])
        assert str(caught.value) == (
            f"fetch.yaml: the path '{path}' lies outside of demo/scenes or own, where DVC "
            "would not notice that it changes; put or link it under own."
        )
        assert not Path("out").exists()
        run(Path("fetch.yaml"), TRAIN, MAP)  # by hand, any place will do

    def test_a_folder_of_links_is_inside(self, conf: Write, root: Path) -> None:
        """DVC follows links to files."""
        (root / "own").rename(root / "archive")
        (root / "own" / "one").mkdir(parents=True)
        for path in (root / "archive" / "one").iterdir():
            (root / "own" / "one" / path.name).symlink_to(path)
        run(conf(f"train: [{SCENE}]"), TRAIN, MAP, [Path("own")])
        assert '"href": "../../../own/one/x_B02.tif"' in (TRAIN / "one" / "one.json").read_text()

    @pytest.mark.parametrize("linked", ["own/one", "own/deep"])
    def test_a_linked_folder_is_not(self, conf: Write, root: Path, linked: str) -> None:
        """DVC passes over links to folders."""
        (root / "own" / "one").rename(root / "one")
        (root / linked).symlink_to(root / "one" if linked == "own/one" else root)
        scene = SCENE.replace("own/one", "own/one" if linked == "own/one" else "own/deep/one")
        with pytest.raises(SceneError, match="goes through a linked folder"):
            run(conf(f"train: [{scene}]"), TRAIN, MAP, [Path("own")])

    def test_a_link_from_one_source_to_another_is_seen_there(self, conf: Write, root: Path) -> None:
        (root / "own" / "one").rename(root / "demo")
        (root / "own" / "one").symlink_to(root / "demo")
        run(conf(f"train: [{SCENE}]"), TRAIN, MAP, [Path("demo"), Path("own")])

    def test_a_mask_too(self, conf: Write, root: Path) -> None:
        values = np.zeros((GRID.height, GRID.width), dtype=np.uint8)
        for place in (root / "clouds.tif", root / "own" / "clouds.tif"):
            write_raster(place, values, GRID)
        scene = SCENE.replace("offset: 0", "offset: 0, mask: {path: own/clouds.tif}")
        run(conf(f"train: [{scene}]"), TRAIN, MAP, [Path("own")])
        assert len(open_catalog(TRAIN)[0].masks) == 1
        text = f"train: [{SCENE}]\nmap: [{scene.replace('own/clouds', 'clouds')}]"
        with pytest.raises(SceneError, match=r"the path 'clouds\.tif' lies outside"):
            run(conf(text), TRAIN, MAP, [Path("own")])


def _truncate(root: Path) -> None:
    path = root / "own" / "two" / "x_B05.jp2"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _demo_cut_in_the_middle(root: Path) -> None:
    content = next(DEMO.glob("*_B05.jp2")).read_bytes()
    (root / "own" / "two" / "x_B05.jp2").write_bytes(content[: len(content) // 2])


def _picture(root: Path) -> None:
    pixels = np.ones((GRID.height, GRID.width), dtype=np.uint16)
    picture = write_raster(root / "p.png", pixels, None, driver="PNG")
    picture.replace(root / "own" / "two" / "x_B11.tif")


def _elsewhere(root: Path) -> None:
    grid = PixelGrid(32633, 400_000, 5_800_020, 66, 60, 20)
    write_raster(root / "own" / "two" / "x_B11.tif", np.ones((66, 60), dtype=np.uint16), grid)


@pytest.mark.parametrize(
    ("spoil", "scene", "error", "problem"),
    [
        (_truncate, SCENE, SceneError, r"own/two/x_B05\.jp2 is truncated"),
        (_demo_cut_in_the_middle, SCENE, SceneError, r"own/two/x_B05\.jp2 is truncated"),
        (_picture, SCENE, SceneError, r"own/two/x_B11\.tif is a PNG file"),
        (_elsewhere, SCENE, SceneError, r"own/two/x_B11\.tif covers other ground"),
        (None, SCENE.replace(", offset: 0", ""), RadiometryError, r"scene two .*; add offset to it"),
        (None, SCENE.replace("offset: 0", "offset: -0.1"), RadiometryError, r"x_B05\.jp2: with scale"),
        (None, SCENE.replace("own/one", "own/three"), SceneError, "own/three does not exist"),
        (None, SCENE.replace("own/one", "own/two/x_B02.jp2"), SceneError, "is a file; name a folder"),
        (None, SCENE.replace("scale", "scael"), ConfigError, r"key 'train\[1\]\.scael' is unknown"),
        (None, SCENE.replace("one", "one", 1), ConfigError, "scene id 'one' stands twice"),
        (
            None,
            SCENE.replace("id: one", "id: catalog.json"),
            ConfigError,
            "scene id 'catalog.json' is the catalog's own file",
        ),
    ],
)
def test_what_cannot_be_used_leaves_all_as_it_was(
    conf: Write,
    root: Path,
    spoil: Callable[[Path], None] | None,
    scene: str,
    error: type[LenscapeError],
    problem: str,
) -> None:
    run(conf(f"train: [{SCENE}]"), TRAIN, MAP)
    before = bytes_below(root / "out")
    if spoil is not None:
        spoil(root)
    if "twice" not in problem:
        scene = scene.replace("own/one", "own/two").replace("id: one", "id: two")
    with pytest.raises(error, match=problem):
        run(conf(f"train: [{SCENE}, {scene}]"), TRAIN, MAP)
    assert bytes_below(root / "out") == before
    assert {path.name for path in (root / "out").iterdir()} - {"train.checked"} == {"train", "map"}


def test_no_scene_is_no_conf(conf: Write) -> None:
    with pytest.raises(ConfigError, match=r"fetch\.yaml: key 'train'"):
        run(conf("train: []"), TRAIN, MAP)
    with pytest.raises(ConfigError, match=r"nowhere\.yaml does not exist"):
        run(Path("nowhere.yaml"), TRAIN, MAP)


def test_an_output_that_cannot_be_written(conf: Write, root: Path) -> None:
    (root / "out").touch()
    with pytest.raises(OutputError, match="out/train cannot be written: a file lies where a folder is"):
        run(conf(f"train: [{SCENE}]"), TRAIN, MAP)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The device `full` answers every write as a full disk does."""
    real = Path.write_text

    def write_text(path: Path, text: str, **options: str) -> int:
        return real(Path("/dev/full") if "one.json" in path.name else path, text, **options)

    monkeypatch.setattr(Path, "write_text", write_text)
    (root / "fetch.yaml").write_text(f"train: [{SCENE}]")
    with pytest.raises(OutputError, match="the disk is full; free some space"):
        run(Path("fetch.yaml"), TRAIN, MAP)
    assert not bytes_below(root / "out")


def lenscape(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    root = Path(cli.__file__).parents[2]
    return subprocess.run(
        [sys.executable, "-m", "pipeline.cli", *words],
        capture_output=True,
        text=True,
        cwd=cwd,
        check=False,
        env=os.environ | {"PYTHONPATH": str(root)},
    )


@pytest.mark.slow
def test_by_hand_on_other_folders(conf: Write, root: Path) -> None:
    conf(f"train: [{SCENE}]")
    words = ["fetch", "--conf", "fetch.yaml", "--train", "a/t", "--map", "a/m", "--sources", "own"]
    done = lenscape(*words, cwd=root)
    assert (done.returncode, done.stderr) == (0, "")
    assert open_catalog(root / "a" / "m")[0].id == "one"
    _truncate(root)
    conf(f"train: [{SCENE.replace('one', 'two')}]")
    done = lenscape(*words, cwd=root)
    assert done.returncode == 2
    assert done.stderr.startswith("lenscape: own/two/x_B05.jp2 is truncated")
    assert done.stderr.count("\n") == 1


def test_the_demo_scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    scene = SCENE.replace("own/one", str(DEMO)).replace("id: one", f"id: {DEMO.name}")
    Path("fetch.yaml").write_text(f"train: [{scene}]")
    run(Path("fetch.yaml"), TRAIN, MAP)
    (opened,) = open_catalog(TRAIN)
    assert opened.bands == tuple(BANDS)
    assert opened.grid == PixelGrid(32633, 330_000, 5_822_040, 768, 1_536)
    assert opened.item.properties["grid:code"] == "MGRS-33UUU"
    # its 20 m pixels are squares of 2 x 2 on the 10 m grid
    window = Window(100, 200, 40, 60)
    with rasterio.open(next(DEMO.glob("*_B11.jp2"))) as dataset:
        native = dataset.read(1, window=((50, 70), (100, 130)))
    squares = native.repeat(2, axis=0).repeat(2, axis=1)
    assert np.array_equal(opened.read(window, ["B11"])[0], squares)


@pytest.mark.slow
def test_fetch_loads_no_torch(conf: Write, root: Path) -> None:
    conf(f"train: [{SCENE}]")
    code = (
        "from pathlib import Path; from pipeline.stages.fetch import run; import sys; "
        "run(Path('fetch.yaml'), Path('t'), Path('m')); "
        "print(*{'torch', 'lightning', 'mlflow', 'torchgeo'} & set(sys.modules))"
    )
    source = str(Path(cli.__file__).parents[2])
    shown = subprocess.check_output(
        [sys.executable, "-c", code], text=True, cwd=root, env=os.environ | {"PYTHONPATH": source}
    )
    assert shown.splitlines()[-1] == ""


def test_items_pass_between_stac_programs(conf: Write, root: Path) -> None:
    run(conf(f"train: [{SCENE}]"), TRAIN, MAP)
    catalog = pystac.Catalog.from_file(str(root / TRAIN / "catalog.json"))
    (item,) = catalog.get_items()
    assert item.to_dict(include_self_link=False, transform_hrefs=False)["assets"]["B02"]["href"] == (
        "../../../own/one/x_B02.tif"
    )


def test_local_scenes_beside_a_process_that_downloads(conf: Write, root: Path) -> None:
    """What lies in the folder of downloads is that of its owner, also what looks like a leftover."""
    begun = root / "downloads" / "search" / ".B02.tif.partial"
    begun.parent.mkdir(parents=True)
    begun.touch()
    with held(root / "downloads", inside=True):
        run(conf(f"train: [{SCENE}]"), TRAIN, MAP, downloads=Path("downloads"))
        assert begun.exists()
    assert open_catalog(TRAIN)


@pytest.mark.slow
def test_two_that_run_at_once_in_one_folder(conf: Write, root: Path) -> None:
    """One of them is told of the other, unless that has ended; what they write is whole."""
    scenes = [SCENE.replace("one,", f"s{n:02d},", 1) for n in range(20)]
    run(conf(f"train: [{', '.join(scenes)}]"), TRAIN, MAP)
    expected = bytes_below(root / "out")
    shutil.rmtree(root / "out")
    words = ["fetch", "--conf", "fetch.yaml", "--sources", "own"]
    outputs = [*(["--train", "out/train", "--map", "out/map"] for _ in range(2))]
    outputs.append(["--train", "other/train", "--map", "other/map"])
    with ThreadPoolExecutor(3) as pool:
        *both, other = pool.map(lambda paths: lenscape(*words, *paths, cwd=root), outputs)
    assert other.returncode == 0, other.stderr
    assert bytes_below(root / "other") == expected
    assert bytes_below(root / "out") == expected
    assert {done.returncode for done in both} in ({0}, {0, 2})
    said = "lenscape: out/train is being written by process "
    assert all(done.stderr.startswith(said) for done in both if done.returncode)


def test_an_area_that_is_open_with_edits_is_warned_of(
    conf: Write, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gpd.GeoDataFrame(geometry=[shapely.Point(8, 50)], crs=4326).to_file(root / "area.gpkg")
    search = "{stac: 'http://127.0.0.1:1', collection: c, area: area.gpkg, datetime: '2021'}"
    with closing(sqlite3.connect(root / "area.gpkg")) as editor:
        editor.execute("PRAGMA journal_mode=WAL")
        editor.execute("UPDATE gpkg_contents SET description = 'edited'")
        editor.commit()
        with pytest.raises(SceneError, match=r"area\.gpkg holds no polygon; draw one"):
            run(conf(f"train: [{search}]"), TRAIN, MAP)
    warned = "warning: area.gpkg is open in another program, which keeps edits in area.gpkg-wal"
    assert capsys.readouterr().err.count(warned) == 1


def test_an_area_becomes_the_scene_and_what_lies_outside_is_nodata(
    conf: Write,
) -> None:
    """Of one for all, and of one that an entry has for itself."""
    run(conf(f"train: [{SCENE}]"), TRAIN, MAP)
    (whole,) = open_catalog(TRAIN)
    shape = shapely.Polygon(
        [(300_205, 5_799_815), (300_900, 5_799_700), (300_700, 5_799_005), (300_300, 5_799_105)]
    )
    gpd.GeoDataFrame(geometry=[shape], crs=32633).to_crs(3035).to_file("own/town.gpkg", layer="town")
    gpd.GeoDataFrame(geometry=[shape.buffer(99)], crs=32633).to_file("own/town.gpkg", layer="more")
    other = SCENE.replace("one", "two").removesuffix("}")
    box = "{bbox: [300120, 5799000, 300840, 5799600], crs: EPSG:32633}"
    entries = f"area: {{path: own/town.gpkg, layer: town}}\ntrain: [{SCENE}, {other}, area: {box}}}]"
    run(conf(entries), TRAIN, MAP, [Path("own")])
    town, rectangle = open_catalog(TRAIN)
    assert rectangle.grid == GRID.part(Window(42, 12, 60, 72))
    assert rectangle.outline is None
    row, col = round((GRID.y0 - town.grid.y0) / 10), round((town.grid.x0 - GRID.x0) / 10)
    assert town.grid == GRID.part(Window(row, col, town.grid.height, town.grid.width))
    assert town.grid.height < 90
    x = town.grid.x0 + 10 * (np.arange(town.grid.width) + 0.5)
    y = town.grid.y0 - 10 * (np.arange(town.grid.height) + 0.5)
    inside = shapely.contains_xy(shape, *np.meshgrid(x, y))
    assert 0.3 < inside.mean() < 0.9
    for scene, kept in ((town, inside), (rectangle, np.ones((60, 72), dtype=bool))):
        at = Window(
            round((GRID.y0 - scene.grid.y0) / 10), round((scene.grid.x0 - GRID.x0) / 10), *kept.shape
        )
        expected = whole.read(at, whole.bands)
        expected[:, ~kept] = 0
        np.testing.assert_array_equal(scene.read(scene.grid.window, scene.bands), expected)
        assert scene.info.checksum != whole.info.checksum
    placed = shapely.geometry.shape(town.item.geometry)
    in_degrees = gpd.GeoSeries([shape], crs=32633).to_crs(4326)[0]
    assert placed.symmetric_difference(in_degrees).area < 1e-3 * in_degrees.area
    run(conf(f"train: [{SCENE.removesuffix('}')}, area: {box}}}]"), TRAIN, MAP)
    (part,) = open_catalog(TRAIN)
    assert part.info.checksum != whole.info.checksum, "two grounds of the same files"
    # mirrored context beyond the part, too
    around = town.read(Window(-4, -4, town.grid.height + 8, town.grid.width + 8), town.bands)
    padded = np.pad(town.read(town.grid.window, town.bands), ((0, 0), (4, 4), (4, 4)), "symmetric")
    np.testing.assert_array_equal(around, padded)


def test_an_area_without_a_pixel_of_a_scene(conf: Write) -> None:
    with pytest.raises(
        SceneError, match=r"scene one has no pixel in the area \[9.0, 10.0, 9.5, 11.0\]; corr"
    ):
        run(conf(f"area: [9.0, 10.0, 9.5, 11.0]\ntrain: [{SCENE}]"), TRAIN, MAP)
    assert not TRAIN.exists()


def test_an_area_that_dvc_does_not_watch(conf: Write) -> None:
    gpd.GeoDataFrame(geometry=[shapely.box(*GRID.bounds)], crs=32633).to_file("town.gpkg")
    for text in (
        f"area: town.gpkg\ntrain: [{SCENE}]",
        f"train: [{SCENE.removesuffix('}')}, area: town.gpkg}}]",
    ):
        with pytest.raises(SceneError, match=r"town.gpkg'.* lies outside of own"):
            run(conf(text), TRAIN, MAP, [Path("own")])
