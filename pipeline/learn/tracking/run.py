"""The run of a model: opened by train, resumed by evaluate and predict, replayed where unknown."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import mlflow
from mlflow.data.code_dataset_source import CodeDatasetSource
from mlflow.data.meta_dataset import MetaDataset
from mlflow.entities import DatasetInput, InputTag, Param, RunData, RunTag
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_RUN_NOTE

from pipeline.config.record import Conf
from pipeline.files import write_json
from pipeline.learn.network.classifier import PatchClassifier
from pipeline.learn.network.history import Epoch, read_history
from pipeline.learn.tracking import tracking_uri
from pipeline.learn.tracking.model import WEIGHTS_TAG, log_exported, register
from pipeline.learn.tracking.registry import CHECKPOINT
from pipeline.store import read_record

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RUN = "run.json"
"""The file of a model's folder that names its run."""

_REPLAYED = "replayed_from"
_PARAM_LENGTH = 6000
_DESCRIPTION_LENGTH = 5000
"""Characters that MLflow keeps of the description of a version."""
_HISTORY = {
    "train_loss": "train/loss",
    "validation_loss": "val/loss",
    "train_balanced_accuracy": "train/balanced_accuracy",
    "validation_balanced_accuracy": "val/balanced_accuracy",
    "lr": "train/lr",
}


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


def run_record(models: Path) -> RunRecord:
    """The record of the run of the model in a folder.

    Raises:
        StoreError: when it is missing or broken.
    """
    return read_record(models / RUN, RunRecord, "train", version=None)


def write_record(models: Path, record: RunRecord) -> None:
    """Write the record of the run of the model in a folder."""
    write_json(models / RUN, record.model_dump(mode="json"))


@dataclass(frozen=True)
class Tracker:
    """A run to which stages add figures, files and descriptions."""

    client: mlflow.MlflowClient
    run_id: str

    def epoch(self, row: Epoch) -> None:
        """Log an epoch as `train/..` and `val/..`."""
        self.metrics({new: getattr(row, old) for old, new in _HISTORY.items()}, step=row.epoch)

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Log numbers by name."""
        mlflow.log_metrics(dict(values), step, run_id=self.run_id)

    def tags(self, values: Mapping[str, str]) -> None:
        """Set tags of the run."""
        self.client.log_batch(self.run_id, tags=[RunTag(k, str(v)) for k, v in values.items()])

    def params(self, values: Mapping[str, str]) -> None:
        """Log parameters; a long one is cut, as MLflow takes no more."""
        params = [Param(name, value[:_PARAM_LENGTH]) for name, value in values.items()]
        self.client.log_batch(self.run_id, params=params)

    def artifact(self, path: Path, folder: str = "") -> None:
        """Add a file, or all of a folder, under `folder`."""
        if path.is_dir():
            self.client.log_artifacts(self.run_id, str(path), folder or None)
        else:
            self.client.log_artifact(self.run_id, str(path), folder or None)

    def figure(self, figure: Figure, name: str) -> None:
        """Add a figure as `name`, such as `figures/confusion.png`."""
        self.client.log_figure(self.run_id, figure, name, save_kwargs={"dpi": 120})

    def text(self, text: str, name: str) -> None:
        """Add a text as `name`."""
        self.client.log_text(self.run_id, text, name)

    def describe(self, markdown: str) -> None:
        """Set the description that the run's page opens with."""
        self.tags({MLFLOW_RUN_NOTE: markdown})

    @property
    def data(self) -> RunData:
        """The tags, parameters and metrics that the run has so far."""
        return self.client.get_run(self.run_id).data

    def describe_version(self, markdown: str, tags: Mapping[str, str]) -> None:
        """Set description and tags of the registered version of the run's model.

        A description that is longer than MLflow takes is cut; the run has the whole model card.
        """
        if len(markdown) > _DESCRIPTION_LENGTH:
            cut = markdown[: _DESCRIPTION_LENGTH - 40].rpartition("\n")[0]
            markdown = f"{cut}\n\n(more in the run: model_card.md)"
        for version in self.client.search_model_versions(f"run_id = '{self.run_id}'"):
            name, number = version.name, str(version.version)
            self.client.update_model_version(name, number, markdown)
            for key, value in tags.items():
                self.client.set_model_version_tag(name, number, key, value)


