"""A small model, trained and evaluated by the stages in an MLflow store of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import mlflow

from pipeline.learn.evaluation.baselines import BASELINES
from pipeline.learn.tracking.run import run_record
from pipeline.learn.tracking.tracking_uri import store_uri
from pipeline.split_folder import SplitFolder
from pipeline.stages import evaluate, train
from pipeline.store import PatchStore
from tests.support.stores import make_folds, make_split, make_store
from tests.support.tracked import mlflow_store

CONF = """
epochs: 2
batch_size: 32
lr: 0.01
network: {convolutions: [{filters: 4, kernel: 3, pool: {size: 2}}], dense: [{units: 8}]}
"""


@dataclass(frozen=True)
class Project:
    """Where everything lies."""

    folder: Path
    store: PatchStore
    split: SplitFolder
    database: Path

    @property
    def models(self) -> Path:
        return self.folder / "models"

    @property
    def reports(self) -> Path:
        return self.folder / "reports"

    @property
    def run(self) -> mlflow.entities.Run:
        """The one run of the model."""
        client = mlflow.MlflowClient(store_uri())
        return client.get_run(run_record(self.models).run_id)


def challenged(project: Project) -> mlflow.entities.Run:
    """Another network of the same project, trained and evaluated in the same store; its run."""
    folder = project.folder / "other"
    train_another(project, CONF.replace("filters: 4", "filters: 6"), folder)
    client = mlflow.MlflowClient(store_uri())
    return client.get_run(run_record(folder / "models").run_id)


def train_another(project: Project, conf: str, folder: Path) -> None:
    """Train and evaluate by another `train.yaml`: `folder` has its `models` and its `reports`."""
    folder.mkdir(exist_ok=True)
    (folder / "train.yaml").write_text(conf)
    (folder / "evaluate.yaml").write_text("gallery: 1\nbaselines: [majority]\n")
    data = project.folder / "patches", project.folder / "split"
    models, machine = folder / "models", project.folder / "compute.yaml"
    train.run(folder / "train.yaml", *data, models, machine)
    evaluate.run(folder / "evaluate.yaml", models, *data, folder / "reports")


@contextmanager
def evaluated_project(folder: Path, folds: int | None = 3) -> Iterator[Project]:
    """Train and evaluate; the MLflow store is that of the environment within the block."""
    store = make_store(folder / "patches", count=300, odd=0.2)
    if folds is None:
        split = make_split(folder / "split", store)
    else:
        split = make_folds(folder / "split", store, folds)
    (folder / "train.yaml").write_text(CONF)
    (folder / "evaluate.yaml").write_text(f"gallery: 6\nbaselines: [{', '.join(BASELINES)}]\n")
    (folder / "compute.yaml").write_text("accelerator: cpu\n")
    with mlflow_store(folder) as database:
        project = Project(folder, store, split, database)
        train.run(
            folder / "train.yaml",
            folder / "patches",
            folder / "split",
            project.models,
            folder / "compute.yaml",
        )
        evaluate.run(
            folder / "evaluate.yaml",
            project.models,
            folder / "patches",
            folder / "split",
            project.reports,
        )
        yield project
