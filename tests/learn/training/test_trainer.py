from __future__ import annotations

import os
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.config.compute import ComputeConf
from pipeline.config.train import TrainConf
from pipeline.errors import ConfigError, NetworkError, StoreError
from pipeline.learn.data import batches
from pipeline.learn.data.batches import DeviceRows, StoredRows
from pipeline.learn.inference.predictor import batched_probabilities
from pipeline.learn.network.history import Epoch
from pipeline.learn.training.task import PatchClassification
from pipeline.learn.training.trainer import Choice, Reporting, train_network
from tests.support.learners import folded_data, training_data
from tests.support.trained import CPU, SMALL
from tests.support.trained import train_conf as conf


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
    assert accuracy(train_network(data, conf(), CPU), data) >= 0.95


@pytest.mark.parametrize(("network", "epochs"), [("modern", 6), ("lenet5", 20), ("mlp", 6)])
def test_the_presets_learn_a_separable_world(tmp_path, network, epochs):
    data = training_data(tmp_path, bands=4, patch_px=16)
    assert (
        accuracy(train_network(data, conf(network=network, epochs=epochs, patience=epochs), CPU), data)
        >= 0.95
    )


def test_shuffled_labels_stay_at_chance(tmp_path):
    data = training_data(tmp_path, count=1000, shuffled=True)
    assert abs(accuracy(train_network(data, conf(), CPU), data) - 1 / 3) < 0.12


def test_a_choice_of_bands_trains_a_network_of_those_bands(tmp_path):
    data = replace(training_data(tmp_path, bands=5), bands=("B04", "B02", "B01"))
    result = train_network(data, conf(), CPU)
    meta = result.classifier.meta
    assert meta.bands == ["B04", "B02", "B01"]
    assert meta.statistics.mean == [data.statistics.mean[band] for band in (3, 1, 0)]
    assert result.classifier.network.convolution_1.weight.shape[1] == 3
    assert accuracy(result, data) >= 0.95


def test_two_trainings_on_one_machine_give_the_same_weights(tmp_path):
    data = training_data(tmp_path)
    first, second, other = (train_network(data, conf(epochs=2, seed=seed), CPU) for seed in (0, 0, 1))
    assert same(weights(first), weights(second))
    assert first.history == second.history
    assert not same(weights(first), weights(other))


def test_the_seed_sets_the_first_weights(tmp_path):
    data = training_data(tmp_path)
    untrained = {"epochs": 1, "lr": 1e-12, "weight_decay": 0.0, "ema": 0.0}
    first, other = (
        train_network(data, conf(seed=seed, **untrained), CPU).classifier.network.output.weight
        for seed in (0, 1)
    )
    assert not torch.allclose(first, other, atol=1e-3)


def test_where_the_patches_come_from_changes_nothing(tmp_path, monkeypatch):
    data = training_data(tmp_path)
    here, ahead = (
        train_network(data, conf(epochs=2), ComputeConf(accelerator="cpu", loaders=loaders))
        for loaders in (0, 3)
    )
    monkeypatch.setattr(batches, "open_rows", on_the_device)
    on_device = train_network(data, conf(epochs=2), CPU)
    assert here.history == ahead.history == on_device.history
    assert same(weights(here), weights(ahead))
    assert same(weights(here), weights(on_device))


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
        train_network(
            data,
            conf(),
            ComputeConf(accelerator="cpu", loaders=loaders),
            reporting=Reporting(on_epoch=cut),
        )
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
        train_network(training_data(tmp_path), conf(), ComputeConf(accelerator="cpu", loaders=2))
    assert seen
    assert not readers()


def readers():
    return [thread for thread in threading.enumerate() if thread.name.startswith("lenscape-reader")]


def test_the_test_part_changes_nothing(tmp_path):
    data = training_data(tmp_path)
    before = train_network(data, conf(epochs=2), CPU)
    path = data.store.folder / "pixels.npy"
    pixels = np.load(path)
    pixels[4::5] = 60_000  # the test part
    np.save(path, pixels)
    after = train_network(
        replace(data, store=type(data.store).open(data.store.folder)), conf(epochs=2), CPU
    )
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
    result = train_network(data, settings, CPU)
    scores = [sign * getattr(row, f"validation_{monitor}") for row in result.history]
    good = [epoch for epoch, score in enumerate(scores, 1) if score >= max(scores) - tolerance]
    kept = result.classifier.meta.kept_epoch
    assert kept == good[-1]
    assert len(result.history) == kept + 4 < 60
    row = result.history[kept - 1]
    shares = batched_probabilities(result.classifier, data.store.chunks(data.validation))
    labels = data.store.patches["label"][data.validation]
    right = shares.argmax(axis=1) == labels
    recalls = [right[labels == label].mean() for label in range(3)]
    assert np.mean(recalls) == pytest.approx(row.validation_balanced_accuracy, abs=1e-6)
    weight = np.array(result.classifier.meta.class_weights)[labels]
    loss = -np.average(np.log(shares[np.arange(len(labels)), labels]), weights=weight)
    assert loss == pytest.approx(row.validation_loss, abs=1e-5)


