"""Parts drawn patch by patch, whatever lies beside them: only to show how much they flatter a model.

Neighbouring patches share pixels, light and the field that they lie in, so that a patch of such a test
part was half seen in training. `split` never parts like this (see `blocks`).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pipeline.config.split import SplitConf
from pipeline.geo.split.blocks import Patches, uniform
from pipeline.store import PARTS

TRAIN, VALIDATION, TEST, _ = PARTS


def random_parts(patches: Patches, conf: SplitConf) -> npt.NDArray[np.str_]:
    """One of `PARTS` for each patch, by seed, fold and place; of the cell grid each tests in one fold.

    `patches` are columns of N values: `epsg`, `x`, `y`, `on_grid`; the conf's blocks are not asked for.

    Raises:
        ValueError: when the conf asks for no fold.
    """
    if conf.folds is None:
        raise ValueError("random parts are drawn for a fold; state folds and fold")
    columns = (patches[name].tolist() for name in ("epsg", "x", "y"))
    places = [f"{epsg}:{x}:{y}" for epsg, x, y in zip(*columns, strict=True)]
    tests = np.floor(uniform(f"{conf.seed}:{place}" for place in places) * conf.folds) == conf.fold
    again = uniform(f"{conf.seed}:{place}:validation:{conf.fold}" for place in places)
    on_grid = patches["on_grid"].astype(bool)
    return np.select([tests & on_grid, (again < conf.validation) & on_grid], [TEST, VALIDATION], TRAIN)
