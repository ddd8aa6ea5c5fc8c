"""A scene and labels of one's own: looked at, put under data/own/, and the conf written."""

import shutil
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
from ruamel.yaml import YAML

from pipeline.cli import cli
from pipeline.commands.start import Details, run
from pipeline.config.classes import ClassesConf
from pipeline.config.fetch import FetchConf
from pipeline.config.reading import load
from pipeline.config.tile import TileConf
from pipeline.errors import ConfigError, LabelError, RadiometryError, SceneError

DEMO = Path(__file__).parents[2] / "data" / "demo"
BANDS = DEMO / "scenes" / "T33UUU_20170216T102101"
POLYGONS = DEMO / "labels" / "osm_landuse.gpkg"
RADIOMETRY = {"scale": 0.0001, "offset": 0.0}

type Start = Callable[..., Path]


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    """Three of the demo's bands, in a folder whose name is no name of a scene."""
    folder = tmp_path / "Szene vom 16. Februar"
    folder.mkdir()
    for band in ("B02", "B05", "B09"):
        shutil.copy(BANDS / f"{BANDS.name}_{band}.jp2", folder)
    (folder / "notes.txt").touch()
    return folder


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    """Some of the demo's polygons with values in several scripts; one value lies elsewhere."""
    frame = gpd.read_file(POLYGONS)[["fclass", "geometry"]]
    frame["value"] = frame["fclass"].map(
        {"water": "Wasser / Seen", "forest": "森林", "meadow": "wiese"}
    )
    frame = frame.dropna()
    far = gpd.GeoDataFrame(
        {"value": ["tundra"], "geometry": [shapely.box(0, 0, 100, 100)]}, crs=frame.crs
    )
    path = tmp_path / "polygone.gpkg"
    gpd.pd.concat([frame[["value", "geometry"]], far]).to_file(path)
    return path


@pytest.fixture
def start(tmp_path: Path, scene: Path, labels: Path) -> Start:
    """Start in a new folder; returns that folder."""

    def start(attribute: str = "value", labels: Path = labels, **details: object) -> Path:
        keys = {"scene": RADIOMETRY, **details}
        run(scene, labels, attribute, Details(**keys), tmp_path / "root")  # type: ignore[arg-type]
        return tmp_path / "root"

    return start


def test_the_conf_names_what_was_found(start: Start, capsys: pytest.CaptureFixture[str]) -> None:
    root = start()
    (found,) = load(root / "conf" / "fetch.yaml", FetchConf).train
    assert found.id == "Szene_vom_16._Februar"
    assert found.path == f"data/own/scenes/{found.id}"
    assert f"{found.datetime:%Y-%m-%dT%H:%M:%S%z}" == "2017-02-16T10:21:01+0000"
    assert (found.scale, found.offset) == (0.0001, 0)
    (source,) = load(root / "conf" / "tile.yaml", TileConf).labels
    assert (source.path, source.attribute) == ("data/own/labels/polygone/polygone.gpkg", "value")
    classes = load(root / "conf" / "classes.yaml", ClassesConf)
    assert [c.title or c.name for c in classes.classes] == ["Wasser / Seen", "wiese", "森林"]
    assert [c.name for c in classes.classes] == ["Wasser_Seen", "wiese", "class"]
    assert len({c.color for c in classes.classes}) == 3
    assert classes.ignore == ["tundra"]
    said = capsys.readouterr().out
    for words in ("768 x 1536 px of 10 m, EPSG:32633", "B02, B05, B09", "make demo", "tundra"):
        assert words in said


