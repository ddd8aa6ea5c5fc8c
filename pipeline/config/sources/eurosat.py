"""EuroSAT, a published collection of small labelled images."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from pipeline.config.record import Conf


class EurosatConf(Conf):
    """The 13 bands of EuroSAT: images with a class each, to train on; none is a scene to map."""

    id: ClassVar[None] = None
    """Each image keeps its own name."""
    eurosat: Annotated[str, Field(min_length=1)]
    """`download`, or the path of `EuroSATallBands.zip` or of a folder with a folder a class."""
