"""QGIS projects of maps, opened in real QGIS, and the scene in colour that lies under a map."""

import hashlib
import shutil
from dataclasses import replace

import geopandas as gpd
import numpy as np
import pytest
import rasterio
from matplotlib.image import imread
from shapely.geometry import box

from pipeline.config.compute import ComputeConf
from pipeline.errors import SceneError
from pipeline.geo.maps import class_map
from pipeline.geo.maps.catalog import write_catalog
from pipeline.geo.maps.mapper import map_scene
from pipeline.geo.maps.pieces import Mapper
from pipeline.geo.maps.true_colour import write_true_colour
from pipeline.geo.qgis.project import PROJECT, holds_features, write_project
from pipeline.geo.style.geopackage import categorized_qml, write_layer
from pipeline.store_meta import Geometry
from tests.support.mapped import CLASSES, info
from tests.support.placed import HEIGHT, WIDTH, X0, Y0, make_scene
from tests.support.viewers import open_in_qgis, open_project_in_qgis

SHOWN = "lenscape_map_layer_"


def thirds(_pixels, rows, cols, _holes=None):
    """Every third column of cells has the same class."""
    shares = np.full((3, rows, cols), 0.1, dtype=np.float32)
    for k in range(3):
        shares[k, :, k::3] = 0.8
    return shares


def map_into(folder, scene, name):
    mapper = Mapper(
        thirds, ("B02", "B03"), Geometry(patch_px=16, cell_px=8, min_valid=0.75), CLASSES, (30, 30)
    )
    origin = class_map.Provenance(
        [info(name)], ("B02", "B03"), 80, 160, {"weights": "ab" * 32}, "a mapper"
    )
    map_scene(
        replace(scene, id=name), mapper, origin, folder / name, folder / name, ComputeConf(workers=1)
    )


def make_world(root):
    """Two maps of one scene, a raster of dissimilarity beside the first, an error map, a project."""
    scene, maps = make_scene(root), root / "data" / "maps"
    maps.mkdir(parents=True)
    for name in ("s.1", "s.2"):
        map_into(maps, scene, name)
    for end in (".tif", ".qml"):
        source = maps / "s.1" / f"s.1_confidence{end}"
        shutil.copy(source, source.with_name(f"s.1_dissimilarity{end}"))
    write_catalog(maps, ["s.1", "s.2"])
    (root / "reports").mkdir()
    frame = gpd.GeoDataFrame(
        {"result": ["right", "wrong"]},
        geometry=[box(X0, Y0 - 900, X0 + 300, Y0), box(X0 + 600, Y0 - 900, X0 + 900, Y0)],
        crs=32633,
    )
    legend = [("right", "right", "#0000ff"), ("wrong", "wrong", "#ff0000")]
    qml = categorized_qml("result", legend, opacity=1)
    write_layer(root / "reports" / "errors.gpkg", "errors", frame, qml)
    legend = [("right", "looks like a lake", "#00ffff")]
    qml = categorized_qml("result", legend, opacity=1)
    write_layer(root / "reports" / "label_issues.gpkg", "label_issues", frame[:1], qml)
    assert holds_features(root / "reports" / "label_issues.gpkg")
    assert not holds_features(root / "reports" / "none.gpkg")
    write_project(maps / PROJECT, maps)
    reported = (root / "reports" / f"{name}.gpkg" for name in ("errors", "label_issues"))
    write_project(root / "reports" / PROJECT, maps, *reported)
    return root


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return make_world(tmp_path_factory.mktemp("world"))


def files_of(folder):
    found = (file for file in sorted(folder.rglob("*")) if file.is_file())
    return {str(f.relative_to(folder)): hashlib.sha256(f.read_bytes()).hexdigest() for f in found}


def picture(folder, layer):
    return np.rint(255 * imread(folder / f"{layer}.png")).astype(int)


