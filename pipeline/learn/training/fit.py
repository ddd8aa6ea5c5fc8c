"""Training: the networks of all folds and the network that maps, side by side, then its calibration."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from tqdm import tqdm

from pipeline.config.compute import ComputeConf
from pipeline.config.train import TrainConf
from pipeline.files import publish, remove
from pipeline.learn.data.held_out import HeldOut
from pipeline.learn.data.reader import Rows
from pipeline.learn.data.training_data import Fold, TrainingData, pooled
from pipeline.learn.inference.predictor import batched_logits
from pipeline.learn.network.classifier import PatchClassifier
from pipeline.learn.network.history import Epoch, read_history, write_history
from pipeline.learn.stats.applicability import MOST_ROWS, Features, TrainingFeatures, patch_features
from pipeline.learn.stats.calibration import calibrate
from pipeline.learn.training.trainer import (
    Reporting,
    first_process,
    several_processes,
    train_network,
)

HISTORY = "history.csv"
"""In the folder of each network."""
NETWORK = "network"
"""The folder of the network that maps; `fold_1`, `fold_2`, ... are those of the folds."""


@dataclass(frozen=True)
class FitResult:
    """A trained model and how it came about."""

    classifier: PatchClassifier
    """Calibrated, on the CPU, ready to predict."""
    history: list[Epoch]
    """With folds the validation columns are means over the folds, each on the cells it holds out."""
    held_out: HeldOut | None
    """Predictions of the networks of the folds; None without folds."""

    @property
    def kept(self) -> Epoch:
        """The row of the epoch whose weights were kept."""
        return self.history[self.classifier.meta.kept_epoch - 1]


@dataclass(frozen=True)
class _Network:
    """A network to be trained."""

    folder: Path
    """Where it will be; beside it lies its state while it is trained."""
    name: str
    """For people."""
    data: TrainingData
    conf: TrainConf
    compute: ComputeConf


def fold_folder(folder: Path, number: int, share: float = 1) -> Path:
    """Where `train_networks` leaves the network of a fold (from 0), on a share of its blocks."""
    return folder / (f"fold_{number + 1}" + (f"_on_{share:g}" if share < 1 else ""))


def train_networks(
    data: TrainingData,
    folds: Sequence[Fold],
    conf: TrainConf,
    compute: ComputeConf,
    folder: Path,
    on_epoch: Callable[[Epoch], None] | None = None,
) -> None:
    """Train the network that maps and those of the folds, each into a folder of its own below `folder`.

    On a CPU they are trained at the same time, in processes that share its cores. What `folder` holds
    already, of a training of the same data and conf that was cut off, is not trained again: whole
    networks, and the epochs of those that were begun. The weights are those of an undisturbed training.

    Args:
        data: All patches that train, and validation patches where these choose the epoch.
        folds: Of a cross-validation; none where the split has three parts.
        conf: Network, loss, augmentation and schedule.
        compute: Machine and precision.
        folder: Where networks and the state of the training lie.
        on_epoch: Called with each epoch of the network that maps as it comes, in the first process.

    Raises:
        NetworkError: when the layers do not fit the patches.
        ConfigError: when the machine lacks the accelerator, or training diverges.
    """
    mapping = _Network(
        folder / NETWORK, "network" if not folds else "final network", data, conf, compute
    )
    others = [
        _Network(
            fold_folder(folder, fold.number, share),
            f"fold {fold.number + 1} of {len(folds)}"
            + (f", {share:.0%} of the blocks" if share < 1 else ""),
            fold.data if share == 1 else fold.data.on_share_of_blocks(share, conf.seed),
            conf,
            compute,
        )
        for share in (1, *conf.learning_curve)
        for fold in folds
    ]
    with _processes(compute, 1 + len(others)) as submit:
        futures = [submit(_train, one, index) for index, one in enumerate(others, start=1)]
        quiet = not (others and first_process())
        with tqdm(total=1 + len(others), desc="networks", unit="network", disable=quiet) as bar:
            for future in futures:
                future.add_done_callback(lambda one: None if one.cancelled() else bar.update())
            _train(mapping, 0, on_epoch)
            bar.update()
            # this process trains what no other one has begun, the last first
            for index in range(len(others), 0, -1):
                if futures[index - 1].cancel():
                    _train(others[index - 1], index)
                    bar.update()
            for future in futures:
                if not future.cancelled():
                    future.result()


def _train(network: _Network, line: int, on_epoch: Callable[[Epoch], None] | None = None) -> None:
    """Train a network into its folder, or go on with it, unless it is there already."""
    if network.folder.is_dir():
        return
    state = network.folder.with_name(f"{network.folder.name}.ckpt")
    reporting = Reporting(network.name, line, on_epoch)
    trained = train_network(network.data, network.conf, network.compute, None, state, reporting)
    if not first_process():
        return
    with publish(network.folder) as partial:
        partial.mkdir()
        trained.classifier.save(partial)
        write_history(partial / HISTORY, trained.history)
    remove(state)


def finish(
    data: TrainingData, folds: Sequence[Fold], folder: Path, shares: Sequence[float] = ()
) -> FitResult:
    """The network that maps, of `train_networks`, calibrated and with its area of applicability.

    Calibration and threshold come from held-out patches: of the folds, or of the validation part. The
    test part of a split without folds is not used.
    """
    classifier = PatchClassifier.load(folder / NETWORK)
    history = read_history(folder / NETWORK / HISTORY)
    features, sample = _features(classifier, data), _sample(data.train)
    statistics, labels = features(sample), data.store.patches["label"]
    training = TrainingFeatures.of(statistics, labels[sample])
    if not folds:
        rows, logits = data.validation, batched_logits(classifier, data.pixels(data.validation))
        groups = data.blocks(rows)
        classifier.training_features = training.with_threshold(training.distances(features(rows)))
        held_out = None
    else:
        held_out = _held_out(folds, folder, statistics, sample)
        rows, logits, groups = held_out.rows, held_out.logits, held_out.fold
        classifier.training_features = training.with_threshold(held_out.dissimilarity)
        limit = float(classifier.training_features.limit)
        on_share = {share: _predicted(folds, folder, share) for share in shares}
        held_out = HeldOut(rows, groups, logits, held_out.dissimilarity / limit, on_share)
        history = _with_held_out(history, folds, folder)
    classifier.apply_calibration(calibrate(labels[rows], logits, groups))
    count = len(np.unique(data.blocks(rows)))
    update = {"temperature_blocks": count, "learning_curve": tuple(shares) if folds else ()}
    classifier.meta = classifier.meta.model_copy(update=update)
    return FitResult(classifier, history, held_out)


def _held_out(folds: Sequence[Fold], folder: Path, statistics: Features, sample: Rows) -> HeldOut:
    """The predictions of the folds; dissimilarity is the distance itself."""
    logits, distances = [], []
    for fold in folds:
        data, classifier = fold.data, PatchClassifier.load(fold_folder(folder, fold.number))
        logits.append(batched_logits(classifier, data.pixels(fold.tested)))
        trains = np.isin(sample, data.train)
        training = TrainingFeatures.of(statistics[trains], data.store.patches["label"][sample[trains]])
        distances.append(training.distances(_features(classifier, data)(fold.tested)))
    rows = [fold.tested for fold in folds]
    numbers = [np.full(len(fold.tested), fold.number, dtype=np.int64) for fold in folds]
    return HeldOut(
        pooled(folds, rows), pooled(folds, numbers), pooled(folds, logits), pooled(folds, distances)
    )


def _predicted(folds: Sequence[Fold], folder: Path, share: float) -> npt.NDArray[np.int64]:
    """The classes of the cells of all folds, in the order of the store, by networks on a share."""
    labels = [
        batched_logits(
            PatchClassifier.load(fold_folder(folder, fold.number, share)), fold.data.pixels(fold.tested)
        ).argmax(axis=1)
        for fold in folds
    ]
    return pooled(folds, labels)


def _sample(rows: Rows) -> Rows:
    if len(rows) <= MOST_ROWS:
        return rows
    return np.sort(np.random.default_rng(0).choice(rows, MOST_ROWS, replace=False))


def _features(classifier: PatchClassifier, data: TrainingData) -> Callable[[Rows], Features]:
    cell_px, fill = classifier.meta.geometry.cell_px, classifier.fill_dn
    return lambda rows: patch_features(data.pixels(rows), cell_px, fill)


def _with_held_out(history: Sequence[Epoch], folds: Sequence[Fold], folder: Path) -> list[Epoch]:
    """The history of the network that maps, with the means of the folds in its validation columns."""
    each = [read_history(fold_folder(folder, fold.number) / HISTORY) for fold in folds]
    names = ("validation_loss", "validation_balanced_accuracy")
    means: npt.NDArray[np.float64] = np.mean(
        [[[getattr(row, name) for name in names] for row in rows] for rows in each], axis=0
    )
    return [
        row._replace(**dict(zip(names, values, strict=True)))
        for row, values in zip(history, means.tolist(), strict=True)
    ]


Submit = Callable[[Callable[[_Network, int], None], _Network, int], Future[None]]


@contextmanager
def _processes(compute: ComputeConf, networks: int) -> Iterator[Submit]:
    """Where networks are trained: a future that is not begun can still be cancelled.

    The cores are shared evenly by as many networks as there are cores, at most. So the threads of a
    network, which its weights depend on to the last bit, do not depend on `compute.workers`.
    """
    cores = torch.get_num_threads()
    gpu = compute.accelerator != "cpu" and torch.accelerator.is_available()
    if gpu or several_processes(compute) or min(networks, cores) < 2:
        yield lambda *_: Future()
        return
    threads = cores // min(networks, cores)
    others = min(networks, cores, compute.workers or cores) - 1
    torch.set_num_threads(threads)
    try:
        if not others:
            yield lambda *_: Future()
            return
        # spawned, because torch's threads do not survive a fork
        context = multiprocessing.get_context("spawn")
        processes = ProcessPoolExecutor(others, context, _start_process, (threads,))

        def submit(
            function: Callable[[_Network, int], None], network: _Network, line: int
        ) -> Future[None]:
            # Ctrl-C reaches all processes: this one ends the others
            before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
            try:
                return processes.submit(function, network, line)
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)

        try:
            yield submit
        except BaseException:
            # an error, or an end by Ctrl-C or SIGTERM: what they train goes on from its state later
            for process in multiprocessing.active_children():
                process.kill()
            raise
        finally:
            processes.shutdown(cancel_futures=True)
    finally:
        torch.set_num_threads(cores)


def _start_process(threads: int) -> None:
    """Set the threads of a process that trains, and end it with the process that started it."""
    torch.set_num_threads(threads)
    tqdm.set_lock(threading.RLock())  # not a semaphore, which a killed process leaves to be reported
    threading.Thread(target=_exit_with_parent, daemon=True).start()


def _exit_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
