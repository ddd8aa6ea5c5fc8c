"""The Sentinel-2 MSI bands, choices of them, and the way from DN to reflectance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.errors import ConfigError

QUANTIFICATION = 10_000
"""Harmonised DN per unit of reflectance, as in the products themselves."""
LARGEST_DN = 65_534
"""The largest harmonised DN."""
SATURATED = 65_535
"""The DN that marks saturation in a product."""


@dataclass(frozen=True)
class Band:
    """One band of the Sentinel-2 MultiSpectral Instrument."""

    name: str
    common_name: str | None
    """Name of the STAC extension `eo`, where it has one."""
    center_wavelength_um: float
    """Central wavelength of Sentinel-2A, micrometres."""
    native_m: int
    """Ground sampling distance of the product, metres."""


# Central wavelengths of Sentinel-2A: ESA, Sentinel-2 Spectral Response Functions,
# COPE-GSEG-EOPG-TN-15-0007.
BANDS: dict[str, Band] = {
    band.name: band
    for band in (
        Band("B01", "coastal", 0.4427, 60),
        Band("B02", "blue", 0.4924, 10),
        Band("B03", "green", 0.5598, 10),
        Band("B04", "red", 0.6646, 10),
        Band("B05", "rededge071", 0.7041, 20),
        Band("B06", "rededge075", 0.7405, 20),
        Band("B07", "rededge078", 0.7828, 20),
        Band("B08", "nir", 0.8328, 10),
        Band("B8A", "nir08", 0.8647, 20),
        Band("B09", "nir09", 0.9451, 60),
        Band("B10", "cirrus", 1.3735, 60),
        Band("B11", "swir16", 1.6137, 20),
        Band("B12", "swir22", 2.2024, 20),
    )
}
"""All bands by name, in the order of every store."""

_CHOICES = {"rgb": ("B04", "B03", "B02"), "10m": ("B02", "B03", "B04", "B08")}


def select(spec: str | Sequence[str], available: Sequence[str], where: str) -> tuple[str, ...]:
    """The bands that a conf asks for, in its order.

    `spec` is `all`, `rgb`, `10m` or a list of names; `where` names file and key in a message.

    Raises:
        ConfigError: when a band is unknown, not available or stands twice.
    """
    if spec == "all":
        return tuple(available)
    names = _CHOICES[spec] if isinstance(spec, str) else tuple(spec)
    choices = ", ".join(available)
    for name in names:
        if name not in BANDS:
            raise ConfigError(f"{where}: {name!r} is no Sentinel-2 band; choose from {choices}.")
        if name not in available:
            raise ConfigError(f"{where}: band {name} is not in the data; choose from {choices}.")
        if names.count(name) > 1:
            raise ConfigError(f"{where}: band {name} stands twice; each may stand once.")
    return names


NO_DN: tuple[float, ...] = (0, SATURATED)
"""The DN that stand for no value: nodata and saturation."""


def valid_of(values: npt.NDArray[Any], none: tuple[float, ...] = NO_DN) -> npt.NDArray[np.bool_]:
    """Which values of a band are some: those that are not in `none`, and of floats the finite ones."""
    valid: npt.NDArray[np.bool_] = np.isfinite(values)
    for value in none:
        valid &= values != value
    return valid


def harmonise(
    values: npt.NDArray[Any], scale: float, offset: float, none: tuple[float, ...] = NO_DN
) -> npt.NDArray[np.uint16]:
    """Harmonised DN (reflectance x 10000) from integers of 8 or 16 bits or from floats, in any shape.

    Reflectance = value * scale + offset, in one rounding. The values in `none`, and of floats NaN and
    infinity, become 0, nodata, whatever the offset; what is at or below 0 after it is darkest, 1.
    """
    if values.dtype.kind == "f":
        return _of_numbers(values, scale, offset, none)
    table, same = _harmonised(values.dtype, scale, offset, none)
    if same and (values.size == 0 or values.max() < SATURATED):
        return values
    return table.take(values.view(f"u{values.itemsize}"))


def _of_numbers(
    values: npt.NDArray[Any], scale: float, offset: float, none: tuple[float, ...]
) -> npt.NDArray[np.uint16]:
    # what overflows is not finite, or clipped
    with np.errstate(over="ignore", invalid="ignore"):
        dn = np.rint(values.astype(np.float64) * (scale * QUANTIFICATION) + offset * QUANTIFICATION)
    valid = valid_of(values, none)
    harmonised = np.clip(np.where(valid, dn, 0), 1, LARGEST_DN).astype(np.uint16)
    harmonised[~valid] = 0
    return harmonised


@cache
def _harmonised(
    dtype: np.dtype[Any], scale: float, offset: float, none: tuple[float, ...]
) -> tuple[npt.NDArray[np.uint16], bool]:
    """The harmonised DN of every bit pattern of a type, and whether all but 65535 are the DN itself.

    A look-up is faster than arithmetic.
    """
    dn = np.arange(2 ** (8 * dtype.itemsize), dtype=f"u{dtype.itemsize}").view(dtype)
    harmonised = _of_numbers(dn.astype(np.int64), scale, offset, none)
    same = dtype == np.uint16 and np.array_equal(harmonised[:-1], np.arange(SATURATED))
    return harmonised, same
