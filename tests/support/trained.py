"""Trainings as the stage does them, for tests of what comes of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from pipeline.config.compute import ComputeConf
from pipeline.config.train import ConvolutionConf, DenseConf, NetworkConf, PoolConf, TrainConf
from pipeline.learn.data.training_data import Fold, TrainingData
from pipeline.learn.network.history import Epoch
from pipeline.learn.training.fit import FitResult, finish, train_networks

CPU = ComputeConf(accelerator="cpu")
SMALL = NetworkConf(
    convolutions=[ConvolutionConf(filters=8, kernel=3, batch_norm=True, pool=PoolConf(size=2))],
    dense=[DenseConf(units=16)],
)


def train_conf(**changes: object) -> TrainConf:
    """A conf by which a small network learns in a second."""
    small: dict[str, object] = {"network": SMALL, "epochs": 6, "batch_size": 32, "lr": 1e-2}
    return TrainConf.model_validate(small | changes)


def fit(
    data: TrainingData,
    conf: TrainConf,
    folder: Path,
    folds: Sequence[Fold] = (),
    compute: ComputeConf = CPU,
    on_epoch: Callable[[Epoch], None] | None = None,
) -> FitResult:
    """Train all networks into a folder and finish the one that maps."""
    train_networks(data, folds, conf, compute, folder, on_epoch)
    return finish(data, folds, folder, conf.learning_curve)
