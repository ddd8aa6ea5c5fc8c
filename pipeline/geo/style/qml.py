"""Styles of maps that QGIS loads by itself: `<map>.qml` beside `<map>.tif`.

Each is complete, as QGIS would write it: a partial one takes the palette away. Of the class map the
legend shows exactly the classes; nodata is transparent and has no entry.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from xml.sax.saxutils import quoteattr

from pipeline.store import ClassInfo

# of viridis, which is as readable in grey and with colour-blind eyes
PER_CENT_RAMP = {0: "#440154", 25: "#3b528b", 50: "#21918c", 75: "#5ec962", 100: "#fde725"}
"""Colour by per cent; linear in between."""
DISSIMILARITY_RAMP = {0: "#f7f7f7", 100: "#fddbc7", 101: "#ef8a62", 200: "#b2182b"}
"""Colour by per cent of the threshold of the area of applicability; what lies outside it stands out."""

_FRAME = """<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>
<qgis version="3.22.0" styleCategories="AllStyleCategories" hasScaleBasedVisibilityFlag="0" \
minScale="1e+08" maxScale="0">
  <flags>
    <Identifiable>1</Identifiable>
    <Removable>1</Removable>
    <Searchable>1</Searchable>
    <Private>0</Private>
  </flags>
  <customproperties>
    <Option type="Map">
      <Option name="identify/format" value="Value" type="QString"/>
    </Option>
  </customproperties>
  <pipe-data-defined-properties>
    <Option type="Map">
      <Option name="name" value="" type="QString"/>
      <Option name="properties"/>
      <Option name="type" value="collection" type="QString"/>
    </Option>
  </pipe-data-defined-properties>
  <pipe>
    <provider>
      <resampling enabled="false" zoomedInResamplingMethod="nearestNeighbour" \
zoomedOutResamplingMethod="nearestNeighbour" maxOversampling="2"/>
    </provider>
{renderer}
    <brightnesscontrast brightness="0" contrast="0" gamma="1"/>
    <huesaturation colorizeOn="0" colorizeRed="255" colorizeGreen="128" colorizeBlue="128" \
colorizeStrength="100" grayscaleMode="0" saturation="0" invertColors="0"/>
    <rasterresampler maxOversampling="2"/>
    <resamplingStage>resamplingFilter</resamplingStage>
  </pipe>
  <blendMode>0</blendMode>
</qgis>
"""

_LIMITS = """      <rasterTransparency/>
      <minMaxOrigin>
        <limits>None</limits>
        <extent>WholeRaster</extent>
        <statAccuracy>Estimated</statAccuracy>
        <cumulativeCutLower>0.02</cumulativeCutLower>
        <cumulativeCutUpper>0.98</cumulativeCutUpper>
        <stdDevFactor>2</stdDevFactor>
      </minMaxOrigin>"""

_PALETTED = """    <rasterrenderer type="paletted" band="1" opacity="1" alphaBand="-1" nodataColor="">
{limits}
      <colorPalette>
{entries}
      </colorPalette>
    </rasterrenderer>"""

_RAMP = """    <rasterrenderer type="singlebandpseudocolor" band="1" opacity="1" alphaBand="-1" \
nodataColor="" classificationMin="0" classificationMax="{most}">
{limits}
      <rastershader>
        <colorrampshader colorRampType="INTERPOLATED" classificationMode="1" clip="0" \
minimumValue="0" maximumValue="{most}" labelPrecision="0">
{ramp}
{entries}
          <rampLegendSettings useContinuousLegend="1" orientation="2" direction="0" \
minimumLabel="" maximumLabel="" prefix="" suffix=" %">
            <numericFormat id="basic">
              <Option type="Map">
                <Option name="decimal_separator" value="" type="QChar"/>
                <Option name="decimals" value="0" type="int"/>
                <Option name="rounding_type" value="0" type="int"/>
                <Option name="show_plus" value="false" type="bool"/>
                <Option name="show_thousand_separator" value="true" type="bool"/>
                <Option name="show_trailing_zeros" value="false" type="bool"/>
                <Option name="thousand_separator" value="" type="QChar"/>
              </Option>
            </numericFormat>
          </rampLegendSettings>
        </colorrampshader>
      </rastershader>
    </rasterrenderer>"""

_GRADIENT = """          <colorramp name="[source]" type="gradient">
            <Option type="Map">
              <Option name="color1" value="{first}" type="QString"/>
              <Option name="color2" value="{last}" type="QString"/>
              <Option name="discrete" value="0" type="QString"/>
              <Option name="rampType" value="gradient" type="QString"/>
              <Option name="stops" value="{stops}" type="QString"/>
            </Option>
          </colorramp>"""

_THREE = """    <rasterrenderer type="multibandcolor" redBand="1" greenBand="2" blueBand="3" \
opacity="1" alphaBand="-1" nodataColor="">
{limits}
    </rasterrenderer>"""


def class_map_qml(classes: Sequence[ClassInfo]) -> str:
    """The style of a class map: one entry a class, value from 1, with its title and colour."""
    entries = "\n".join(
        f'        <paletteEntry value="{value}" color="{info.color.lower()}" alpha="255" '
        f"label={quoteattr(readable(info.title))}/>"
        for value, info in enumerate(classes, start=1)
    )
    return _FRAME.format(renderer=_PALETTED.format(limits=_LIMITS, entries=entries))


def per_cent_qml() -> str:
    """The style of a map in per cent: a colour ramp of its first band; nodata is transparent."""
    return _ramp_qml(PER_CENT_RAMP)


def dissimilarity_qml() -> str:
    """The style of a map of dissimilarity: pale up to its limit, 100 %, and red beyond."""
    return _ramp_qml(DISSIMILARITY_RAMP)


def _ramp_qml(colors: Mapping[int, str]) -> str:
    """A colour ramp by values in per cent, which rise; linear in between."""
    entries = "\n".join(
        f'          <item value="{per_cent}" color="{color}" alpha="255" label="{per_cent} %"/>'
        for per_cent, color in colors.items()
    )
    first, *between, last = colors
    stops = ":".join(f"{p / last};{_comma(colors[p])}" for p in between)
    ramp = _GRADIENT.format(first=_comma(colors[first]), last=_comma(colors[last]), stops=stops)
    filled = _RAMP.format(limits=_LIMITS, ramp=ramp, entries=entries, most=last)
    return _FRAME.format(renderer=filled)


def three_bands_qml() -> str:
    """The style of a picture whose bands are red, green and blue from 1 to 255: as they are."""
    return _FRAME.format(renderer=_THREE.format(limits=_LIMITS))


def readable(text: str) -> str:
    """Text on one line, without the characters that XML cannot hold."""
    return re.sub(r"[\x00-\x1f\x7f\ud800-\udfff\ufffe\uffff]+", " ", text)


def rgb(color: str) -> tuple[int, int, int]:
    """`#rrggbb` -> red, green, blue from 0 to 255."""
    return int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16)


def _comma(color: str) -> str:
    return ",".join(str(part) for part in (*rgb(color), 255))
