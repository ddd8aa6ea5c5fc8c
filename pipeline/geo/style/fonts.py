"""Letters of any script in pictures: which fonts have them, and what to write where none has."""

from __future__ import annotations

import unicodedata
from functools import cache

from matplotlib.font_manager import fontManager
from matplotlib.ft2font import FT2Font

from pipeline.geo.style.qml import readable

FONT = "DejaVu Sans"
"""Comes with matplotlib, so that pictures are the same on every machine."""


def legible(text: str) -> str:
    """Text on one line whose letters some font has; `?` for the others."""
    missing = _missing(text, *fonts(text))
    return "".join("?" if letter in missing else letter for letter in readable(text))


def fonts(text: str) -> tuple[str, ...]:
    """The font of the picture, and one of this machine for letters that it does not have."""
    missing = _missing(text, FONT)
    return (FONT, *_fallback("".join(sorted(missing)))) if missing else (FONT,)


def _missing(text: str, *families: str) -> set[str]:
    letters = {letter for letter in readable(text) if unicodedata.category(letter)[0] not in "ZC"}
    for family in families:
        known = _letters(_files()[family])
        letters = {letter for letter in letters if ord(letter) not in known}
    return letters


@cache
def _files() -> dict[str, str]:
    """The file of each upright font of this machine, by name, without the one of empty boxes."""
    fonts = sorted(fontManager.ttflist, key=lambda font: (font.name, font.fname))
    upright = [f for f in fonts if f.style == "normal" and f.weight in (400, "normal", "regular")]
    return {f.name: f.fname for f in reversed(upright) if "Last Resort" not in f.name}


@cache
def _letters(file: str) -> frozenset[int]:
    try:
        return frozenset(FT2Font(file).get_charmap())
    except (OSError, RuntimeError, ValueError):  # a font that cannot be read has no letters
        return frozenset()


@cache
def _fallback(letters: str) -> tuple[str, ...]:
    """The first font of this machine, by name, that has all the letters."""
    for family, file in sorted(_files().items()):
        if _letters(file).issuperset(map(ord, letters)):
            return (family,)
    return ()
