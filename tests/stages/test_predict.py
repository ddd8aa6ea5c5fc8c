import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from urllib.parse import unquote
from urllib.request import urlopen

import geopandas as gpd
import numpy as np
import pystac
import pytest
import rasterio
import shapely
import torch
from affine import Affine

from pipeline.commands import log
from pipeline.config.predict import RegisteredModelConf
from pipeline.config.train import ConvolutionConf, NetworkConf
from pipeline.errors import ConfigError, MismatchError, OutputError, SceneError, StoreError
from pipeline.files import sha256_of, write_json
from pipeline.geo.maps.pieces import pieces as cut
from pipeline.geo.raster import raster_file
from pipeline.geo.raster.grid import PatchGrid
from pipeline.geo.scenes.scene import Scene, open_catalog
from pipeline.learn.inference import dense
from pipeline.learn.inference.predictor import Predictor
from pipeline.learn.network.classifier import PatchClassifier
from pipeline.learn.stats.applicability import TrainingFeatures, patch_features
from pipeline.learn.tracking.run import RunRecord, open_run, resume
from pipeline.learn.tracking.tracker import Tracker
from pipeline.learn.tracking.tracking_uri import connect
from pipeline.stages import fetch, predict
from pipeline.store_meta import Statistics
from tests.support.clusters import cluster
from tests.support.holders import held
from tests.support.learners import model_meta
from tests.support.limits import file_limit
from tests.support.mlflow_servers import free_port
from tests.support.placed import HEIGHT, WIDTH, X0, Y0, describe, make_bands, make_catalog
from tests.support.projects import ROOT
from tests.support.servers import serving
from tests.support.tracked import mlflow_store

BANDS = ["B02", "B03"]
# of MLflow's own dependencies
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
HOLES = [(60, 60, 30, 30), (100, 20, 3, 4), (150, 165, 20, 6)]


@pytest.fixture(scope="module", autouse=True)
def store(tmp_path_factory):
    """An MLflow store of its own."""
    folder = tmp_path_factory.mktemp("mlflow")
    with mlflow_store(folder), pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield folder


def undecided(classifier):
    """The classifier with a bias that leaves no class ahead, so that its maps are not of one class."""
    ramp = torch.arange(1, 181, 4).repeat_interleave(2).reshape(-1, 2, 1, 1).expand(-1, 2, 16, 16)
    last = [layer for layer in classifier.modules() if isinstance(layer, torch.nn.Linear)][-1]
    with torch.no_grad():
        last.bias -= classifier.eval()(ramp).mean(dim=0)
    return classifier


@pytest.fixture(scope="module")
def model(tmp_path_factory, store):
    """A folder with a model that nothing was trained for, and its run."""
    del store
    torch.manual_seed(3)
    statistics = Statistics(mean=[100.4, 86.0], std=[5.0, 4.0])
    update = {"bands": BANDS, "statistics": statistics}
    meta = model_meta(bands=2).model_copy(update=update)
    return make_model(tmp_path_factory.mktemp("models"), meta)


def make_model(folder, meta):
    """A folder with a model of random weights and its run."""
    folder.mkdir(exist_ok=True)
    classifier = undecided(PatchClassifier(meta))
    # rows and columns make the pixels: what lies in the north-west is what training saw
    corners = np.random.default_rng(0).integers(1, 120, (300, 2, 1, 1))
    seen = patch_features([(corners + np.indices((16, 16))).astype(np.uint16)], 8, classifier.fill_dn)
    training = TrainingFeatures.of(seen, np.zeros(len(seen), dtype=int))
    classifier.training_features = training.with_threshold(training.distances(seen))
    classifier.save(folder)
    record = RunRecord(name="a model", params={}, tags={})
    with open_run(record) as run:
        known = record.model_copy(update={"run_id": run.run_id})
        write_json(folder / "run.json", known.model_dump(mode="json"))
        run.tags({"weights_sha256": classifier.meta.weights_sha256})  # or it would be completed
    return folder


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    bands = {
        "one": make_bands(folder / "one", HOLES),
        "two": make_bands(folder / "two", size=(40, 50), lowest=100),
    }
    make_catalog(folder / "scenes", bands)
    return folder / "scenes"


@pytest.fixture(scope="module")
def one_scene(scenes):
    """The catalog of scene one alone."""
    make_catalog(scenes.parent / "one_scene", {"one": scenes.parent / "one"})
    return scenes.parent / "one_scene"


@pytest.fixture
def conf(tmp_path):
    path = tmp_path / "predict.yaml"
    path.write_text("pixel_px: 8\nmodel: trained\nmosaic: none\n")
    return path


def machine(folder, workers):
    path = folder / f"compute{workers}.yaml"
    path.write_text(f"workers: {workers}\naccelerator: cpu\n")
    return path


def digests(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(f.relative_to(folder)): hashlib.sha256(f.read_bytes()).hexdigest() for f in files}


