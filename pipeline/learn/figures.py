"""Charts of a training and an evaluation, as matplotlib figures that stand on their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from pipeline.learn.accuracy import Scores
from pipeline.learn.history import Epoch

# Okabe and Ito, Color Universal Design (2008): told apart by colour-blind readers
_BLUE, _ORANGE, _GREEN = "#0072b2", "#e69f00", "#009e73"
_MAX_FILTERS = 32


@dataclass(frozen=True)
class Mistake:
    """A test patch that was called something else."""

    picture: npt.NDArray[np.float64]
    """(P, P, 3), 0 to 1."""
    truth: str
    predicted: str
    probability: float


def curves(history: Sequence[Epoch], best: int) -> Figure:
    """Loss and balanced accuracy by epoch, the epoch that was kept marked."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    epochs = [row.epoch for row in history]
    panels = (
        ("Loss by epoch", "loss (class-weighted)", "train_loss", "validation_loss"),
        (
            "Balanced accuracy by epoch",
            "balanced accuracy",
            "train_balanced_accuracy",
            "validation_balanced_accuracy",
        ),
    )
    for axes, (title, label, train, validation) in zip(figure.subplots(1, 2), panels, strict=True):
        axes.plot(
            epochs, [getattr(r, train) for r in history], color=_BLUE, label="training (augmented)"
        )
        axes.plot(epochs, [getattr(r, validation) for r in history], color=_ORANGE, label="validation")
        axes.axvline(best, color="0.5", linestyle=":", label=f"kept: epoch {best}")
        axes.set(title=title, xlabel="epoch", ylabel=label)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(color="0.9")
        axes.legend(frameon=False, fontsize=8)
    return figure


def confusion(scores: Scores, titles: Sequence[str]) -> Figure:
    """Counts with the share of each true class as the shade; the truth in rows."""
    count = len(titles)
    side = max(4.5, 1.6 + 0.62 * count)
    figure = Figure(figsize=(side + 1.2, side), layout="constrained")
    axes = figure.subplots()
    shares = scores.confusion / np.maximum(scores.support[:, None], 1)
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row in range(count):
        for col in range(count):
            if scores.confusion[row, col]:
                color = "white" if shares[row, col] > 0.55 else "black"
                text = str(scores.confusion[row, col])
                axes.text(col, row, text, ha="center", va="center", color=color, fontsize=8)
    axes.set_xticks(range(count), titles, rotation=40, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(count), [f"{t} ({n})" for t, n in zip(titles, scores.support, strict=True)])
    axes.set(xlabel="predicted", ylabel="true (test patches)")
    axes.set_title(
        f"Confusion: accuracy {scores.accuracy:.3f}, balanced {scores.balanced_accuracy:.3f}",
        loc="left",
    )
    figure.colorbar(image, ax=axes, shrink=0.7, label="share of the true class")
    return figure


def per_class(scores: Scores, titles: Sequence[str]) -> Figure:
    """Precision, recall and F1 of each class."""
    rows = scores.per_class
    figure = Figure(figsize=(8, 1.6 + 0.5 * len(titles)), layout="constrained")
    axes = figure.subplots()
    places = np.arange(len(titles))
    bars = (("precision", _BLUE), ("recall", _ORANGE), ("f1", _GREEN))
    for shift, (name, color) in zip((-0.27, 0.0, 0.27), bars, strict=True):
        values = [getattr(row, name) for row in rows]
        axes.barh(places + shift, values, 0.25, color=color, label="F1" if name == "f1" else name)
    axes.set_yticks(places, [f"{t} ({r.support})" for t, r in zip(titles, rows, strict=True)])
    axes.invert_yaxis()
    axes.set(xlim=(0, 1), xlabel="share", title="Per class (number of test patches in brackets)")
    axes.grid(axis="x", color="0.9")
    axes.set_axisbelow(True)
    axes.legend(frameon=False, ncols=3, loc="upper center", bbox_to_anchor=(0.5, -0.55 / len(titles)))
    return figure


