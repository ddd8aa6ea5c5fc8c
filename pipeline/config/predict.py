"""`conf/predict.yaml`: which model maps."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from pipeline.config.record import Conf


class RegisteredModelConf(Conf):
    """A version of the model registry, pinned by the hash of its weights (`lenscape pin`)."""

    uri: Annotated[str, Field(pattern=r"^models:/[^/@]+/\d+$")]
    """`models:/<name>/<version>`; an alias can move without DVC seeing it, so pin it."""
    weights_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class PredictConf(Conf):
    """`conf/predict.yaml`: which model maps."""

    model: Literal["trained"] | RegisteredModelConf = "trained"
    """The model that `train` has just made, or a registered one."""
    probabilities: bool = False
    """Whether to write the probabilities of all classes too, a band each."""
