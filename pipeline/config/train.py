"""`conf/train.yaml`: the network and how it learns."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from pipeline.config.record import Conf, Positive


class PoolConf(Conf):
    """Pooling after a convolution."""

    kind: Literal["max", "average"] = "max"
    size: Positive = 2
    """Side of the window, in pixels of its input."""
    stride: Positive | None = None
    """Step of the window; its size where absent."""


class ConvolutionConf(Conf):
    """One convolution with what follows it: batch norm, activation, pooling, dropout."""

    filters: Positive
    kernel: Positive = 3
    padding: Annotated[int, Field(ge=0)] = 0
    stride: Positive = 1
    batch_norm: bool = False
    pool: PoolConf | None = None
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0


class DenseConf(Conf):
    """One dense hidden layer with its activation and dropout."""

    units: Positive
    batch_norm: bool = False
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0


class NetworkConf(Conf):
    """A network of the LeNet family; the output layer, one unit a class, is always added."""

    activation: Literal["sigmoid", "tanh", "relu"] = "relu"
    convolutions: list[ConvolutionConf] = []
    """None for a network of dense layers on the flattened patch (a multilayer perceptron)."""
    dense: list[DenseConf] = []

    @model_validator(mode="after")
    def _has_layers(self) -> NetworkConf:
        if not self.convolutions and not self.dense:
            raise ValueError("a network needs a layer; give it convolutions, dense layers or both")
        return self


PRESETS: dict[str, NetworkConf] = {
    # LeNet-5 as the course draws it: average pooling and sigmoid, 61,706 weights on 32 x 32 x 1
    "lenet5": NetworkConf(
        activation="sigmoid",
        convolutions=[
            ConvolutionConf(filters=filters, kernel=5, pool=PoolConf(kind="average", size=2))
            for filters in (6, 16)
        ],
        dense=[DenseConf(units=120), DenseConf(units=84)],
    ),
    "modern": NetworkConf(
        activation="relu",
        convolutions=[
            ConvolutionConf(filters=32, batch_norm=True, dropout=0.1),
            ConvolutionConf(filters=32, batch_norm=True, pool=PoolConf(), dropout=0.1),
            ConvolutionConf(filters=64, batch_norm=True, pool=PoolConf(), dropout=0.2),
        ],
        dense=[DenseConf(units=128, dropout=0.5)],
    ),
    # what the course begins with: every unit sees every pixel of the patch, and none is shared
    "mlp": NetworkConf(
        activation="relu",
        dense=[
            DenseConf(units=256, batch_norm=True, dropout=0.5),
            DenseConf(units=128, batch_norm=True, dropout=0.5),
        ],
    ),
}
"""The networks that `network:` knows by name."""


def resolve(network: str | NetworkConf) -> tuple[str, NetworkConf]:
    """The name of a network (`own` where it has none) and its layers."""
    if isinstance(network, NetworkConf):
        return next((name for name, known in PRESETS.items() if known == network), "own"), network
    return network, PRESETS[network]


class AugmentConf(Conf):
    """Random changes of training patches; none of them moves a patch to other ground."""

    flips: bool = True
    turns: bool = True
    """Rotations by 90°."""
    jitter: Annotated[float, Field(ge=0, lt=1)] = 0.05
    """Standard deviation of a random gain per patch and band."""


class TrainConf(Conf):
    """`conf/train.yaml`: the network and how it learns. The defaults are what that file says."""

    bands: Literal["all", "rgb", "10m"] | Annotated[list[str], Field(min_length=1)] = "all"
    """Input bands, out of those of the store."""
    network: Literal["modern", "lenet5", "mlp"] | NetworkConf = "modern"
    """A preset, or a network composed here."""
    augment: AugmentConf = AugmentConf()
    class_weight_exponent: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Class weights by frequency: 0 none, 0.5 inverse square root, 1 inverse."""
    epochs: Positive = 15
    batch_size: Annotated[int, Field(ge=2)] = 256
    """Patches a step; at least 2, because batch norm learns from their spread."""
    lr: Annotated[float, Field(gt=0)] = 2e-3
    """The largest learning rate: it rises for a fifth of the steps, then falls to nothing."""
    weight_decay: Annotated[float, Field(ge=0)] = 1e-2
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of each label that is spread over all classes."""
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.99
    """Decay, a step, of the running mean of the weights that is kept; 0 for none."""
    patience: Positive = 20
    """Training stops after this many epochs in a row that are not kept (see `tolerance`)."""
    monitor: Literal["balanced_accuracy", "loss"] = "balanced_accuracy"
    """The validation score that chooses the epoch; never the overall accuracy."""
    tolerance: Annotated[float, Field(ge=0)] = 0.05
    """Of the epochs whose score lies within this of the best one, the last is kept."""
    learning_curve: list[Annotated[float, Field(gt=0, lt=1)]] = []
    """Shares of the blocks that further networks of each fold are trained on."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
