"""The figures of an evaluation, each with its caption, in the order in which a reviewer asks."""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from pipeline.learn.data.reader import Rows
from pipeline.learn.evaluation.predictions import NETWORK, Evaluation
from pipeline.learn.report import activations, figures
from pipeline.learn.report.summary import RunSummary
from pipeline.learn.stats.accuracy import most_confident_mistakes
from pipeline.learn.stats.label_issues import LabelIssues
from pipeline.store import PatchStore

_STRETCHED = 500
"""Patches that the brightness of pictures is taken from, about."""
_CLASSES_SHOWN = 3
"""Classes of which a patch is shown with its activations."""
_LABELS_SHOWN = 10
"""Labels of which a patch is shown, the most likely wrong ones."""
_DPI = 100

type Figures = dict[str, tuple[str, Figure]]
"""Caption and figure by name."""


def evaluation_figures(evaluation: Evaluation, summary: RunSummary, gallery: int) -> Figures:
    """All figures of an evaluation, with so many of the most confident mistakes in the gallery."""
    network, titles = evaluation.scores[NETWORK], evaluation.titles
    named: Figures = {
        "confusion": ("Confusion matrix", figures.confusion(network, titles)),
        "per_class": ("Accuracy by class", figures.per_class(network, titles)),
        "baselines": ("The network and its baselines", figures.comparison(evaluation.scores)),
        "reliability": ("Reliability diagram", figures.reliability(evaluation.reliability)),
        "mistakes": ("The most confident mistakes", _gallery(evaluation, gallery)),
        "bands": ("Importance of the bands", figures.band_importance(summary.bands)),
    }
    labels = worst_labels(evaluation.store, evaluation.rows, evaluation.label_issues)
    named["labels"] = ("The labels that are most likely wrong: label_issues.gpkg", labels)
    if summary.learning_curve:
        named["learning_curve"] = ("Learning curve", figures.learning_curve(summary.learning_curve))
    if patches := _confident_patches(evaluation):
        classifier = evaluation.classifier
        maps = activations.activation_maps(classifier, patches)
        fields = activations.receptive_fields(classifier, patches[0])
        named["activations"] = ("Activations of the layers", maps)
        named["receptive_fields"] = ("Receptive fields of the layers", fields)
    return named


def png(figure: Figure) -> bytes:
    """A figure as a PNG file without the program and its version."""
    stream = BytesIO()
    figure.savefig(stream, format="png", dpi=_DPI, metadata={"Software": None})
    return stream.getvalue()


def _confident_patches(evaluation: Evaluation) -> list[activations.Shown]:
    """Of the classes most often predicted correctly, the correct patch of the highest confidence."""
    predicted, confidence = evaluation.predicted[NETWORK], evaluation.probabilities.max(axis=1)
    correct = np.flatnonzero(predicted == evaluation.truth)
    classes, counts = np.unique(predicted[correct], return_counts=True)
    store = evaluation.store
    limits, bands = _limits(store, evaluation.rows), _shown_bands(store)
    patches = []
    for label in classes[np.argsort(-counts, kind="stable")][:_CLASSES_SHOWN].tolist():
        of_class = correct[predicted[correct] == label]
        row = evaluation.rows[of_class[np.argmax(confidence[of_class])]]
        pixels = np.asarray(evaluation.store.pixels[row])
        picture = figures.picture(pixels[bands], limits)
        patches.append(activations.Shown(pixels[evaluation.bands], picture, evaluation.titles[label]))
    return patches


def _shown_bands(store: PatchStore) -> list[int]:
    """Indices of red, green and blue in the store, or of its first bands where it has none."""
    bands = store.meta.bands
    shown = ["B04", "B03", "B02"]
    return [bands.index(band) for band in (shown if set(shown) <= set(bands) else (bands * 3)[:3])]


def _limits(store: PatchStore, rows: Rows) -> npt.NDArray[np.float64]:
    """The stretch of pictures, from the pixels of some of the evaluated patches."""
    some = rows[:: max(1, len(rows) // _STRETCHED)]
    return figures.stretch(store.pixels[some][:, _shown_bands(store)])


def _gallery(evaluation: Evaluation, count: int) -> Figure:
    """The most confident mistakes."""
    titles, predicted = evaluation.titles, evaluation.predicted[NETWORK]
    captions = {
        index: (
            f"true: {titles[evaluation.truth[index]]}",
            f"predicted: {titles[predicted[index]]}",
            f"confidence {evaluation.probabilities[index].max():.0%}",
        )
        for index in most_confident_mistakes(evaluation.truth, evaluation.probabilities, count).tolist()
    }
    heading = "The most confident mistakes" if captions else "No held-out patch is misclassified"
    return _pictures(evaluation.store, evaluation.rows, heading, captions)


def worst_labels(store: PatchStore, rows: Rows, issues: LabelIssues) -> Figure:
    """The first labels of the list, each by the cell that shows best what it looks like.

    `rows` of the store are the cells that the issues were found in.
    """
    titles = [info.title for info in store.meta.classes]
    captions = {
        int(issues.example[place]): (
            f"{place + 1}: labelled {titles[issues.label[place]]}",
            f"looks like {titles[issues.looks_like[place]]} ({issues.confidence[place]:.0%})",
            f"{issues.contradicting[place]:.0%} of {issues.cells[place]} cells contradict",
        )
        for place in range(min(_LABELS_SHOWN, len(issues)))
    }
    heading = "The labels that are most likely wrong" if captions else "No label is contradicted"
    return _pictures(store, rows, heading, captions)


def _pictures(
    store: PatchStore, rows: Rows, heading: str, captions: Mapping[int, tuple[str, ...]]
) -> Figure:
    """Patches in true colour, or in the first bands of a store without it, by their index in `rows`."""
    bands, limits, meta = _shown_bands(store), _limits(store, rows), store.meta
    pictures = [
        figures.Captioned(figures.picture(store.pixels[rows[index]][bands], limits), lines)
        for index, lines in captions.items()
    ]
    patch_m, cell_m = meta.geometry.patch_m, meta.geometry.cell_m
    colors = ", ".join(meta.bands[band] for band in bands)
    below = (
        f"patches of {patch_m:g} m, the cell of {cell_m:g} m outlined; red, green and blue are {colors}"
    )
    return figures.gallery(f"{heading}\n{below}", pictures, patch_m, cell_m)
