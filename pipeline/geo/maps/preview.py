"""`preview.png`: a scene in true colour beside its class map, with legend, scale and attribution."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from pipeline.geo.maps.catalog import MapFolder
from pipeline.geo.maps.class_map import MapRecord
from pipeline.geo.maps.cog import read_small
from pipeline.geo.style.colors import rgb
from pipeline.geo.style.fonts import font, legible, runs
from pipeline.geo.style.xml import readable
from pipeline.store_meta import ClassInfo

Bounds = tuple[float, float, float, float]
"""Left, bottom, right, top in the CRS, m."""

_PAPER, _INK, _SOFT, _VOID = "#ffffff", "#1f2328", "#59636e", "#e6e8eb"
VOID = rgb(_VOID)
"""The colour of what has no data, red, green, blue."""
_PX_PER_POINT = 100 / 72
_COMPRESSION = 3
"""Of the PNG file; 6, the usual one, takes twice as long and saves a fifth."""
_MARGIN, _GAP, _LEGEND, _LINE = 24, 20, 250, 25
_AREA_PX = 560 * 560
"""Pixels of one panel, whatever its shape."""


@dataclass(frozen=True)
class Panel:
    """A picture of the ground."""

    title: str
    image: npt.NDArray[np.uint8]
    """Its colours (h, w, 3)."""
    bounds: Bounds


def draw_map(
    files: MapFolder, record: MapRecord, beside: Panel, facts: Sequence[str | None], longest_px: int
) -> None:
    """Draw the preview of the maps in a folder, which are there.

    `facts` make the subtitle; the class map is reduced to `longest_px` on its longer side.

    Raises:
        OSError: when the file cannot be written.
    """
    cells, bounds = read_small(files.class_map, longest_px)
    class_map = Panel("Class map", paint(cells, record.classes), bounds)
    subtitle = " · ".join(fact for fact in facts if fact)
    draw(files.preview, (beside, class_map), record, files.scene, subtitle)


def paint(cells: npt.NDArray[np.uint8], classes: Sequence[ClassInfo]) -> npt.NDArray[np.uint8]:
    """The colours (h, w, 3) of a class map (h, w)."""
    palette = np.empty((256, 3), dtype=np.uint8)
    palette[:] = VOID
    for value, info in enumerate(classes, start=1):
        palette[value] = rgb(info.color)
    colored: npt.NDArray[np.uint8] = palette[cells]
    return colored


def draw(path: Path, panels: tuple[Panel, Panel], record: MapRecord, title: str, subtitle: str) -> None:
    """Draw a preview; the same input gives the same bytes.

    The first panel, whose ground both show, lies left of the class map; legend and attribution follow
    from the `record` of the class map.

    Raises:
        OSError: when the file cannot be written.
    """
    view = panels[0].bounds
    left, bottom, right, top = view
    aspect = (right - left) / (top - bottom)
    width = round(min(max((_AREA_PX * aspect) ** 0.5, 240), 1120))
    height = round(width / aspect) if aspect > 0.1 else 10 * width
    notes = textwrap.wrap(legible(record.origin.attribution), max(40, (2 * width + _LEGEND) // 7))
    size = (
        2 * _MARGIN + 2 * width + 2 * _GAP + _LEGEND,
        110 + max(height, 8 * _LINE) + 30 + 18 * len(notes) + 12,
    )
    page = _Page(*size)
    page.text(_MARGIN, 34, title, size=15, bold=True)
    page.text(_MARGIN, 60, subtitle, size=9.5, color=_SOFT)
    for number, panel in enumerate(panels):
        x = _MARGIN + number * (width + _GAP)
        page.text(x, 101, panel.title, size=9.5, bold=True)
        page.picture(x, 110, _seen(panel, view, (height, width)))
        if number == 0:
            _scale_bar(page, (x, 110 + height), width, (right - left) / width)
    lines = max(height, 8 * _LINE) // _LINE
    _legend(page, (x + width + _GAP, 110), record, lines)
    for number, note in enumerate(notes):
        y = size[1] - 12 - 18 * (len(notes) - 1 - number) - 6
        page.text(_MARGIN, y, note, size=8, color=_SOFT)
    page.image.save(path, format="PNG", compress_level=_COMPRESSION)


class _Page:
    """A picture that is laid out in pixels from its top left corner."""

    def __init__(self, width: int, height: int) -> None:
        self.image = Image.new("RGB", (width, height), _PAPER)
        self._draw = ImageDraw.Draw(self.image)

    def text(self, x: float, y: float, text: str, size: float, color: str = _INK, **how: bool) -> None:
        """A line of text of a size in points whose baseline starts at (x, y).

        It can be `bold`; `right` lets it end there.
        """
        parts = [
            (font(family, size * _PX_PER_POINT, how.get("bold", False)), part)
            for family, part in runs(legible(text))
        ]
        if how.get("right"):
            x -= sum(letters.getlength(part) for letters, part in parts)
        for letters, part in parts:
            self._draw.text((x, y), part, fill=color, font=letters, anchor="ls")
            x += letters.getlength(part)

    def picture(self, x: int, y: int, pixels: npt.NDArray[np.uint8]) -> None:
        """Pixels (h, w, 3) with their top left corner at (x, y), in a frame."""
        height, width = pixels.shape[:2]
        self.image.paste(Image.fromarray(pixels), (x, y))
        self._draw.rectangle((x - 1, y - 1, x + width, y + height), outline=_SOFT)

    def box(self, x: int, y: int, size: tuple[int, int], color: str, edge: str | None = None) -> None:
        """A filled box of (width, height) with its top left corner at (x, y)."""
        self._draw.rectangle((x, y, x + size[0] - 1, y + size[1] - 1), fill=color, outline=edge)

    def veil(self, x: int, y: int, size: tuple[int, int]) -> None:
        """What lies in a box of (width, height) shines through paper."""
        corners = (x, y, x + size[0], y + size[1])
        below = self.image.crop(corners)
        self.image.paste(Image.blend(below, Image.new("RGB", size, _PAPER), 0.8), corners)


def _seen(panel: Panel, view: Bounds, size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """What is seen of a picture in `view` at a size of (h, w): nearest neighbours, void around it."""
    (height, width), (own_height, own_width) = size, panel.image.shape[:2]
    left, bottom, right, top = panel.bounds
    xs = view[0] + (np.arange(width) + 0.5) * ((view[2] - view[0]) / width)
    ys = view[3] - (np.arange(height) + 0.5) * ((view[3] - view[1]) / height)
    rows = np.floor((top - ys) * (own_height / (top - bottom))).astype(int)
    cols = np.floor((xs - left) * (own_width / (right - left))).astype(int)
    # one more row and column, for what lies outside
    pixels = np.full((own_height + 1, own_width + 1, 3), VOID, dtype=np.uint8)
    pixels[:-1, :-1] = panel.image
    rows[(rows < 0) | (rows >= own_height)] = own_height
    cols[(cols < 0) | (cols >= own_width)] = own_width
    seen: npt.NDArray[np.uint8] = pixels.take(rows, axis=0).take(cols, axis=1)
    return seen


def _scale_bar(page: _Page, corner: tuple[int, int], width: int, m_per_px: float) -> None:
    """A bar of a round length, about a quarter of the panel, at its lower left `corner`."""
    wanted = width * m_per_px / 4
    decade = 10.0 ** np.floor(np.log10(wanted))
    length = max(step * decade for step in (1, 2, 5) if step * decade <= wanted)
    x, y, long = corner[0] + 14, corner[1] - 14, round(length / m_per_px)
    page.veil(x - 7, y - 27, (long + 14, 34))
    page.box(x, y - 4, (long, 4), _INK)
    page.text(x, y - 10, f"{length / 1000:g} km" if length >= 1000 else f"{length:g} m", size=8)


def _legend(page: _Page, corner: tuple[int, int], record: MapRecord, lines: int) -> None:
    """A line a class that occurs: colour, title, share; the largest where there are too few lines."""
    x, y = corner
    page.text(x, y - 9, "Classes (share of the ground)", size=9.5, bold=True)
    classes, shares = record.classes, record.tally.shares().tolist()
    values = [v for v in range(1, len(classes) + 1) if shares[v] > 0]
    class_lines = lines - (shares[0] > 0)
    kept = values
    if len(values) > class_lines:
        kept = sorted(sorted(values, key=lambda v: -shares[v])[: class_lines - 1])
    shown = [(*_entry(classes[v - 1]), shares[v]) for v in kept]
    if others := [shares[v] for v in values if v not in kept]:
        shown.append((_PAPER, f"{len(others)} others", sum(others)))
    if shares[0] > 0:
        shown.append((_VOID, "no data", shares[0]))
    for number, (color, label, share) in enumerate(shown):
        top = y + number * _LINE
        page.box(x, top, (15, 15), color, _SOFT)
        page.text(x + 23, top + 12, label, size=9)
        per_cent = f"{100 * share:.1f} %" if share >= 0.0005 else "< 0.1 %"
        page.text(x + _LEGEND, top + 12, per_cent, size=9, color=_SOFT, right=True)


def _entry(info: ClassInfo) -> tuple[str, str]:
    """Colour and label of a class; its machine name where no font has its title's letters."""
    title = readable(info.title)
    label = title if legible(title) == title else info.name
    return info.color, label if len(label) <= 26 else f"{label[:25]}…"
