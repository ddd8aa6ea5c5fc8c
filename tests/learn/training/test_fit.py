from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.config.compute import ComputeConf
from pipeline.config.train import ConvolutionConf, DenseConf, NetworkConf, PoolConf, TrainConf
from pipeline.errors import ConfigError, NetworkError, StoreError
from pipeline.learn.data import batches
from pipeline.learn.data.batches import DeviceRows, StoredRows
from pipeline.learn.inference.predictor import batched_probabilities
from pipeline.learn.stats.calibration import shrunk_temperature, uncalibrated
from pipeline.learn.training import fit as fitting
from pipeline.learn.training.fit import calibrate, fit, predicted
from pipeline.learn.training.task import PatchClassification
from tests.support.learners import training_data

CPU = ComputeConf(accelerator="cpu")
SMALL = NetworkConf(
    convolutions=[ConvolutionConf(filters=8, kernel=3, batch_norm=True, pool=PoolConf(size=2))],
    dense=[DenseConf(units=16)],
)


def conf(**changes):
    small = {"network": SMALL, "epochs": 6, "batch_size": 32, "lr": 1e-2, "calibration_folds": 0}
    return TrainConf(**small | changes)


def accuracy(result, data):
    """Share of the test patches that are right; their rows end in 4 or 9."""
    rows = np.arange(4, len(data.store), 5)
    bands = [data.store.meta.bands.index(band) for band in result.classifier.meta.bands]
    chunks = (chunk[:, bands] for chunk in data.store.chunks(rows))
    shares = batched_probabilities(result.classifier, chunks)
    return (shares.argmax(axis=1) == data.store.patches["label"][rows]).mean()


def weights(result):
    return {name: tensor.clone() for name, tensor in result.classifier.state_dict().items()}


def same(first, second):
    return all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("bands", [1, 3, 5])
def test_a_separable_world_is_learnt(tmp_path, bands):
    data = training_data(tmp_path, bands)
    assert accuracy(fit(data, conf(), CPU), data) >= 0.95


@pytest.mark.parametrize(("network", "epochs"), [("modern", 6), ("lenet5", 20), ("mlp", 6)])
def test_the_presets_learn_a_separable_world(tmp_path, network, epochs):
    data = training_data(tmp_path, bands=4, patch_px=16)
    assert accuracy(fit(data, conf(network=network, epochs=epochs, patience=epochs), CPU), data) >= 0.95


def test_shuffled_labels_stay_at_chance(tmp_path):
    data = training_data(tmp_path, count=1000, shuffled=True)
    assert abs(accuracy(fit(data, conf(), CPU), data) - 1 / 3) < 0.12


def test_a_choice_of_bands_trains_a_network_of_those_bands(tmp_path):
    data = replace(training_data(tmp_path, bands=5), bands=("B04", "B02", "B01"))
    result = fit(data, conf(), CPU)
    meta = result.classifier.meta
    assert meta.bands == ["B04", "B02", "B01"]
    assert meta.statistics.mean == [data.statistics.mean[band] for band in (3, 1, 0)]
    assert result.classifier.network.convolution_1.weight.shape[1] == 3
    assert accuracy(result, data) >= 0.95


def test_two_trainings_on_one_machine_give_the_same_weights(tmp_path):
    data = training_data(tmp_path)
    first, second, other = (fit(data, conf(epochs=2, seed=seed), CPU) for seed in (0, 0, 1))
    assert same(weights(first), weights(second))
    assert first.history == second.history
    assert not same(weights(first), weights(other))


def test_the_seed_sets_the_first_weights(tmp_path):
    data = training_data(tmp_path)
    untrained = {"epochs": 1, "lr": 1e-12, "weight_decay": 0.0, "ema": 0.0}
    first, other = (
        fit(data, conf(seed=seed, **untrained), CPU).classifier.network.output.weight for seed in (0, 1)
    )
    assert not torch.allclose(first, other, atol=1e-3)


def test_where_the_patches_come_from_changes_nothing(tmp_path, monkeypatch):
    data = training_data(tmp_path)
    here, ahead = (
        fit(data, conf(epochs=2), ComputeConf(accelerator="cpu", loaders=loaders)) for loaders in (0, 3)
    )
    with monkeypatch.context() as patch:
        patch.setattr(batches, "open_rows", on_the_device)
        patch.setattr(fitting, "calibrate", once_more_on_disk(data))
        on_device = fit(data, conf(epochs=2), CPU)
    assert here.history == ahead.history == on_device.history
    assert same(weights(here), weights(ahead))
    assert same(weights(here), weights(on_device))


def once_more_on_disk(data):
    """What follows training reads the file, which was cut short during it."""
    path = data.store.folder / "pixels.npy"
    pixels = path.read_bytes()

    def then(*args):
        path.write_bytes(pixels)
        calibrate(*args)

    return then


