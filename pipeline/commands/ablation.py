"""`lenscape ablation`: what a network loses with fewer bands, by cross-validation on spatial folds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from pipeline.config.reading import load
from pipeline.config.train import TrainConf
from pipeline.crossvalidation.fitting import Plan, Study
from pipeline.crossvalidation.record import cross_validate
from pipeline.errors import ConfigError


def run(
    networks: Mapping[str, TrainConf],
    plan: Plan,
    split: Path,
    store: Path,
    out: Path,
    compute: Path | None = None,
) -> None:
    """Write `ablation.json` and `ablation.parquet` to the folder `out` and an MLflow run.

    Args:
        networks: The same network on several choices of bands (see `choices`).
        plan: Folds and seeds.
        split: The conf of split; its seed and folds are replaced.
        store: The PatchStore, with all of the bands.
        out: The folder of the two files.
        compute: `compute.yaml`.

    Raises:
        LenscapeError: when a conf or the store cannot be used, or a fold cannot be trained.
    """
    cross_validate(Study("ablation", networks, False, plan), split, store, out, compute)


def choices(bands: Sequence[str], train: Path) -> dict[str, TrainConf]:
    """The network of a conf on several choices of bands, by their names; nothing is calibrated.

    Args:
        bands: As in the conf of train, a list as `B04,B08`; the first is what all others are compared
            with.
        train: The conf of train; its bands are replaced.

    Raises:
        ConfigError: when fewer than two different choices are given, or the conf cannot be used.
    """
    chosen = [_choice(text) for text in bands]
    if len(chosen) < 2 or any(one in chosen[:place] for place, one in enumerate(chosen)):
        raise ConfigError(
            f"--bands names {', '.join(bands) or 'nothing'}: name two or more different choices, "
            "as --bands all --bands rgb."
        )
    conf = load(train, TrainConf).model_dump()
    return {
        one if isinstance(one, str) else " ".join(one): TrainConf.model_validate(
            conf | {"bands": one, "calibration_folds": 0}
        )
        for one in chosen
    }


def _choice(text: str) -> str | list[str]:
    """A choice by its name, or a list of bands."""
    named = text in ("all", "rgb", "10m")
    return text if named else [band.strip() for band in text.split(",")]
