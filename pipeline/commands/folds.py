"""The studies of `lenscape folds` and `lenscape ablation`: each labelled cell is tested once a seed.

Per seed the predictions of all folds are pooled into one confusion matrix; the table has the means
over the seeds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from pipeline.config.reading import load
from pipeline.config.train import TrainConf
from pipeline.crossvalidation.fitting import Plan, Study
from pipeline.errors import ConfigError


def folds(networks: Mapping[str, Path], plan: Plan) -> Study:
    """Networks, by name and conf of train, and all baselines, which take the bands of the first.

    Raises:
        ConfigError: when a conf cannot be used.
    """
    return Study("folds", {name: load(path, TrainConf) for name, path in networks.items()}, True, plan)


def ablation(bands: Sequence[str], train: Path, plan: Plan) -> Study:
    """The network of a conf of train on several choices of bands; nothing is calibrated.

    A choice is a name or a list as `B04,B08`; all others are compared with the first.

    Raises:
        ConfigError: when fewer than two different choices are given, or the conf cannot be used.
    """
    chosen = [text if text in ("all", "rgb", "10m") else _listed(text) for text in bands]
    if len(chosen) < 2 or any(one in chosen[:place] for place, one in enumerate(chosen)):
        raise ConfigError(
            f"--bands names {', '.join(bands) or 'nothing'}: name two or more different choices, "
            "as --bands all --bands rgb."
        )
    conf = load(train, TrainConf).model_dump()
    networks = {
        one if isinstance(one, str) else " ".join(one): TrainConf.model_validate(
            conf | {"bands": one, "calibration_folds": 0}
        )
        for one in chosen
    }
    return Study("ablation", networks, False, plan)


def _listed(text: str) -> list[str]:
    return [band.strip() for band in text.split(",")]