def test_the_history_is_handed_out_as_it_comes(tmp_path):
    rows = []
    result = train_network(
        training_data(tmp_path), conf(epochs=3), CPU, reporting=Reporting(on_epoch=rows.append)
    )
    assert rows == result.history
    assert [row.epoch for row in rows] == [1, 2, 3]
    assert rows[2].train_loss < rows[0].train_loss
    assert rows[2].train_balanced_accuracy > rows[0].train_balanced_accuracy
    assert rows[2].lr < 1e-2


def test_training_leaves_nothing_behind(tmp_path, monkeypatch, capfd):
    data = training_data(tmp_path)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    mode = torch.are_deterministic_algorithms_enabled()
    train_network(data, conf(epochs=2), CPU, reporting=Reporting("network"))
    assert list(Path().iterdir()) == []
    assert torch.are_deterministic_algorithms_enabled() == mode
    out, err = capfd.readouterr()
    assert out == ""
    assert "network: epoch 2 of 2" in err
    assert len([line for line in err.replace("\r", "\n").split("\n") if line.strip()]) <= 8


def test_what_the_model_is_made_from_is_recorded(tmp_path):
    data = training_data(tmp_path)
    meta = train_network(data, conf(epochs=1), CPU).classifier.meta
    assert meta.hashes.store == data.store.sha256
    assert meta.hashes.split == data.split_sha256 != ""
    assert meta.network == SMALL
    assert meta.preset == "own"
    assert (meta.classes, meta.geometry) == (data.store.meta.classes, data.store.meta.geometry)
    other = train_network(data, conf(epochs=1, weight_decay=0.5), CPU).classifier.meta
    assert meta.hashes.conf != other.hashes.conf


def test_a_learning_rate_that_diverges_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"training diverged in epoch \d+ .* lr 1e\+30 is too large"):
        train_network(training_data(tmp_path), conf(lr=1e30), CPU)


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 5, 6, 7, 10])
def test_a_training_of_few_steps_trains(tmp_path, steps):
    data = training_data(tmp_path, count=100)  # 60 train
    trained = train_network(data, conf(epochs=steps, patience=steps, batch_size=64), CPU)
    assert len(trained.history) == steps
    assert trained.history[-1].lr < 1e-2


def test_layers_that_do_not_fit_are_refused(tmp_path):
    with pytest.raises(NetworkError, match=r"convolution 2 .* patch_px of at least 16 \(it is 8\)"):
        train_network(training_data(tmp_path), conf(network="lenet5"), CPU)


@pytest.mark.skipif(torch.accelerator.is_available(), reason="this machine has an accelerator")
def test_an_accelerator_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"accelerator 'gpu' .* set both to auto"):
        train_network(training_data(tmp_path), conf(), ComputeConf(accelerator="gpu"))


def test_bf16_trains_too(tmp_path):
    data = training_data(tmp_path)
    result = train_network(data, conf(), ComputeConf(accelerator="cpu", precision="bf16"))
    assert accuracy(result, data) >= 0.95
    assert result.classifier.network.output.weight.dtype == torch.float32


@pytest.mark.parametrize(
    ("monitor", "tolerance", "scores", "expected"),
    [
        ("balanced_accuracy", 0.0, [0.5, 0.7, 0.6, 0.7, 0.65], 4),
        ("balanced_accuracy", 0.05, [0.5, 0.7, 0.66, 0.64], 3),
        # the second epoch was near the best one of its time, but that was beaten by far
        ("balanced_accuracy", 0.05, [0.5, 0.48, 0.7, 0.6], 3),
        ("loss", 0.05, [1.0, 0.8, 0.84, 0.9], 3),
        ("loss", 0.0, [1.0, 0.8, 0.84, 0.9], 2),
    ],
)
def test_of_the_epochs_near_the_best_the_last_is_kept(monitor, tolerance, scores, expected):
    choice, module = Choice(TrainConf(monitor=monitor, tolerance=tolerance)), torch.nn.Linear(1, 1)
    for epoch, score in enumerate(scores, 1):
        torch.nn.init.constant_(module.weight, epoch)
        loss, balanced = (score, 0.0) if monitor == "loss" else (0.0, score)
        choice.offer(Epoch(epoch, 0.0, loss, 0.0, balanced, 0.0), module)
    assert choice.row.epoch == expected
    assert choice.restore(module).weight.item() == expected


