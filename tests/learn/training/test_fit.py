from __future__ import annotations

import multiprocessing
import os
import random
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.config.compute import ComputeConf
from pipeline.errors import ConfigError
from pipeline.learn.inference.predictor import batched_logits, batched_probabilities
from pipeline.learn.network.classifier import PatchClassifier
from pipeline.learn.network.history import read_history
from pipeline.learn.stats.applicability import TrainingFeatures, patch_features
from pipeline.learn.stats.calibration import calibrate
from pipeline.learn.training import fit as fitting
from pipeline.learn.training.fit import HISTORY, NETWORK, fold_folder, train_networks
from tests.support.learners import folded_data, training_data
from tests.support.stores import make_table
from tests.support.trained import CPU, fit
from tests.support.trained import train_conf as conf

BANDS = ("B03", "B01")


@pytest.fixture(scope="module")
def folded(tmp_path_factory):
    """Data of two bands, folds, the folder of their networks and what came of it."""
    folder = tmp_path_factory.mktemp("folded")
    data, folds = folded_data(folder, count=240, odd=0.3, nodata=0.0)
    result = fit(data, conf(epochs=3), folder / "networks", folds)
    return data, folds, folder / "networks", result


def test_each_cell_is_predicted_by_the_network_of_its_fold(folded):
    data, folds, folder, result = folded
    held_out = result.held_out
    assert held_out.rows.tolist() == sorted(np.concatenate([fold.tested for fold in folds]))
    seen = []
    for fold in folds:
        own = held_out.fold == fold.number
        assert held_out.rows[own].tolist() == fold.tested.tolist()
        network = PatchClassifier.load(fold_folder(folder, fold.number))
        seen.append(batched_logits(network, data.pixels(fold.tested)))
        assert (held_out.logits[own] == seen[-1]).all()
        assert network.meta.statistics == fold.data.input_statistics
    # or it would not matter which network it was
    others = PatchClassifier.load(fold_folder(folder, 1))
    assert not np.allclose(seen[0], batched_logits(others, data.pixels(folds[0].tested)), atol=0.1)


def test_the_network_that_maps_is_trained_on_everything(folded):
    data, _, folder, result = folded
    network = PatchClassifier.load(folder / NETWORK)
    assert network.meta.statistics == data.input_statistics
    assert len(data.train) == len(data.store)
    before = batched_logits(result.classifier.uncalibrated(), data.pixels(data.train))
    assert before == pytest.approx(batched_logits(network, data.pixels(data.train)), abs=1e-4)


def test_calibration_comes_from_the_held_out_logits(folded):
    data, _, _, result = folded
    held_out, meta = result.held_out, result.classifier.meta
    truth = data.store.patches["label"][held_out.rows]
    expected = calibrate(truth, held_out.logits, held_out.fold)
    assert meta.calibrated_by == expected
    assert expected.name != "none"
    assert meta.temperature_blocks == len(np.unique(data.blocks(held_out.rows))) > 1
    network = PatchClassifier.load(folded[2] / NETWORK)
    logits = batched_logits(network, data.pixels(data.train))
    actual = batched_probabilities(result.classifier, data.pixels(data.train))
    assert actual == pytest.approx(expected.probabilities(logits), abs=1e-5)
    assert (actual.argmax(axis=1) == logits.argmax(axis=1)).all()


def test_the_threshold_comes_from_the_distances_to_the_ground_of_the_folds(folded):
    data, folds, _, result = folded
    labels, limit = data.store.patches["label"], float(result.classifier.training_features.limit)
    fill = result.classifier.fill_dn
    for fold in folds:
        features = [
            patch_features(data.pixels(rows), 4, fill) for rows in (fold.data.train, fold.tested)
        ]
        training = TrainingFeatures.of(features[0], labels[fold.data.train])
        own = result.held_out.fold == fold.number
        expected = training.distances(features[1]) / limit
        assert result.held_out.dissimilarity[own] == pytest.approx(expected)
    assert np.mean(result.held_out.dissimilarity > 1) == pytest.approx(0.05, abs=0.01)
    # what the map is compared with are all training patches
    everything = TrainingFeatures.of(patch_features(data.pixels(data.train), 4, fill), labels)
    assert result.classifier.training_features.centers == pytest.approx(everything.centers)


