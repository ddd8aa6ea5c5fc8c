"""The figures of an evaluation, each with its caption, in the order in which a reviewer asks."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from pipeline.learn.evaluation.band_importance import BandImportance
from pipeline.learn.evaluation.predictions import NETWORK, Evaluation
from pipeline.learn.report import activations, figures
from pipeline.learn.stats.accuracy import most_confident_mistakes

_STRETCHED = 500
"""Test patches that the brightness of pictures is taken from, about."""
_CLASSES_SHOWN = 3
"""Classes of which a patch is shown with its activations."""
_DPI = 100

type Figures = dict[str, tuple[str, Figure]]
"""Caption and figure by name."""


def evaluation_figures(
    evaluation: Evaluation, bands: Sequence[BandImportance], gallery: int
) -> Figures:
    """All figures of an evaluation, with so many of the most confident mistakes in the gallery."""
    network, titles = evaluation.scores[NETWORK], evaluation.titles
    named: Figures = {
        "confusion": ("Confusion matrix", figures.confusion(network, titles)),
        "per_class": ("Accuracy by class", figures.per_class(network, titles)),
        "baselines": ("The network and its baselines", figures.comparison(evaluation.scores)),
        "reliability": ("Reliability diagram", figures.reliability(evaluation.reliability)),
        "mistakes": ("The most confident mistakes", _gallery(evaluation, gallery)),
        "bands": ("Importance of the bands", figures.band_importance(bands)),
    }
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
    limits, bands = _limits(evaluation), _shown_bands(evaluation)
    patches = []
    for label in classes[np.argsort(-counts, kind="stable")][:_CLASSES_SHOWN].tolist():
        of_class = correct[predicted[correct] == label]
        row = evaluation.rows[of_class[np.argmax(confidence[of_class])]]
        pixels = np.asarray(evaluation.store.pixels[row])
        picture = figures.picture(pixels[bands], limits)
        patches.append(activations.Shown(pixels[evaluation.bands], picture, evaluation.titles[label]))
    return patches


def _shown_bands(evaluation: Evaluation) -> list[int]:
    """Indices of red, green and blue in the store, or of its first bands where it has none."""
    bands = evaluation.store.meta.bands
    shown = ["B04", "B03", "B02"]
    return [bands.index(band) for band in (shown if set(shown) <= set(bands) else (bands * 3)[:3])]


def _limits(evaluation: Evaluation) -> npt.NDArray[np.float64]:
    """The stretch of pictures, from the pixels of some test patches."""
    rows = evaluation.rows[:: max(1, len(evaluation.rows) // _STRETCHED)]
    return figures.stretch(evaluation.store.pixels[rows][:, _shown_bands(evaluation)])


def _gallery(evaluation: Evaluation, count: int) -> Figure:
    """The most confident mistakes in true colour, or in the first bands of a store without it."""
    bands, limits, titles = _shown_bands(evaluation), _limits(evaluation), evaluation.titles
    mistakes = [
        figures.Mistake(
            picture=figures.picture(evaluation.store.pixels[evaluation.rows[index]][bands], limits),
            truth=titles[evaluation.truth[index]],
            predicted=titles[evaluation.predicted[NETWORK][index]],
            probability=float(evaluation.probabilities[index].max()),
        )
        for index in most_confident_mistakes(evaluation.truth, evaluation.probabilities, count)
    ]
    geometry, names = evaluation.meta.geometry, evaluation.store.meta.bands
    patch_m, cell_m = geometry.patch_px * geometry.pixel_m, geometry.cell_px * geometry.pixel_m
    return figures.gallery(mistakes, [names[band] for band in bands], patch_m, cell_m)
