"""A scene as one raster file that holds all bands."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from pipeline.config.sources.stated import StatedConf


class StackConf(StatedConf):
    """One scene: the file of its pixels and what that does not say."""

    stack: str
    """Path of a GeoTIFF whose layers are bands."""
    bands: Annotated[list[str | None], Field(min_length=1)] | None = None
    """The band of each layer in order (`B02`, `SCL` for a scene classification, null for one to pass
    over); what the file says of its layers where absent."""
