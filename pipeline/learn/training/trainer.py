"""One training by Lightning: data, conf and machine in; the weights of the best epoch out."""

from __future__ import annotations

import logging
import math
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch import Callback, LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import Checkpoint, LambdaCallback
from lightning.pytorch.utilities.exceptions import SIGTERMException
from tqdm import tqdm

from pipeline.config.compute import ComputeConf
from pipeline.config.train import TrainConf, resolve
from pipeline.errors import ConfigError
from pipeline.files import publish, sha256_of_value
from pipeline.learn.data.batches import PatchDataModule
from pipeline.learn.data.training_data import TrainingData
from pipeline.learn.network.classifier import Hashes, ModelMeta, PatchClassifier
from pipeline.learn.network.history import Epoch
from pipeline.learn.training.task import PatchClassification


@dataclass(frozen=True)
class TrainedNetwork:
    """A trained network and how it came about."""

    classifier: PatchClassifier
    """With the weights of the epoch that was kept, on the CPU, ready to predict."""
    history: list[Epoch]


@dataclass(frozen=True)
class Reporting:
    """What is told of a training while it runs."""

    name: str = ""
    """What the progress bar calls the network; no bar where empty."""
    line: int = 0
    """Of the terminal, where several networks are trained side by side."""
    on_epoch: Callable[[Epoch], None] | None = None
    """Called with each row of the history as it comes, in the first process only."""


def train_network(
    data: TrainingData,
    conf: TrainConf,
    compute: ComputeConf,
    class_weights: list[float] | None = None,
    state: Path | None = None,
    reporting: Reporting = Reporting(),
) -> TrainedNetwork:
    """Train one network.

    Where the validation patches choose, the epoch that validates best is kept (see `Choice`), else the
    last one of the schedule.

    Args:
        data: Training and validation patches.
        conf: Network, loss, augmentation and schedule.
        compute: Machine and precision.
        class_weights: Of the loss; by the conf's exponent where absent.
        state: A file that holds the state after each epoch, from which a training that was cut off goes
            on.
        reporting: The progress bar, and who hears of each epoch.

    Raises:
        NetworkError: when the layers do not fit the patches.
        ConfigError: when the machine lacks the accelerator, or training diverges.
    """
    choice = Choice(conf, validated=data.validation_chooses)
    history: list[Epoch] = []

    def record(row: Epoch) -> None:
        _require_finite(row, conf)
        history.append(row)
        choice.offer(row, task.kept)
        trainer.should_stop = choice.waited(row.epoch) >= conf.patience
        bar.set_description(f"{reporting.name}: epoch {row.epoch} of {conf.epochs}", refresh=False)
        if row.validation_loss is not None:
            bar.set_postfix_str(
                f"validation loss {row.validation_loss:.3f}, "
                f"balanced accuracy {row.validation_balanced_accuracy:.3f}",
                refresh=False,
            )
        if reporting.on_epoch is not None and trainer.is_global_zero:
            reporting.on_epoch(row)

    with _quiet_lightning():
        seed_everything(conf.seed, workers=True, verbose=False)
        weights = class_weights or data.class_weights(conf.class_weight_exponent)
        task = PatchClassification(_meta(data, conf, weights), conf, weights, record)
        show = LambdaCallback(
            on_train_start=lambda trainer, _: _begin(bar, trainer),
            on_train_batch_end=lambda *_: bar.update(),
        )
        saved = [] if state is None else [SavedState(state, history, choice, conf.patience)]
        trainer = _trainer(conf, compute, [show, *saved], validated=len(data.validation) > 0)
        with _bar(reporting, trainer) as bar:
            batches = PatchDataModule(data, conf.batch_size, conf.seed, compute.loaders)
            begun = state if state and state.is_file() else None
            try:
                trainer.fit(task, batches, ckpt_path=begun, weights_only=False)
            except SIGTERMException as ended:  # Lightning's has the exit status 0
                raise SystemExit(128 + signal.SIGTERM) from ended
            except SystemExit as ended:  # what Lightning makes of Ctrl-C
                if isinstance(ended.__context__, KeyboardInterrupt):
                    raise KeyboardInterrupt from ended
                raise
    classifier = choice.restore(task.kept)
    classifier.meta = classifier.meta.model_copy(update={"kept_epoch": choice.row.epoch})
    return TrainedNetwork(classifier, history)


def _bar(reporting: Reporting, trainer: Trainer) -> tqdm[Any]:
    terminal = sys.stderr.isatty()
    return tqdm(
        unit="batch",
        disable=not (reporting.name and trainer.is_global_zero),
        mininterval=0.5 if terminal else 30,  # a log wants few lines
        position=reporting.line if terminal else None,
        leave=not terminal,
    )


