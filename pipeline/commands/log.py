"""`lenscape log`: record in MLflow what a store that failed has missed of a model."""

from __future__ import annotations

from pathlib import Path

from pipeline.errors import TrackingError, masked
from pipeline.learn.tracking.run import resume
from pipeline.learn.tracking.tracking_uri import store_uri


def run(model: Path) -> None:
    """Complete the run of a model: itself, and what `evaluate` and `predict` could not add.

    Raises:
        StoreError: when the folder holds no whole model.
        TrackingError: when the store fails, or does not take the model.
    """
    with resume(model) as tracker:
        whole = tracker.is_whole()
    if not whole:
        raise TrackingError(
            f"the MLflow store {store_uri()} did not register the model of {model}; its server must be "
            "of MLflow 3 or later."
        )
    print(f"{model}: run {tracker.run_id} in {masked(store_uri())} is complete")
