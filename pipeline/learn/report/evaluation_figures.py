"""The pictures of an evaluation, each with what it shows, in the order in which a reviewer asks."""

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
_SEEN = 3
"""Patches whose way through the network is shown."""
_DPI = 100

type Figures = dict[str, tuple[str, Figure]]
"""Caption and figure by name."""


def evaluation_figures(
    evaluation: Evaluation, bands: Sequence[BandImportance], gallery: int
) -> Figures:
    """All pictures of an evaluation.

    Args:
        evaluation: The test part and what was said of it.
        bands: What the network loses without a band.
        gallery: How many of the most confident mistakes are shown.
    """
    network, titles = evaluation.scores[NETWORK], evaluation.titles
    shown = _confident_patches(evaluation)
    found: Figures = {
        "confusion": ("What is called what", figures.confusion(network, titles)),
        "per_class": ("How each class fares", figures.per_class(network, titles)),
        "baselines": ("The network and its baselines", figures.comparison(evaluation.scores)),
        "reliability": ("Confidence and accuracy", figures.reliability(evaluation.reliability)),
        "mistakes": ("The most confident mistakes", _gallery(evaluation, gallery)),
        "bands": ("Which bands count", activations.band_importance(bands)),
    }
    if shown:
        classifier = evaluation.classifier
        found["activations"] = ("What the layers make", activations.activation_maps(classifier, shown))
        found["receptive_fields"] = (
            "What they see",
            activations.receptive_fields(classifier, shown[0]),
        )
    return found


def png(figure: Figure) -> bytes:
    """A figure as a PNG file without the program and its version."""
    stream = BytesIO()
    figure.savefig(stream, format="png", dpi=_DPI, metadata={"Software": None})
    return stream.getvalue()


def _confident_patches(evaluation: Evaluation) -> list[activations.Shown]:
    """Of the classes most often called rightly, the patch that the network is surest of."""
    called, sure = evaluation.predicted[NETWORK], evaluation.probabilities.max(axis=1)
    right = np.flatnonzero(called == evaluation.truth)
    classes, counts = np.unique(called[right], return_counts=True)
    often = classes[np.argsort(-counts, kind="stable")][:_SEEN].tolist()
    limits = _limits(evaluation)
    found = []
    for one in often:
        mine = right[called[right] == one]
        place = int(mine[np.argmax(sure[mine])])
        pixels = np.asarray(evaluation.store.pixels[evaluation.rows[place]])
        picture = figures.picture(pixels[_colours(evaluation)], limits)
        found.append(activations.Shown(pixels[evaluation.bands], picture, evaluation.titles[one]))
    return found


def _colours(evaluation: Evaluation) -> list[int]:
    """Places of red, green and blue in the store, or of its first bands where it has none."""
    bands = evaluation.store.meta.bands
    return [bands.index(band) for band in _shown_bands(evaluation)]


def _shown_bands(evaluation: Evaluation) -> list[str]:
    bands, shown = evaluation.store.meta.bands, ["B04", "B03", "B02"]
    return shown if set(shown) <= set(bands) else (bands * 3)[:3]


def _limits(evaluation: Evaluation) -> npt.NDArray[np.float64]:
    """How pictures are stretched, by the pixels of some test patches."""
    some = evaluation.rows[:: max(1, len(evaluation.rows) // _STRETCHED)]
    return figures.stretch(evaluation.store.pixels[some][:, _colours(evaluation)])


def _gallery(evaluation: Evaluation, count: int) -> Figure:
    """The most confident mistakes in true colour, or in the first bands of a store without it."""
    places, limits, titles = _colours(evaluation), _limits(evaluation), evaluation.titles
    mistakes = [
        figures.Mistake(
            picture=figures.picture(evaluation.store.pixels[evaluation.rows[place]][places], limits),
            truth=titles[evaluation.truth[place]],
            predicted=titles[evaluation.probabilities[place].argmax()],
            probability=float(evaluation.probabilities[place].max()),
        )
        for place in most_confident_mistakes(evaluation.truth, evaluation.probabilities, count)
    ]
    geometry = evaluation.meta.geometry
    patch_m, cell_m = geometry.patch_px * geometry.pixel_m, geometry.cell_px * geometry.pixel_m
    return figures.gallery(mistakes, _shown_bands(evaluation), patch_m, cell_m)