def test_folds_report_on_held_out_ground_and_keep_the_last_epoch(tmp_path):
    _, folds = folded_data(tmp_path, count=120, shuffled=True)
    # early stopping would end it: nothing can be learnt
    settings = conf(epochs=8, patience=1, tolerance=0.0)
    trained = train_network(folds[1].data, settings, CPU)
    assert len(trained.history) == trained.classifier.meta.kept_epoch == 8
    row = trained.history[-1]
    pixels = folds[1].data.pixels(folds[1].tested)
    right = batched_probabilities(trained.classifier, pixels).argmax(axis=1)
    labels = folds[1].data.store.patches["label"][folds[1].tested]
    recalls = [(right == labels)[labels == label].mean() for label in range(3)]
    assert np.mean(recalls) == pytest.approx(row.validation_balanced_accuracy, abs=1e-6)


def test_what_a_fold_tests_does_not_change_its_network(tmp_path):
    _, folds = folded_data(tmp_path, count=120)
    data = folds[0].data
    without = replace(data, validation=data.validation[:0])
    first, second = (train_network(one, conf(epochs=2), CPU) for one in (data, without))
    assert same(weights(first), weights(second))
    assert [row.validation_loss for row in second.history] == [None, None]
    assert [row.train_loss for row in first.history] == [row.train_loss for row in second.history]


class Cut(Exception):  # noqa: N818
    """A training is cut off here."""


def cut_after(epoch):
    """Reporting that cuts a training off when an epoch is told of, which is before it is saved."""

    def cut(row):
        if row.epoch == epoch:
            raise Cut

    return Reporting(on_epoch=cut)


CHOOSES = {"epochs": 60, "patience": 3, "tolerance": 0.0, "monitor": "loss"}


@pytest.fixture(params=["chosen by validation", "a fold", "no validation"])
def cut_off(request, tmp_path):
    """Data and a conf for each way in which the kept epoch comes about."""
    if request.param == "chosen by validation":
        return training_data(tmp_path, count=120, shuffled=True), conf(**CHOOSES)
    data, folds = folded_data(tmp_path, count=120)
    return (data if request.param == "no validation" else folds[2].data), conf(epochs=5)


def test_a_training_that_was_cut_off_ends_with_the_same_bytes(cut_off, tmp_path):
    data, settings = cut_off
    whole = train_network(data, settings, CPU)
    last, state = len(whole.history), tmp_path / "state.ckpt"
    for epoch in (1, 2, last):
        with pytest.raises(Cut):
            train_network(data, settings, CPU, state=state, reporting=cut_after(epoch))
    rows = []
    again = train_network(data, settings, CPU, state=state, reporting=Reporting(on_epoch=rows.append))
    assert [row.epoch for row in rows] == [last]  # those before it were not trained once more
    assert_the_same(again, whole, tmp_path)
    # cut off when all epochs were done, or early stopping had come to its end
    over = train_network(data, settings, CPU, state=state, reporting=cut_after(last))
    assert_the_same(over, whole, tmp_path)


def assert_the_same(first, second, tmp_path):
    """Not only the numbers, but the files are the same."""
    assert first.history == second.history
    assert first.classifier.meta.kept_epoch == second.classifier.meta.kept_epoch
    bytes_of = []
    for name, one in (("first", first), ("second", second)):
        one.classifier.save(tmp_path / name)
        bytes_of.append((tmp_path / name / "weights.safetensors").read_bytes())
    assert bytes_of[0] == bytes_of[1]


def test_the_bar_of_a_training_that_goes_on_begins_where_it_was_cut_off(tmp_path, capfd):
    data, state = training_data(tmp_path, count=100), tmp_path / "state.ckpt"
    with pytest.raises(Cut):
        train_network(data, conf(epochs=4), CPU, state=state, reporting=cut_after(3))
    capfd.readouterr()
    train_network(data, conf(epochs=4), CPU, state=state, reporting=Reporting("fold 1 of 3"))
    err = capfd.readouterr().err
    assert "fold 1 of 3: epoch 4 of 4" in err
    assert "8/8" in err  # batches of 60 patches, 32 at a time


SLURM = {
    "SLURM_NTASKS": "4",
    "SLURM_NTASKS_PER_NODE": "4",
    "SLURM_JOB_ID": "7",
    "SLURM_PROCID": "0",
    "SLURM_LOCALID": "0",
    "SLURM_NODEID": "0",
    "SLURM_NNODES": "2",
    "SLURM_JOB_NAME": "a job",
}


@pytest.mark.parametrize("changes", [{}, {"SLURM_JOB_NAME": "bash"}, {"SLURM_NTASKS_PER_NODE": None}])
def test_a_job_of_slurm_trains_as_elsewhere(tmp_path, monkeypatch, changes):
    for name, value in (SLURM | changes).items():
        if value is not None:
            monkeypatch.setenv(name, value)
    conf = TrainConf(epochs=1, batch_size=64, network="mlp")
    result = train_network(training_data(tmp_path), conf, ComputeConf(accelerator="cpu"))
    assert len(result.history) == 1