def test_counts_and_areas_are_those_of_the_labels(
    start: Start, labels: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start()
    frame = gpd.read_file(labels)
    with rasterio.open(BANDS / f"{BANDS.name}_B02.jp2") as dataset:
        of_class = frame[frame["value"] == "wiese"].clip(tuple(dataset.bounds))
    row = next(line for line in capsys.readouterr().out.splitlines() if "wiese" in line).split()
    assert int(row[1]) == len(of_class)
    assert float(row[3]) == pytest.approx(of_class.area.sum() / 1e4, abs=0.06)


def test_the_stages_take_what_was_written(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    root = start()
    monkeypatch.chdir(root)
    for words in ("fetch --sources data/own/scenes", "tile --sources data/own/labels"):
        cli(words.split(), standalone_mode=False)
    assert len(np.load("data/patches/pixels.npy", mmap_mode="r")) > 100


def test_files_are_links_in_real_folders(start: Start, scene: Path, labels: Path) -> None:
    """DVC follows a linked file, never a linked folder."""
    own = start() / "data" / "own"
    files = [path for path in own.rglob("*") if not path.is_dir()]
    assert all(path.is_symlink() for path in files)
    assert not any(path.is_symlink() for path in own.rglob("*") if path.is_dir())
    assert {path.resolve() for path in files} == {*scene.glob("*.jp2"), labels}


def test_copies_stand_alone(start: Start, scene: Path) -> None:
    own = start(copy=True) / "data" / "own"
    shutil.rmtree(scene)
    assert len(list(own.rglob("*.jp2"))) == 3
    assert not any(path.is_symlink() for path in own.rglob("*"))


def test_a_shapefile_comes_whole(start: Start, labels: Path, tmp_path: Path) -> None:
    shapefile = tmp_path / "shape" / "polygone.shp"
    shapefile.parent.mkdir()
    gpd.read_file(labels).to_file(shapefile, encoding="utf-8")
    (shapefile.parent / "other.dbf").touch()
    placed = start(labels=shapefile) / "data" / "own" / "labels" / "polygone"
    assert {path.suffix for path in placed.iterdir()} >= {".shp", ".dbf", ".shx", ".prj"}
    assert not (placed / "other.dbf").exists()


def test_what_lies_in_place_stays(scene: Path, labels: Path, tmp_path: Path) -> None:
    own = tmp_path / "root" / "data" / "own"
    shutil.copytree(scene, own / "scenes" / "x")
    (own / "labels").mkdir()
    shutil.copy(labels, own / "labels")
    before = sorted(own.rglob("*"))
    run(
        own / "scenes" / "x",
        own / "labels" / labels.name,
        "value",
        Details(RADIOMETRY),
        tmp_path / "root",
    )
    assert sorted(own.rglob("*")) == before
    assert load(tmp_path / "root/conf/fetch.yaml", FetchConf).train[0].path == "data/own/scenes/x"
    assert (
        load(tmp_path / "root/conf/tile.yaml", TileConf).labels[0].path
        == f"data/own/labels/{labels.name}"
    )


def test_settings_of_tile_and_their_comments_stay(start: Start, tmp_path: Path) -> None:
    conf = tmp_path / "root" / "conf" / "tile.yaml"
    conf.parent.mkdir(parents=True)
    conf.write_text(
        "labels: [{path: old.gpkg, attribute: old}]\npatch_px: 32   # wide\nmax_per_class: null\n"
    )
    start()
    assert "patch_px: 32   # wide\nmax_per_class: null\n" in conf.read_text()
    assert load(conf, TileConf).labels[0].attribute == "value"


def test_whole_numbers_are_values_too(start: Start, labels: Path, tmp_path: Path) -> None:
    frame = gpd.read_file(labels)
    frame["code"] = frame["value"].map({"wiese": 7.0, "森林": 41.0})
    frame.to_file(tmp_path / "codes.gpkg")
    root = start(attribute="code", labels=tmp_path / "codes.gpkg")
    classes = load(root / "conf" / "classes.yaml", ClassesConf).classes
    assert [c.label_values for c in classes] == [[7], [41]]


def test_values_that_read_alike_get_names_of_their_own(
    start: Start, labels: Path, tmp_path: Path
) -> None:
    frame = gpd.read_file(labels)
    frame["value"] = frame["value"].replace({"wiese": "a b", "森林": "a/b"})
    frame.to_file(tmp_path / "alike.gpkg")
    classes = load(start(labels=tmp_path / "alike.gpkg") / "conf" / "classes.yaml", ClassesConf)
    assert [c.name for c in classes.classes] == ["Wasser_Seen", "a_b", "a_b_2"]


def test_the_same_start_writes_the_same_bytes(start: Start) -> None:
    conf = start() / "conf"
    first = {path.name: path.read_bytes() for path in conf.iterdir()}
    assert {path.name: path.read_bytes() for path in (start() / "conf").iterdir()} == first


@pytest.mark.parametrize(
    ("details", "error", "words"),
    [
        ({"scene": {}}, RadiometryError, "its radiometry is unknown; state --scale and --offset,"),
        ({"scene": {"scale": 0.0001, "offset": -0.1}}, RadiometryError, "reflectance of 0 or less"),
        ({"scene": RADIOMETRY | {"id": "a b"}}, ConfigError, "lenscape start: key 'id' is 'a b', but"),
        ({"scene": RADIOMETRY | {"datetime": "now"}}, ConfigError, "key 'datetime': 'now' is no time"),
        ({"attribute": "klasse"}, LabelError, "has no attribute 'klasse'; it has value"),
        ({"layer": "wald"}, LabelError, "has no layer 'wald' .* name one of polygone"),
        ({"labels": Path("nowhere.gpkg")}, LabelError, r"nowhere\.gpkg does not exist"),
    ],
)
def test_what_cannot_be_used_is_said_and_nothing_written(
    start: Start, tmp_path: Path, details: dict[str, object], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        start(**details)
    assert not (tmp_path / "root").exists()


def test_a_scene_without_a_time_is_asked_for_it(start: Start, scene: Path) -> None:
    for path in scene.glob("*.jp2"):
        path.rename(path.with_name(path.name[-7:]))
    with pytest.raises(SceneError, match=r"state it as --datetime 2017-02-16T10:21:01Z"):
        start()


def test_an_attribute_of_one_value_or_too_many_is_refused(
    start: Start, labels: Path, tmp_path: Path
) -> None:
    frame = gpd.read_file(labels)
    frame["one"], frame["each"] = "x", [str(i) for i in range(len(frame))]
    frame = gpd.pd.concat([frame] * 2, ignore_index=True)
    frame["each"] = [str(i) for i in range(len(frame))]
    frame.to_file(tmp_path / "odd.gpkg")
    for attribute, words in (("one", "has 1 values"), ("each", "a class map has 2 to 254 classes")):
        with pytest.raises(LabelError, match=words):
            start(attribute=attribute, labels=tmp_path / "odd.gpkg")


def test_one_class_on_the_scene_is_not_enough(start: Start, labels: Path, tmp_path: Path) -> None:
    frame = gpd.read_file(labels)
    frame[frame["value"].isin(["wiese", "tundra"])].to_file(tmp_path / "few.gpkg")
    with pytest.raises(
        LabelError, match="'value' is 'wiese' everywhere; a classifier needs at least two"
    ):
        start(labels=tmp_path / "few.gpkg")


def test_labels_elsewhere_are_refused(start: Start, labels: Path, tmp_path: Path) -> None:
    frame = gpd.read_file(labels)
    frame.set_geometry(frame.translate(xoff=1e6)).to_file(tmp_path / "far.gpkg")
    with pytest.raises(LabelError, match="do not overlap the scene"):
        start(labels=tmp_path / "far.gpkg")


def test_colors_are_quoted_as_dvc_reads_them(start: Start) -> None:
    raw = YAML(typ="safe", pure=True).load((start() / "conf" / "classes.yaml").read_text())
    assert all(entry["color"].startswith("#") for entry in raw["classes"])
    assert all(a["color"] != b["color"] for a, b in pairwise(raw["classes"]))
