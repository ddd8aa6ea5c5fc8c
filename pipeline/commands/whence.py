"""`lenscape whence`: from a class map to the MLflow run of the model that made it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from pipeline.errors import SceneError, TrackingError
from pipeline.geo.raster import opened
from pipeline.learn import tracking

WEIGHTS_TAG = "LENSCAPE_WEIGHTS_SHA256"


def run(file: Path) -> None:
    """Print the runs whose model has the weights that a map names in its tags.

    Raises:
        SceneError: when the file is no map of lenscape.
        TrackingError: when the store knows no such run.
    """
    with opened(str(file)) as dataset:
        weights = dataset.tags().get(WEIGHTS_TAG)
    if weights is None:
        raise SceneError(f"{file} has no tag {WEIGHTS_TAG}: it is no map by lenscape; name one.")
    runs = tracking.runs_of_weights(weights)
    if not runs:
        raise TrackingError(
            f"the MLflow store {tracking.store_uri()} has no run with the weights {weights[:12]} of "
            f"{file}; point MLFLOW_TRACKING_URI to the store of the clone that made it."
        )
    for found in runs:
        print(found)
