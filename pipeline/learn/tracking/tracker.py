"""What stages add to the run of a model: to the run itself, or to a folder while the store fails."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from shutil import copyfile, copytree
from tempfile import TemporaryDirectory
from time import time
from typing import Any, override

import mlflow
from mlflow.entities import Metric, Param, RunData, RunTag
from mlflow.utils.mlflow_tags import MLFLOW_RUN_NOTE

from pipeline.files import publish, remove, write_json
from pipeline.learn.network.history import Epoch
from pipeline.learn.tracking.model import WEIGHTS_TAG

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
_METRICS_AT_ONCE = 1000
"""As many as MLflow takes."""
_VALUES, _ARTIFACTS = "values.json", "artifacts"


class Additions(ABC):
    """Metrics, tags, files and descriptions, which a stage adds to the run of a model."""

    @abstractmethod
    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Log numbers by name."""

    @abstractmethod
    def tags(self, values: Mapping[str, str]) -> None:
        """Set tags of the run."""

    @abstractmethod
    def artifact(self, path: Path, folder: str = "") -> None:
        """Add a file, or all of a folder, under `folder`."""

    @abstractmethod
    def describe_version(self, markdown: str, tags: Mapping[str, str]) -> None:
        """Set description and tags of the registered version of the run's model.

        A description that is longer than MLflow takes is cut; the run has the whole model card.
        """

    @abstractmethod
    def current_tags(self) -> dict[str, str]:
        """The tags that the run has so far."""

    @abstractmethod
    def stored_text(self, name: str) -> str | None:
        """A text that the run has as `name`; None where it has none, or that is not known."""

    def describe(self, markdown: str) -> None:
        """Set the description that the run's page opens with."""
        self.tags({MLFLOW_RUN_NOTE: markdown})

    def picture(self, png: bytes, name: str) -> None:
        """Add a PNG file as `name`, such as `figures/confusion.png`."""
        with self._file(name) as path:
            path.write_bytes(png)

    def text(self, text: str, name: str) -> None:
        """Add a text as `name`."""
        with self._file(name) as path:
            path.write_text(text, encoding="utf-8", newline="\n")

    @contextmanager
    def _file(self, name: str) -> Iterator[Path]:
        """A path to write a file to, which is added as `name`."""
        folder, _, file = name.rpartition("/")
        with TemporaryDirectory() as temporary:
            yield Path(temporary, file)
            self.artifact(Path(temporary, file), folder)


@dataclass(frozen=True)
class Tracker(Additions):
    """A run in the store."""

    client: mlflow.MlflowClient
    run_id: str

    def epoch(self, row: Epoch) -> None:
        """Log an epoch as `train/..` and `val/..`."""
        values = {new: getattr(row, old) for old, new in _HISTORY.items()}
        self.metrics({name: value for name, value in values.items() if value is not None}, row.epoch)

    def epochs(self, metric: str = "train/loss") -> set[int]:
        """The epochs that the run has already."""
        return {point.step for point in self.client.get_metric_history(self.run_id, metric)}

    def history(self, rows: Sequence[Epoch]) -> None:
        """Log what the run lacks of a history."""
        now_ms, missing = int(time() * 1000), []
        for old, new in _HISTORY.items():
            known = self.epochs(new)
            values = ((row.epoch, getattr(row, old)) for row in rows if row.epoch not in known)
            missing += [Metric(new, value, now_ms, step) for step, value in values if value is not None]
        for first in range(0, len(missing), _METRICS_AT_ONCE):
            self.client.log_batch(self.run_id, metrics=missing[first : first + _METRICS_AT_ONCE])

    @override
    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        mlflow.log_metrics(dict(values), step, run_id=self.run_id)

    @override
    def tags(self, values: Mapping[str, str]) -> None:
        self.client.log_batch(self.run_id, tags=[RunTag(k, str(v)) for k, v in values.items()])

    def params(self, values: Mapping[str, str]) -> None:
        """Log parameters; a long one is cut, as MLflow takes no more."""
        params = [Param(name, value[:_PARAM_LENGTH]) for name, value in values.items()]
        self.client.log_batch(self.run_id, params=params)

    @override
    def artifact(self, path: Path, folder: str = "") -> None:
        if path.is_dir():
            self.client.log_artifacts(self.run_id, str(path), folder or None)
        else:
            self.client.log_artifact(self.run_id, str(path), folder or None)

    @property
    def data(self) -> RunData:
        """The tags, parameters and metrics that the run has so far."""
        return self.client.get_run(self.run_id).data

    @override
    def current_tags(self) -> dict[str, str]:
        return dict(self.data.tags)

    @override
    def stored_text(self, name: str) -> str | None:
        folder = name.rpartition("/")[0] or None
        if name not in {file.path for file in self.client.list_artifacts(self.run_id, folder)}:
            return None
        with TemporaryDirectory() as temporary:
            path = self.client.download_artifacts(self.run_id, name, temporary)
            return Path(path).read_text(encoding="utf-8")

    def is_whole(self) -> bool:
        """Whether the run has all of its model."""
        return WEIGHTS_TAG in self.data.tags

    @override
    def describe_version(self, markdown: str, tags: Mapping[str, str]) -> None:
        if len(markdown) > _DESCRIPTION_LENGTH:
            cut = markdown[: _DESCRIPTION_LENGTH - 40].rpartition("\n")[0]
            markdown = f"{cut}\n\n(more in the run: model_card.md)"
        for version in self.client.search_model_versions(f"run_id = '{self.run_id}'"):
            name, number = version.name, str(version.version)
            self.client.update_model_version(name, number, markdown)
            for key, value in tags.items():
                self.client.set_model_version_tag(name, number, key, value)


@dataclass
class Unsent(Additions):
    """A folder that keeps what a stage adds until the store takes it."""

    folder: Path
    """It does not exist yet."""
    run_tags: Mapping[str, str]
    """Those that the run of the model was opened with."""
    values: dict[str, Any] = field(default_factory=lambda: {"metrics": {}, "tags": {}})

    @override
    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        self.values["metrics"].setdefault(str(step), {}).update(values)

    @override
    def tags(self, values: Mapping[str, str]) -> None:
        self.values["tags"].update(values)

    @override
    def artifact(self, path: Path, folder: str = "") -> None:
        target = self.folder / _ARTIFACTS / folder
        target.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            copytree(path, target, dirs_exist_ok=True)
        else:
            copyfile(path, target / path.name)

    @override
    def describe_version(self, markdown: str, tags: Mapping[str, str]) -> None:
        self.values["version"] = [markdown, dict(tags)]

    @override
    def current_tags(self) -> dict[str, str]:
        return {**self.run_tags, **self.values["tags"]}

    @override
    def stored_text(self, name: str) -> None:
        return None


@contextmanager
def unsent(folder: Path, run_tags: Mapping[str, str]) -> Iterator[Unsent]:
    """Keep what a stage adds in a folder, in place of what it kept there before."""
    with publish(folder) as partial:
        partial.mkdir()
        kept = Unsent(partial, run_tags)
        yield kept
        write_json(partial / _VALUES, kept.values)


def send(tracker: Tracker, folder: Path) -> None:
    """Add to a run what a folder has kept, and remove the folder."""
    values = json.loads((folder / _VALUES).read_text(encoding="utf-8"))
    if (folder / _ARTIFACTS).is_dir():
        tracker.artifact(folder / _ARTIFACTS)
    for step, numbers in values["metrics"].items():
        tracker.metrics(numbers, int(step))
    tracker.tags(values["tags"])
    if "version" in values:
        tracker.describe_version(*values["version"])
    remove(folder)
