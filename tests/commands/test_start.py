"""A scene and labels of one's own: looked at, put under data/own/, and the conf written."""

import re
import shutil
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
from rasterio.features import rasterize
from rasterio.windows import Window
from ruamel.yaml import YAML

from pipeline.cli import cli
from pipeline.commands.start.command import run
from pipeline.commands.start.entries import moment
from pipeline.commands.start.given import Given
from pipeline.config.classes import ClassesConf
from pipeline.config.fetch import FetchConf
from pipeline.config.reading import load
from pipeline.config.split import SplitConf
from pipeline.config.tile import TileConf
from pipeline.config.train import resolve
from pipeline.errors import ConfigError, LabelError, RadiometryError, SceneError
from pipeline.geo.raster.grid import PixelGrid
from pipeline.learn.network.layers import fits
from tests.support.catalogs import corner, degrees, published, serving_api, with_pixels
from tests.support.eurosats import make_eurosat, turns, write_lists
from tests.support.labelled import make_labels, px_box
from tests.support.products import L1C, make_product, zipped
from tests.support.servers import serving

DEMO = Path(__file__).parents[2] / "data" / "demo"
BANDS = DEMO / "scenes" / "T33UUU_20170216T102101"
POLYGONS = DEMO / "labels" / "osm_landuse.gpkg"
RADIOMETRY = {"scale": 0.0001, "offset": 0.0}
CROP = {"B02": (384, 528, 384, 480), "B05": (192, 264, 192, 240), "B09": (64, 88, 64, 80)}
"""Row, column, height and width of a part of the demo scene, by band."""

type Start = Callable[..., Path]


