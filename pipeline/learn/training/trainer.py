"""One training by Lightning: data, conf and machine in; the weights of the best epoch out."""

from __future__ import annotations

import logging
import math
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch import Callback, Trainer, seed_everything
from lightning.pytorch.callbacks import LambdaCallback
from tqdm import tqdm

from pipeline.config.compute import ComputeConf
from pipeline.config.train import TrainConf, resolve
from pipeline.errors import ConfigError
from pipeline.files import sha256_of_value
from pipeline.learn.data.batches import PatchDataModule
from pipeline.learn.data.training_data import TrainingData
from pipeline.learn.network.classifier import Hashes, ModelMeta, PatchClassifier
from pipeline.learn.network.history import Epoch
from pipeline.learn.training.task import PatchClassification


@dataclass(frozen=True)
class FitResult:
    """A trained model and how it came about."""

    classifier: PatchClassifier
    """With the weights of the epoch that was kept, on the CPU, ready to predict."""
    history: tuple[Epoch, ...]
    best: Epoch
    """The row of that epoch."""


def train_network(
    data: TrainingData,
    conf: TrainConf,
    compute: ComputeConf,
    on_epoch: Callable[[Epoch], None] | None = None,
    class_weights: list[float] | None = None,
    progress: bool = True,
) -> FitResult:
    """Train one network and keep the epoch that validates best; arguments and errors as of `fit`."""
    history: list[Epoch] = []
    choice = Choice(conf)

    def record(row: Epoch) -> None:
        _require_finite(row, conf)
        history.append(row)
        choice.offer(row, task.kept)
        trainer.should_stop = row.epoch - choice.row.epoch >= conf.patience
        bar.set_description(f"epoch {row.epoch} of {conf.epochs}", refresh=False)
        bar.set_postfix_str(
            f"validation loss {row.validation_loss:.3f}, "
            f"balanced accuracy {row.validation_balanced_accuracy:.3f}",
            refresh=False,
        )
        if on_epoch is not None and trainer.is_global_zero:
            on_epoch(row)

    with _quiet_lightning():
        seed_everything(conf.seed, workers=True, verbose=False)
        weights = class_weights or data.class_weights(conf.class_weight_exponent)
        task = PatchClassification(_meta(data, conf, weights), conf, weights, record)
        show = LambdaCallback(
            on_train_start=lambda trainer, _: bar.reset(int(trainer.estimated_stepping_batches)),
            on_train_batch_end=lambda *_: bar.update(),
        )
        trainer = _trainer(conf, compute, show)
        quiet = not (progress and trainer.is_global_zero)
        interval_s = 0.5 if sys.stderr.isatty() else 30  # a log wants few lines
        with tqdm(unit="batch", disable=quiet, mininterval=interval_s) as bar:
            trainer.fit(task, PatchDataModule(data, conf.batch_size, conf.seed, compute.loaders))
    return FitResult(choice.restore(task.kept), tuple(history), choice.row)


class Choice:
    """The epoch whose weights are kept: of those within the tolerance of the best, the last.

    Scores of few validation patches go up and down by chance, and late epochs of a falling learning
    rate generalise better than their scores can tell.
    """

    row: Epoch
    """The epoch chosen so far."""

    def __init__(self, conf: TrainConf) -> None:
        self.score = f"validation_{conf.monitor}"
        self.sign = -1 if conf.monitor == "loss" else 1
        self.tolerance = conf.tolerance
        self.best = -math.inf
        self.weights: dict[str, torch.Tensor] = {}

    def offer(self, row: Epoch, classifier: PatchClassifier) -> None:
        """Take an epoch's weights if it is at least as good as needed.

        A new best is always taken, so earlier epochs never have to be compared again.
        """
        score = self.sign * getattr(row, self.score)
        self.best = max(self.best, score)
        if score >= self.best - self.tolerance:
            self.row = row
            self.weights = {
                name: tensor.detach().cpu().clone() for name, tensor in classifier.state_dict().items()
            }

    def restore(self, classifier: PatchClassifier) -> PatchClassifier:
        """The classifier with the weights of the chosen epoch, on the CPU, ready to predict."""
        classifier.load_state_dict(self.weights)
        return classifier.cpu().eval()


def first_process() -> bool:
    """Whether this is the process that writes: on several devices Lightning starts one for each."""
    return int(getattr(rank_zero_only, "rank", 0)) == 0


def _meta(data: TrainingData, conf: TrainConf, class_weights: list[float]) -> ModelMeta:
    store = data.store.meta
    preset, network = resolve(conf.network)
    return ModelMeta(
        preset=preset,
        network=network,
        bands=list(data.bands),
        geometry=store.geometry,
        resampling=store.resampling,
        classes=store.classes,
        credit=store.credit,
        statistics=data.input_statistics,
        class_weights=class_weights,
        scenes=store.scenes,
        hashes=Hashes(
            store=data.store.sha256,
            split=data.split_sha256,
            conf=sha256_of_value(conf.model_dump(mode="json")),
        ),
    )


def _trainer(conf: TrainConf, compute: ComputeConf, callback: Callback) -> Trainer:
    """A trainer that writes nothing; `fit` stops it early."""
    try:
        return Trainer(
            accelerator=compute.accelerator,
            devices=compute.devices,
            precision=_precision(compute),
            max_epochs=conf.epochs,
            callbacks=[callback],
            logger=False,
            enable_checkpointing=False,  # `Choice` keeps the weights
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,  # BatchRows shares the rows out itself
            # within a job of Slurm too, whose tasks are no processes of this training
            plugins=None if TorchElasticEnvironment.detect() else LightningEnvironment(),
            # warn of an operation without a deterministic form on a device, do not stop
            deterministic="warn",
        )
    except MisconfigurationException as error:
        raise ConfigError(
            f"the compute conf asks for accelerator {compute.accelerator!r} and devices "
            f"{compute.devices!r}, which this machine does not have; set both to auto."
        ) from error


def _precision(compute: ComputeConf) -> Literal["32-true", "bf16-mixed"]:
    cuda = compute.accelerator != "cpu" and torch.cuda.is_available()
    if compute.precision == "bf16" or (compute.precision == "auto" and cuda):
        return "bf16-mixed"
    return "32-true"


def _require_finite(row: Epoch, conf: TrainConf) -> None:
    if not (math.isfinite(row.train_loss) and math.isfinite(row.validation_loss)):
        raise ConfigError(
            f"training diverged in epoch {row.epoch} (the loss is no finite number): "
            f"lr {conf.lr:g} is too large for this network; lower it in the conf of train."
        )


@contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Silence Lightning's advice on stderr and restore torch's choice of algorithms afterwards."""
    deterministic = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            # Lightning 2.6 with torch 2.15
            warnings.filterwarnings("ignore", ".*LeafSpec.*is deprecated.*", FutureWarning)
            yield
    finally:
        torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
