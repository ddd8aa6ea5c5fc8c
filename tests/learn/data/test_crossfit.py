from __future__ import annotations

import numpy as np
import pytest

from pipeline.config.compute import ComputeConf
from pipeline.config.train import TrainConf
from pipeline.learn.data.crossfit import without_blocks
from pipeline.learn.stats.calibration import trusted_temperature
from pipeline.learn.training import fit as fitting
from pipeline.learn.training.calibration_fit import heard_of
from pipeline.learn.training.fit import fit
from tests.support.learners import training_data

CONF = {
    "epochs": 1,
    "batch_size": 64,
    "network": {"convolutions": [{"filters": 4, "kernel": 3, "pool": {"size": 2}}]},
}


@pytest.fixture
def data(tmp_path):
    return training_data(tmp_path, count=400)


def test_every_training_block_is_left_out_once(data):
    data.store.patches["on_grid"] = np.arange(len(data.store)) % 3 > 0  # others only ever train
    found = list(without_blocks(data, 3, seed=0))
    assert len(found) == 3
    on_grid = data.store.patches["on_grid"]
    held = np.concatenate([one.rows for one in found])
    assert sorted(held.tolist()) == data.train[on_grid[data.train]].tolist()
    for one in found:
        assert not set(data.blocks(data.train)[np.isin(data.train, one.rows)]) & set(
            data.blocks(data.train)[np.isin(data.train, one.data.train)]
        )
        assert one.data.statistics == data.store.statistics(one.data.train) != data.statistics
        assert (one.data.validation == data.validation).all()


def test_no_training_patch_shares_a_coarse_pixel_with_what_is_left_out(data):
    x, y, epsg = (data.store.patches[name] for name in ("x", "y", "epsg"))
    geometry = data.store.meta.geometry
    side = geometry.patch_px * geometry.pixel_m
    dropped = 0
    for one in without_blocks(data, 3, seed=0):
        out = np.setdiff1d(data.train, one.data.train)
        for row in one.data.train:
            near = (
                (epsg[one.rows] == epsg[row])
                & (np.abs(x[one.rows] - x[row]) < side + 60)
                & (np.abs(y[one.rows] - y[row]) < side + 60)
            )
            assert not near.any()
        dropped += len(out) - len(one.rows)
    assert dropped > 0  # or the rule was never needed


@pytest.mark.parametrize("folds", [0, 1])
def test_nothing_is_left_out_unless_asked(data, folds):
    assert list(without_blocks(data, folds, seed=0)) == []


def test_the_temperature_is_heard_from_all_training_blocks(data, monkeypatch):
    heard = []
    original = fitting.make_trustworthy

    def listening(classifier, given, elsewhere=()):
        if elsewhere:
            heard.extend([*elsewhere, heard_of(classifier, given, given.validation)])
        original(classifier, given, elsewhere)

    monkeypatch.setattr(fitting, "make_trustworthy", listening)
    machine = ComputeConf(accelerator="cpu")
    alone = fit(data, TrainConf(**CONF), machine).classifier
    assert heard == []
    more = fit(data, TrainConf(**CONF, calibration_folds=3), machine).classifier
    rows = np.concatenate([one.rows for one in heard])
    assert sorted(rows.tolist()) == sorted([*data.train.tolist(), *data.validation.tolist()])
    said = np.log(np.concatenate([one.probabilities for one in heard]))
    labels, blocks = data.store.patches["label"][rows], data.blocks(rows)
    assert more.meta.temperature == pytest.approx(trusted_temperature(labels, said, blocks), rel=1e-4)
    assert more.meta.temperature_blocks == len(np.unique(blocks)) > 1
    # the same network, only its temperature is another one
    ratio = alone.meta.temperature / more.meta.temperature
    first, second = (one.network.output.weight.detach().numpy() for one in (alone, more))
    assert second == pytest.approx(first * ratio, rel=1e-5)
