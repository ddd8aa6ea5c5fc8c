"""The parts of the benchmarks; what they measure is measured by running them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import click
import numpy as np
import numpy.typing as npt
import pytest
import rasterio
import torch

from benchmarks import (
    computing,
    decode,
    device,
    label_issues,
    memory,
    network,
    peer,
    report,
    stores,
    timing,
)
from benchmarks.__main__ import main, measure
from benchmarks.agreement import require_agreement
from benchmarks.bench import Bench
from benchmarks.errors import BenchmarkError, DisagreementError
from benchmarks.form import Network, dense, product
from benchmarks.mapping import whole_scene
from benchmarks.peer import Answers, Way
from benchmarks.scene import Made, make, require_size
from benchmarks.timing import Run
from pipeline.bands import BANDS
from pipeline.geo.raster.grid import PatchGrid
from pipeline.learn.inference.predictor import Predictor
from pipeline.learn.network.classifier import PatchClassifier
from tests.support.projects import ROOT
from tests.support.stores import make_store, make_table

SIZE = 240
"""Larger than the scene that is mirrored."""
SMALL = network.NetworkFile.model_validate(
    {
        "patch_px": 32,
        "cell_px": 8,
        "classes": 3,
        "network": {"convolutions": [{"filters": 4, "kernel": 5, "pool": {}}], "dense": [{"units": 8}]},
    }
)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scene of 180 x 120 px whose values say which band, row and column they are of."""
    folder = tmp_path_factory.mktemp("source")
    for number, (name, band) in enumerate(BANDS.items(), start=1):
        height, width = 1800 // band.native_m, 1200 // band.native_m
        rows, cols = np.indices((height, width))
        values = (number * 1000 + rows * 4 + cols % 3).astype(np.uint16)
        transform = rasterio.transform.from_origin(330_000, 5_822_040, band.native_m, band.native_m)
        with rasterio.open(
            folder / f"x_{name}.tif", "w", driver="GTiff", dtype="uint16", count=1, height=height,
            width=width, crs="EPSG:32633", transform=transform,
        ) as out:  # fmt: skip
            out.write(values, 1)
    return folder


