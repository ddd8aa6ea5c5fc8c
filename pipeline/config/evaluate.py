"""`conf/evaluate.yaml`: what the network is compared with."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from pipeline.config.record import Conf


class EvaluateConf(Conf):
    """`conf/evaluate.yaml`: what the network is compared with."""

    baselines: list[Literal["majority", "logistic_regression"]] = ["majority", "logistic_regression"]
    """Fitted on the same training patches with the same class weights."""
    gallery: Annotated[int, Field(ge=0, le=100)] = 24
    """How many of the most confident mistakes the gallery shows."""
