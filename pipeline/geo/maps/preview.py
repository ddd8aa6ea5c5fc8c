"""`preview.png`: a scene in true colour beside its class map, with legend, scale and attribution."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib.style
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from pipeline.geo.maps.catalog import MapFolder
from pipeline.geo.maps.class_map import MapRecord
from pipeline.geo.maps.cog import read_small
from pipeline.geo.style.colors import rgb
from pipeline.geo.style.fonts import FONT, fonts, legible
from pipeline.geo.style.xml import readable
from pipeline.store_meta import ClassInfo

Bounds = tuple[float, float, float, float]
"""Left, bottom, right, top in the CRS, m."""

_PAPER, _INK, _SOFT, _VOID = "#ffffff", "#1f2328", "#59636e", "#e6e8eb"
VOID = rgb(_VOID)
"""The colour of what has no data, red, green, blue."""
_DPI = 100
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
    with matplotlib.style.context("default"):
        figure = Figure(figsize=(size[0] / _DPI, size[1] / _DPI), dpi=_DPI, facecolor=_PAPER)
        FigureCanvasAgg(figure)
        page = _Page(figure, size)
        page.text(_MARGIN, 34, title, size=15, weight="bold")
        page.text(_MARGIN, 60, subtitle, size=9.5, color=_SOFT)
        for number, panel in enumerate(panels):
            x = _MARGIN + number * (width + _GAP)
            axes = page.panel(x, 110, (width, height), panel.title)
            _show(axes, panel, view)
            if number == 0:
                _scale_bar(axes, view, width)
        lines = max(height, 8 * _LINE) // _LINE
        _legend(page, (x + width + _GAP, 110), record, lines)
        for number, note in enumerate(notes):
            y = size[1] - 12 - 18 * (len(notes) - 1 - number) - 6
            page.text(_MARGIN, y, note, size=8, color=_SOFT)
        figure.savefig(path, format="png", dpi=_DPI, metadata={"Software": None})


@dataclass(frozen=True)
class _Page:
    """A figure that is laid out in pixels from its top left corner."""

    figure: Figure
    size: tuple[int, int]

    def text(self, x: float, y: float, text: str, **look: Any) -> None:
        """A line of text whose baseline starts at (x, y); dollars are dollars."""
        look = {"color": _INK, "family": fonts(text), "parse_math": False, **look}
        self.figure.text(x / self.size[0], 1 - y / self.size[1], legible(text), **look)

    def panel(self, x: float, y: float, size: tuple[int, int], title: str) -> Axes:
        """Axes of `size` (width, height) with their top left corner at (x, y)."""
        self.text(x, y - 9, title, size=9.5, weight="bold")
        width, height = self.size
        axes = self.figure.add_axes(
            (x / width, 1 - (y + size[1]) / height, size[0] / width, size[1] / height)
        )
        axes.set_xticks([])
        axes.set_yticks([])
        axes.set_facecolor(_VOID)
        for spine in axes.spines.values():
            spine.set(color=_SOFT, linewidth=0.6)
        return axes

    def swatch(self, x: float, y: float, color: str) -> None:
        """A filled square of 15 px with its top left corner at (x, y)."""
        width, height = self.size
        corner = (x / width, 1 - (y + 15) / height)
        square = Rectangle(corner, 15 / width, 15 / height, transform=self.figure.transFigure)
        square.set(facecolor=color, edgecolor=_SOFT, linewidth=0.5)
        self.figure.add_artist(square)


def _show(axes: Axes, panel: Panel, view: Bounds) -> None:
    """A picture where it lies on the ground, cut to `view`."""
    left, bottom, right, top = panel.bounds
    axes.imshow(panel.image, extent=(left, right, bottom, top), interpolation="nearest", aspect="auto")
    axes.set_xlim(view[0], view[2])
    axes.set_ylim(view[1], view[3])


def _scale_bar(axes: Axes, bounds: Bounds, width_px: int) -> None:
    """A bar of a round length, about a fifth of the panel, at its lower left."""
    left, bottom, right, _ = bounds
    per_px = (right - left) / width_px
    wanted = (right - left) / 4
    decade = 10.0 ** np.floor(np.log10(wanted))
    length = max(step * decade for step in (1, 2, 5) if step * decade <= wanted)
    x, y = left + 14 * per_px, bottom + 14 * per_px
    frame = Rectangle((x - 7 * per_px, y - 7 * per_px), length + 14 * per_px, 34 * per_px)
    axes.add_patch(frame)
    frame.set(facecolor=_PAPER, alpha=0.8, linewidth=0)
    bar = Rectangle((x, y), length, 4 * per_px)
    axes.add_patch(bar)
    bar.set(facecolor=_INK, linewidth=0)
    label = f"{length / 1000:g} km" if length >= 1000 else f"{length:g} m"
    axes.text(x, y + 10 * per_px, label, size=8, color=_INK, family=FONT)


def _legend(page: _Page, corner: tuple[int, int], record: MapRecord, lines: int) -> None:
    """A line a class that occurs: colour, title, share; the largest where there are too few lines."""
    x, y = corner
    page.text(x, y - 9, "Classes (share of the scene)", size=9.5, weight="bold")
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
        page.swatch(x, top, color)
        page.text(x + 23, top + 12, label, size=9)
        per_cent = f"{100 * share:.1f} %" if share >= 0.0005 else "< 0.1 %"
        page.text(x + _LEGEND, top + 12, per_cent, size=9, color=_SOFT, ha="right")


def _entry(info: ClassInfo) -> tuple[str, str]:
    """Colour and label of a class; its machine name where no font has its title's letters."""
    title = readable(info.title)
    label = title if legible(title) == title else info.name
    return info.color, label if len(label) <= 26 else f"{label[:25]}…"
