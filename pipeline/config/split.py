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
    folds: Annotated[int, Field(ge=2, le=50)] | None = 5
    """Number of folds of the cross-validation; none for training, validation and test part."""
    validation: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """Share of the blocks that validate; not used with folds."""
    test: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """Share of the blocks that test; not used with folds."""
    lists: Name | None = None
    """Parts as published with a collection of images, in place of blocks: `official` and `spatial` for
    EuroSAT, or the beginning of the names of three files beside it (`<lists>-train.txt`, ...)."""

    @model_validator(mode="after")
    def _parts_fit(self) -> SplitConf:
        if self.lists is not None and self.folds is not None:
            raise ValueError(
                "lists and folds exclude each other; state `folds: null` with lists, or leave lists out"
            )
        if self.folds is None and self.validation + self.test >= 1:
            raise ValueError("validation + test must be below 1, or nothing is left to train on")
        return self