def comparison(models: dict[str, Scores]) -> Figure:
    """Network and baselines side by side."""
    figure = Figure(figsize=(6.5, 1.2 + 0.7 * len(models)), layout="constrained")
    axes = figure.subplots()
    places = np.arange(len(models))
    for shift, name, color in ((-0.2, "accuracy", _BLUE), (0.2, "balanced_accuracy", _ORANGE)):
        values = [getattr(scores, name) for scores in models.values()]
        bars = axes.barh(places + shift, values, 0.38, color=color, label=name.replace("_", " "))
        axes.bar_label(bars, fmt="%.3f", padding=2, fontsize=8)
    axes.set_yticks(places, [name.replace("_", " ") for name in models])
    axes.invert_yaxis()
    axes.set(xlim=(0, 1.08), title="Test part: the network and what it must beat")
    axes.legend(frameon=False, loc="lower right", fontsize=8)
    return figure


def gallery(mistakes: Sequence[Mistake], bands: Sequence[str], patch_m: float) -> Figure:
    """The most confident mistakes as pictures of their patches."""
    columns = min(6, max(len(mistakes), 1))
    rows = -(-max(len(mistakes), 1) // columns)
    figure = Figure(figsize=(1.9 * columns, 2.3 * rows + 0.6), layout="constrained")
    where = f"patches of {patch_m:g} m, {', '.join(bands)} as red, green, blue"
    figure.suptitle(f"Most confident mistakes ({where})", fontsize=10)
    grid = np.atleast_1d(figure.subplots(rows, columns)).ravel()
    for axes in grid:
        axes.set_axis_off()
    for axes, mistake in zip(grid, mistakes, strict=False):
        axes.imshow(mistake.picture, interpolation="nearest")
        axes.set_title(
            f"is {mistake.truth}\ncalled {mistake.predicted}\n{mistake.probability:.0%} sure",
            fontsize=8,
        )
    if not mistakes:
        grid[0].text(0.5, 0.5, "none", ha="center", va="center")
    return figure


def first_filters(weights: npt.NDArray[np.float32], bands: Sequence[str]) -> Figure:
    """The kernels (filters, C, k, k) of the first convolution: a row a filter, a column a band."""
    shown = weights[:_MAX_FILTERS]
    count, channels = shown.shape[:2]
    figure = Figure(figsize=(1.2 + 0.42 * channels, 1.1 + 0.42 * count), layout="constrained")
    axes = figure.subplots()
    # a grid of k x k squares, parted by a line of nothing
    size = shown.shape[2] + 1
    mosaic = np.full((count * size - 1, channels * size - 1), np.nan)
    for row in range(count):
        for col in range(channels):
            top, left = row * size, col * size
            mosaic[top : top + size - 1, left : left + size - 1] = shown[row, col]
    limit = float(np.abs(shown).max()) or 1.0
    image = axes.imshow(mosaic, cmap="RdBu_r", vmin=-limit, vmax=limit, interpolation="nearest")
    middle = (size - 2) / 2
    axes.set_xticks(np.arange(channels) * size + middle, bands, rotation=90, fontsize=7)
    axes.set_yticks(np.arange(count) * size + middle, [str(n + 1) for n in range(count)], fontsize=7)
    more = f" (of {len(weights)})" if len(weights) > count else ""
    axes.set(ylabel=f"filter{more}")
    axes.set_title("First convolution", fontsize=9)
    for spine in axes.spines.values():
        spine.set_visible(False)
    figure.colorbar(image, ax=axes, label="weight", shrink=0.5)
    return figure


def text_page(text: str, title: str) -> Figure:
    """A table in letters of one width, as a picture."""
    lines = text.splitlines()
    width, height = max(map(len, lines), default=1), len(lines)
    figure = Figure(figsize=(0.4 + 0.075 * width, 0.7 + 0.19 * height))
    figure.suptitle(title, fontsize=11, x=0.02, ha="left")
    top = 1 - 0.5 / figure.get_figheight()
    figure.text(0.02, top, text, family="monospace", fontsize=8.5, va="top", linespacing=1.25)
    return figure


def picture(patch: npt.NDArray[np.uint16]) -> npt.NDArray[np.float64]:
    """Three bands (3, P, P) of harmonised DN as a picture (P, P, 3), stretched to 2-98 %."""
    values = patch.astype(np.float64).transpose(1, 2, 0)
    valid = values[values > 0]
    if not len(valid):
        return np.zeros(values.shape)
    low, high = np.percentile(valid, (2, 98))
    stretched: npt.NDArray[np.float64] = np.clip((values - low) / max(high - low, 1.0), 0, 1)
    return stretched