def test_a_learning_curve_comes_from_networks_on_a_share_of_the_blocks(tmp_path):
    data, folds = folded_data(tmp_path, folds=2, table=make_table(30, 30, field=3, stride_px=8))
    folds = [replace(fold, data=replace(fold.data, block_m=240.0)) for fold in folds]
    result = fit(data, conf(epochs=1, learning_curve=[0.5]), tmp_path / "networks", folds)
    predicted = result.held_out.on_share[0.5]
    for fold in folds:
        network = PatchClassifier.load(fold_folder(tmp_path / "networks", fold.number, 0.5))
        own = batched_logits(network, data.pixels(fold.tested)).argmax(axis=1)
        assert (predicted[result.held_out.fold == fold.number] == own).all()
        part = fold.data.on_share_of_blocks(0.5, 0)
        assert network.meta.statistics == part.input_statistics
        assert set(part.train) < set(fold.data.train)
        kept, every = (len(np.unique(one.blocks(one.train))) for one in (part, fold.data))
        assert kept / every == pytest.approx(0.5, abs=0.1)
        # whole blocks
        blocks = fold.data.blocks(fold.data.train)
        chosen = np.isin(fold.data.train, part.train)
        assert not set(blocks[chosen]) & set(blocks[~chosen])
    assert result.classifier.meta.learning_curve == (0.5,)


def test_the_history_shows_the_means_of_the_folds(folded):
    _, folds, folder, result = folded
    each = [read_history(fold_folder(folder, fold.number) / HISTORY) for fold in folds]
    own = read_history(folder / NETWORK / HISTORY)
    assert {row.validation_loss for row in own} == {None}
    for epoch, row in enumerate(result.history):
        assert row.train_loss == own[epoch].train_loss
        scores = [rows[epoch].validation_balanced_accuracy for rows in each]
        assert row.validation_balanced_accuracy == pytest.approx(np.mean(scores))
        losses = [rows[epoch].validation_loss for rows in each]
        assert row.validation_loss == pytest.approx(np.mean(losses))
    assert result.kept.epoch == len(result.history) == 3


def test_without_folds_the_validation_part_calibrates(tmp_path):
    data = training_data(tmp_path, count=300, odd=0.3)
    result = fit(data, conf(epochs=2), tmp_path / "networks")
    network = PatchClassifier.load(tmp_path / "networks" / NETWORK)
    rows = data.validation
    logits, labels = batched_logits(network, data.pixels(rows)), data.store.patches["label"][rows]
    assert result.held_out is None
    meta = result.classifier.meta
    assert meta.calibrated_by == calibrate(labels, logits, data.blocks(rows))
    assert meta.temperature_blocks == len(np.unique(data.blocks(rows))) > 1
    outside = np.mean(result.classifier.dissimilarity(data.pixels(rows)) > 1)
    assert outside == pytest.approx(0.05, abs=0.02)
    assert result.history == read_history(tmp_path / "networks" / NETWORK / HISTORY)


def test_the_test_part_changes_nothing(tmp_path):
    results = []
    for name in ("before", "after"):
        data = training_data(tmp_path / name, count=200)
        if name == "after":
            pixels = np.load(data.store.folder / "pixels.npy", mmap_mode="r+")
            pixels[4::5] = 60_000
            pixels.flush()
        results.append(fit(data, conf(epochs=2), tmp_path / name / "networks"))
    first, second = results
    assert first.history == second.history
    assert first.classifier.meta == second.classifier.meta
    assert same(first.classifier, second.classifier)


def same(first, second):
    pairs = zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    return all(torch.equal(one, other) for one, other in pairs)


def test_what_was_trained_is_not_trained_again(tmp_path, monkeypatch):
    data, folds = folded_data(tmp_path, count=60)
    folder, trained = tmp_path / "networks", []
    original = fitting.train_network

    def cutting(given, *args):
        if len(trained) == 2:
            raise KeyboardInterrupt
        trained.append(len(given.train))
        return original(given, *args)

    monkeypatch.setattr(fitting, "train_network", cutting)
    compute = ComputeConf(accelerator="cpu", workers=1)
    with pytest.raises(KeyboardInterrupt):
        train_networks(data, folds, conf(epochs=1), compute, folder)
    whole = {path: path.read_bytes() for path in folder.glob("*/*")}
    assert len(whole) == 2 * 3
    monkeypatch.setattr(fitting, "train_network", original)
    train_networks(data, folds, conf(epochs=1), compute, folder)
    assert sorted(path.name for path in folder.iterdir()) == ["fold_1", "fold_2", "fold_3", "network"]
    assert {path: path.read_bytes() for path in whole} == whole


