"""The only package that knows MLflow: one run per model, in one store, whichever stage adds to it.

- `tracking_uri`: the store, `connect`; state of code and data
- `model`: the model as an exported graph, and its registration
- `registry`: versions of the registered model, found and promoted
- `run`, `record`: the run itself, and `run.json`, by which it is found and opened again
- `pages`: its report, one HTML page with its maps

`train` opens the run and keeps the model in it, later stages add to it:

    with tracking.open_run(record) as run:         # RunRecord: name, params, tags, parts of the data
        run.epoch(row)                             # train/.. and val/..
        ...                                        # weights, history, layers.txt, figures/ -> models
        tracking.keep(run, record, models)         # writes run.json; logs and registers the model
    with tracking.resume(models) as run:           # evaluate, predict
        run.metrics({"test/accuracy": 0.7})
        run.figure(figure, "figures/confusion.png")
    with tracking.open_run(record) as parent, tracking.child_run(parent, "fold 1", {}) as run:
        ...                                        # a table of folds, none of which is registered

`models/` holds all that is needed to log the run again. Where the store does not know the run (another
clone, `dvc pull`), `resume` opens it anew from there, tagged `replayed_from`, and finds that one later.
"""

from pipeline.learn.tracking.model import CHAMPION
from pipeline.learn.tracking.pages import MAPS, REPORT, log_page, refresh_page
from pipeline.learn.tracking.record import Part, RunRecord, read_record
from pipeline.learn.tracking.registry import (
    PREDICTIONS,
    KnownRun,
    ModelVersion,
    champion_version,
    find_version,
    predictions_of,
    promote,
    registered_model_folder,
    run_data,
    runs_of_weights,
    version_of_run,
)
from pipeline.learn.tracking.run import (
    Tracker,
    child_run,
    keep,
    open_run,
    resume,
)
from pipeline.learn.tracking.tracking_uri import checkout_state, store_uri

__all__ = [
    "CHAMPION",
    "MAPS",
    "PREDICTIONS",
    "REPORT",
    "KnownRun",
    "ModelVersion",
    "Part",
    "RunRecord",
    "Tracker",
    "champion_version",
    "checkout_state",
    "child_run",
    "find_version",
    "keep",
    "log_page",
    "open_run",
    "predictions_of",
    "promote",
    "read_record",
    "refresh_page",
    "registered_model_folder",
    "resume",
    "run_data",
    "runs_of_weights",
    "store_uri",
    "version_of_run",
]
