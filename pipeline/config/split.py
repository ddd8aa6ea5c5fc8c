"""`conf/split.yaml`: which ground trains, which chooses and which tests."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from pipeline.config.record import Conf, Name


class SplitConf(Conf):
    """`conf/split.yaml`: which ground trains, which chooses and which tests."""

    seed: Annotated[int, Field(ge=0)] = 0
    """The first seed tried; seed + 1000, + 2000, ... follow until every class reaches every part."""
    block_m: Annotated[float, Field(gt=0)] = 1920.0
    """Side of a block of the spatial split, in metres."""
    validation: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """Share of the blocks that validate; in fold mode, of the blocks that remain."""
    test: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """Share of the blocks that test; not used in fold mode."""
    folds: Annotated[int, Field(ge=2)] | None = None
    """Number of folds; none for the three parts above."""
    fold: Annotated[int, Field(ge=0)] | None = None
    """The fold that tests, from 0."""
    lists: Name | None = None
    """Parts as published with a collection of images, in place of blocks: `official` and `spatial` for
    EuroSAT, or the beginning of the names of three files beside it (`<lists>-train.txt`, ...)."""

    @model_validator(mode="after")
    def _parts_fit(self) -> SplitConf:
        if self.lists is not None and self.folds is not None:
            raise ValueError("lists and folds exclude each other; leave one of them out")
        if (self.folds is None) != (self.fold is None):
            raise ValueError("folds and fold go together; state both or neither")
        if self.folds is not None and self.fold is not None and self.fold >= self.folds:
            raise ValueError(f"fold {self.fold} must be below folds {self.folds}; the first is 0")
        if self.folds is None and self.validation + self.test >= 1:
            raise ValueError("validation + test must be below 1, or nothing is left to train on")
        return self