@pytest.fixture
def two_threads():
    torch.set_num_threads(2)
    yield
    assert torch.get_num_threads() == 2


def bytes_of(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.slow
@pytest.mark.usefixtures("two_threads")
def test_networks_trained_side_by_side_are_the_same(tmp_path, monkeypatch):
    data, folds = folded_data(tmp_path, count=240)
    threads = []
    original = fitting.train_network

    def keeping(*args, **kwargs):
        threads.append(torch.get_num_threads())
        return original(*args, **kwargs)

    monkeypatch.setattr(fitting, "train_network", keeping)
    for workers in (1, 2):
        compute = ComputeConf(accelerator="cpu", workers=workers)
        fit(data, conf(epochs=12), tmp_path / str(workers), folds, compute)
    assert set(threads) == {1}
    # four networks here, then at least one of four in another process
    assert 5 <= len(threads) < 8
    assert bytes_of(tmp_path / "1") == bytes_of(tmp_path / "2")


@pytest.mark.slow
@pytest.mark.usefixtures("two_threads")
def test_an_error_of_a_training_ends_those_beside_it(tmp_path):
    data, folds = folded_data(tmp_path, count=400)
    with pytest.raises(ConfigError, match="training diverged in epoch"):
        train_networks(data, folds, conf(lr=1e30), CPU, tmp_path / "networks")
    assert multiprocessing.active_children() == []


KILLED = """
import os, signal, sys, time
from pathlib import Path

from pipeline.config.compute import ComputeConf
from pipeline.learn.training.fit import train_networks
from tests.support.learners import folded_data
from tests.support.trained import train_conf

if __name__ == "__main__":
    here, moments = Path(sys.argv[1]), [float(moment) for moment in sys.argv[2:]]
    data, folds = folded_data(here, count=120)

    def train(folder):
        train_networks(data, folds, train_conf(epochs=4), ComputeConf(accelerator="cpu"), folder)
        os._exit(0)

    def forked(folder):
        process = os.fork()
        if not process:
            train(folder)
        return process

    begun = time.monotonic()
    assert os.waitpid(forked(here / "whole"), 0)[1] == 0
    took = time.monotonic() - begun
    for moment in moments:
        process = forked(here / "killed")
        time.sleep(moment * took)
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
    assert os.waitpid(forked(here / "killed"), 0)[1] == 0
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_a_training_killed_at_random_moments_ends_with_the_same_bytes(tmp_path):
    moments = [random.uniform(0, 0.6) for _ in range(6)]
    root = Path(__file__).parents[3]
    (tmp_path / "script.py").write_text(KILLED)
    subprocess.run(
        [sys.executable, "script.py", ".", *map(str, moments)], check=True, cwd=tmp_path, timeout=300,
        env=os.environ | {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    whole, killed = (bytes_of(tmp_path / name) for name in ("whole", "killed"))
    assert len(whole) == 4 * 3
    assert killed == whole, f"killed at {moments}"


ORPHAN = """
import os, sys, time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pipeline.learn.training.fit import _start_process

if __name__ == "__main__":
    pool = ProcessPoolExecutor(1, get_context("spawn"), _start_process, (1,))
    print(pool.submit(os.getpid).result(), flush=True)
    pool.submit(time.sleep, 600)
    time.sleep(1)
    os._exit(3)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").is_file(), reason="needs /proc")
def test_a_process_that_trains_ends_with_the_one_that_started_it(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(ORPHAN)
    root = Path(__file__).parents[3]
    ended = subprocess.run(
        [sys.executable, script], check=False, cwd=root, text=True, stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(root)}, timeout=120,
    )  # fmt: skip
    assert ended.returncode == 3
    child = int(ended.stdout)
    deadline = time.monotonic() + 30
    while alive(child) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not alive(child)


def alive(process: int) -> bool:
    """Whether a process runs; one that has ended and was not waited for does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
