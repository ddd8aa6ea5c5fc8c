"""What the Items of public catalogs call bands and offsets.

Names: the Planetary Computer and version 0 of Earth Search name assets after bands (`B02`), version 1
of Earth Search after colours (`blue`, `rededge1`), the Copernicus Data Space after band and resolution
(`B02_10m`). Offsets: `raster:bands` (STAC 1.0) or `raster:offset` (STAC 1.1) of an asset; where
`earthsearch:boa_offset_applied` is true, the offset is in the pixels already, whatever the asset
states; where no asset states an offset, the pixels are those of the product, of which
`s2:processing_baseline` says whether ESA added 1000 to them (from 04.00 on).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.bands import BANDS, QUANTIFICATION
from pipeline.errors import RadiometryError, SceneError

COLOURS = {
    "coastal": "B01",
    "blue": "B02",
    "green": "B03",
    "red": "B04",
    "rededge1": "B05",
    "rededge2": "B06",
    "rededge3": "B07",
    "nir": "B08",
    "nir08": "B8A",
    "nir09": "B09",
    "cirrus": "B10",
    "swir16": "B11",
    "swir22": "B12",
}
"""Keys of Earth Search, version 1."""
_WITH_OFFSET = "04.00"
"""The first baseline whose DN carry an offset: Sentinel-2 Products Specification Document, 4.3."""
_PRODUCT_OFFSET = -0.1
_APPLIED = ("earthsearch:boa_offset_applied", "sentinel:boa_offset_applied")
_BASELINE = ("s2:processing_baseline", "sentinel:processing_baseline", "processing:version")
_LEVEL = re.compile(r"(?:MSI|[-_]|^)L?(1C|2A)(?:[-_]|$)", re.IGNORECASE)


def band_assets(item: Mapping[str, Any], wanted: Sequence[str] | None) -> dict[str, dict[str, Any]]:
    """The asset of each band, at the band's own resolution, in the order of `BANDS`.

    They are those of the bands `wanted`, or of all that the Item has.

    Raises:
        SceneError: when it has none, or one that is wanted is missing.
    """
    assets = item["assets"]
    by_band = {}
    for name, band in BANDS.items():
        colour = next(key for key, of in COLOURS.items() if of == name)
        for key in (name, f"{name}_{band.native_m}m", colour):
            if key in assets:
                by_band[name] = assets[key]
                break
    missing = [name for name in wanted or () if name not in by_band]
    if missing or not by_band:
        band_text = f"band {missing[0]}" if missing else "any Sentinel-2 band"
        raise SceneError(
            f"the Item {item['id']} has no asset of {band_text}, its assets are "
            f"{', '.join(assets) or 'none'}; name other bands or another collection."
        )
    return {name: asset for name, asset in by_band.items() if wanted is None or name in wanted}


def classification(item: Mapping[str, Any]) -> dict[str, Any] | None:
    """The asset of the scene classification (SCL) of an L2A Item, at its own 20 m."""
    keys = ("scl", "SCL", "SCL_20m")
    return next((item["assets"][key] for key in keys if key in item["assets"]), None)


def radiometry(item: Mapping[str, Any], asset: Mapping[str, Any]) -> tuple[float, float]:
    """Scale and offset of an asset as its Item states them: reflectance = DN * scale + offset.

    Raises:
        RadiometryError: when they are unknown, or the Item contradicts itself.
    """
    fields = item["properties"]
    baseline = processing_baseline(item)
    applied = any(fields.get(key) is True for key in _APPLIED)
    scale, offset = _stated(asset)
    if offset is None and baseline is None and not applied:
        raise RadiometryError(
            f"the Item {item['id']} states neither an offset nor a processing baseline; add scale and "
            "offset of its pixels to the source in the conf."
        )
    if not applied and offset and baseline is not None and baseline < _WITH_OFFSET:
        raise RadiometryError(
            f"the Item {item['id']} states an offset of {offset:g}, which baseline {baseline} does not "
            "have; add scale and offset of its pixels to the source in the conf."
        )
    if applied:
        offset = 0.0
    elif offset is None:
        offset = _PRODUCT_OFFSET if baseline is not None and baseline >= _WITH_OFFSET else 0.0
    scale = 1 / QUANTIFICATION if scale is None else scale
    if not (0 < scale < math.inf and math.isfinite(offset)):
        raise RadiometryError(
            f"the Item {item['id']} states the scale {scale:g} and the offset {offset:g}, which no "
            "band has; add scale and offset of its pixels to the source in the conf."
        )
    return scale, offset


def states_offset(item: Mapping[str, Any], asset: Mapping[str, Any]) -> bool:
    """Whether an Item says itself which offset an asset has, or that it was applied."""
    applied = any(item["properties"].get(key) is True for key in _APPLIED)
    return applied or _stated(asset)[1] is not None


def processing_baseline(item: Mapping[str, Any]) -> str | None:
    """The processing baseline of an Item, such as `05.09`."""
    stated = (str(item["properties"].get(key, "")) for key in _BASELINE)
    return next((text for text in stated if re.fullmatch(r"\d\d\.\d\d", text)), None)


def level(item: Mapping[str, Any]) -> str | None:
    """The processing level of an Item, `L1C` or `L2A`."""
    fields = item["properties"]
    stated = [fields.get(key) for key in ("s2:product_type", "product:type", "processing:level")]
    for text in (*stated, item["id"], item.get("collection")):
        if match := _LEVEL.search(str(text or "")):
            return f"L{match[1].upper()}"
    return None


def _stated(asset: Mapping[str, Any]) -> tuple[float | None, float | None]:
    """Scale and offset in the fields of an asset, or of its only band."""
    objects: list[Mapping[str, Any]] = [asset]
    for key in ("raster:bands", "bands"):
        if len(bands := asset.get(key) or []) == 1:
            objects.append(bands[0])
    stated: list[float | None] = []
    for name in ("scale", "offset"):
        values = (fields.get(key) for fields in objects for key in (f"raster:{name}", name))
        stated.append(next((float(value) for value in values if value is not None), None))
    return stated[0], stated[1]
