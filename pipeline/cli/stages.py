"""The six stages of `dvc.yaml`, each also a command to run by hand on other folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pipeline.cli.options import COMPUTE, EXISTING, path


@click.command()
@path("conf/fetch.yaml", "--conf")
@path("data/scenes/train", "--train")
@path("data/scenes/map", "--map", "to_map")
@click.option("--sources", type=EXISTING, multiple=True, help="Folders that scenes must lie in.")
@path("data/downloads", "--downloads", help="What was fetched from the web, for the next run.")
@COMPUTE
def fetch(**arguments: Any) -> None:
    """Check scenes and describe them as STAC Items."""
    from pipeline.stages.fetch import run

    run(**arguments)


@click.command()
@path("conf/tile.yaml", "--conf")
@path("conf/classes.yaml", "--classes")
@path("data/scenes/train", "--scenes")
@path("data/patches", "--out")
@click.option("--sources", type=EXISTING, multiple=True, help="Folders that labels must lie in.")
@COMPUTE
def tile(**arguments: Any) -> None:
    """Cut scenes into labelled patches."""
    from pipeline.stages.tile import run

    run(**arguments)


@click.command()
@path("conf/split.yaml", "--conf")
@path("data/patches", "--store")
@path("data/split", "--out")
@path("reports/audit.json", "--audit")
def split(conf: Path, store: Path, out: Path, audit: Path) -> None:
    """Split the ground into folds, or into training, validation and test parts."""
    from pipeline.stages.split import run

    run(conf, store, out, audit)


@click.command()
@path("conf/train.yaml", "--conf")
@path("data/patches", "--store")
@path("data/split", "--split")
@path("models", "--out")
@COMPUTE
def train(conf: Path, store: Path, split: Path, out: Path, compute: Path | None) -> None:
    """Train a network of the LeNet family, and one for each fold of the split."""
    from pipeline.stages.train import run

    run(conf, store, split, out, compute)


@click.command()
@path("conf/evaluate.yaml", "--conf")
@path("models", "--model")
@path("data/patches", "--store")
@path("data/split", "--split")
@path("reports", "--out")
@COMPUTE
def evaluate(**arguments: Any) -> None:
    """Evaluate a model on held-out ground, beside its baselines."""
    from pipeline.stages.evaluate import run

    run(**arguments)


@click.command()
@path("conf/predict.yaml", "--conf")
@path("models", "--model")
@path("data/scenes/map", "--scenes")
@path("data/maps", "--out")
@click.option("--sources", type=EXISTING, multiple=True, help="Folders that an area must lie in.")
@COMPUTE
def predict(**arguments: Any) -> None:
    """Map scenes: class map, confidence, areas and preview of each."""
    from pipeline.stages.predict import run

    run(**arguments)
