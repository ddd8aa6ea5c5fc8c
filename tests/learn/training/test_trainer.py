from __future__ import annotations

import pytest
import torch

from pipeline.config.compute import ComputeConf
from pipeline.config.train import TrainConf
from pipeline.learn.network.history import Epoch
from pipeline.learn.training.trainer import Choice, train_network
from tests.support.learners import training_data


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
    result = train_network(
        training_data(tmp_path), conf, ComputeConf(accelerator="cpu"), progress=False
    )
    assert len(result.history) == 1
