"""`lenscape provenance`: from a class map to the MLflow run of the model that made it."""

from __future__ import annotations

from pathlib import Path

from pipeline.errors import SceneError, TrackingError
from pipeline.geo.raster.raster_file import opened
from pipeline.learn.tracking.registry import runs_of_weights
from pipeline.learn.tracking.tracking_uri import store_uri

_WEIGHTS = "LENSCAPE_WEIGHTS_SHA256"


def run(file: Path) -> None:
    """Print the runs whose model has the weights that a map names in its tags, the newest first.

    Raises:
        SceneError: when the file is no map of lenscape.
        TrackingError: when the store knows no such run.
    """
    with opened(str(file), any_format=True) as dataset:
        weights = dataset.tags().get(_WEIGHTS)
    if weights is None:
        raise SceneError(
            f"{file} has no tag {_WEIGHTS}, so that it is no map by lenscape; name a class map or a "
            "confidence raster of `predict`."
        )
    runs = runs_of_weights(weights)
    if not runs:
        raise TrackingError(
            f"the MLflow store {store_uri()} has no run with the weights {weights[:12]} of "
            f"{file}; point MLFLOW_TRACKING_URI to the store of the clone that made it."
        )
    print(f"{file}: weights {weights}")
    for values in runs:
        print("\n" + "\n".join(f"{name:<14}{value}" for name, value in values.items()))
