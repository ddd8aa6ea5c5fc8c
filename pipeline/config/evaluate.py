"""`conf/evaluate.yaml`: what the network is compared with."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from pipeline.config.record import Conf

BaselineName = Literal["majority", "logistic_regression", "random_forest", "svm", "mlp"]


class CardConf(Conf):
    """What the conf adds to the model card."""

    purpose: str = "Class maps of land cover from Sentinel-2 scenes."
    """What the model is for."""
    licence: str = "not stated"
    """Under which the model may be used."""
    limits: list[str] = []
    """Where it should not be used, beside what follows from the data."""


class EvaluateConf(Conf):
    """`conf/evaluate.yaml`: what the network is compared with."""

    baselines: list[BaselineName] = ["majority", "logistic_regression", "random_forest", "svm"]
    """Fitted on the same training patches with the same class weights; `mlp` takes longest."""
    gallery: Annotated[int, Field(ge=0, le=100)] = 24
    """How many of the most confident mistakes the gallery shows."""
    card: CardConf = CardConf()
    """Its part of the model card."""
