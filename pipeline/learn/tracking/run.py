"""The run of a model: opened by train, resumed by later stages, completed where it lacks something."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import mlflow
import psutil
from mlflow.data.code_dataset_source import CodeDatasetSource
from mlflow.data.meta_dataset import MetaDataset
from mlflow.entities import DatasetInput, InputTag
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID, MLFLOW_RUN_NAME
from pydantic import Field

from pipeline.config.record import Conf
from pipeline.errors import TrackingError
from pipeline.files import write_json
from pipeline.learn.network.classifier import FOLDS, PatchClassifier
from pipeline.learn.network.history import read_history
from pipeline.learn.tracking import tracking_uri
from pipeline.learn.tracking.model import WEIGHTS_TAG, log_and_register
from pipeline.learn.tracking.pages import refresh_page
from pipeline.learn.tracking.registry import CHECKPOINT
from pipeline.learn.tracking.tracker import Additions, Tracker, send, unsent
from pipeline.store import read_record

RUN = "run.json"
"""The file of a model's folder that names its run."""

_REPLAYED = "replayed_from"
_PROCESS = "lenscape.process"
"""Tag of a run: host, number and start of the process that adds to it."""
_CLOCK_S = 2.0
"""By how much the start of a process may seem to move, when the clock of the machine is set."""


class Part(Conf):
    """A part of the split, as a dataset of the run."""

    context: str
    """training, validation or test."""
    digest: str
    """Changes with store, split or part."""
    patches: int


class RunRecord(Conf):
    """`run.json`: what it takes to open the run of a model again."""

    run_id: str = ""
    name: str
    params: dict[str, str]
    tags: dict[str, str]
    parts: tuple[Part, ...] = ()
    metrics: dict[str, float] = Field(default_factory=dict)
    """Those of the training as a whole."""


def run_record(models: Path) -> RunRecord:
    """The record of the run of the model in a folder.

    Raises:
        StoreError: when it is missing or broken.
    """
    return read_record(models / RUN, RunRecord, "train", version=None)


def write_record(models: Path, record: RunRecord) -> None:
    """Write the record of the run of the model in a folder."""
    write_json(models / RUN, record.model_dump(mode="json"))


@contextmanager
def open_run(record: RunRecord) -> Iterator[Tracker]:
    """A new run; it ends with the block.

    Raises:
        TrackingError: when the store fails.
    """
    with tracking_uri.connected() as client, _running(client, None, record.name) as tracker:
        log_record(tracker, record)
        yield tracker


def keep(tracker: Tracker, record: RunRecord, models: Path) -> None:
    """Write `run.json`, so that later stages find the run, and log the model and its folder.

    The folder is complete but for `run.json`; the record is the one that the run was opened with.
    """
    known = record.model_copy(update={"run_id": tracker.run_id})
    write_record(models, known)
    complete(tracker, known, models)


@contextmanager
def resume(models: Path) -> Iterator[Tracker]:
    """The run of the model in a folder, with all that it holds; a new one where the store has none.

    Raises:
        StoreError: when `run.json` is missing or broken.
        TrackingError: when the store fails.
    """
    record = run_record(models)
    with tracking_uri.connected() as client:
        known = known_run(client, record.run_id)
        with _running(client, known, record.name) as tracker:
            if known is None:
                # first, so that the run is found again if this is interrupted
                tracker.tags({_REPLAYED: record.run_id})
            complete(tracker, record, models)
            for folder in sorted(tracking_uri.unsent_folder(record.run_id).glob("[!.]*")):
                send(tracker, folder)
            yield tracker
            refresh_page(tracker)


def add(models: Path, stage: str, additions: Callable[[Additions], None]) -> None:
    """Let a stage add to the run of the model in a folder.

    A store that fails does not cost the stage: what it adds is kept, a warning says so, and the next
    `resume` sends it.

    Raises:
        StoreError: when `run.json` is missing or broken.
    """
    try:
        with resume(models) as tracker:
            additions(tracker)
    except TrackingError as error:
        record = run_record(models)
        folder = tracking_uri.unsent_folder(record.run_id) / stage
        with unsent(folder, record.tags) as kept:
            additions(kept)
        warn(f"{error} What {stage} adds to the run of the model is kept; `lenscape log` sends it.")


def ask_store(stage: str) -> None:
    """Warn before hours of work where the store cannot be used."""
    try:
        tracking_uri.connect()
    except TrackingError as error:
        warn(f"{error} {stage} goes on, and what it adds to the run of the model is kept.")


def warn(sentence: str) -> None:
    """Print a warning about the store."""
    print(f"warning: {sentence}", file=sys.stderr)


@contextmanager
def _running(client: mlflow.MlflowClient, run_id: str | None, name: str) -> Iterator[Tracker]:
    """An active run; an exception ends it as failed."""
    tracker = start(client, run_id, name)
    try:
        yield tracker
    except BaseException:
        with suppress(Exception):  # the first error counts
            mlflow.end_run("FAILED")
        raise
    mlflow.end_run("FINISHED")