@contextmanager
def open_run(record: RunRecord) -> Iterator[Tracker]:
    """A new run for a model that is about to be trained; it ends with the block."""
    with tracking_uri.connected() as client, _running(client, None, record.name) as tracker:
        _log_record(tracker, record)
        yield tracker


def keep(tracker: Tracker, record: RunRecord, models: Path) -> None:
    """Write `run.json`, so that later stages find the run, and log the model and its folder.

    The folder is complete but for `run.json`; the record is the one that the run was opened with.
    """
    write_record(models, record.model_copy(update={"run_id": tracker.run_id}))
    _log_folder(tracker, models)


@contextmanager
def resume(models: Path) -> Iterator[Tracker]:
    """The run of the model in a folder, opened anew from the folder where the store has none.

    Raises:
        StoreError: when `run.json` is missing or broken.
    """
    record = run_record(models)
    with tracking_uri.connected() as client:
        known = _known_run(client, record.run_id)
        with _running(client, known, record.name) as tracker:
            if known is None:
                _replay(tracker, record, models)
            yield tracker


@contextmanager
def child_run(parent: Tracker, name: str, params: Mapping[str, str]) -> Iterator[Tracker]:
    """A run below an open one, such as one fold of a table; its model is not registered."""
    with mlflow.start_run(run_name=name, nested=True) as run:
        tracker = Tracker(parent.client, run.info.run_id)
        tracker.params(params)
        yield tracker


@contextmanager
def _running(client: mlflow.MlflowClient, run_id: str | None, name: str) -> Iterator[Tracker]:
    """An active run with system metrics, new without a `run_id`; an exception ends it as failed."""
    # a run that some shell left behind would be continued instead
    os.environ.pop("MLFLOW_RUN_ID", None)
    mlflow.set_system_metrics_sampling_interval(1)  # type: ignore[no-untyped-call]
    named = None if run_id else name
    with mlflow.start_run(run_id, run_name=named, log_system_metrics=True) as run:
        yield Tracker(client, run.info.run_id)


def _log_record(tracker: Tracker, record: RunRecord) -> None:
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


def _replay(tracker: Tracker, record: RunRecord, models: Path) -> None:
    _log_record(tracker, record)
    for row in read_history(models / "history.csv"):
        tracker.epoch(row)
    _log_folder(tracker, models)
    # last, so that an interrupted replay is not taken for a whole one
    tracker.tags({_REPLAYED: record.run_id})


def _log_folder(tracker: Tracker, models: Path) -> None:
    """Log all that lies in a folder of a model, and register the model."""
    classifier = PatchClassifier.load(models)
    tracker.tags({WEIGHTS_TAG: classifier.meta.weights_sha256})
    for path in sorted(models.iterdir()):
        tracker.artifact(path, path.name if path.is_dir() else CHECKPOINT)
        if path.suffix == ".txt":
            tracker.artifact(path)  # the table of layers, where a person sees it at once
    register(tracker.client, tracker.run_id, log_exported(classifier), classifier.meta)


def _known_run(client: mlflow.MlflowClient, run_id: str) -> str | None:
    """The id of a run, or of the one that it was replayed to, where the store has it."""
    try:
        if client.get_run(run_id).info.lifecycle_stage == "active":
            return run_id
    except MlflowException:
        pass
    ours = client.search_experiments(filter_string=f"name = '{tracking_uri.EXPERIMENT}'")
    query = f"tags.{_REPLAYED} = '{run_id}'"
    replayed = client.search_runs([ours[0].experiment_id], query, max_results=1)
    return str(replayed[0].info.run_id) if replayed else None
