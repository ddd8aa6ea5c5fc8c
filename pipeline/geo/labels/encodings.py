"""Texts that were decoded wrongly: in which encoding they would be right.

A Shapefile says its encoding in a `.cpg` file, which is often lost; GDAL then takes ISO-8859-1.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from contextlib import suppress
from itertools import product

_ENCODINGS = (
    "UTF-8", "cp1252", "cp850", "cp437", "cp1250", "cp852", "cp1251", "cp866", "cp1253", "cp1254",
    "mac_roman", "shift_jis", "gb18030",
)  # fmt: skip
"""Those that programs write, the likely ones first."""
_READ_AS = ("latin-1", "cp1252", "cp437", "cp850")
"""Those that GDAL takes a text to be in that does not say it."""
STATE_IT = "state the `encoding` of the labels (a Shapefile says it in a .cpg file beside it)"


def misread(texts: Iterable[str], known: Collection[str]) -> str | None:
    """The first of the texts that was decoded wrongly, and what to do about it; None where none was.

    `known` are texts that may have been meant.
    """
    for text in texts:
        for encoding, again in _decoded_again(text):
            if again in known:
                return (
                    f"{text!r} is {again!r} in {encoding}: state `encoding: {encoding}` with the labels"
                )
        if _looks_wrong(text):
            return f"{text!r} looks decoded wrongly: {STATE_IT}"
    return None


def _decoded_again(text: str) -> Iterable[tuple[str, str]]:
    """What the bytes of a text are in other encodings."""
    for read_as, encoding in product(_READ_AS, _ENCODINGS):
        with suppress(UnicodeError):
            yield encoding, text.encode(read_as).decode(encoding)


def _looks_wrong(text: str) -> bool:
    """Whether a text has characters that nobody writes, or is UTF-8 taken to be something else."""
    if any("\x80" <= char <= "\x9f" or char == "\ufffd" for char in text):
        return True
    return not text.isascii() and any(code == "UTF-8" for code, _ in _decoded_again(text))
