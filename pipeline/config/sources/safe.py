"""A SAFE product of ESA, a folder or a zip."""

from __future__ import annotations

from pipeline.config.record import Name
from pipeline.config.sources.masking import MaskingConf
from pipeline.config.sources.stated import MaskConf


class SafeConf(MaskingConf):
    """A product whose own metadata say everything."""

    safe: str
    """Path of the product: a folder `...SAFE`, or a zip of it, which is not unpacked."""
    id: Name | None = None
    """Name of the scene, of its folder and of its class map; of the product where absent."""
    mask: MaskConf | None = None
    """Pixels to leave out (cloud, shadow), instead of the product's own masks."""
