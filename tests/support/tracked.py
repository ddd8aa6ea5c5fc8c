"""An MLflow store and the folder of a model that was tracked in it, for tests of what adds to runs."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from pipeline.learn.network.classifier import ModelMeta, PatchClassifier
from pipeline.learn.network.history import Epoch, write_history
from pipeline.learn.tracking.run import Part, RunRecord, keep, open_run
from pipeline.learn.tracking.tracking_uri import connect
from tests.support.learners import SMALL, model_meta
from tests.support.projects import empty_store, move_store

HISTORY = (
    Epoch(1, 1.5, 1.25, 0.25, 0.375, 0.001),
    Epoch(2, 1.0, 0.75, 0.5, 0.625, 0.0005),
)
RECORD = RunRecord(
    name="modern, 3 bands, s1",
    params={"train.lr": "0.001", "split.seed": "0"},
    tags={"store_sha256": "1" * 64, "git.commit": "c" * 40, "git.dirty": "true"},
    parts=tuple(
        Part(context=context, digest=digest * 16, patches=patches)
        for context, digest, patches in (
            ("training", "a", 60),
            ("validation", "b", 20),
            ("test", "c", 20),
        )
    ),
)


@contextmanager
def mlflow_store(folder: Path, like: Path | None = None) -> Iterator[Path]:
    """A store in a folder, which stages then find: empty, or as another folder has it; its database."""
    folder.mkdir(parents=True, exist_ok=True)
    database = folder / "mlflow.db"
    if like is None:
        database.write_bytes(empty_store())
    else:
        shutil.copytree(like / "mlartifacts", folder / "mlartifacts")
        shutil.copyfile(like / "mlflow.db", database)
        move_store(database, like, folder)
    with pytest.MonkeyPatch.context() as patch:
        for name in (
            "DVC_ROOT",
            "DVC_STAGE",
            "DVC_EXP_NAME",
            "MLFLOW_RUN_ID",
            "MLFLOW_EXPERIMENT_NAME",
        ):
            patch.delenv(name, raising=False)
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{database}")
        if like is not None:
            connect()  # or MLflow's own functions would go on with the store before
        yield database


def make_models(folder: Path, meta: ModelMeta | None = None, seed: int = 0) -> Path:
    """A folder as `train` leaves it, but for `run.json`; the weights are random."""
    folder.mkdir(parents=True)
    torch.manual_seed(seed)
    PatchClassifier(meta or model_meta(SMALL)).eval().save(folder)
    write_history(folder / "history.csv", HISTORY)
    (folder / "layers.txt").write_text("layer  weights\n", encoding="utf-8")
    (folder / "figures").mkdir()
    (folder / "figures" / "curves.png").write_bytes(b"\x89PNG")
    return folder


def track(models: Path, record: RunRecord = RECORD) -> str:
    """Open a run for the model in a folder as `train` does; its id."""
    with open_run(record) as run:
        for row in HISTORY:
            run.epoch(row)
        keep(run, record, models)
    return run.run_id