def on_the_device(store, bands, rows, device, loaders):
    """As on CUDA: training and validation patches lie on the device, and the file is not read again."""
    on_device = DeviceRows(StoredRows(store, bands), rows, device, loaders)
    assert len(on_device.rows) == len(rows) == 320
    os.truncate(store.folder / "pixels.npy", 0)
    return on_device


@pytest.mark.parametrize("loaders", [0, 2])
def test_a_store_cut_short_in_a_training_ends_it(tmp_path, loaders):
    data = training_data(tmp_path)
    rows = []

    def cut(row):
        rows.append(row)
        path = data.store.folder / "pixels.npy"
        os.truncate(path, path.stat().st_size // 2)

    with pytest.raises(StoreError, match=r"pixels\.npy ends at byte \d+, .* run `tile` again"):
        fit(data, conf(), ComputeConf(accelerator="cpu", loaders=loaders), cut)
    assert len(rows) == 1
    assert not readers()


@pytest.mark.parametrize("error", [ConfigError, KeyboardInterrupt])
def test_no_thread_is_left_by_a_training_that_fails(tmp_path, monkeypatch, error):
    seen = []

    def fail(task, batch, batch_idx):
        del task, batch, batch_idx
        seen.extend(readers())
        raise error

    monkeypatch.setattr(PatchClassification, "training_step", fail)
    with pytest.raises((error, SystemExit)):
        fit(training_data(tmp_path), conf(), ComputeConf(accelerator="cpu", loaders=2))
    assert seen
    assert not readers()


def readers():
    return [thread for thread in threading.enumerate() if thread.name.startswith("lenscape-reader")]


def test_the_test_part_changes_nothing(tmp_path):
    data = training_data(tmp_path)
    before = fit(data, conf(epochs=2), CPU)
    path = data.store.folder / "pixels.npy"
    pixels = np.load(path)
    pixels[4::5] = 60_000  # the test part
    np.save(path, pixels)
    after = fit(replace(data, store=type(data.store).open(data.store.folder)), conf(epochs=2), CPU)
    assert before.history == after.history
    assert same(weights(before), weights(after))


@pytest.mark.parametrize(
    ("monitor", "sign", "tolerance", "ema"),
    [
        ("balanced_accuracy", 1, 0.0, 0.0),
        ("balanced_accuracy", 1, 0.05, 0.9),
        ("loss", -1, 0.0, 0.9),
        ("loss", -1, 0.005, 0.0),
    ],
)
def test_the_epoch_that_validates_best_is_kept_and_training_stops_after_it(
    tmp_path, monitor, sign, tolerance, ema
):
    data = training_data(tmp_path, count=300, shuffled=True)
    # nothing can be learnt: the validation scores go up and down, and soon get no better
    settings = conf(epochs=60, patience=4, monitor=monitor, tolerance=tolerance, ema=ema)
    result = fit(data, settings, CPU)
    scores = [sign * getattr(row, f"validation_{monitor}") for row in result.history]
    good = [epoch for epoch, score in enumerate(scores, 1) if score >= max(scores) - tolerance]
    assert result.best == result.history[good[-1] - 1]
    assert len(result.history) == result.best.epoch + 4 < 60
    shares = batched_probabilities(result.classifier, data.store.chunks(data.validation))
    labels = data.store.patches["label"][data.validation]
    right = shares.argmax(axis=1) == labels
    recalls = [right[labels == label].mean() for label in range(3)]
    assert np.mean(recalls) == pytest.approx(result.best.validation_balanced_accuracy, abs=1e-6)
    weight = np.array(result.classifier.meta.class_weights)[labels]
    # of the network as it was validated, before it was calibrated
    shares = uncalibrated(shares, result.classifier.meta.temperature)
    loss = -np.average(np.log(shares[np.arange(len(labels)), labels]), weights=weight)
    assert loss == pytest.approx(result.best.validation_loss, abs=1e-5)


def test_the_history_is_handed_out_as_it_comes(tmp_path):
    rows = []
    result = fit(training_data(tmp_path), conf(epochs=3), CPU, rows.append)
    assert tuple(rows) == result.history
    assert [row.epoch for row in rows] == [1, 2, 3]
    assert rows[2].train_loss < rows[0].train_loss
    assert rows[2].train_balanced_accuracy > rows[0].train_balanced_accuracy
    assert rows[2].lr < 1e-2


def test_training_leaves_nothing_behind(tmp_path, monkeypatch, capfd):
    data = training_data(tmp_path)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    mode = torch.are_deterministic_algorithms_enabled()
    fit(data, conf(epochs=2), CPU)
    assert list(Path().iterdir()) == []
    assert torch.are_deterministic_algorithms_enabled() == mode
    out, err = capfd.readouterr()
    assert out == ""
    assert "epoch 2 of 2" in err
    assert len([line for line in err.replace("\r", "\n").split("\n") if line.strip()]) <= 8


def test_what_the_model_is_made_from_is_recorded(tmp_path):
    data = training_data(tmp_path)
    meta = fit(data, conf(epochs=1), CPU).classifier.meta
    assert meta.hashes.store == data.store.sha256
    assert meta.hashes.split == data.split_sha256 != ""
    assert meta.network == SMALL
    assert meta.preset == "own"
    assert (meta.classes, meta.geometry) == (data.store.meta.classes, data.store.meta.geometry)
    other = fit(data, conf(epochs=1, weight_decay=0.5), CPU).classifier.meta
    assert meta.hashes.conf != other.hashes.conf


def test_a_learning_rate_that_diverges_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"training diverged in epoch \d+ .* lr 1e\+30 is too large"):
        fit(training_data(tmp_path), conf(lr=1e30), CPU)


