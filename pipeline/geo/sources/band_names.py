"""Which Sentinel-2 band the description of a layer means.

Programs write `B02`, `B2`, `B8A_20m`, `B02 (490 nm)`, `Band 2 - Blue` or `blue`. A bare `Band 2` only
counts layers, so that `Band` needs a colour or a wavelength beside it; and neither may be that of
another band.
"""

from __future__ import annotations

import re

from pipeline.bands import BANDS
from pipeline.geo.sources.stac_names import COLOURS

_NUMBERED = re.compile(
    r"(?:S2[A-D]?|sentinel[-_ ]?2[A-D]?)?[-_ ]*(band|b)[-_ ]?(0?8a|1[0-2]|0?[1-9])(?![0-9a-z])(.*)",
    re.IGNORECASE | re.DOTALL,
)
_WORDY = "|".join(word for word in COLOURS if word not in ("coastal", "cirrus"))
"""Colours that a file of a band may be named after; `cirrus.tif` is a mask as a rule."""
_FILE = re.compile(
    rf"(?:^|[^A-Za-z0-9])(?:B(0?8A|1[0-2]|0?[1-9])|(SCL|{_WORDY}))(?:[ _.-][126]0m?)?(?:_\(raw\))?$",
    re.IGNORECASE,
)
_QUALITY = re.compile(r"(?:^|_)MSK_", re.IGNORECASE)
"""Of a quality mask of a band, `MSK_DETFOO_B02`."""
_WAVELENGTH = re.compile(r"(\d+(?:\.\d+)?) ?(nm|nanomet|um|µm|μm|micromet)", re.IGNORECASE)
_APART_UM = 0.03
"""Centres of the satellites differ by up to 16 nm, and some round them."""
_WORDS = {
    "edge": {"B05", "B06", "B07", "B8A"},
    "coastal": {"B01"},
    "aerosol": {"B01"},
    "blue": {"B01", "B02"},
    "green": {"B03"},
    "red": {"B04", "B05", "B06", "B07", "B8A"},
    "nir": {"B08", "B8A", "B09"},
    "vapour": {"B09"},
    "vapor": {"B09"},
    "cirrus": {"B10"},
    "swir": {"B09", "B10", "B11", "B12"},
}
"""The bands that are described by a word; B01 is also called ultra blue, and B09 SWIR."""


def band_of(description: str) -> str | None:
    """The name of the band that a description means; None where it means none, or is ambiguous."""
    text = description.strip()
    if (colour := COLOURS.get(text.lower())) is not None:
        return colour
    if (match := _NUMBERED.fullmatch(text)) is None:
        return None
    name = _name(match[2])
    matches = _matches(name, match[3])
    if not all(matches) or (match[1].lower() == "band" and not matches):
        return None
    return name


def band_of_file(stem: str) -> str | None:
    """The name of the band, or `SCL`, that a file is named after; its name comes without the suffix.

    The end of the name counts: `T33UUU_20170216T102101_B02`, `img.B2`, `x_FRE_B8A`, `b02`, `B05_20m`,
    `x_B02_(Raw)`, or a colour as Earth Search has it, `blue` or `x_swir16`.
    """
    if (match := _FILE.search(stem)) is None or _QUALITY.search(stem):
        return None
    if match[1] is None:
        word = match[2].lower()
        return "SCL" if word == "scl" else COLOURS[word]
    return _name(match[1])


def _name(number: str) -> str:
    """The name of a band by its number, with a leading 0 or without."""
    number = number.upper().lstrip("0")
    return f"B{number}" if number == "8A" else f"B{int(number):02}"


def _matches(name: str, text: str) -> list[bool]:
    """Whether each wavelength and each word of colour in a text is that of a band."""
    center_um = BANDS[name].center_wavelength_um
    waves = [
        float(match[1]) / (1000 if match[2].lower().startswith("n") else 1)
        for match in _WAVELENGTH.finditer(text)
    ]
    words = re.findall(r"[a-z]+", text.lower())
    return [abs(wave - center_um) <= _APART_UM for wave in waves] + [
        name in _WORDS[word] for word in words if word in _WORDS
    ]
