"""The run of a training, which goes on whatever becomes of the store."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self
from uuid import uuid4

import mlflow

from pipeline.errors import TrackingError
from pipeline.files import write_text
from pipeline.learn.network.history import Epoch
from pipeline.learn.tracking import tracking_uri
from pipeline.learn.tracking.run import (
    RunRecord,
    close_killed,
    complete,
    known_run,
    log_record,
    start,
    warn,
    write_record,
)
from pipeline.learn.tracking.tracker import Tracker


class TrainingRun:
    """The run of a model that is about to be trained; it ends with the block.

    It is a new one, or that of a training which was cut off and goes on: the file `known` names it.

    The store is asked first. Where it fails, then or later, a sentence says so and training goes on:
    `models/` holds all that the run lacks, and `complete` logs it as soon as the store is there.
    """

    def __init__(self, record: RunRecord, known: Path) -> None:
        self.record, self.known = record, known
        self._logged: set[int] = set()
        self._tracker: Tracker | None = None
        self._failure: TrackingError | None = None
        """The last one, until the run is whole."""

    def __enter__(self) -> Self:
        with self._tolerated():
            client = self._open()
            close_killed(client)
        if self._failure:
            warn(f"{self._failure} Training begins all the same.")
        return self

    def _open(self) -> mlflow.MlflowClient:
        client = tracking_uri.connect()
        known = known_run(client, self.known.read_text()) if self.known.is_file() else None
        self._tracker = start(client, known, self.record.name)
        write_text(self.known, self._tracker.run_id)
        log_record(self._tracker, self.record)
        self._logged = self._tracker.epochs() if known else set()
        return client

    def epoch(self, row: Epoch) -> None:
        """Log an epoch; those that the store does not take come from the history in the end."""
        if self._tracker and not self._failure and row.epoch not in self._logged:
            with self._tolerated():
                self._tracker.epoch(row)

    def keep(self, models: Path, metrics: dict[str, float]) -> None:
        """Write `run.json`, so that later stages find the run, and log the model and its folder.

        The folder is complete but for `run.json`; `metrics` are of the training as a whole.
        """
        failed, self._failure = self._failure, None
        if self._tracker is None:
            with self._tolerated():
                self._open()
        run_id = self._tracker.run_id if self._tracker else uuid4().hex
        record = self.record.model_copy(update={"run_id": run_id, "metrics": metrics})
        write_record(models, record)
        if self._tracker and not self._failure:
            with self._tolerated():
                complete(self._tracker, record, models)
        if self._failure:
            first = failed or self._failure
            warn(
                f"{first} Not all of this training is recorded; the next stage or `lenscape log` "
                "does it."
            )

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._tracker is None:
            return
        failed, self._failure = self._failure, None
        with self._tolerated():
            mlflow.end_run("FINISHED" if error is None else "FAILED")
        if self._failure and not failed:
            warn(f"{self._failure} The run stays open there until the next training on this machine.")

    @contextmanager
    def _tolerated(self) -> Iterator[None]:
        """Keep an error of the store."""
        try:
            with tracking_uri.store_errors():
                yield
        except TrackingError as error:
            self._failure = error