def test_layers_that_do_not_fit_are_refused(tmp_path):
    with pytest.raises(NetworkError, match=r"convolution 2 .* patch_px of at least 16 \(it is 8\)"):
        fit(training_data(tmp_path), conf(network="lenet5"), CPU)


@pytest.mark.skipif(torch.accelerator.is_available(), reason="this machine has an accelerator")
def test_an_accelerator_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"accelerator 'gpu' .* set both to auto"):
        fit(training_data(tmp_path), conf(), ComputeConf(accelerator="gpu"))


def test_bf16_trains_too(tmp_path):
    data = training_data(tmp_path)
    result = fit(data, conf(), ComputeConf(accelerator="cpu", precision="bf16"))
    assert accuracy(result, data) >= 0.95
    assert result.classifier.network.output.weight.dtype == torch.float32


def test_predictions_for_all_training_blocks_set_the_temperature(tmp_path, monkeypatch):
    data = training_data(tmp_path, count=400)
    predictions = []
    original = fitting.calibrate

    def keeping(classifier, given, held_out=()):
        if held_out:
            predictions.extend([*held_out, predicted(classifier, given, given.validation)])
        original(classifier, given, held_out)

    monkeypatch.setattr(fitting, "calibrate", keeping)
    alone = fit(data, conf(epochs=1), CPU).classifier
    assert predictions == []
    more = fit(data, conf(epochs=1, calibration_folds=3), CPU).classifier
    rows = np.concatenate([one.rows for one in predictions])
    assert sorted(rows.tolist()) == sorted([*data.train.tolist(), *data.validation.tolist()])
    logits = np.log(np.concatenate([one.probabilities for one in predictions]))
    labels, blocks = data.store.patches["label"][rows], data.blocks(rows)
    assert more.meta.temperature == pytest.approx(shrunk_temperature(labels, logits, blocks), rel=1e-4)
    assert more.meta.temperature_blocks == len(np.unique(blocks)) > 1
    # the same network, only its temperature is another one
    ratio = alone.meta.temperature / more.meta.temperature
    first, second = (one.network.output.weight.detach().numpy() for one in (alone, more))
    assert second == pytest.approx(first * ratio, rel=1e-5)


@pytest.fixture
def two_threads():
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    assert torch.get_num_threads() == 2
    torch.set_num_threads(threads)


@pytest.mark.slow
@pytest.mark.usefixtures("two_threads")
def test_networks_trained_side_by_side_are_the_same(tmp_path, monkeypatch):
    data = training_data(tmp_path, count=400)
    trained = []
    original = fitting.train_network

    def keeping(*args, **kwargs):
        trained.append(torch.get_num_threads())
        return original(*args, **kwargs)

    monkeypatch.setattr(fitting, "train_network", keeping)
    results = {
        workers: fit(
            data, conf(calibration_folds=3), ComputeConf(accelerator="cpu", workers=workers)
        ).classifier
        for workers in (1, 2)
    }
    # four networks here, then at least one of four in another process
    assert set(trained) == {1}
    assert 5 <= len(trained) < 8
    assert results[1].meta == results[2].meta
    assert results[1].meta.temperature_blocks > 1
    assert same(results[1].state_dict(), results[2].state_dict())


@pytest.mark.slow
@pytest.mark.usefixtures("two_threads")
def test_an_error_of_a_training_ends_those_beside_it(tmp_path):
    data = training_data(tmp_path, count=400)
    with pytest.raises(ConfigError, match="training diverged in epoch"):
        fit(data, conf(lr=1e30, calibration_folds=3), CPU)
    assert multiprocessing.active_children() == []


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
