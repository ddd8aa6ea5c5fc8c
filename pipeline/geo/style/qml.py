"""Styles that QGIS loads by itself: `<map>.qml` beside `<map>.tif`, and those of polygon layers.

That of a map is complete, as QGIS would write it: a partial one takes the palette away. Of the class
map the legend shows exactly the classes; nodata is transparent and has no entry.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pipeline.geo.style.xml import render
from pipeline.store import ClassInfo

# of viridis, which is as readable in grey and with colour-blind eyes
PER_CENT_RAMP = {0: "#440154", 25: "#3b528b", 50: "#21918c", 75: "#5ec962", 100: "#fde725"}
"""Colour by per cent; linear in between."""
DISSIMILARITY_RAMP = {0: "#f7f7f7", 100: "#fddbc7", 101: "#ef8a62", 200: "#b2182b"}
"""Colour by per cent of the threshold of the area of applicability; what lies outside it stands out."""
_RASTER = "raster_style.qml.j2"


def class_map_qml(classes: Sequence[ClassInfo]) -> str:
    """The style of a class map: one entry a class, value from 1, with its title and colour."""
    return render(_RASTER, classes=classes)


def ramp_qml(ramp: Mapping[int, str]) -> str:
    """The style of a map in per cent: a colour ramp of its first band; nodata is transparent."""
    return render(_RASTER, ramp=ramp)


def three_bands_qml() -> str:
    """The style of a picture whose bands are red, green and blue from 1 to 255: as they are."""
    return render(_RASTER)


def categorized_qml(
    column: str, categories: Sequence[tuple[str | int, str, str]], opacity: float = 0.6
) -> str:
    """The style of a polygon layer coloured by a column: (value, label, `#rrggbb`) in legend order.

    `opacity` is that of the fill, from 0 to 1; outlines are opaque.
    """
    alpha = round(255 * opacity)
    return render("vector_style.qml.j2", column=column, categories=categories, alpha=alpha)