def start(client: mlflow.MlflowClient, run_id: str | None, name: str) -> Tracker:
    """Start a run with system metrics, a new one without a `run_id`; `mlflow.end_run` ends it."""
    # a run that some shell left behind would be continued instead
    os.environ.pop("MLFLOW_RUN_ID", None)
    mlflow.set_system_metrics_sampling_interval(1)  # type: ignore[no-untyped-call]
    named = None if run_id else name
    started = psutil.Process().create_time()
    # a tag set afterwards could fail, and MLflow would go on with a run that nobody ends
    process = {_PROCESS: f"{os.getpid()} {started:.0f} {platform.node()}"}
    run = mlflow.start_run(run_id, run_name=named, tags=process, log_system_metrics=True)
    return Tracker(client, run.info.run_id)


def close_killed(client: mlflow.MlflowClient) -> None:
    """End the runs whose process was killed: one of this machine that is gone."""
    experiments = client.search_experiments(filter_string=f"name = '{tracking_uri.EXPERIMENT}'")
    ids = [one.experiment_id for one in experiments]
    for run in client.search_runs(ids, "attributes.status = 'RUNNING'"):
        number, _, rest = run.data.tags.get(_PROCESS, "").partition(" ")
        started, _, host = rest.partition(" ")
        if host and host == platform.node() and not _lives(int(number), float(started)):
            client.set_terminated(run.info.run_id, "KILLED")


def _lives(number: int, started: float) -> bool:
    try:
        return abs(psutil.Process(number).create_time() - started) < _CLOCK_S
    except psutil.Error:
        return False


def log_record(tracker: Tracker, record: RunRecord) -> None:
    """Log what a run is opened with; once more changes nothing."""
    tracker.params(record.params)
    tracker.tags(record.tags)
    if record.parts:
        datasets = [_dataset(part) for part in record.parts]
        tracker.client.log_inputs(tracker.run_id, datasets=datasets)


def _dataset(part: Part) -> DatasetInput:
    source = CodeDatasetSource({"lenscape.part": part.context, "patches": str(part.patches)})
    name = f"patches-{part.context}"
    dataset = MetaDataset(source, name=name, digest=part.digest)  # type: ignore[abstract]
    tag = InputTag("mlflow.data.context", part.context)
    return DatasetInput(dataset._to_mlflow_entity(), tags=[tag])


def complete(tracker: Tracker, record: RunRecord, models: Path) -> None:
    """Log what a run lacks of the model in a folder, and register the model once.

    That is everything of a new run, what a failing store did not take of another, mostly nothing.
    """
    if tracker.is_whole():
        return
    log_record(tracker, record)
    tracker.history(read_history(models / "history.csv"))
    tracker.metrics(record.metrics)
    _log_folds(tracker, record, models / FOLDS)
    classifier = PatchClassifier.load(models)
    for path in sorted(models.iterdir()):
        tracker.artifact(path, path.name if path.is_dir() else CHECKPOINT)
        if path.suffix == ".txt":
            tracker.artifact(path)  # the table of layers, where a person sees it at once
    try:
        log_and_register(tracker.client, tracker.run_id, classifier)
    except MlflowException as error:
        reason = tracking_uri.reason(error)
        warn(f"the model is not registered in the MLflow store yet ({reason}); `lenscape log` does it.")
        return
    # last: a run that has it is whole
    tracker.tags({WEIGHTS_TAG: classifier.meta.weights_sha256})


def _log_folds(parent: Tracker, record: RunRecord, folds: Path) -> None:
    """One run below that of the model for the network of each fold, with its epochs."""
    client = parent.client
    query = f"tags.{MLFLOW_PARENT_RUN_ID} = '{parent.run_id}'"
    experiment = client.get_run(parent.run_id).info.experiment_id
    runs = {run.info.run_name: run.info for run in client.search_runs([experiment], query)}
    for folder in sorted(folds.glob("*")):
        name = f"fold {folder.name}"
        if name in runs and runs[name].status == "FINISHED":
            continue
        tags = {MLFLOW_PARENT_RUN_ID: parent.run_id, MLFLOW_RUN_NAME: name}
        run_id = (
            runs[name].run_id if name in runs else client.create_run(experiment, tags=tags).info.run_id
        )
        child = Tracker(client, run_id)
        child.params(record.params | {"split.fold": folder.name})
        child.history(read_history(folder / "history.csv"))
        client.set_terminated(run_id)


def known_run(client: mlflow.MlflowClient, run_id: str) -> str | None:
    """The id of a run, or of the one that it was replayed to, where the store has it."""
    try:
        if client.get_run(run_id).info.lifecycle_stage == "active":
            return run_id
    except MlflowException as error:
        # a store that fails is no store without the run
        if not tracking_uri.is_unknown(error):
            raise
    ours = client.search_experiments(filter_string=f"name = '{tracking_uri.EXPERIMENT}'")
    query = f"tags.{_REPLAYED} = '{run_id}'"
    replayed = client.search_runs([ours[0].experiment_id], query, max_results=1)
    return str(replayed[0].info.run_id) if replayed else None
