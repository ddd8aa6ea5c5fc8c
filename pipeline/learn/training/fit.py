"""Training of a network with calibrated probabilities and an area of applicability."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
from tqdm import tqdm

from pipeline.config.compute import ComputeConf
from pipeline.config.train import TrainConf
from pipeline.learn.data.reader import Rows
from pipeline.learn.data.training_data import HeldOut, TrainingData, hold_out_blocks
from pipeline.learn.inference.predictor import Probabilities, batched_probabilities
from pipeline.learn.network.classifier import PatchClassifier
from pipeline.learn.network.history import Epoch
from pipeline.learn.stats.applicability import MOST_ROWS, Features, TrainingFeatures, patch_features
from pipeline.learn.stats.calibration import shrunk_temperature
from pipeline.learn.training.trainer import FitResult, first_process, train_network

_SMALLEST = np.finfo(np.float32).tiny


@dataclass(frozen=True)
class Predictions:
    """Predictions of a network for patches that it was not trained on."""

    rows: Rows
    """Of the store."""
    probabilities: Probabilities
    """(N, K)."""


def fit(
    data: TrainingData,
    conf: TrainConf,
    compute: ComputeConf,
    on_epoch: Callable[[Epoch], None] | None = None,
    class_weights: list[float] | None = None,
) -> FitResult:
    """Train a network, keep the epoch that validates best (see `Choice`) and calibrate it.

    For the calibration, networks of the same conf are trained without some of the blocks, too. On a
    CPU they are trained at the same time, in processes that share its cores.

    Args:
        data: Training and validation patches; the test part is not among them.
        conf: Network, loss, augmentation and schedule.
        compute: Machine and precision.
        on_epoch: Called with each row of the history as it comes, in the first process only.
        class_weights: Of the loss; by the conf's exponent where absent.

    Raises:
        NetworkError: when the layers do not fit the patches.
        ConfigError: when the machine lacks the accelerator, or training diverges.
    """
    held_out = list(hold_out_blocks(data, conf.calibration_folds, conf.seed))
    predict = partial(_predict_held_out, conf, compute, class_weights)
    with _processes(compute, 1 + len(held_out)) as submit:
        futures = [submit(predict, blocks) for blocks in held_out]
        result = train_network(data, conf, compute, on_epoch, class_weights)
        predictions = []
        quiet = not (held_out and first_process())
        bar = tqdm(total=len(held_out), desc="calibration", unit="network", disable=quiet)
        with bar:
            # this process trains what no other one has begun, the last first
            for blocks, future in zip(held_out[::-1], futures[::-1], strict=True):
                predictions.append(predict(blocks) if future.cancel() else future.result())
                bar.update()
    calibrate(result.classifier, data, predictions[::-1])
    return result


def _predict_held_out(
    conf: TrainConf, compute: ComputeConf, class_weights: list[float] | None, held_out: HeldOut
) -> Predictions:
    """Train a network without some blocks and predict these."""
    result = train_network(held_out.data, conf, compute, class_weights=class_weights, progress=False)
    return predicted(result.classifier, held_out.data, held_out.rows)


Submit = Callable[[Callable[[HeldOut], Predictions], HeldOut], Future[Predictions]]


@contextmanager
def _processes(compute: ComputeConf, networks: int) -> Iterator[Submit]:
    """Where calibration networks are trained: a future that is not begun can still be cancelled.

    The cores are shared evenly by as many networks as there are cores, at most. So the threads of a
    network, which its weights depend on to the last bit, do not depend on `compute.workers`.
    """
    cores = torch.get_num_threads()
    gpu = compute.accelerator != "cpu" and torch.accelerator.is_available()
    if gpu or compute.devices not in ("auto", 1) or min(networks, cores) < 2:
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
        try:
            yield processes.submit
        finally:
            processes.shutdown(cancel_futures=True)
    finally:
        torch.set_num_threads(cores)


def _start_process(threads: int) -> None:
    """Set the threads of a process that trains, and end it with the process that started it."""
    torch.set_num_threads(threads)
    threading.Thread(target=_exit_with_parent, daemon=True).start()


def _exit_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def calibrate(
    classifier: PatchClassifier, data: TrainingData, held_out: Sequence[Predictions] = ()
) -> None:
    """Set the temperature of a trained network and the distribution of its training features.

    Args:
        classifier: The network.
        data: What it was trained on; the validation part sets the threshold of the area of
            applicability and, with the held-out predictions, the temperature. The test part is not
            used.
        held_out: Predictions of networks of the same conf for training blocks left out of their
            training.
    """
    predictions = [predicted(classifier, data, data.validation), *held_out]
    rows = np.concatenate([one.rows for one in predictions])
    probabilities = np.concatenate([one.probabilities for one in predictions])
    logits = np.log(np.maximum(probabilities, _SMALLEST))
    blocks = data.blocks(rows)
    classifier.apply_temperature(shrunk_temperature(data.store.patches["label"][rows], logits, blocks))
    count = len(np.unique(blocks))
    classifier.meta = classifier.meta.model_copy(update={"temperature_blocks": count})
    classifier.training_features = _training_features(classifier, data)


def predicted(classifier: PatchClassifier, data: TrainingData, rows: Rows) -> Predictions:
    """The predictions of a network for patches of its store."""
    return Predictions(rows, batched_probabilities(classifier, data.pixels(rows)))


def _training_features(classifier: PatchClassifier, data: TrainingData) -> TrainingFeatures:
    rows = data.train
    if len(rows) > MOST_ROWS:
        rows = np.sort(np.random.default_rng(0).choice(rows, MOST_ROWS, replace=False))

    def features(rows: Rows) -> Features:
        return patch_features(data.pixels(rows), classifier.meta.geometry.cell_px, classifier.fill_dn)

    labels: npt.NDArray[np.integer] = data.store.patches["label"][rows]
    return TrainingFeatures.of(features(rows), labels, features(data.validation))