@pytest.fixture(scope="module")
def bands(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A part of three of the demo's bands, in a folder whose name is no name of a scene."""
    folder = tmp_path_factory.mktemp("bands") / "Szene vom 16. Februar"
    folder.mkdir()
    for band, (row, col, height, width) in CROP.items():
        with rasterio.open(BANDS / f"{BANDS.name}_{band}.jp2") as source:
            window = Window(col, row, width, height)
            place = {"transform": source.window_transform(window), "crs": source.crs}
            shape = {"height": height, "width": width, "count": 1, "dtype": "uint16"}
            pixels = source.read(1, window=window)
        with rasterio.open(folder / f"{BANDS.name}_{band}.tif", "w", **place, **shape) as target:
            target.write(pixels, 1)
    (folder / "notes.txt").touch()
    return folder


@pytest.fixture
def scene(bands: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(bands, tmp_path / bands.name))


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

    def start(attribute: str | None = "value", labels: Path | None = labels, **details: Any) -> Path:
        label_keys = {} if attribute is None else {"attribute": attribute}
        label_keys |= details.pop("label_keys", {})
        given = {
            "scenes": [str(scene)],
            "labels": [labels] if labels else [],
            "scene_keys": RADIOMETRY,
        } | details
        run(Given(label_keys=label_keys, **given), tmp_path / "root")
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
    for words in ("384 x 480 px of 10 m, EPSG:32633", "B02, B05, B09", "dvc repro", "tundra"):
        assert words in said


def test_counts_and_areas_are_those_of_the_labels(
    start: Start, scene: Path, labels: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start()
    frame = gpd.read_file(labels)
    with rasterio.open(next(scene.glob("*_B02.tif"))) as dataset:
        of_class = frame[frame["value"] == "wiese"].clip(tuple(dataset.bounds))
    row = next(line for line in capsys.readouterr().out.splitlines() if "wiese" in line).split()
    assert int(row[1]) == len(of_class)
    assert float(row[3]) == pytest.approx(of_class.area.sum() / 1e4, abs=0.06)


def test_the_stages_take_what_was_written(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    root = start()
    monkeypatch.chdir(root)
    (root / "conf" / "split.yaml").touch()  # which may say nothing
    for words in ("fetch --sources data/own/scenes", "tile --sources data/own/labels", "split"):
        cli(words.split(), standalone_mode=False)
    assert len(np.load("data/patches/pixels.npy", mmap_mode="r")) > 100


def test_files_are_links_in_real_folders(start: Start, scene: Path, labels: Path) -> None:
    """DVC follows a linked file, never a linked folder."""
    own = start() / "data" / "own"
    files = [path for path in own.rglob("*") if not path.is_dir()]
    assert all(path.is_symlink() for path in files)
    assert not any(path.is_symlink() for path in own.rglob("*") if path.is_dir())
    assert {path.resolve() for path in files} == {*scene.glob("*.tif"), labels}


def test_copies_stand_alone(start: Start, scene: Path) -> None:
    own = start(copy=True) / "data" / "own"
    shutil.rmtree(scene)
    assert len(list(own.rglob("*.tif"))) == 3
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
    given = Given(
        scenes=[str(own / "scenes" / "x")],
        labels=[own / "labels" / labels.name],
        scene_keys=RADIOMETRY,
        label_keys={"attribute": "value"},
    )
    run(given, tmp_path / "root")
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
        ({"scene_keys": {}}, RadiometryError, "its radiometry is unknown; state --scale and --offset,"),
        (
            {"scene_keys": {"scale": 0.0001, "offset": -0.1}},
            RadiometryError,
            "reflectance below -0.03",
        ),
        (
            {"scene_keys": RADIOMETRY | {"id": "a b"}},
            ConfigError,
            "lenscape start: key 'id' is 'a b', but",
        ),
        (
            {"scene_keys": RADIOMETRY | {"datetime": "now"}},
            ConfigError,
            "key 'datetime': 'now' is no time",
        ),
        ({"attribute": "klasse"}, LabelError, "has no attribute 'klasse'; it has value"),
        ({"label_keys": {"layer": "wald"}}, LabelError, "has no layer 'wald' .* name one of polygone"),
        ({"labels": Path("nowhere.gpkg")}, LabelError, r"nowhere\.gpkg does not exist"),
    ],
)
def test_what_cannot_be_used_is_said_and_nothing_written(
    start: Start, tmp_path: Path, details: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        start(**details)
    assert not (tmp_path / "root").exists()


def test_a_scene_without_a_time_is_asked_for_it(start: Start, scene: Path) -> None:
    for path in scene.glob("*.tif"):
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
    for attribute, words in (("one", "has 1 value;"), ("each", "a class map has 2 to 254 classes")):
        with pytest.raises(LabelError, match=words):
            start(attribute=attribute, labels=tmp_path / "odd.gpkg")


def test_one_class_on_the_scene_is_not_enough(start: Start, labels: Path, tmp_path: Path) -> None:
    frame = gpd.read_file(labels)
    frame[frame["value"].isin(["wiese", "tundra"])].to_file(tmp_path / "few.gpkg")
    with pytest.raises(
        LabelError, match="the class is 'wiese' everywhere; a classifier needs at least two"
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


def conf(root: Path, name: str) -> Any:
    return YAML(typ="safe", pure=True).load((root / "conf" / f"{name}.yaml").read_text())


@pytest.mark.parametrize(
    ("stated", "meant", "said"),
    [
        ("2017-02-16", "2017-02-16T00:00:00Z", "no time of day is stated: 00:00 UTC is assumed"),
        ("2017-02-16Z", "2017-02-16T00:00:00Z", "no time of day is stated: 00:00 UTC is assumed"),
        ("20170216", "2017-02-16T00:00:00Z", "no time of day is stated"),
        ("2017-02-16T10:21", "2017-02-16T10:21:00Z", "UTC is assumed"),
        ("2017-02-16 10:21:01", "2017-02-16T10:21:01Z", "UTC is assumed"),
        ("2017-02-16T12:21:01+02:00", "2017-02-16T12:21:01+02:00", ""),
    ],
)
def test_a_day_or_a_time_without_zone_is_utc_and_said(stated: str, meant: str, said: str) -> None:
    assert moment(stated)[0] == meant
    assert said in moment(stated)[1]
    assert bool(said) == bool(moment(stated)[1])


@pytest.mark.parametrize("day", ["20170216", "2017-02-16"])
def test_the_only_day_in_the_names_is_that_of_the_scene(start: Start, scene: Path, day: str) -> None:
    for path in scene.glob("*.tif"):
        path.rename(path.with_name(f"S2_{day}_{path.name[-7:]}"))
    assert conf(start(), "fetch")["train"][0]["datetime"] == "2017-02-16T00:00:00Z"


def test_two_days_in_the_names_are_asked_about(start: Start, scene: Path) -> None:
    for number, path in enumerate(sorted(scene.glob("*.tif"))):
        path.rename(path.with_name(f"S2_2017-02-1{number}_{path.name[-7:]}"))
    with pytest.raises(SceneError, match="--datetime 2017-02-16"):
        start()


def test_files_that_are_not_used_are_listed_and_a_mask_is_pointed_at(
    start: Start, scene: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (mask := scene / "clouds.tif").touch()
    start()
    said = capsys.readouterr().out
    assert f"not used: clouds.tif (a mask? then --mask {mask}), notes.txt" in said


def test_a_scene_classification_in_the_folder_comes_along(start: Start, scene: Path) -> None:
    """It is linked too, so that `fetch` masks as `start` says."""
    with rasterio.open(next(scene.glob("*_B05.tif"))) as band:
        profile, classes = band.profile | {"dtype": "uint8"}, np.full(band.shape, 4, np.uint8)
    classes[:20] = 9
    with rasterio.open(scene / "x_SCL_20m.tif", "w", **profile) as target:
        target.write(classes, 1)
    root = start()
    assert (root / "data/own/scenes/Szene_vom_16._Februar/x_SCL_20m.tif").is_symlink()


def test_a_mask_is_placed_and_stated(start: Start, scene: Path, tmp_path: Path) -> None:
    with rasterio.open(next(scene.glob("*_B05.tif"))) as band:
        profile, mask = band.profile | {"dtype": "uint8"}, np.zeros(band.shape, np.uint8)
    mask[:20] = 2
    with rasterio.open(tmp_path / "clouds.tif", "w", **profile) as target:
        target.write(mask, 1)
    stated = {"path": str(tmp_path / "clouds.tif"), "invalid": [2]}
    (entry,) = conf(start(scene_keys=RADIOMETRY | {"mask": stated}), "fetch")["train"]
    assert entry["mask"] == {
        "path": "data/own/scenes/Szene_vom_16._Februar_mask/clouds.tif", "invalid": [2]
    }  # fmt: skip


@pytest.fixture
def stack(scene: Path, tmp_path: Path) -> Path:
    """Two bands in one file, which says which they are."""
    with rasterio.open(next(scene.glob("*_B02.tif"))) as band:
        profile, pixels = band.profile | {"count": 2}, band.read(1)
    path = tmp_path / "stack_20170216T102101.tif"
    with rasterio.open(path, "w", **profile) as target:
        for number, name in enumerate(("B02", "B03"), start=1):
            target.write(pixels, number)
            target.set_band_description(number, name)
    return path


def test_a_stack_is_taken_and_the_folder_beside_it_is_not(start: Start, stack: Path) -> None:
    root = start(scenes=[str(stack)])
    (entry,) = conf(root, "fetch")["train"]
    assert entry["stack"] == f"data/own/scenes/{stack.stem}/{stack.name}"
    assert "path" not in entry


def test_a_scale_in_the_files_needs_no_option(start: Start, stack: Path) -> None:
    with rasterio.open(stack, "r+") as dataset:
        dataset.scales, dataset.offsets = (0.0001, 0.0001), (-0.01, -0.01)
    (entry,) = conf(start(scenes=[str(stack)], scene_keys={}), "fetch")["train"]
    assert not entry.keys() & {"scale", "offset"}


def test_floats_with_fractions_are_reflectance(
    start: Start, stack: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with rasterio.open(stack) as source:
        profile, pixels = source.profile | {"dtype": "float32"}, source.read() / np.float32(10_000)
    with rasterio.open(stack, "w", **profile) as target:
        target.write(pixels)
        target.descriptions = ("B02", "B03")
    (entry,) = conf(start(scenes=[str(stack)], scene_keys={}), "fetch")["train"]
    assert entry["values"] == "reflectance"
    assert "floats with fractions, so values: reflectance" in capsys.readouterr().out


def dark_to_bright(native: PixelGrid) -> np.ndarray:
    """DN of 1000 to 2999 on a grid."""
    numbers = np.arange(native.height * native.width, dtype=np.uint16)
    return (1000 + numbers % 2000).reshape(native.height, native.width)


@pytest.mark.slow
def test_a_product_states_everything_itself(start: Start, scene: Path, tmp_path: Path) -> None:
    with rasterio.open(next(scene.glob("*_B02.tif"))) as band:
        x, y = band.transform.c, band.transform.f
        grid = PixelGrid(band.crs.to_epsg(), x, y, band.height, band.width)
    product = make_product(tmp_path, L1C, lambda _, native: dark_to_bright(native), grid)
    for path in (product, zipped(product)):
        (entry,) = conf(start(scenes=[str(path)], scene_keys={}), "fetch")["train"]
        name = path.name if path.is_file() else ""
        assert entry == {"safe": f"data/own/scenes/{L1C}/{name}".rstrip("/")}
        with pytest.raises(ConfigError, match=r"--scale goes with none of .*docs/howto/safe\.md"):
            start(scenes=[str(path)])


def test_one_option_for_several_scenes_is_refused(start: Start, scene: Path, stack: Path) -> None:
    with pytest.raises(ConfigError, match=r"--datetime is that of one scene, but .* are 2; start"):
        start(
            scenes=[str(scene), str(stack)],
            scene_keys=RADIOMETRY | {"datetime": "2017-02-16T10:21:01Z"},
        )


def test_several_scenes_to_train_on_and_to_map(start: Start, stack: Path) -> None:
    root = start(to_map=[str(stack)])
    fetch = load(root / "conf" / "fetch.yaml", FetchConf)
    assert [one.id for one in fetch.train] == ["Szene_vom_16._Februar"]
    assert [one.id for one in fetch.map_scenes] == ["Szene_vom_16._Februar", stack.stem]
    assert "&" not in (root / "conf" / "fetch.yaml").read_text(), "no aliases"


def test_the_only_attribute_is_taken_and_several_are_listed(
    start: Start, labels: Path, tmp_path: Path
) -> None:
    assert conf(start(attribute=None), "tile")["labels"][0]["attribute"] == "value"
    frame = gpd.read_file(labels)
    frame["name"] = "x"
    frame.to_file(tmp_path / "two.gpkg")
    with pytest.raises(LabelError, match="has the attributes value, name; state the one that holds"):
        start(attribute=None, labels=tmp_path / "two.gpkg")


def points_of(labels: Path, path: Path) -> Path:
    """Points in the polygons of a file."""
    polygons = gpd.read_file(labels).to_crs(32633)
    polygons = polygons[polygons["value"] != "tundra"]
    drawn = polygons.sample_points(6, rng=np.random.default_rng(0)).explode()
    values = {"value": polygons["value"].loc[drawn.index].to_numpy()}
    frame = gpd.GeoDataFrame(values, geometry=drawn.to_numpy(), crs=32633)
    frame.to_crs(4326).to_file(path)
    return path


def test_points_have_small_odd_patches_that_the_network_takes(
    start: Start, labels: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tile = conf(start(labels=points_of(labels, tmp_path / "points.gpkg")), "tile")
    assert re.search(r"\d+ cells of 10 m have a class\n", capsys.readouterr().out)
    assert (tile["cell_px"], tile["stride_px"], tile["patch_px"] % 2) == (1, 1, 1)
    assert fits(resolve("modern")[1], tile["patch_px"])
    assert not fits(resolve("modern")[1], tile["patch_px"] - 2)


@pytest.mark.parametrize("dtype", ["uint8", "int16"])
def test_codes_of_a_raster_become_classes(
    start: Start, labels: Path, scene: Path, tmp_path: Path, dtype: str
) -> None:
    with rasterio.open(next(scene.glob("*_B02.tif"))) as band:
        profile = band.profile | {"dtype": dtype, "nodata": 0}
    frame = gpd.read_file(labels).to_crs(profile["crs"])
    codes = {"Wasser / Seen": 80, "森林": 10, "wiese": 30, "tundra": 100}
    pairs = zip(frame.geometry, frame["value"].map(codes), strict=True)
    shape = profile["height"], profile["width"]
    with rasterio.open(tmp_path / "worldcover.tif", "w", **profile) as target:
        target.write(rasterize(pairs, shape, transform=profile["transform"], dtype=dtype), 1)
    root = start(attribute=None, labels=tmp_path / "worldcover.tif")
    (source,) = load(root / "conf" / "tile.yaml", TileConf).labels
    assert source.file == "data/own/labels/worldcover/worldcover.tif"
    classes = load(root / "conf" / "classes.yaml", ClassesConf)
    assert [c.label_values for c in classes.classes] == [[10], [30], [80]]
    shutil.copytree(DEMO.parents[1] / "conf" / "examples", root / "conf" / "examples")
    start(attribute=None, labels=tmp_path / "worldcover.tif")
    classes = load(root / "conf" / "classes.yaml", ClassesConf)
    assert [c.title for c in classes.classes] == ["Tree cover", "Grassland", "Permanent water bodies"]
    assert "ESA WorldCover" in classes.credit


def test_a_class_in_too_few_places_is_ignored_and_said(
    start: Start,
    scene: Path,
    labels: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    frame = gpd.read_file(labels).to_crs(32633)
    with rasterio.open(next(scene.glob("*_B02.tif"))) as band:
        on_scene = frame[frame["value"] == "wiese"].clip(band.bounds).geometry.iloc[0]
    one = gpd.GeoDataFrame({"value": ["moor"]}, geometry=[on_scene.centroid.buffer(60)], crs=32633)
    gpd.pd.concat([frame, one.clip(on_scene)]).to_file(tmp_path / "rare.gpkg")
    root = start(labels=tmp_path / "rare.gpkg")
    assert "moor" in load(root / "conf" / "classes.yaml", ClassesConf).ignore
    assert "'moor' lies in too few places" in capsys.readouterr().err


def test_blocks_are_those_with_which_every_class_reaches_every_part(
    start: Start, tmp_path: Path
) -> None:
    """Blocks of 20 km would leave one part for ground of 4 km."""
    conf_file = tmp_path / "root" / "conf" / "split.yaml"
    conf_file.parent.mkdir(parents=True)
    conf_file.write_text("block_m: 20000.0  # wide\nseed: 3\n")
    start()
    split = load(conf_file, SplitConf)
    assert split.block_m < 20_000
    assert split.seed == 3


def test_an_edited_conf_is_kept_beside_the_new_one(
    start: Start, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "root" / "conf"
    folder.mkdir(parents=True)
    (folder / "classes.yaml").write_text("mine\n")
    start()
    assert (folder / "classes.yaml.old").read_text() == "mine\n"
    assert "as they were before: conf/classes.yaml.old" in capsys.readouterr().out
    (folder / "classes.yaml").write_text("mine again\n")
    start()
    assert (folder / "classes.yaml.old").read_text() == "mine\n"
    assert (folder / "classes.yaml.old_2").read_text() == "mine again\n"


def test_files_of_ones_own_are_not_replaced(start: Start, tmp_path: Path) -> None:
    mine = tmp_path / "root" / "data" / "own" / "labels" / "polygone" / "mine.gpkg"
    mine.parent.mkdir(parents=True)
    mine.write_text("hours of work")
    (source,) = load(start() / "conf" / "tile.yaml", TileConf).labels
    assert source.file == "data/own/labels/polygone_2/polygone.gpkg"
    assert mine.read_text() == "hours of work"


def test_images_carry_their_classes(
    start: Start, scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = make_eurosat(tmp_path / "euro", 5, ("Forest", "Residential", "SeaLake"))
    root = start(scenes=[str(images)], labels=None, attribute=None, scene_keys={})
    assert conf(root, "fetch") == {"train": [{"eurosat": "data/own/scenes/eurosat"}], "map": []}
    tile = load(root / "conf" / "tile.yaml", TileConf)
    assert (tile.labels, tile.patch_px, tile.cell_px, tile.stride_px) == ([], 64, 64, 64)
    names = {c.name: c.color for c in load(root / "conf" / "classes.yaml", ClassesConf).classes}
    assert names == {"Forest": "#1f7a3d", "Residential": "#d0453e", "SeaLake": "#2f7fd6"}
    said = capsys.readouterr().out
    assert "there is no scene to map" in said
    assert "the map will be in" not in said
    write_lists(images, turns(images))
    root = start(scenes=[str(images)], labels=None, attribute=None, to_map=[str(scene)])
    assert conf(root, "split")["lists"] == "official"
    assert [one["id"] for one in conf(root, "fetch")["map"]] == ["Szene_vom_16._Februar"]
    assert "the map will be in data/maps/" in capsys.readouterr().out
    start()
    assert "lists" not in conf(root, "split"), "scenes have none"


def test_an_address_needs_an_area_and_a_time(start: Start) -> None:
    with pytest.raises(ConfigError, match=r"needs --area, --datetime: .*docs/howto/stac\.md"):
        start(scenes=["https://127.0.0.1:9/v1"], scene_keys={})


@pytest.mark.slow
def test_a_search_finds_and_downloads_the_scene(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serving(tmp_path / "files") as files:
        item = with_pixels(
            published("earth-search-v1"), tmp_path / "files", files.url(), 0, ["B02", "B05", "B09"]
        )
        grid = corner(item)
        squares = [
            (f"c{(row + col) % 2}", px_box(grid, 24 * row, 24 * col, 24, 24))
            for row in range(10)
            for col in range(10)
        ]
        squares_file = make_labels(tmp_path / "squares.gpkg", squares, "value", grid.epsg).path
        with serving_api([item], tmp_path) as api:
            keys = {"area": degrees(grid), "datetime": "2015-01-01/2026-01-01"}
            keys |= {"bands": ["B02", "B05", "B09"]}
            root = start(scenes=[api], labels=Path(squares_file), scene_keys=keys)
    assert conf(root, "fetch")["train"][0]["collection"] == "sentinel-2-l2a"
    said = capsys.readouterr().out
    assert f"scene {item['id']}: " in said
    assert "(as its catalog says)" in said
    assert list((root / "data" / "downloads").rglob("*.tif")), "for `fetch` to go on with"


def test_labels_beside_the_bands_are_used(
    start: Start, scene: Path, labels: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start(labels=Path(shutil.copy(labels, scene)))
    assert "not used: notes.txt\n" in capsys.readouterr().out


def test_what_fetch_doubts_is_said(
    start: Start, scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with rasterio.open(next(scene.glob("*_B05.tif"))) as band:
        profile, mask = band.profile | {"dtype": "uint8"}, np.zeros(band.shape, np.uint8)
    with rasterio.open(tmp_path / "clear.tif", "w", **profile) as target:
        target.write(mask, 1)
    start(scene_keys=RADIOMETRY | {"mask": {"path": str(tmp_path / "clear.tif"), "invalid": [7]}})
    assert "clear.tif marks no pixel, as none there is 7" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("scale", "says"),
    [
        (0.001, r"fit the pixels: state them in the conf \(here: --scale --offset\)\."),
        (0.00001, r"fit the pixels: state them in the conf \(here: --scale --offset\)\."),
    ],
)
def test_what_the_conf_would_state_are_options_here(
    start: Start, scale: float, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = RADIOMETRY | {"scale": scale}
    if scale > 0.0001:
        with pytest.raises(RadiometryError, match=says):
            start(scene_keys=keys)
    else:
        start(scene_keys=keys)
        assert re.search(says, capsys.readouterr().err)


def test_layers_without_names_are_an_option(start: Start, stack: Path) -> None:
    with rasterio.open(stack, "r+") as dataset:
        dataset.descriptions = (None, None)
    with pytest.raises(SceneError, match=r"of each of its layers \(2\) .*\(here: --bands\)\."):
        start(scenes=[str(stack)])


def test_dvc_is_named_where_it_has_stages(
    start: Start, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start()
    assert "as here is no dvc.yaml: run `lenscape start` there" in capsys.readouterr().out
    (tmp_path / "root" / "dvc.yaml").touch()
    start()
    assert "dvc.yaml" not in capsys.readouterr().out


def test_a_raster_that_is_no_band_is_named_once(
    start: Start, scene: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (scene / "x_NDVI.tif").touch()
    start()
    assert capsys.readouterr().out.count("x_NDVI.tif") == 1