@pytest.mark.slow
def test_a_moved_project_opens_in_qgis_with_groups_legends_and_colours(world, tmp_path):
    moved, pictures = tmp_path / "moved", tmp_path / "pictures"
    shutil.copytree(world, moved)
    pictures.mkdir()
    before = files_of(moved)
    seen = open_project_in_qgis(moved / "reports" / PROJECT, pictures)

    assert (seen["bad"], seen["said"], seen["crs"], seen["view_crs"]) == ([], [], *["EPSG:32633"] * 2)
    issues, errors, first, second = seen["tree"]
    assert (issues["layer"], issues["legend"]) == (
        "Labels that held-out predictions contradict", ["looks like a lake"]
    )  # fmt: skip
    assert (issues["ticked"], errors["ticked"]) == (False, True)
    assert (errors["layer"][:9], errors["legend"]) == ("Error map", ["right", "wrong"])
    assert [first["group"], second["group"]] == ["s.1", "s.2"]
    titles = [layer["layer"] for layer in first["inside"]]
    assert titles == [
        "Dissimilarity to the training data", "Confidence, per cent", "Class map",
        "The scene in colour",
    ]  # fmt: skip
    assert [layer["layer"] for layer in second["inside"]] == titles[1:]
    assert first["inside"][2]["legend"][1:] == [info.title for info in CLASSES]
    assert first["inside"][2]["title"] == "Class map of s.1"
    assert [layer["ticked"] for layer in first["inside"]] == [False, False, True, True]
    assert {layer["crs"] for layer in (errors, *first["inside"])} == {"EPSG:32633"}
    assert seen["order"][:2] == [f"{SHOWN}label_issues", f"{SHOWN}errors"]
    left, bottom, right, top = seen["view"]
    assert (left <= X0, top >= Y0) == (True, True)
    assert right >= X0 + 10 * WIDTH
    assert bottom <= Y0 - 10 * HEIGHT

    colours = {tuple(c) for c in picture(pictures, f"{SHOWN}s.1_classmap").reshape(-1, 4)}
    expected = {(*bytes.fromhex(info.color[1:]), 255) for info in CLASSES}
    assert expected <= colours
    assert all(colour in expected or colour[3] < 255 for colour in colours)
    scene = picture(pictures, f"{SHOWN}s.1_truecolour")
    assert len(np.unique(scene[scene[..., 3] == 255], axis=0)) > 100, "a scene has many shades"
    view = {tuple(colour) for colour in picture(pictures, "view").reshape(-1, 4)}
    assert {(0, 0, 255, 255), (255, 0, 0, 255), *expected} <= view
    written = files_of(moved)
    assert {name: written[name] for name in before} == before, "QGIS changed what was published"


def test_the_project_of_predict_has_no_error_map_and_only_relative_paths(world):
    text = (world / "data" / "maps" / PROJECT).read_text(encoding="utf-8")
    assert "errors" not in text
    assert str(world) not in text
    assert "./s.1/s.1_classmap.tif" in text


def test_the_same_maps_give_the_same_project(world):
    again = world / "reports" / "again.qgs"
    reported = (world / "reports" / f"{name}.gpkg" for name in ("errors", "label_issues"))
    assert write_project(again, world / "data" / "maps", *reported) == 2
    assert again.read_bytes() == (world / "reports" / PROJECT).read_bytes()
    again.unlink()


def test_maps_in_several_zones_are_seen_in_one_crs_of_the_world(world, tmp_path):
    maps = tmp_path / "maps"
    shutil.copytree(world / "data" / "maps", maps)
    item = maps / "s.2" / "s.2.json"
    item.write_text(item.read_text().replace("EPSG:32633", "EPSG:32632"))
    write_project(maps / PROJECT, maps)
    root = (maps / PROJECT).read_text()
    assert "<authid>EPSG:3857</authid>" in root.split("layer-tree-group")[0]


def test_what_is_missing_is_one_sentence(world, tmp_path):
    with pytest.raises(SceneError, match=r"holds no map .*; run `predict` first\."):
        write_project(tmp_path / PROJECT, tmp_path)
    maps = tmp_path / "maps"
    shutil.copytree(world / "data" / "maps", maps)
    (maps / "s.1" / "s.1_confidence.qml").unlink()
    (maps / PROJECT).unlink()
    with pytest.raises(SceneError, match=r"s\.1_confidence\.tif has no style"):
        write_project(maps / PROJECT, maps)
    assert not (maps / PROJECT).exists()
    (maps / "s.1" / "s.1_confidence.qml").write_text("<qgis>")
    with pytest.raises(SceneError, match=r"s\.1_confidence\.tif are no XML"):
        write_project(maps / PROJECT, maps)
    assert not (maps / PROJECT).exists()
    (maps / "s.1" / "s.1.json").write_text("{}")
    with pytest.raises(SceneError, match=r"s\.1\.json is missing or no Item"):
        write_project(maps / PROJECT, maps)


