"""Charts of a training and an evaluation, as matplotlib figures with titles and legends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from textwrap import fill

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from pipeline.learn.network.history import Epoch
from pipeline.learn.stats.accuracy import Scores
from pipeline.learn.stats.calibration import Reliability
from pipeline.learn.stats.intervals import Interval

# Okabe and Ito, Color Universal Design (2008): distinct for colour-blind readers
_BLUE, _ORANGE, _GREEN = "#0072b2", "#e69f00", "#009e73"
_MAX_FILTERS = 32
_COLUMNS = 6
"""Pictures in a row of the gallery."""


@dataclass(frozen=True)
class Captioned:
    """The picture of a patch and what is said of it."""

    picture: npt.NDArray[np.float64]
    """(P, P, 3), 0 to 1."""
    lines: tuple[str, ...]


def curves(history: Sequence[Epoch], kept: int, held_out: str = "validation") -> Figure:
    """Loss and balanced accuracy by epoch, the epoch that was kept marked.

    `held_out` is what the validation columns are of.
    """
    figure = Figure(figsize=(9, 3.8), layout="constrained")
    panels = (
        ("Loss by epoch", "class-weighted loss", "loss"),
        ("Balanced accuracy by epoch", "balanced accuracy", "balanced_accuracy"),
    )
    epochs = [row.epoch for row in history]
    for axes, (title, label, name) in zip(figure.subplots(1, 2), panels, strict=True):
        for part, color in (("train", _BLUE), ("validation", _ORANGE)):
            values = [getattr(row, f"{part}_{name}") for row in history]
            axes.plot(epochs, values, color=color, marker=".", label=part)
        axes.axvline(kept, color="0.4", linestyle=":", label="kept")
        axes.set(title=title, xlabel="epoch", ylabel=label)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.grid(color="0.9")
    lines = axes.get_legend_handles_labels()[0]
    named = ["training (augmented)", held_out, f"epoch {kept}, which was kept"]
    figure.legend(lines, named, loc="outside lower center", ncols=3, frameon=False)
    return figure


def confusion(scores: Scores, titles: Sequence[str]) -> Figure:
    """Counts with the share of each true class as the shade; the truth in rows."""
    count, titles = len(titles), [plain(title) for title in titles]
    side = max(5.5, 2.2 + 0.55 * count)
    figure, axes = _chart(side + 1.2, side)
    shares = scores.confusion / np.maximum(scores.support[:, None], 1)
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, col), number in np.ndenumerate(scores.confusion):
        if number:
            color = "white" if shares[row, col] > 0.55 else "black"
            axes.text(col, row, str(number), ha="center", va="center", color=color, fontsize=8)
    axes.set_xticks(range(count), titles, rotation=40, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(count), titles)
    axes.set(xlabel="predicted class", ylabel="true class")
    axes.set_title(
        f"Confusion matrix, {scores.support.sum():,} held-out patches\n"
        f"accuracy {scores.accuracy:.3f}, balanced {scores.balanced_accuracy:.3f}",
    )
    figure.colorbar(image, ax=axes, shrink=0.7, label="share of the patches of the true class")
    return figure


def per_class(scores: Scores, titles: Sequence[str]) -> Figure:
    """Precision, recall and F1 of each class."""
    rows = scores.per_class
    figure, axes = _chart(8, 1.7 + 0.5 * len(titles))
    series = {
        "precision": ([row.precision for row in rows], _BLUE),
        "recall": ([row.recall for row in rows], _ORANGE),
        "F1": ([row.f1 for row in rows], _GREEN),
    }
    named = [f"{plain(title)} ({row.support:,})" for title, row in zip(titles, rows, strict=True)]
    _bars(axes, named, series)
    axes.set(
        xlim=(0, 1), xlabel="share", title="Scores per class (with its number of held-out patches)"
    )
    figure.legend(loc="outside lower center", ncols=3, frameon=False)
    return figure


def comparison(models: Mapping[str, Scores]) -> Figure:
    """Network and baselines side by side."""
    figure, axes = _chart(7, 1.7 + 0.7 * len(models))
    series = {
        "accuracy": ([scores.accuracy for scores in models.values()], _BLUE),
        "balanced accuracy": ([scores.balanced_accuracy for scores in models.values()], _ORANGE),
    }
    _bars(axes, [name.replace("_", " ") for name in models], series)
    for bars in axes.containers:
        axes.bar_label(bars, fmt="%.3f", padding=2, fontsize=8)  # type: ignore[arg-type]
    axes.set(xlim=(0, 1.1), xlabel="score", title="Network and baselines on held-out ground")
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    return figure


def learning_curve(shares: Mapping[float, Interval]) -> Figure:
    """Balanced accuracy with its interval over the share of the training blocks."""
    figure, axes = _chart(5.6, 4)
    values = [interval.value for interval in shares.values()]
    ends = [
        [one.value - one.low for one in shares.values()],
        [one.high - one.value for one in shares.values()],
    ]
    axes.errorbar([*shares], values, yerr=ends, color=_BLUE, marker="o", capsize=3)
    axes.set(
        xlim=(0, 1.05),
        xlabel="share of the training blocks of each fold",
        ylabel="balanced accuracy (95 % CI)",
        title="Learning curve",
    )
    axes.grid(color="0.9")
    return figure


def reliability(parts: Mapping[str, Reliability]) -> Figure:
    """The reliability diagram before and after calibration; each dot is a bin of equal counts."""
    figure, axes = _chart(5.6, 5.8)
    axes.plot([0, 1], [0, 1], color="0.6", linestyle=":", label="perfect calibration")
    for (when, one), color in zip(parts.items(), (_ORANGE, _BLUE), strict=False):
        label = f"{when} calibration, ECE {one.error:.3f}"
        axes.plot(one.confidence, one.accuracy, color=color, marker="o", label=label)
    axes.set(
        title="Reliability diagram",
        xlabel="confidence (probability of the predicted class)",
        ylabel="accuracy (share of correct predictions)",
        xlim=(0, 1),
        ylim=(0, 1),
        aspect="equal",
    )
    axes.grid(color="0.9")
    figure.legend(loc="outside lower center", ncols=1, frameon=False)
    return figure


def band_importance(bands: Sequence[tuple[str, float, float]]) -> Figure:
    """Loss of balanced accuracy when a band comes from other patches, and its standard deviation."""
    names, losses, spreads = zip(*bands, strict=True)
    figure, axes = _chart(7, 1.4 + 0.3 * len(bands))
    _bars(axes, names, {"loss": (losses, _BLUE)})
    axes.errorbar(losses, range(len(bands)), xerr=spreads, fmt="none", ecolor="0.4")
    axes.axvline(0, color="0.3", linewidth=0.8)
    axes.set(xlabel="loss of balanced accuracy", title="Permutation importance of the bands")
    return figure


def plain(text: str) -> str:
    """A text as matplotlib takes it, for which dollars begin and end a formula."""
    return text.replace("$", r"\$")


def _chart(width: float, height: float) -> tuple[Figure, Axes]:
    """A figure of one chart, in inches."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()


