"""A SAFE product of ESA, a folder or a zip."""

from __future__ import annotations

from pipeline.config.record import Conf, Name
from pipeline.config.sources.stated import MaskConf


class SafeConf(Conf):
    """A product whose own metadata say everything."""

    safe: str
    """Path of the product: a folder `...SAFE`, or a zip of it, which is not unpacked."""
    id: Name | None = None
    """Name of the scene, of its folder and of its class map; of the product where absent."""
    mask: MaskConf | None = None
    """Pixels to leave out (cloud, shadow), instead of those of the product's own classification."""
    scl_invalid: list[int] = [0, 1, 3, 8, 9, 10]
    """Classes of the scene classification of L2A to leave out: no data, saturated, cloud shadow, cloud
    of medium and high probability, cirrus; 11 is snow. An empty list leaves out none."""