def test_the_scene_in_colour_shows_each_pixel_where_it_lies(world):
    with rasterio.open(world / "data" / "maps" / "s.1" / "s.1_truecolour.vrt") as dataset:
        shades, bounds = dataset.read(1).astype(int), dataset.bounds
    assert shades.shape == (HEIGHT, WIDTH)
    assert (bounds.left, bounds.top) == (X0, Y0)
    # B02 is 1 + row: brighter from row to row, between its 2nd and 98th percentile, alike in a row
    assert (np.diff(shades[10:-10], axis=0) >= 1).all()
    assert np.ptp(shades, axis=1).max() == 0
    assert (shades[0].max(), shades[-1].min()) == (1, 255)


def test_the_scene_in_colour_counts_in_the_numbers_of_its_files(tmp_path):
    scene = make_scene(tmp_path)
    files = {band: replace(file, offset=-0.1, scale=0.0002) for band, file in scene.files.items()}
    even = np.array([[[2000, 4000]]], dtype=np.uint16).repeat(100, axis=1)
    scene = replace(scene, files=files)
    write_true_colour(scene, scene.grid, even, ("B02",), tmp_path / "a_truecolour", tmp_path)
    # reflectance 0.2 and 0.4 are DN 1500 and 2500
    text = (tmp_path / "a_truecolour.vrt").read_text()
    assert text.count("<LUT>1500.0:1,2500.0:255</LUT>") == 3


@pytest.mark.slow
def test_what_a_viewer_asks_of_the_scene_in_colour_is_not_written_into_it(world, tmp_path):
    moved = tmp_path / "moved"
    shutil.copytree(world, moved)
    before = files_of(moved)
    vrt = moved / "data" / "maps" / "s.1" / "s.1_truecolour.vrt"
    seen = open_in_qgis([vrt], tmp_path)[str(vrt)]
    assert seen["renderer"] == "multibandcolor"
    assert seen["statistics"][:2] == [1, 255]
    after = files_of(moved)
    assert {name: after[name] for name in before} == before


def test_a_scene_that_lies_elsewhere_has_a_small_picture(tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.geo.maps.true_colour.is_remote", lambda _: True)
    scene = make_scene(tmp_path)
    ramp = np.linspace(1, 4000, 12).astype(np.uint16).reshape(1, 3, 4)
    ramp[:, 0, 0] = 0
    write_true_colour(scene, scene.grid, ramp, ("B02",), tmp_path / "a_truecolour", tmp_path)
    with rasterio.open(tmp_path / "a_truecolour.tif") as dataset:
        assert (dataset.count, dataset.crs.to_epsg(), dataset.nodata) == (3, scene.grid.epsg, 0)
        assert dataset.bounds == pytest.approx(scene.grid.bounds)
        shades = dataset.read(1)
    assert shades[0, 0] == 0
    assert (np.diff(shades.ravel().astype(int)) >= 0).all()
    assert shades.max() == 255


@pytest.fixture(scope="module")
def odd_world(tmp_path_factory):
    """A world made where the path holds what means something in URLs, SQL and XML."""
    root = tmp_path_factory.mktemp("odd") / "Ort #2, 100 % 'a' \"b\" & ä <ß>" / "x?mode=y"
    root.mkdir(parents=True)
    return make_world(root)


def test_odd_paths_do_not_keep_styles_from_a_project(odd_world, world):
    for name in ("reports", "data/maps"):
        assert (odd_world / name / PROJECT).read_bytes() == (world / name / PROJECT).read_bytes()


@pytest.mark.slow
def test_qgis_opens_projects_and_rasters_at_odd_paths(odd_world, tmp_path):
    seen = open_project_in_qgis(odd_world / "reports" / PROJECT, tmp_path)
    assert (seen["bad"], seen["said"]) == ([], [])
    _, errors, first, _ = seen["tree"]
    assert errors["legend"] == ["right", "wrong"]
    assert first["inside"][2]["legend"][1:] == [info.title for info in CLASSES]
    maps = odd_world / "data" / "maps" / "s.1"
    classes, colour = maps / "s.1_classmap.tif", maps / "s.1_truecolour.vrt"
    shown = open_in_qgis([classes, colour], tmp_path)
    assert [title for title, _ in shown[str(classes)]["legend"]] == [info.title for info in CLASSES]
    assert shown[str(colour)]["statistics"][:2] == [1, 255]