def _begin(bar: tqdm[Any], trainer: Trainer) -> None:
    """Let the bar begin where the training does, which may have been cut off."""
    bar.reset(int(trainer.estimated_stepping_batches))
    bar.initial = trainer.global_step
    bar.update(trainer.global_step)


class SavedState(Checkpoint):
    """Saves the training after each epoch: Lightning's state, the history and the epoch chosen."""

    def __init__(self, path: Path, history: list[Epoch], choice: Choice, patience: int) -> None:
        self.path, self.history, self.choice, self.patience = path, history, choice, patience

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Train no further where it was cut off when it had already stopped early."""
        del pl_module
        if self.history and self.choice.waited(self.history[-1].epoch) >= self.patience:
            trainer.should_stop = True

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Replace the file by the state after this epoch; its class makes it the last one called."""
        del pl_module
        if not trainer.is_global_zero:  # all processes take part, the first one writes
            trainer.save_checkpoint(self.path)
            return
        with publish(self.path) as partial:
            trainer.save_checkpoint(partial)

    def state_dict(self) -> dict[str, Any]:
        """What Lightning does not know."""
        choice = self.choice
        return {
            "history": [tuple(row) for row in self.history],
            "choice": (tuple(choice.row), choice.best, choice.weights),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up what `state_dict` gave."""
        self.history[:] = [Epoch(*row) for row in state_dict["history"]]
        row, self.choice.best, self.choice.weights = state_dict["choice"]
        self.choice.row = Epoch(*row)


class Choice:
    """The epoch whose weights are kept: of those within the tolerance of the best, the last one.

    Without validation patches it is the last epoch of the schedule.

    Scores of few validation patches go up and down by chance, and late epochs of a falling learning
    rate generalise better than their scores can tell.
    """

    row: Epoch
    """The epoch chosen so far."""

    def __init__(self, conf: TrainConf, validated: bool = True) -> None:
        self.validated = validated
        self.score = f"validation_{conf.monitor}"
        self.sign = -1 if conf.monitor == "loss" else 1
        self.tolerance = conf.tolerance
        self.best = -math.inf
        self.weights: dict[str, torch.Tensor] = {}

    def offer(self, row: Epoch, classifier: PatchClassifier) -> None:
        """Take an epoch's weights if it is at least as good as needed.

        A new best is always taken, so earlier epochs never have to be compared again.
        """
        if not self.validated:
            self.row = row
            return
        score = self.sign * getattr(row, self.score)
        self.best = max(self.best, score)
        if score >= self.best - self.tolerance:
            self.row = row
            self.weights = {
                name: tensor.detach().cpu().clone() for name, tensor in classifier.state_dict().items()
            }

    def waited(self, epoch: int) -> int:
        """Epochs since the one that is chosen so far."""
        return epoch - self.row.epoch

    def restore(self, classifier: PatchClassifier) -> PatchClassifier:
        """The classifier with the weights of the chosen epoch, on the CPU, ready to predict."""
        if self.validated:
            classifier.load_state_dict(self.weights)
        return classifier.cpu().eval()


def first_process() -> bool:
    """Whether this is the process that writes: on several devices Lightning starts one for each."""
    return int(getattr(rank_zero_only, "rank", 0)) == 0


def several_processes(compute: ComputeConf) -> bool:
    """Whether all of several processes train each network, in the same order."""
    nodes, devices = _nodes_and_devices(compute)
    return nodes > 1 or devices not in ("auto", 1)


def _nodes_and_devices(compute: ComputeConf) -> tuple[int, int | Literal["auto"]]:
    """The machines of a training, and the devices of each: as torchrun says where it started this."""
    if not TorchElasticEnvironment.detect():
        return 1, compute.devices
    return int(os.environ["GROUP_WORLD_SIZE"]), int(os.environ["LOCAL_WORLD_SIZE"])


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


def _trainer(
    conf: TrainConf, compute: ComputeConf, callbacks: list[Callback], *, validated: bool
) -> Trainer:
    """A trainer that writes nothing by itself; `train_network` stops it early."""
    nodes, devices = _nodes_and_devices(compute)
    try:
        return Trainer(
            accelerator=compute.accelerator,
            num_nodes=nodes,
            devices=devices,
            precision=_precision(compute),
            max_epochs=conf.epochs,
            callbacks=callbacks,
            logger=False,
            # without a callback of this kind Lightning would add its own
            enable_checkpointing=any(isinstance(one, Checkpoint) for one in callbacks),
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            limit_val_batches=None if validated else 0,
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
    if not (math.isfinite(row.train_loss) and math.isfinite(row.validation_loss or 0)):
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
