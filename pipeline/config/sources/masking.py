"""What makes pixels unusable, in one vocabulary whatever a product calls it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, get_args

from pydantic import Field

from pipeline.config.record import Conf

type MaskClass = Literal[
    "no_data",
    "saturated",
    "cloud_opaque",
    "cloud_high",
    "cloud_medium",
    "cirrus",
    "cloud_shadow",
    "snow",
]
"""`saturated` is also defective; `cloud_high` and `cloud_medium` are probabilities, as the scene
classification of L2A has them; `cloud_opaque` is what the masks of L1C tell from cirrus."""
MASK_CLASSES: tuple[MaskClass, ...] = get_args(MaskClass.__value__)
"""All of them; of several at one place the first one counts."""
USUAL: tuple[MaskClass, ...] = MASK_CLASSES[:-1]
"""Those that are masked where the conf does not say otherwise: all but snow."""
GROWN: frozenset[MaskClass] = frozenset(
    ("cloud_opaque", "cloud_high", "cloud_medium", "cirrus", "cloud_shadow")
)
"""Those whose edges are not sharp."""

Metres = Annotated[float, Field(ge=0, le=1000)]


class MaskingConf(Conf):
    """What of a source's own masks is left out, in place of what `fetch.yaml` says for all sources."""

    mask_classes: list[MaskClass] | None = None
    """The classes to leave out; an empty list leaves out none."""
    mask_grow_m: Metres | None = None
    """Cloud, shadow and cirrus are widened by so many metres."""


@dataclass(frozen=True)
class Masking:
    """What becomes of the masks that a source has."""

    classes: tuple[MaskClass, ...] = USUAL
    """The classes to leave out."""
    grow_m: float = 100.0
    """By how much those of `GROWN` among them are widened."""