def classes_by_hand(model, pixel=8):
    """The class map of scene one from plain arrays, patch by patch, with nothing of `geo`."""
    rows, cols = np.indices((HEIGHT, WIDTH))
    pixels = np.stack([1 + rows, 1 + cols]).astype(np.uint16)
    valid = np.ones((HEIGHT, WIDTH), dtype=bool)
    for row, col, height, width in HOLES:
        pixels[:, row : row + height, col : col + width] = 0
        valid[row : row + height, col : col + width] = False
    side = 10 * pixel
    north, west = int(-Y0 // side * -side - Y0) // 10 % pixel, int(X0 % side) // 10
    margin = (16 - pixel) // 2
    around = [(margin + north, margin + pixel), (margin + west, margin + pixel)]
    padded = np.pad(pixels, [(0, 0), *around], mode="symmetric")
    counted = np.pad(valid.astype(float), around, constant_values=np.nan)
    classifier = PatchClassifier.load(model)
    result = np.zeros((-(-(HEIGHT + north) // pixel), -(-(WIDTH + west) // pixel)), dtype=np.uint8)
    for row in range(len(result)):
        patches, tops = [], pixel * row
        lefts = range(0, pixel * result.shape[1], pixel)
        patches = np.stack([padded[:, tops : tops + 16, left : left + 16] for left in lefts])
        with torch.inference_mode():
            best = classifier(torch.from_numpy(patches)).argmax(dim=1).tolist()
        for col, left in enumerate(lefts):
            inner = counted[
                tops + margin : tops + margin + pixel, left + margin : left + margin + pixel
            ]
            result[row, col] = (1 + best[col]) * (np.nanmean(inner) >= 0.75)
    return result


def test_maps_are_those_of_the_model_patch_by_patch(model, scenes, conf, tmp_path, capsys):
    conf.write_text("pixel_px: 8\nmodel: trained\n")
    out = tmp_path / "maps"
    predict.run(conf, model, scenes, out, machine(tmp_path, 2))
    expected = classes_by_hand(model)
    assert len(np.unique(expected)) > 2, "one class everywhere: the test shows little"
    with rasterio.open(out / "one" / "one_classmap.tif") as dataset:
        np.testing.assert_array_equal(dataset.read(1), expected)
        weights = json.loads((model / "model.json").read_text())["weights_sha256"]
        assert dataset.tags()["LENSCAPE_WEIGHTS_SHA256"] == weights
    printed = capsys.readouterr().out
    assert str(out / "one" / "one_classmap.tif") in printed
    links = json.loads((out / "catalog.json").read_text())["links"]
    assert [link["href"] for link in links if link["rel"] == "item"] == [
        "./one/one.json",
        "./two/two.json",
        "./mosaic_EPSG32633/mosaic_EPSG32633.json",
        "./mosaic/mosaic.json",
    ]
    # the run of the model has the pictures and tables
    run_id = json.loads((model / "run.json").read_text())["run_id"]
    client = connect()
    artifacts = {a.path for a in client.list_artifacts(run_id, "maps/one")}
    assert artifacts == {"maps/one/preview.png", "maps/one/areas.csv"}
    assert client.get_run(run_id).info.status == "FINISHED"


@pytest.mark.parametrize("size", [3_000, 20_000, 30_000, 60_000])
def test_on_a_full_disk_maps_stay_as_they_were(model, one_scene, conf, tmp_path, size):
    out = tmp_path / "maps"
    (out / "one").mkdir(parents=True)
    (out / "one" / "earlier.tif").touch()
    said = r"maps/one\S* cannot be written.*(check the free space|raise the limit)[^.]*\.$"
    with file_limit(size), pytest.raises(OutputError, match=said) as raised:
        predict.run(conf, model, one_scene, out, machine(tmp_path, 2))
    assert ".one.partial" not in str(raised.value)
    assert digests(out).keys() == {"one/earlier.tif"}
    assert [path.name for path in out.iterdir()] == ["one"]


def test_two_predictions_at_a_time_leave_each_other_alone(model, one_scene, conf, tmp_path):
    out = tmp_path / "maps"
    with held(out, inside=True) as process:
        (out / ".one.partial").mkdir()
        with pytest.raises(OutputError, match=f"maps is being written by process {process} on "):
            predict.run(conf, model, one_scene, out, machine(tmp_path, 2))
        assert {path.name for path in out.iterdir()} == {".lock", ".one.partial"}
    # what the killed one left, also of a scene that is mapped no more
    (out / ".gone.partial").mkdir()
    predict.run(conf, model, one_scene, out, machine(tmp_path, 2))
    assert {path.name for path in out.iterdir()} == {"one", "catalog.json", "lenscape.qgs"}


@pytest.mark.parametrize("pixel_px", [2, 4, 6, 16])
def test_map_pixels_of_any_size_have_the_class_of_the_patch_around_them(
    model, one_scene, conf, tmp_path, pixel_px
):
    conf.write_text(f"pixel_px: {pixel_px}\nmosaic: none\n" if pixel_px != 2 else "mosaic: none\n")
    out = tmp_path / "maps" / "one"
    predict.run(conf, model, one_scene, tmp_path / "maps", machine(tmp_path, 2))
    expected = classes_by_hand(model, pixel_px)
    with rasterio.open(out / "one_classmap.tif") as dataset:
        np.testing.assert_array_equal(dataset.read(1), expected)
        assert dataset.res == (10 * pixel_px, 10 * pixel_px)
        tags = dataset.tags()
        assert (tags["LENSCAPE_CELL_M"], tags["LENSCAPE_PATCH_M"]) == ("80", "160")
    with rasterio.open(out / "one_dissimilarity.tif") as dataset:
        assert dataset.shape == expected.shape
    properties = json.loads((out / "one.json").read_text())["properties"]
    assert (properties["lenscape:cell_m"], properties["lenscape:patch_m"]) == (80, 160)
    areas = (out / "areas.csv").read_text()
    total = HEIGHT * WIDTH / 100
    assert f",total,,{expected.size},{total:.2f}," in areas


def test_a_map_pixel_without_a_common_centre_with_its_patch_is_refused(
    model, one_scene, conf, tmp_path
):
    conf.write_text("pixel_px: 3\n")
    with pytest.raises(
        MismatchError, match=r"predict\.yaml: key 'pixel_px': .*choose one of 2, 4, .*16\."
    ):
        predict.run(conf, model, one_scene, tmp_path / "maps", machine(tmp_path, 2))
    assert not (tmp_path / "maps").exists()


def test_neither_workers_nor_memory_change_a_byte(model, scenes, conf, tmp_path, monkeypatch):
    # many pieces, of which those at the edges are filled up
    monkeypatch.setattr(dense, "WINDOW_PX", 32)
    monkeypatch.setattr(dense, "_STRIP_VALUES", 2000)
    monkeypatch.setattr(dense, "_BLOCK_PX", 64)
    conf.write_text("pixel_px: 8\nprobabilities: true\n")
    results = []
    for number, how in enumerate(("workers: 1", "workers: 2\nmemory_mb: 128", "workers: 3")):
        machine = tmp_path / f"compute{number}.yaml"
        machine.write_text(f"accelerator: cpu\n{how}\n")
        # at the same place: the Item says by a relative path where its scene lies
        predict.run(conf, model, scenes, tmp_path / "maps", machine)
        (tmp_path / "maps").rename(tmp_path / f"maps{number}")
        results.append(digests(tmp_path / f"maps{number}"))
    assert len(pieces(Scene.open(scenes / "one" / "one.json"), model)) > 6
    assert results[0] == results[1] == results[2]
    assert "one/one_probabilities.tif" in results[0]


def pieces(scene, model):
    """The pieces of a scene as `predict` cuts them."""
    cells = Predictor(PatchClassifier.load(model)).block_cells
    return cut(PatchGrid(scene.grid, 16, 8), cells)


def test_cells_outside_the_area_of_applicability_are_mapped_counted_and_printed(
    model, one_scene, conf, tmp_path, capsys
):
    out = tmp_path / "maps"
    predict.run(conf, model, one_scene, out, machine(tmp_path, 2))
    with (
        rasterio.open(out / "one" / "one_dissimilarity.tif") as dataset,
        rasterio.open(out / "one" / "one_classmap.tif") as classes,
    ):
        dissimilarity, mapped = dataset.read(1), classes.read(1) > 0
        assert (dataset.transform, dataset.nodata) == (classes.transform, 255)
    classifier = PatchClassifier.load(model)
    (scene,) = (scene for scene in open_catalog(one_scene) if scene.id == "one")
    grid = PatchGrid(scene.grid, 16, 8)
    expected = np.full(mapped.shape, 255)
    for row, col in zip(*np.nonzero(mapped), strict=True):
        pixels = scene.read(grid.read_window(range(row, row + 1), range(col, col + 1)), BANDS)
        features = patch_features([pixels[None]], 8, classifier.fill_dn)
        expected[row, col] = min(254, np.ceil(100 * classifier.training_features.relative(features)[0]))
    np.testing.assert_array_equal(dissimilarity, expected)
    share = (dissimilarity[mapped] > 100).mean()
    assert 0.2 < share < 0.9
    properties = json.loads((out / "one" / "one.json").read_text())["properties"]
    assert properties["lenscape:outside_area_of_applicability_percent"] == pytest.approx(
        100 * share, abs=1e-4
    )
    assert (
        f"{100 * share:.1f} % of the pixels lie outside the area of applicability"
        in capsys.readouterr().out
    )
    run_id = json.loads((model / "run.json").read_text())["run_id"]
    logged = connect().get_run(run_id).data.metrics["outside_area_of_applicability/one"]
    assert logged == pytest.approx(share, abs=1e-6)
    conf.write_text("pixel_px: 8\ndissimilarity: false\nmosaic: none\n")
    predict.run(conf, model, one_scene, out, machine(tmp_path, 2))
    assert not (out / "one" / "one_dissimilarity.tif").exists()


def test_probabilities_are_a_band_a_class(model, one_scene, conf, tmp_path):
    conf.write_text("pixel_px: 8\nprobabilities: true\nmosaic: none\n")
    predict.run(conf, model, one_scene, tmp_path / "maps", machine(tmp_path, 2))
    folder = tmp_path / "maps" / "one"
    with (
        rasterio.open(folder / "one_probabilities.tif") as dataset,
        rasterio.open(folder / "one_classmap.tif") as classes,
        rasterio.open(folder / "one_confidence.tif") as confidence,
    ):
        assert dataset.descriptions == ("C 0", "C 1", "C 2", "C 3")
        shares, best, highest = dataset.read().astype(int), classes.read(1), confidence.read(1)
        assert (dataset.transform, dataset.nodata) == (classes.transform, 255)
    mapped = best > 0
    assert (shares[:, ~mapped] == 255).all()
    assert (shares.max(axis=0)[mapped] == highest[mapped]).all()
    assert (np.abs(shares.sum(axis=0)[mapped] - 100) <= 2).all()  # four rounded shares
    own = np.take_along_axis(shares, np.maximum(best.astype(int) - 1, 0)[None], axis=0)[0]
    assert (own[mapped] == highest[mapped]).all()
    conf.write_text("pixel_px: 8\nmosaic: none\n")
    predict.run(conf, model, one_scene, tmp_path / "maps", machine(tmp_path, 1))
    assert not (folder / "one_probabilities.tif").exists()


def test_low_precision_prints_its_agreement(model, one_scene, conf, tmp_path, capsys, monkeypatch):
    def low(classifier, geometry, _):
        return Predictor(classifier, dtype=torch.bfloat16, geometry=geometry)  # as on CUDA

    monkeypatch.setattr(predict, "_predictor", low)
    predict.run(conf, model, one_scene, tmp_path / "maps", machine(tmp_path, 1))
    printed = capsys.readouterr().out
    share, cells = re.search(r"one: bfloat16 gives ([\d.]+)% of (\d+) pixels", printed).groups()
    expected = classes_by_hand(model)
    assert int(cells) == expected.size
    with rasterio.open(tmp_path / "maps" / "one" / "one_classmap.tif") as dataset:
        same = (dataset.read(1) == expected)[expected > 0].mean()
    assert 50 < float(share) <= 100
    assert abs(float(share) / 100 - same) < 0.02


def test_a_network_with_padding_runs_patch_by_patch_and_prints_why(one_scene, conf, tmp_path, capsys):
    network = NetworkConf(convolutions=[ConvolutionConf(filters=4, padding=1)])
    torch.manual_seed(0)
    meta = model_meta(network=network, bands=2).model_copy(update={"bands": BANDS})
    padded = make_model(tmp_path / "padded", meta)
    predict.run(conf, padded, one_scene, tmp_path / "maps", machine(tmp_path, 2))
    assert "patch by patch: convolution 1 has padding" in capsys.readouterr().err
    with rasterio.open(tmp_path / "maps" / "one" / "one_classmap.tif") as dataset:
        np.testing.assert_array_equal(dataset.read(1), classes_by_hand(padded))
    (tmp_path / "none").mkdir()
    make_catalog(tmp_path / "none", {})
    predict.run(conf, padded, tmp_path / "none", tmp_path / "maps", machine(tmp_path, 2))
    printed = capsys.readouterr()
    assert "there is no scene to map" in printed.out
    assert printed.err == ""
    assert sorted(digests(tmp_path / "maps")) == ["catalog.json"]


def test_a_scene_no_more_listed_is_forgotten_and_other_files_stay(model, scenes, conf, tmp_path):
    conf.write_text("pixel_px: 8\nmodel: trained\n")
    out = tmp_path / "maps"
    predict.run(conf, model, scenes, out)
    (out / "one" / "one_classmap.tif.aux.xml").write_text("of a viewer")
    (out / "mine.txt").write_text("a note")
    shutil.copytree(scenes.parent, tmp_path / "world")
    make_catalog(tmp_path / "world" / "scenes", {"one": tmp_path / "world" / "one"})
    predict.run(conf, model, tmp_path / "world" / "scenes", out)
    assert sorted(path.name for path in out.iterdir()) == [
        "catalog.json",
        "lenscape.qgs",
        "mine.txt",
        "one",
    ]
    assert not (out / "one" / "one_classmap.tif.aux.xml").exists(), "it spoke of the old map"


@pytest.fixture
def world(scenes, tmp_path):
    """A copy of the scenes that a test may change, and the catalog of all of them."""
    shutil.copytree(scenes.parent, tmp_path / "world")
    return tmp_path / "world"


def cataloged(world, *names):
    return make_catalog(world / "scenes", {name: world / name for name in names})


def times(out):
    """When the class maps of a folder were written."""
    return {path.parent.name: path.stat().st_mtime_ns for path in sorted(out.glob("*/*_classmap.tif"))}


def test_only_what_has_changed_is_mapped_anew(model, world, conf, tmp_path, capsys, monkeypatch):
    model = make_model(tmp_path / "own", PatchClassifier.load(model).meta)  # no other test's run
    conf.write_text("pixel_px: 8\n")
    out, catalog = tmp_path / "maps", world / "scenes"
    cataloged(world, "one", "two")
    logged, log = set(), Tracker.artifact
    monkeypatch.setattr(Tracker, "artifact", lambda *some: logged.add(some[-1]) or log(*some))
    predict.run(conf, model, catalog, out)
    first = times(out)
    assert len(first) == 3, "two scenes and their mosaic"
    assert logged >= {f"maps/{name}" for name in first}
    logged.clear()
    viewed = out / "one" / "one_classmap.tif.aux.xml"
    viewed.write_text("of a viewer")
    capsys.readouterr()
    predict.run(conf, model, catalog, out)
    assert times(out) == first
    assert logged == {""}, "the run has their previews and areas"
    assert viewed.exists()
    assert "one: kept, nothing that it is made from has changed" in capsys.readouterr().out

    # a pixel of one scene: its map and the mosaic
    with rasterio.open(world / "two" / "B02.tif", "r+") as dataset:
        dataset.write(dataset.read(1)[:1, :1] + 1, 1, window=((0, 1), (0, 1)))
    cataloged(world, "one", "two")
    predict.run(conf, model, catalog, out)
    second = times(out)
    assert [name for name in first if second[name] != first[name]] == ["mosaic_EPSG32633", "two"]
    assert logged == {"", "maps/mosaic_EPSG32633", "maps/two"}

    # a file that is not as it was written
    (out / "one" / "one_confidence.tif").write_bytes(b"half")
    predict.run(conf, model, catalog, out)
    third = times(out)
    assert [name for name in first if third[name] != second[name]] == ["one"]
    assert not viewed.exists(), "it spoke of the old map"

    # an Item without what it should state
    item = out / "two" / "two.json"
    stated = json.loads(item.read_text())
    del stated["assets"]["areas"]["file:size"]
    item.write_text(json.dumps(stated))
    predict.run(conf, model, catalog, out)
    assert [name for name in first if times(out)[name] != third[name]] == ["two"]
    third = times(out)

    # conf and code: all of them
    conf.write_text("pixel_px: 8\nmin_confidence: 30\n")
    predict.run(conf, model, catalog, out)
    fourth = times(out)
    assert all(fourth[name] != third[name] for name in first)
    monkeypatch.setattr(predict, "code_sha256", lambda: "that of another version")
    predict.run(conf, model, catalog, out)
    fifth = times(out)
    assert all(fifth[name] != fourth[name] for name in first)

    # what lies there as it should is that of a run into an empty folder
    before = digests(out)
    shutil.rmtree(out)
    predict.run(conf, model, catalog, out)
    assert digests(out) == before


def test_a_run_that_was_cut_off_keeps_its_finished_maps(model, world, conf, tmp_path, monkeypatch):
    cataloged(world, "one", "two")
    real, mapped = predict.map_scene, []

    def until_two(scene, *others):
        if scene.id == "two":
            raise KeyboardInterrupt
        mapped.append(scene.id)
        return real(scene, *others)

    with monkeypatch.context() as patch:
        patch.setattr(predict, "map_scene", until_two)
        with pytest.raises(KeyboardInterrupt):
            predict.run(conf, model, world / "scenes", tmp_path / "maps")
    first = times(tmp_path / "maps")
    assert mapped == list(first) == ["one"]
    predict.run(conf, model, world / "scenes", tmp_path / "maps")
    assert times(tmp_path / "maps")["one"] == first["one"]

    # a map of a run that came to no catalog goes with its scene all the same; other folders stay
    (tmp_path / "maps" / "catalog.json").unlink()
    (tmp_path / "maps" / "mine").mkdir()
    (tmp_path / "maps" / "mine" / "mine.json").write_text("{}")
    cataloged(world, "two")
    predict.run(conf, model, world / "scenes", tmp_path / "maps")
    folders = sorted(path.name for path in (tmp_path / "maps").iterdir() if path.is_dir())
    assert folders == ["mine", "two"]


def test_a_scene_without_the_bands_of_the_model_is_refused(model, scenes, conf, tmp_path):
    shutil.copytree(scenes.parent, tmp_path / "world")
    (tmp_path / "world" / "two" / "B03.tif").unlink()
    folders = {name: tmp_path / "world" / name for name in ("one", "two")}
    make_catalog(tmp_path / "world" / "scenes", folders)
    with pytest.raises(MismatchError, match=r"B02, B03, but scene two has B02: B03 missing"):
        predict.run(conf, model, tmp_path / "world" / "scenes", tmp_path / "maps")
    assert not (tmp_path / "maps").exists(), "scene one was mapped although two is refused"


def test_damaged_pixels_leave_the_earlier_map_as_it_was(model, scenes, conf, tmp_path):
    shutil.copytree(scenes.parent, tmp_path / "world")
    folders = {name: tmp_path / "world" / name for name in ("one", "two")}
    make_catalog(tmp_path / "world" / "scenes", folders)
    out = tmp_path / "maps"
    predict.run(conf, model, tmp_path / "world" / "scenes", out)
    before = digests(out)
    path = folders["two"] / "B03.tif"
    path.write_bytes(b"\0" * path.stat().st_size)
    describe(tmp_path / "world" / "scenes" / "two" / "two.json", "B03", path)
    with pytest.raises(SceneError, match=r"two/B03\.tif cannot be read"):
        predict.run(conf, model, tmp_path / "world" / "scenes", out)
    assert digests(out) == before


def test_options_of_the_conf_reach_the_map_and_its_mosaic(model, scenes, conf, tmp_path, capsys):
    conf.write_text(
        "min_confidence: 45\nsmoothing: {window_pixels: 3}\npolygons: {min_area_m2: 20000}\n"
    )
    predict.run(conf, model, scenes, tmp_path / "maps")
    folder = tmp_path / "maps" / "one"
    assert (folder / "one_polygons.gpkg").is_file()
    with rasterio.open(folder / "one_classmap.tif") as dataset:
        tags = dataset.tags()
    assert (tags["LENSCAPE_MIN_CONFIDENCE"], tags["LENSCAPE_SMOOTHING_PIXELS"]) == ("45", "3")
    mosaic = next((tmp_path / "maps").glob("mosaic_*/*_classmap.qml"))
    assert "Unclassified (low confidence)" in mosaic.read_text()
    project = (tmp_path / "maps" / "lenscape.qgs").read_text()
    assert "one_polygons.gpkg" in project
    assert "Traceback" not in capsys.readouterr().err


def test_a_level_that_training_never_saw_has_a_warning(model, scenes, conf, tmp_path, capsys):
    folders = {"two": scenes.parent / "two"}
    make_catalog(tmp_path / "scenes", folders, level="L2A")
    predict.run(conf, model, tmp_path / "scenes", tmp_path / "maps")
    note = (
        "level L2A, but the model was trained on L1C; 2021-05-06 is 79 days of the year from "
        "2017-02-16, the nearest that the model was trained on"
    )
    assert f"warning: two: {note}\n" in capsys.readouterr().err
    with rasterio.open(tmp_path / "maps" / "two" / "two_classmap.tif") as dataset:
        assert dataset.tags()["LENSCAPE_NOTE"] == note
    item = json.loads((tmp_path / "maps" / "two" / "two.json").read_text())
    assert item["properties"]["lenscape:note"] == note
    run_id = json.loads((model / "run.json").read_text())["run_id"]
    assert connect().get_run(run_id).data.tags["note.two"] == note


def test_mosaics_follow_the_conf_and_go_when_they_are_no_more_due(model, scenes, conf, tmp_path):
    out = tmp_path / "maps"

    def mapped(mosaic):
        conf.write_text(f"model: trained\nmosaic: {mosaic}\n")
        predict.run(conf, model, scenes, out)
        return sorted(path.name for path in out.iterdir() if path.is_dir())

    assert mapped("{}") == ["mosaic", "mosaic_EPSG32633", "one", "two"]
    run_id = json.loads((model / "run.json").read_text())["run_id"]
    artifacts = connect().list_artifacts(run_id, "maps/mosaic_EPSG32633")
    assert [Path(artifact.path).name for artifact in artifacts] == ["areas.csv", "preview.png"]
    assert mapped("{crs: null}") == ["mosaic_EPSG32633", "one", "two"]
    assert mapped("{min_scenes: 3}") == ["one", "two"]
    assert mapped("none") == ["one", "two"]


def test_a_mosaic_of_the_same_scene_twice_is_its_map(model, scenes, conf, tmp_path):
    conf.write_text("pixel_px: 8\nmodel: trained\n")
    folders = dict.fromkeys(("again", "one"), scenes.parent / "one")
    make_catalog(tmp_path / "scenes", folders)
    predict.run(conf, model, tmp_path / "scenes", tmp_path / "maps")
    for layer in ("classmap", "confidence"):
        names = ("one", "mosaic_EPSG32633")
        one, both = (tmp_path / "maps" / name / f"{name}_{layer}.tif" for name in names)
        with rasterio.open(one) as first, rasterio.open(both) as second:
            np.testing.assert_array_equal(first.read(1), second.read(1))
            assert (first.transform, first.crs) == (second.transform, second.crs)
    tables = [
        (tmp_path / "maps" / name / "areas.csv").read_text().splitlines()[-5:]
        for name in ("one", "mosaic_EPSG32633")
    ]
    assert tables[0] == tables[1], "ground of two scenes was counted twice"


def test_a_crs_that_is_none_is_refused_before_any_work(model, scenes, conf, tmp_path):
    conf.write_text("pixel_px: 8\nmosaic: {crs: 'EPSG:99999'}\n")
    with pytest.raises(ConfigError, match=r"predict\.yaml: key 'mosaic\.crs': EPSG:99999 is no CRS"):
        predict.run(conf, model, scenes, tmp_path / "maps")
    assert not (tmp_path / "maps").exists()


def test_grids_that_only_resampling_could_join_have_a_warning(model, scenes, conf, tmp_path, capsys):
    conf.write_text("pixel_px: 8\nmodel: trained\n")
    shutil.copytree(scenes.parent / "two", tmp_path / "two")
    for path in (tmp_path / "two").iterdir():
        with rasterio.open(path, "r+") as dataset:
            dataset.transform = dataset.transform @ Affine.translation(0.5, 0)
    folders = {"one": scenes.parent / "one", "two": tmp_path / "two"}
    make_catalog(tmp_path / "scenes", folders)
    predict.run(conf, model, tmp_path / "scenes", tmp_path / "maps")
    assert (
        "warning: the scenes of EPSG:32633 lie on 2 grids of pixels, which only resampling could "
        "join: one | two\n"
    ) in capsys.readouterr().err
    folders = sorted(path.name for path in (tmp_path / "maps").iterdir() if path.is_dir())
    assert folders == ["mosaic", "one", "two"], "the map over all zones shows both"


def test_a_model_without_its_run_is_refused_before_any_work(model, scenes, conf, tmp_path):
    shutil.copytree(model, tmp_path / "models")
    (tmp_path / "models" / "run.json").unlink()
    with pytest.raises(StoreError, match=r"run\.json does not exist; run `train` first"):
        predict.run(conf, tmp_path / "models", scenes, tmp_path / "maps")
    assert not (tmp_path / "maps").exists()


def test_a_disk_that_is_too_small_stops_before_any_work(model, scenes, conf, tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.files.free_bytes", lambda _: 1_000_000)
    with pytest.raises(OutputError, match=r"class map of one .* needs 0\.01 GB but only 0\.00 GB"):
        predict.run(conf, model, scenes, tmp_path / "maps")
    assert not (tmp_path / "maps").exists()


def test_maps_are_made_without_the_store(model, scenes, conf, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    with monkeypatch.context() as patch:
        patch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")
        patch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free_port()}")
        predict.run(conf, model, scenes, tmp_path / "maps")
    first, *_, last = capsys.readouterr().err.splitlines()
    assert "cannot be used" in first
    assert first.endswith("predict goes on, and what it adds to the run of the model is kept.")
    assert "What predict adds" in last
    assert (tmp_path / "maps" / "one" / "one_classmap.tif").exists()
    log.run(model)
    run_id = json.loads((model / "run.json").read_text())["run_id"]
    maps = connect().list_artifacts(run_id, "maps/one")
    assert {file.path for file in maps} == {"maps/one/areas.csv", "maps/one/preview.png"}
    assert "outside_area_of_applicability/one" in connect().get_run(run_id).data.metrics


def test_a_registered_model_maps_as_the_trained_one(model, scenes, conf, tmp_path):
    predict.run(conf, model, scenes, tmp_path / "maps")
    trained = digests(tmp_path / "maps")
    # a run that the store does not know is opened anew, which registers the model
    replayed = tmp_path / "models"
    shutil.copytree(model, replayed)
    (replayed / "history.csv").write_text(
        "epoch,train_loss,validation_loss,validation_balanced_accuracy,lr\n"
    )
    record = json.loads((replayed / "run.json").read_text()) | {"run_id": "0" * 32}
    (replayed / "run.json").write_text(json.dumps(record))
    with resume(replayed):
        pass
    pinned = RegisteredModelConf(
        uri="models:/lenscape/1", weights_sha256=sha256_of(model / "weights.safetensors")
    )
    conf.write_text(f"pixel_px: 8\nmodel: {json.dumps(pinned.model_dump())}\nmosaic: none\n")
    shutil.rmtree(tmp_path / "maps")
    predict.run(conf, tmp_path / "no model here", scenes, tmp_path / "maps")
    assert digests(tmp_path / "maps") == trained
    other = pinned.model_copy(update={"weights_sha256": "0" * 64})
    conf.write_text(f"model: {json.dumps(other.model_dump())}\n")
    with pytest.raises(MismatchError, match="pin it again"):
        predict.run(conf, tmp_path / "no model here", scenes, tmp_path / "maps")


def test_hrefs_are_uris_whatever_the_names(model, tmp_path, conf, monkeypatch):
    """To other programs a path ends before `#` and `?`, and what follows `%` is a code."""
    name = "x:y Größe 50% #1? %20 (it's a & b)"
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    bands = make_bands(tmp_path / name / "bands", size=(40, 50), lowest=300)
    (bands / "B02.tif").rename(bands / f"{name}_B02.tif")
    entry = {
        "id": "one", "path": str(bands), "datetime": "2021-05-06T10:21:01Z", "scale": 0.0001,
        "offset": 0,
    }  # fmt: skip
    write_json(tmp_path / "fetch.yaml", {"train": [entry]})
    scenes, maps = tmp_path / name / "scenes", tmp_path / "maps"
    fetch.run(tmp_path / "fetch.yaml", tmp_path / "train", scenes)
    predict.run(conf, model, scenes, maps, machine(tmp_path, 1))
    with serving(tmp_path) as files:
        (mapped,) = pystac.Catalog.from_file(files.url("maps/catalog.json")).get_items()
        (link,) = mapped.get_links("derived_from")
        scene = link.resolve_stac_object().target
        assert scene.id == "one"
        found = {key: urlopen(asset.get_absolute_href()) for key, asset in scene.assets.items()}
        paths = {"B02": bands / f"{name}_B02.tif", "B03": bands / "B03.tif"}
        assert {key: answer.read() for key, answer in found.items()} == {
            key: path.read_bytes() for key, path in paths.items()
        }
    local = pystac.Item.from_file(tmp_path / "train" / "one" / "one.json")
    for key, asset in local.assets.items():
        assert unquote(asset.get_absolute_href()) == str(paths[key])


def test_hrefs_that_an_older_fetch_wrote(tmp_path):
    """They were not encoded: where that makes a difference, `fetch` is to be run again."""
    for name in ("Größe #1", "%41"):
        bands = make_bands(tmp_path / name, size=(40, 50), lowest=300)
        make_catalog(tmp_path / "scenes", {"one": bands})
        item = tmp_path / "scenes" / "one" / "one.json"
        content = json.loads(item.read_text())
        for band in ("B02", "B03"):
            content["assets"][band]["href"] = f"../../{name}/{band}.tif"
        write_json(item, content)
        if name == "%41":
            with pytest.raises(
                SceneError, match=r"A/B02\.tif does not exist any more; run `fetch` again"
            ):
                open_catalog(tmp_path / "scenes")
        else:
            assert len(open_catalog(tmp_path / "scenes")) == 1


@pytest.fixture(scope="module")
def many(tmp_path_factory, model):
    """A catalog of 33 small scenes, and the digests of their maps as one thread makes them."""
    folder = tmp_path_factory.mktemp("many")
    bands = make_bands(folder / "bands", size=(40, 50), lowest=100)
    make_catalog(folder / "scenes", {f"s{n:02d}": bands for n in range(33)})
    (folder / "predict.yaml").write_text("pixel_px: 8\nmosaic: none\n")
    predict.run(
        folder / "predict.yaml", model, folder / "scenes", folder / "expected", machine(folder, 1)
    )
    return folder, digests(folder / "expected")


@pytest.mark.slow
def test_many_scenes_are_mapped_side_by_side_with_the_same_bytes(many, model, capsys):
    folder, expected = many
    out = folder / "processes"
    predict.run(folder / "predict.yaml", model, folder / "scenes", out, machine(folder, 2))
    assert digests(out) == expected
    said = [line.split(":")[0] for line in capsys.readouterr().out.splitlines()]
    assert said == [f"s{n:02d}" for n in range(33)]


def when_some_are_there(out, act):
    """Do something once two maps are finished."""

    def wait():
        while len(list(out.glob("s??"))) < 2:
            time.sleep(0.02)
        act()

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread


@pytest.mark.slow
def test_many_scenes_are_mapped_by_workers_of_which_one_is_lost(many, model, tmp_path):
    folder, expected = many
    with cluster(tmp_path) as started:
        first, _ = started.worker(), started.worker()
        compute = tmp_path / "compute.yaml"
        compute.write_text(f"accelerator: cpu\nscheduler: {started.address}\nwait_s: 120\n")
        killing = when_some_are_there(folder / "dask", first.kill)
        predict.run(folder / "predict.yaml", model, folder / "scenes", folder / "dask", compute)
        assert not killing.is_alive()
    assert digests(folder / "dask") == expected


@pytest.mark.slow
def test_a_lost_scheduler_leaves_what_is_finished(many, model, tmp_path):
    folder, expected = many
    with cluster(tmp_path) as started:
        started.worker()
        compute = tmp_path / "compute.yaml"
        compute.write_text(f"accelerator: cpu\nscheduler: {started.address}\nwait_s: 120\n")
        when_some_are_there(folder / "lost", started.scheduler.kill)
        words = ("--conf", folder / "predict.yaml", "--model", model, "--scenes", folder / "scenes")
        done = subprocess.run(
            [sys.executable, "-m", "pipeline.cli", "predict", *words, "--out", folder / "lost",
             "--compute", compute],
            capture_output=True, text=True, check=False, timeout=300,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )  # fmt: skip
    assert done.returncode == 2
    others = r"warning: s\d\d: .*|scheduler .* has no worker; waiting .*"
    said = [line for line in done.stderr.splitlines() if not re.fullmatch(others, line)]
    assert len(said) == 1, done.stderr
    assert re.match(
        r"lenscape: the connection to scheduler .* is lost; what is finished stays", said[0]
    )
    finished = digests(folder / "lost")
    whole = {name: digest for name, digest in finished.items() if name.startswith("s")}
    assert 2 <= len({Path(name).parts[0] for name in whole}) < 33
    assert whole.items() <= expected.items()
    predict.run(folder / "predict.yaml", model, folder / "scenes", folder / "lost", machine(folder, 1))
    assert digests(folder / "lost") == expected


def drawn(folder, shape, name="town.gpkg"):
    """A file with a polygon, in degrees, as people draw them."""
    path = folder / name
    gpd.GeoDataFrame(geometry=[shape], crs=32633).to_crs(4326).to_file(path)
    return path


def pixel_centres(dataset):
    rows, cols = np.indices(dataset.shape)
    return dataset.transform @ (cols + 0.5, rows + 0.5)


@pytest.mark.parametrize("pixel", [2, 8])
def test_the_map_of_an_area_is_that_part_of_the_whole_map(model, one_scene, tmp_path, capsys, pixel):
    """An area with a corner cut off and a hole; the network sees the ground around it all the same."""
    left, top = X0 + 405, Y0 - 315
    shape = shapely.Polygon(
        [(left, top), (left + 900, top), (left + 900, top - 1200), (left, top - 700)]
    )
    shape -= shapely.box(left + 300, top - 500, left + 500, top - 300)
    conf, whole, part = tmp_path / "predict.yaml", tmp_path / "whole", tmp_path / "part"
    conf.write_text(f"pixel_px: {pixel}\nmosaic: none\nprobabilities: true\n")
    predict.run(conf, model, one_scene, whole, machine(tmp_path, 1))
    conf.write_text(f"{conf.read_text()}area: {drawn(tmp_path, shape)}\n")
    predict.run(conf, model, one_scene, part, machine(tmp_path, 1))
    for kind in ("classmap", "confidence", "dissimilarity", "probabilities"):
        with (
            rasterio.open(whole / f"one/one_{kind}.tif") as of_scene,
            rasterio.open(part / f"one/one_{kind}.tif") as of_area,
        ):
            x, y = pixel_centres(of_area)
            inside = shapely.contains_xy(shape, x, y)
            assert 0.5 < inside.mean() < 1
            corner = ~of_scene.transform @ of_area.transform @ (0, 0)
            col, row = (round(start) for start in corner)
            expected = of_scene.read()[:, row : row + of_area.height, col : col + of_area.width]
            expected[:, ~inside] = of_area.nodata
            np.testing.assert_array_equal(of_area.read(), expected)
            side = of_area.res[0]
            assert (of_area.bounds.left, of_area.bounds.top) == (
                left // side * side, -(-top // side) * side
            )  # fmt: skip
    # areas count inside alone
    with rasterio.open(part / "one/one_classmap.tif") as dataset:
        counts = np.bincount(dataset.read(1)[inside], minlength=256)
    lines = (part / "one/areas.csv").read_text().splitlines()
    assert "inside the area of interest" in lines[0]
    rows = [line.split(",") for line in lines[4:]]
    assert {row[1]: int(row[3]) for row in rows} == {
        **{row[1]: counts[int(row[0])] for row in rows if row[0]},
        "total": inside.sum(),
    }
    assert float(rows[-1][4]) == pytest.approx(inside.sum() * (10 * pixel) ** 2 / 1e4)
    item = json.loads((part / "one/one.json").read_text())
    share = sum(c.get("percentage", 0) for c in item["assets"]["classmap"]["classification:classes"])
    assert share == pytest.approx(100 * counts[1:].sum() / inside.sum(), abs=0.01)
    capsys.readouterr()
    predict.run(conf, model, one_scene, part, machine(tmp_path, 1))
    assert "one: kept" in capsys.readouterr().out
    drawn(tmp_path, shape.buffer(-30))
    predict.run(conf, model, one_scene, part, machine(tmp_path, 1))
    assert "one: kept" not in capsys.readouterr().out, "the same path, and another area"


def test_only_blocks_that_an_area_touches_are_read(model, tmp_path, monkeypatch):
    make_bands(tmp_path / "large", size=(3000, 300))
    make_catalog(tmp_path / "scenes", {"large": tmp_path / "large"})
    # two towns far from each other: nothing between them is read
    towns = [
        shapely.box(X0 + 95, Y0 - south - 195, X0 + 295, Y0 - south + 5) for south in (100, 29_700)
    ]
    towns = shapely.union_all(towns)
    conf, read = tmp_path / "predict.yaml", []
    conf.write_text(f"pixel_px: 2\nmosaic: none\narea: {drawn(tmp_path, towns)}\n")
    real = raster_file.OpenFile.read

    def noted(self, window, *rest):
        read.append(window)
        return real(self, window, *rest)

    monkeypatch.setattr(raster_file.OpenFile, "read", noted)
    predict.run(conf, model, tmp_path / "scenes", tmp_path / "maps", machine(tmp_path, 1))
    assert read
    assert [w for w in read if w.row + w.height > 600 and w.row < 2400] == []
    with rasterio.open(tmp_path / "maps/large/large_classmap.tif") as dataset:
        assert (dataset.read(1) > 0).sum() == 2 * 10 * 10


def test_scenes_outside_of_an_area_are_not_mapped(model, scenes, conf, tmp_path, capsys):
    out = tmp_path / "maps"
    south = {"bbox": [X0, Y0 - 2030, X0 + 500, Y0 - 1000], "crs": "EPSG:32633"}
    predict.run(conf, model, scenes, out, machine(tmp_path, 1))
    assert (out / "two").is_dir()
    conf.write_text(f"{conf.read_text()}area: {json.dumps(south)}\n")
    predict.run(conf, model, scenes, out, machine(tmp_path, 1))
    assert "two: not mapped, it has no pixel in the area" in capsys.readouterr().out
    assert not (out / "two").exists()
    conf.write_text(
        "area: [100, 10, 101, 11]\n".replace("100, 10, 101, 11", "100.0, 10.0, 101.0, 11.0")
    )
    before = digests(out)
    with pytest.raises(
        SceneError, match=r"no scene to map has a pixel in the area .*; correct the area"
    ):
        predict.run(conf, model, scenes, out, machine(tmp_path, 1))
    assert digests(out) == before


def test_the_file_of_an_area_that_dvc_does_not_watch(model, one_scene, conf, tmp_path):
    path = drawn(tmp_path, shapely.box(X0, Y0 - 900, X0 + 900, Y0))
    conf.write_text(f"area: {path}\n")
    watched = tmp_path / "areas"
    watched.mkdir()
    with pytest.raises(
        SceneError, match=r"predict.yaml: key 'area' is .*town.gpkg', which lies outside of"
    ):
        predict.run(conf, model, one_scene, tmp_path / "maps", machine(tmp_path, 1), [watched])


def test_a_mosaic_of_maps_of_an_area_counts_inside_alone(model, scenes, conf, tmp_path):
    shape = shapely.Polygon([(X0 + 103, Y0 - 51), (X0 + 907, Y0 - 92), (X0 + 204, Y0 - 703)])
    conf.write_text(f"pixel_px: 2\nmosaic: {{crs: null}}\narea: {drawn(tmp_path, shape)}\n")
    predict.run(conf, model, scenes, tmp_path / "maps", machine(tmp_path, 1))
    folder = tmp_path / "maps/mosaic_EPSG32633"
    with rasterio.open(folder / "mosaic_EPSG32633_classmap.tif") as dataset:
        inside = shapely.contains_xy(shape, *pixel_centres(dataset))
        values = dataset.read(1)
    assert not values[~inside].any()
    total = (folder / "areas.csv").read_text().splitlines()[-1].split(",")
    assert (int(total[3]), float(total[4])) == (inside.sum(), pytest.approx(0.04 * inside.sum()))
