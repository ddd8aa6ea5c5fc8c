"""The only package that knows MLflow: one run per model, in one store, whichever stage adds to it.

- `tracking_uri`: the store, `connect`, its errors; state of code and data
- `database`: a store in sqlite, made by one process
- `model`: the model as an exported graph, and its registration
- `registry`: versions of the registered model, found and promoted
- `promotion`: the rule by which one version may take the place of another
- `tracker`: what stages add to a run, or keep in a folder while the store fails
- `run`: the run itself, and `run.json`, by which it is found and opened again
- `training_run`: the run of a training, which goes on whatever becomes of the store
- `pages`: its report, one HTML page with its maps

`train` opens the run and keeps the model in it, later stages add to it:

    with TrainingRun(record) as run:               # RunRecord: name, params, tags, parts of the data
        run.epoch(row)                             # train/.. and val/..
        ...                                        # weights, history, layers.txt, figures/ -> models
        run.keep(models, {"kept_epoch": 7})        # writes run.json; logs and registers the model,
                                                   # and a run below it for the network of each fold
    add(models, "evaluate", additions)             # additions(run): run.metrics(..), run.picture(..)

`models/` holds all that is needed to log the run again. `resume` opens it anew from there where the
store does not know it (another clone, `dvc pull`), tagged `replayed_from`, and logs what it lacks where
the store failed during training. What later stages could not add waits in `mlflow_unsent/`.
`TrainingRun` and `add` warn of a store that fails; all others raise a `TrackingError`.
"""

import os

# MLflow reads them when it is imported, which any module here does
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
# a server that is gone is known after seconds, not after minutes: what it misses is logged later
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
