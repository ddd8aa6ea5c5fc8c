"""The only package that knows MLflow: one run per model, in one store, whichever stage adds to it.

- `tracking_uri`: the store, `connect`; state of code and data
- `model`: the model as an exported graph, and its registration
- `registry`: versions of the registered model, found and promoted
- `promotion`: the rule by which one version may take the place of another
- `run`: the run itself, and `run.json`, by which it is found and opened again
- `pages`: its report, one HTML page with its maps

`train` opens the run and keeps the model in it, later stages add to it:

    with open_run(record) as run:                  # RunRecord: name, params, tags, parts of the data
        run.epoch(row)                             # train/.. and val/..
        ...                                        # weights, history, layers.txt, figures/ -> models
        keep(run, record, models)                  # writes run.json; logs and registers the model
    with resume(models) as run:                    # evaluate, predict
        run.metrics({"test/accuracy": 0.7})
        run.figure(figure, "figures/confusion.png")
    with open_run(record) as parent, child_run(parent, "fold 1", {}) as run:
        ...                                        # a table of folds, none of which is registered

`models/` holds all that is needed to log the run again. Where the store does not know the run (another
clone, `dvc pull`), `resume` opens it anew from there, tagged `replayed_from`, and finds that one later.
All functions raise a `TrackingError` when the store cannot be used.
"""

import os

# MLflow reads them when it is imported, which any module here does
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
