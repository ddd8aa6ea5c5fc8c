from __future__ import annotations

import numpy as np
import pytest

from pipeline.config.split import SplitConf
from pipeline.geo.split.random_split import random_parts
from tests.support.stores import make_table

PATCHES = make_table(rows=60, cols=60, stride_px=4)


def parts(fold: int, seed: int = 0) -> np.ndarray:
    return random_parts(PATCHES, SplitConf(folds=4, fold=fold, seed=seed, validation=0.2))


def test_each_patch_of_the_cell_grid_tests_in_one_fold_and_no_other_patch_does():
    tested = sum((parts(fold) == "test").astype(int) for fold in range(4))
    assert (tested == PATCHES["on_grid"]).all()


def test_shares_are_those_of_the_conf_and_all_others_train():
    found, on_grid = parts(0), PATCHES["on_grid"]
    assert (found[on_grid] == "test").mean() == pytest.approx(0.25, abs=0.04)
    assert (found[on_grid] == "validation").mean() == pytest.approx(0.75 * 0.2, abs=0.04)
    assert set(found[~on_grid]) == {"train"}


def test_the_parts_follow_from_the_seed_and_the_place():
    assert (parts(1) == parts(1)).all()
    assert (parts(1) != parts(1, seed=1)).any()
    with pytest.raises(ValueError, match="state folds and fold"):
        random_parts(PATCHES, SplitConf())
