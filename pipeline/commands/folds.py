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
    choices: dict[str, str | list[str]] = {}
    for text in bands:
        names = [name.strip() for name in text.split(",")]
        choices[" ".join(names)] = text if text in ("all", "rgb", "10m") else names
    if len(choices) < max(2, len(bands)):
        raise ConfigError(
            f"--bands names {', '.join(bands) or 'nothing'}: name two or more different choices, "
            "as --bands all --bands rgb."
        )
    conf = load(train, TrainConf).model_dump() | {"calibration_folds": 0}
    networks = {
        name: TrainConf.model_validate(conf | {"bands": choice}) for name, choice in choices.items()
    }
    return Study("ablation", networks, False, plan)