def _bars(axes: Axes, names: Sequence[str], series: Mapping[str, tuple[Sequence[float], str]]) -> None:
    """Groups of bars from top to bottom: one group a name, in it one bar a series with its colour."""
    rows, width = np.arange(len(names)), 0.8 / len(series)
    for number, (label, (values, color)) in enumerate(series.items()):
        shift = (number - (len(series) - 1) / 2) * width
        axes.barh(rows + shift, values, 0.94 * width, color=color, label=label)
    axes.set_yticks(rows, names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.grid(axis="x", color="0.9")
    axes.set_axisbelow(True)


def gallery(heading: str, pictures: Sequence[Captioned], patch_m: float, cell_m: float) -> Figure:
    """Pictures of patches with their cells outlined, under a heading that says what they are."""
    rows = max(1, -(-len(pictures) // _COLUMNS))
    figure, grid = picture_grid(rows, _COLUMNS, 1.8 * _COLUMNS, 2.6 * rows + 0.6)
    figure.suptitle(heading, fontsize=10)
    for axes, shown in zip(grid.ravel(), pictures, strict=False):
        axes.imshow(shown.picture, interpolation="nearest")
        side = len(shown.picture)
        cell = side * cell_m / patch_m
        outline(axes, (side - cell) / 2 - 0.5, cell)
        axes.set_title("\n".join(fill(plain(line), 24) for line in shown.lines), fontsize=8)
    return figure


def picture_grid(
    rows: int, cols: int, width: float, height: float
) -> tuple[Figure, npt.NDArray[np.object_]]:
    """A figure of pictures without axes, in inches, and its Axes (rows, cols)."""
    figure = Figure(figsize=(width, height), layout="constrained")
    grid = figure.subplots(rows, cols, squeeze=False)
    for axes in grid.ravel():
        axes.set_axis_off()
    return figure, grid


def mosaic(squares: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Squares (rows, cols, h, w) in one picture, with an empty line between them."""
    rows, cols, height, width = squares.shape
    apart = np.pad(squares, ((0, 0), (0, 0), (0, 1), (0, 1)), constant_values=np.nan)
    joined = apart.transpose(0, 2, 1, 3).reshape(rows * (height + 1), cols * (width + 1))
    return joined[:-1, :-1]


def outline(axes: Axes, corner: float, width_px: float) -> None:
    """A square on a picture, white on black; its first corner has the same row and column."""
    for color, width in (("black", 2.5), ("white", 1.2)):
        axes.add_patch(
            Rectangle((corner, corner), width_px, width_px, fill=False, color=color, linewidth=width)
        )


def first_filters(weights: npt.NDArray[np.float32], bands: Sequence[str]) -> Figure:
    """The kernels (filters, C, k, k) of the first layer: a row a band, a column a filter."""
    shown = weights[:_MAX_FILTERS]
    count, channels, side = shown.shape[:3]
    figure, axes = _chart(2.8 + 0.4 * count, 1.6 + 0.4 * channels)
    limit = float(np.abs(shown).max()) or 1.0
    kernels = mosaic(shown.swapaxes(0, 1))
    image = axes.imshow(kernels, cmap="RdBu_r", vmin=-limit, vmax=limit, interpolation="nearest")
    size, middle = side + 1, (side - 1) / 2
    axes.set_xticks(np.arange(count) * size + middle, [str(n + 1) for n in range(count)], fontsize=8)
    axes.set_yticks(np.arange(channels) * size + middle, bands, fontsize=8)
    axes.tick_params(length=0)
    more = f" (the first {count} of {len(weights)})" if len(weights) > count else ""
    axes.set(xlabel=f"filter{more}", ylabel="band")
    axes.set_title(f"Weights of the first layer: filters of {side} x {side} px", fontsize=10)
    axes.spines[:].set_visible(False)
    figure.colorbar(image, ax=axes, label="weight")
    return figure


def text_page(text: str, title: str) -> Figure:
    """A table in a monospaced font, as a picture."""
    lines = text.splitlines()
    width, height = max(map(len, lines), default=1), len(lines)
    figure = Figure(figsize=(0.4 + 0.075 * width, 0.7 + 0.19 * height))
    figure.suptitle(title, fontsize=11, x=0.02, ha="left")
    top = 1 - 0.5 / figure.get_figheight()
    figure.text(0.02, top, text, family="monospace", fontsize=8.5, va="top", linespacing=1.25)
    return figure


def stretch(patches: npt.NDArray[np.uint16]) -> npt.NDArray[np.float64]:
    """The 2nd and 98th percentile of the valid pixels of each band, (C, 2), of patches (N, C, P, P)."""
    bands = patches.transpose(1, 0, 2, 3).reshape(patches.shape[1], -1)
    return np.array(
        [np.percentile(band[band > 0], (2, 98)) if band.any() else (0, 1) for band in bands]
    )


def picture(patch: npt.NDArray[np.uint16], limits: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """A patch (3, P, P) of harmonised DN as a picture (P, P, 3), each band stretched to its limits."""
    low, high = limits[:, 0, None, None], limits[:, 1, None, None]
    stretched: npt.NDArray[np.float64] = np.clip((patch - low) / np.maximum(high - low, 1.0), 0, 1)
    return stretched.transpose(1, 2, 0)