@pytest.fixture(scope="module")
def made(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make(source, tmp_path_factory.mktemp("work"), SIZE)


@pytest.fixture(scope="module")
def grid(made: Made) -> PatchGrid:
    return PatchGrid(made.scene.grid, SMALL.patch_px, SMALL.cell_px)


@pytest.fixture(scope="module")
def classifier(made: Made) -> PatchClassifier:
    return network.random_model(SMALL, made.scene)


@pytest.fixture(scope="module")
def answers(made: Made, grid: PatchGrid, classifier: PatchClassifier) -> Answers:
    """Of one turn of torchgeo's loop, of three batches at least."""
    answers = Answers()
    loader = peer.scene_loader(made.stack, grid, Way(256, 0))
    run = peer.classifying([loader], classifier, answers)(0.0)
    assert run.units > 0
    return answers


def _pixels(path: Path) -> npt.NDArray[np.uint16]:
    with rasterio.open(path) as dataset:
        pixels: npt.NDArray[np.uint16] = dataset.read()
    return pixels


def _class_map(path: Path, classes: npt.NDArray[np.intp]) -> Path:
    height, width = classes.shape
    with rasterio.open(
        path, "w", driver="GTiff", dtype="uint8", count=1, height=height, width=width,
        transform=rasterio.transform.from_origin(0, 0, 80, 80),
    ) as out:  # fmt: skip
        out.write((classes + 1).astype(np.uint8), 1)
    return path


def _dense_logits(made: Made, grid: PatchGrid, classifier: PatchClassifier) -> npt.NDArray[np.float32]:
    form = Predictor(classifier).form
    assert form is not None
    found: npt.NDArray[np.float32] = form.probabilities(
        whole_scene(made, grid), grid.rows, grid.cols, softmax=False
    )
    return found


@pytest.mark.parametrize("band", ["B02", "B05", "B09"])
def test_each_band_is_mirrored_at_its_own_resolution(made: Made, source: Path, band: str) -> None:
    native = _pixels(source / f"x_{band}.tif")[0]
    side = SIZE * 10 // BANDS[band].native_m
    height, width = native.shape
    expected = np.pad(native, ((0, side - height), (0, side - width)), mode="symmetric")
    np.testing.assert_array_equal(_pixels(made.bands[band])[0], expected)


def test_the_files_are_cogs_as_the_benchmarks_want_them(made: Made) -> None:
    for path in [made.stack, *made.bands.values()]:
        with rasterio.open(path) as dataset:
            structure = dataset.tags(ns="IMAGE_STRUCTURE")
            assert structure["LAYOUT"] == "COG"
            assert structure["COMPRESSION"] == "DEFLATE"
            assert structure["PREDICTOR"] == "2"
            assert set(dataset.block_shapes) == {(512, 512)}
            assert dataset.overviews(1) == []


def test_the_stack_holds_what_a_scene_reads(made: Made) -> None:
    scene = made.scene
    read = scene.read(scene.grid.window, scene.bands)
    np.testing.assert_array_equal(_pixels(made.stack), read)
    assert read.shape == (13, SIZE, SIZE)


def test_pixels_in_memory_are_those_that_predict_reads(made: Made, grid: PatchGrid) -> None:
    window = grid.read_window(range(grid.rows), range(grid.cols))
    expected = made.scene.read(window, made.scene.bands)
    np.testing.assert_array_equal(whole_scene(made, grid), expected)


@pytest.mark.parametrize("size", [100, 246 + 1])
def test_a_size_that_cannot_be_mirrored_is_refused(size: int) -> None:
    with pytest.raises(BenchmarkError, match=f"--size {size} .* multiple of 6 px"):
        require_size(size)


def test_a_scene_without_all_bands_is_refused(source: Path, tmp_path: Path) -> None:
    few = tmp_path / "few"
    few.mkdir()
    (few / "x_B02.tif").symlink_to(source / "x_B02.tif")
    with pytest.raises(BenchmarkError, match="lacks B01, B03"):
        make(few, tmp_path, SIZE)


def test_every_block_is_decoded_once(made: Made) -> None:
    expected = sum(_pixels(path).nbytes for path in made.bands.values())
    assert decode.decode(made.bands.values(), threads=2) == expected


def test_both_sides_see_the_same_patches_and_say_the_same(
    made: Made, grid: PatchGrid, classifier: PatchClassifier, answers: Answers, tmp_path: Path
) -> None:
    logits = _dense_logits(made, grid, classifier)
    class_map = _class_map(tmp_path / "map.tif", logits.argmax(axis=0))
    found = require_agreement(answers, class_map, grid)
    # patches that lie wholly inside of the scene, whose top edge lies 4 px into a cell
    assert found.compared == 27 * 26
    assert found.classes >= 2


def test_a_class_of_its_own_breaks_the_agreement(
    made: Made, grid: PatchGrid, classifier: PatchClassifier, answers: Answers, tmp_path: Path
) -> None:
    classes = _dense_logits(made, grid, classifier).argmax(axis=0)
    classes[10, 12] = (classes[10, 12] + 1) % 3
    with pytest.raises(DisagreementError, match=r"1 of 702 .* row 10, column 12"):
        require_agreement(answers, _class_map(tmp_path / "map.tif", classes), grid)


def test_a_tie_may_fall_either_way(grid: PatchGrid, tmp_path: Path) -> None:
    left, top = grid.map_grid.transform @ (8, 5)
    context_m = grid.margin_px * 10
    near = np.array([[3.0, 3.00001, 0.0], [5.0, 0.0, 0.0]], dtype=np.float32)
    two = np.array([0.0, grid.cell_m])
    answers = Answers([left - context_m + two], [np.full(2, top + context_m)], [near])
    classes = np.zeros((grid.rows, grid.cols), dtype=np.intp)
    found = require_agreement(answers, _class_map(tmp_path / "map.tif", classes), grid)
    assert (found.compared, found.differing) == (2, 1)
    assert "1 differ (ties" in str(found)
    wide = replace(answers, logits=[near * 100])
    with pytest.raises(DisagreementError):
        require_agreement(wide, _class_map(tmp_path / "map.tif", classes + 2), grid)


def test_one_class_proves_nothing(grid: PatchGrid, tmp_path: Path) -> None:
    left, top = grid.map_grid.transform @ (8, 5)
    context_m = grid.margin_px * 10
    one = np.array([[3.0, 0.0]], dtype=np.float32)
    answers = Answers([np.array([left - context_m])], [np.array([top + context_m])], [one])
    classes = np.zeros((grid.rows, grid.cols), dtype=np.intp)
    with pytest.raises(BenchmarkError, match="proves nothing"):
        require_agreement(answers, _class_map(tmp_path / "map.tif", classes), grid)


@pytest.fixture(scope="module")
def store(source: Path, tmp_path_factory: pytest.TempPathFactory) -> stores.StorePlan:
    bench = Bench(source, tmp_path_factory.mktemp("bench"), SIZE, seconds=0.0)
    return stores.StorePlan(bench, SMALL)


def test_a_store_is_about_as_large_as_planned(store: stores.StorePlan) -> None:
    opened = store.open()
    assert opened.pixels.shape[1:] == (13, 32, 32)
    assert len(opened) == pytest.approx(store.patches, rel=0.4)
    assert len(np.unique(opened.patches["label"])) == SMALL.classes


def test_torchgeo_writes_the_patches_of_the_store(store: stores.StorePlan) -> None:
    opened = store.open()
    written = np.zeros(opened.pixels.shape, dtype=np.uint16)
    stack = store.bench.made.stack
    loader = peer.patch_loader(
        stack, stores.centers(opened), SMALL.patch_px, Way(len(opened) // 2 + 1, 0)
    )
    peer.writing(loader, written)(0.0)
    np.testing.assert_array_equal(written, opened.pixels)


def test_geotiffs_hold_the_patches_of_the_store(store: stores.StorePlan, tmp_path: Path) -> None:
    data = store.training(most=12)
    stores.write_geotiffs(tmp_path / "files", data)
    dataset = peer.file_loader(tmp_path / "files", Way(4, 0)).dataset
    found = {Path(path).stem: dataset[number] for number, (path, _) in enumerate(dataset.imgs)}
    assert len(found) == 12
    for row in data.train.tolist():
        sample = found[str(row)]
        np.testing.assert_array_equal(sample["image"].numpy(), data.store.pixels[row])
        assert int(sample["label"]) == data.store.patches["label"][row]


def test_a_file_leaves_the_cache(tmp_path: Path) -> None:
    path = tmp_path / "large.bin"
    path.write_bytes(os.urandom(4_000_000))
    assert stores.cached_share(path) == 1.0
    stores.drop_from_cache(path)
    assert stores.cached_share(path) < 0.1


@pytest.mark.slow
def test_memory_counts_the_whole_tree_and_leaves_mapped_files_apart(tmp_path: Path) -> None:
    file = tmp_path / "mapped.bin"
    file.write_bytes(os.urandom(60_000_000))
    child = f"""
import mmap, time
own = bytearray(40_000_000)
own[::4096] = b"x" * len(own[::4096])
file = open({str(file)!r}, "rb")
mapped = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
sum(mapped[::4096])
time.sleep(1)
"""
    parent = f"""
import subprocess, sys
own = bytearray(80_000_000)
own[::4096] = b"x" * len(own[::4096])
subprocess.run([sys.executable, "-c", {child!r}], check=True)
"""
    watched = memory.watch([sys.executable, "-c", parent], os.environ, tmp_path)
    assert 120 < watched.peak.own_mb < 170
    assert 60 < watched.peak.mapped_mb < 120
    assert watched.samples > 3


@pytest.mark.slow
def test_a_command_that_fails_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match="ended with 1: ValueError: so"):
        memory.watch([sys.executable, "-c", "raise ValueError('so')"], os.environ, tmp_path)


def test_sides_are_warmed_and_run_in_turns() -> None:
    said: list[str] = []
    calls: list[str] = []

    def side(name: str) -> timing.Side:
        def run(seconds: float) -> Run:
            calls.append(f"{name} {seconds:g}")
            return Run(len(calls), 1.0)

        return run

    measured = timing.side_by_side({"a": side("a"), "b": side("b")}, 2.0, say=said.append)
    assert calls == ["a 0", "b 0", "a 2", "b 2", "a 2", "b 2", "a 2", "b 2"]
    assert measured["a"].rate == 5  # of 3, 5, 7
    assert measured["a"].spread == pytest.approx(4 / 5)
    assert measured["b"].seconds_for(12) == 2
    assert len(said) == 6


def test_a_network_travels_as_a_file_of_torch_alone(
    made: Made, grid: PatchGrid, classifier: PatchClassifier, tmp_path: Path
) -> None:
    network.save_for_torch(classifier, tmp_path / "network.pt")
    taken = Network.load(tmp_path / "network.pt")
    found = taken.form().probabilities(whole_scene(made, grid), grid.rows, grid.cols, softmax=False)
    np.testing.assert_array_equal(found, _dense_logits(made, grid, classifier))


@pytest.mark.slow
def test_the_model_part_needs_torch_and_numpy_alone(
    classifier: PatchClassifier, tmp_path: Path
) -> None:
    network.save_for_torch(classifier, tmp_path / "network.pt")
    script = """
import runpy, sys
sys.argv = ["model", sys.argv[1], "--seconds", "0"]
runpy.run_module("benchmarks.model", run_name="__main__")
ours = {"rasterio", "torchgeo", "lightning", "pydantic", "geopandas", "mlflow", "click", "psutil"}
print("others:", sorted(ours & sys.modules.keys()))
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "network.pt")],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "% of a matrix product" in done.stdout
    assert "others: []" in done.stdout
    if not torch.cuda.is_available():
        assert "no CUDA device at hand" in done.stdout


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A block of 27 x 32 cells, because a processor computes slowly in 16 bits."""
    monkeypatch.setattr("pipeline.learn.inference.dense.WINDOW_PX", 256)
    monkeypatch.setattr("pipeline.learn.inference.dense._BLOCK_PX", 256)
    monkeypatch.setattr("pipeline.learn.inference.dense._STRIP_VALUES", 20_000)


@pytest.mark.usefixtures("small_blocks")
def test_operations_are_counted_per_cell(classifier: PatchClassifier, tmp_path: Path) -> None:
    network.save_for_torch(classifier, tmp_path / "network.pt")
    taken = Network.load(tmp_path / "network.pt")
    form = taken.form()
    run = dense(form, taken.block(form.rows, form.cols), threads=1)(0.0)
    assert run.units == pytest.approx(2 * form.multiply_adds * form.rows * form.cols)
    assert product(1, side=16)(0.0).units == 10 * 2 * 16**3


@pytest.mark.usefixtures("small_blocks")
def test_the_device_part_runs_where_torch_runs(
    classifier: PatchClassifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device, "BATCH", 32)
    network.save_for_torch(classifier, tmp_path / "network.pt")
    found = device.on_device(Network.load(tmp_path / "network.pt"), "cpu", seconds=0.0, size_px=512)
    assert set(found.tile_s) == {"bf16", "half"}
    assert all(0.8 < share <= 1 for share in found.agreement.values())
    assert found.binds in ("arithmetic", "memory")
    assert found.fraction > 0
    figures = computing.device_figures(found)
    assert [figure.item for figure in figures] == ["7", "7", "7"]
    assert "in half" in figures[0].ours


def test_the_report_says_that_there_is_no_device() -> None:
    section = report.Section("Compute", computing.device_figures(None))
    text = report.render([section], {"cores": "2"}, ["What was run."])
    assert text.count("no CUDA device at hand") == 3


def test_the_report_says_what_is_met() -> None:
    section = report.Section(
        "Predict",
        [
            report.with_target("1", "speed", "300", "1", (300.0, ">=", 250)),
            report.with_target("3", "time", "5 s", "3 s", (1.67, "<=", 1.25)),
        ],
        ["A note."],
    )
    text = report.render([section], {"cores": "2"}, ["What was run."], failure="sides differ")
    assert "| 1 | speed | 300 | 1 | 300 | at least 250 | yes |" in text
    assert "| 3 | time | 5 s | 3 s | 1.67 | at most 1.25 | no |" in text
    assert "**Failed: sides differ**" in text
    assert "- A note." in text


@pytest.fixture
def words(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Of a command line that runs as short as can be."""
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_DISABLE_TELEMETRY"):
        monkeypatch.setenv(name, "set anew by the command, restored after the test")
    # each way of a loader is a matter of seconds, and so is a large batch
    monkeypatch.setattr("benchmarks.peer.WORKERS", (0,))
    monkeypatch.setattr("benchmarks.feeding.BATCH", 16)
    monkeypatch.setattr("benchmarks.mapping._best_way", lambda *_: Way(32, 0))
    monkeypatch.setattr("benchmarks.tiling._best_way", lambda *_: Way(32, 0))
    place = ["--scene", str(source), "--size", str(SIZE), "--work", str(tmp_path / "work")]
    return [*place, "--seconds", "0", "--no-write"]


@pytest.mark.slow
def test_parts_run_from_end_to_end(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    only = [word for name in ("predict", "tile", "train") for word in ("--only", name)]
    main.main([*words, *only], standalone_mode=False)
    text = capsys.readouterr().out
    assert "Failed" not in text
    items = [line.split("|")[1].strip() for line in text.splitlines() if line.startswith("| ")]
    assert [item for item in items if item.isdigit()] == ["1", "1", "3", "4", "4", "5", "5", "5"]
    assert re.search(r"\d+ patches of \d+ classes compared, 0 differ", text)


def test_disagreement_ends_with_exit_code_1(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def disagree(_: Bench) -> report.Section:
        raise DisagreementError("5 patches differ.")

    monkeypatch.setattr("benchmarks.__main__.PARTS", {"predict": disagree})
    with pytest.raises(SystemExit) as ended:
        main.main(words, standalone_mode=False)
    assert ended.value.code == 1
    assert "**Failed: 5 patches differ.**" in capsys.readouterr().out


def test_a_wrong_folder_is_one_sentence(words: list[str], tmp_path: Path) -> None:
    with pytest.raises(click.ClickException, match="does not exist; name a folder"):
        main.main([*words, "--scene", str(tmp_path / "none")], standalone_mode=False)


def test_parts_that_are_not_asked_for_do_not_run(tmp_path: Path) -> None:
    assert measure(Bench(tmp_path, tmp_path, SIZE, 0.0), ()) == ([], "")


def test_runs_of_the_peer_begin_in_different_parts_of_the_scene(made: Made, grid: PatchGrid) -> None:
    def first_y(part: int) -> float:
        loader = peer.scene_loader(made.stack, grid, Way(32, 0), (part, 3))
        return float(next(iter(loader.sampler))[1].start)

    bottom = made.scene.grid.bounds[1]
    # 27 rows of cells of 80 m
    assert [first_y(part) - bottom for part in range(3)] == [0.0, 8 * 80.0, 17 * 80.0]


def test_half_of_the_first_thirty_labels_are_those_that_were_flipped(tmp_path: Path) -> None:
    # 484 polygons of 1 to 9 cells, of which 24 are flipped; of the cells, a fifth looks like any class
    table = make_table(64, 64, classes=5, field=3)
    store = make_store(tmp_path / "patches", table, classes=5, odd=0.25, patch_px=8, cell_px=8)
    before = {name: column.copy() for name, column in store.patches.items()}
    one = label_issues.trial(store, seed=0)
    assert (one.flipped, one.labels) == (24, 484)
    assert one.found[1] >= 15
    assert one.found == tuple(sorted(one.found))
    assert all((store.patches[name] == column).all() for name, column in before.items())


def test_flipped_labels_have_another_class_and_all_else_stays(tmp_path: Path) -> None:
    store = make_store(tmp_path / "patches", make_table(24, 24, stride_px=4, field=2), classes=3)
    changed, chosen = label_issues.flip(store, 0.1, 1, tmp_path / "flipped")
    hit = np.isin(store.patches["polygon"], chosen)
    assert len(chosen) == round(0.1 * len(np.unique(store.patches["polygon"])))
    assert (changed.patches["label"] != store.patches["label"]).tolist() == hit.tolist()
    assert (changed.pixels == store.pixels).all()
    for number in chosen.tolist():  # all cells of a polygon have one class
        assert len(np.unique(changed.patches["label"][changed.patches["polygon"] == number])) == 1
