"""The only place that knows MLflow: one run per model, in one store, whichever stage speaks.

`train` opens the run (`open_run`), `evaluate` and `predict` add to it (`resume`). What it takes to
log the run again lies in `models/`: `run.json` names the run and holds its parameters and tags, the
rest is the model itself. Where the store does not know the run (another clone, `dvc pull`), `resume`
opens it anew from there, tagged `replayed_from`.
"""

from pipeline.learn.tracking.registry import (
    ModelVersion,
    find_version,
    registered_model_folder,
    runs_of_weights,
)
from pipeline.learn.tracking.run import Part, RunRecord, Tracker, child_run, keep, open_run, resume
from pipeline.learn.tracking.where import checkout_state, main_checkout, store_uri

__all__ = [
    "ModelVersion",
    "Part",
    "RunRecord",
    "Tracker",
    "checkout_state",
    "child_run",
    "find_version",
    "keep",
    "main_checkout",
    "open_run",
    "registered_model_folder",
    "resume",
    "runs_of_weights",
    "store_uri",
]
