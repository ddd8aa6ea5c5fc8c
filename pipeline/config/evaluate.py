"""`conf/evaluate.yaml`: what the network is compared with."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import Field

from pipeline.config.record import Conf

BaselineName = Literal["majority", "logistic_regression", "random_forest", "svm", "mlp"]


class EvaluateConf(Conf):
    """`conf/evaluate.yaml`: what the network is compared with."""

    baselines: list[BaselineName] = list(get_args(BaselineName))
    """Fitted on the same training patches with the same class weights."""
    gallery: Annotated[int, Field(ge=0, le=100)] = 24
    """How many of the most confident mistakes the gallery shows."""
