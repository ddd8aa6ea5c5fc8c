"""A SAFE product of ESA, a folder or a zip."""

from __future__ import annotations

from pipeline.config.record import Conf, Name


class SafeConf(Conf):
    """A product whose own metadata say everything."""

    safe: str
    """Path of the product: a folder `...SAFE`, or a zip of it."""
    id: Name | None = None
    """Name of the scene, of its folder and of its class map; of the product where absent."""
