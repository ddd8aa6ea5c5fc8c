"""Fonts for characters of any script in pictures, and what no font has."""

from __future__ import annotations

import unicodedata
from functools import cache
from itertools import groupby

from matplotlib.font_manager import FontProperties, fontManager
from matplotlib.ft2font import FT2Font
from PIL.ImageFont import FreeTypeFont, truetype

from pipeline.geo.style.xml import readable

FONT = "DejaVu Sans"
"""Comes with matplotlib, so that pictures are the same on every machine."""


def legible(text: str) -> str:
    """Text on one line; `?` for the characters that no font has."""
    missing = _fallback(readable(text))[1]
    return "".join("?" if character in missing else character for character in readable(text))


def fonts(text: str) -> tuple[str, ...]:
    """The `font.family` of a text: `FONT`, then fonts of this machine that add what it lacks."""
    return _fallback(readable(text))[0]


def runs(text: str) -> list[tuple[str, str]]:
    """A text in parts, each with the first of its families that has all of the part."""
    families = fonts(text)

    def family_of(character: str) -> str:
        return next((name for name in families if character in _characters(name)), FONT)

    return [(name, "".join(part)) for name, part in groupby(text, key=family_of)]


@cache
def font(family: str, size_px: float, bold: bool = False) -> FreeTypeFont:
    """A font at a size, for Pillow."""
    properties = FontProperties(family=[family], weight="bold" if bold else "normal")
    return truetype(fontManager.findfont(properties), size_px)


@cache
def _fallback(text: str) -> tuple[tuple[str, ...], frozenset[str]]:
    """Font families in the order in which matplotlib tries them, and the characters in none of them."""
    missing = frozenset(c for c in text if unicodedata.category(c)[0] not in "ZC") - _characters(FONT)
    families = [FONT]
    for family in _families() if missing else ():
        if added := missing & _characters(family):
            families.append(family)
            missing -= added
    return tuple(families), missing


def _families() -> list[str]:
    """The upright fonts of this machine, by name, but for the one with a box for every character."""
    regular = (400, "normal", "regular")
    upright = {f.name for f in fontManager.ttflist if f.style == "normal" and f.weight in regular}
    return sorted(name for name in upright if "Last Resort" not in name)


@cache
def _characters(family: str) -> frozenset[str]:
    try:
        return frozenset(map(chr, FT2Font(fontManager.findfont(family)).get_charmap()))
    except (OSError, RuntimeError, ValueError):  # a font that cannot be read
        return frozenset()
