"""The pictures of an evaluation, each with what it shows, in the order in which a reviewer asks."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from pipeline.learn.evaluation.band_importance import MOST_PATCHES, BandImportance, importance
from pipeline.learn.evaluation.predictions import NETWORK, Judged
from pipeline.learn.report import activations, figures
from pipeline.learn.stats.accuracy import most_confident_mistakes

_STRETCHED = 500
"""Test patches that the brightness of pictures is taken from, about."""
_SEEN = 3
"""Patches whose way through the network is shown."""
_DPI = 100

type Exhibits = dict[str, tuple[str, Figure]]
"""Caption and figure by name."""


def exhibits(judged: Judged, bands: Sequence[BandImportance], gallery: int) -> Exhibits:
    """All pictures of an evaluation.

    Args:
        judged: The test part and what was said of it.
        bands: What the network loses without a band.
        gallery: How many of the most confident mistakes are shown.
    """
    network, titles = judged.scores[NETWORK], judged.titles
    shown = _surely_right(judged)
    found: Exhibits = {
        "confusion": ("What is called what", figures.confusion(network, titles)),
        "per_class": ("How each class fares", figures.per_class(network, titles)),
        "baselines": ("The network and its baselines", figures.comparison(judged.scores)),
        "reliability": ("Confidence and accuracy", figures.reliability(judged.reliability)),
        "mistakes": ("The most confident mistakes", _gallery(judged, gallery)),
        "bands": ("Which bands count", activations.band_importance(bands)),
    }
    if shown:
        classifier = judged.classifier
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


def bands_that_count(judged: Judged) -> list[BandImportance]:
    """What the network loses without each of its bands, on the test part or evenly chosen patches."""
    some = np.unique(np.linspace(0, len(judged.rows) - 1, MOST_PATCHES).astype(np.intp))
    patches = np.concatenate(
        [chunk[:, judged.places] for chunk in judged.store.chunks(judged.rows[some])]
    )
    return importance(judged.classifier, patches, judged.truth[some])


def _surely_right(judged: Judged) -> list[activations.Shown]:
    """Of the classes most often called rightly, the patch that the network is surest of."""
    called, sure = judged.said[NETWORK], judged.probabilities.max(axis=1)
    right = np.flatnonzero(called == judged.truth)
    classes, counts = np.unique(called[right], return_counts=True)
    often = classes[np.argsort(-counts, kind="stable")][:_SEEN].tolist()
    limits = _limits(judged)
    found = []
    for one in often:
        mine = right[called[right] == one]
        place = int(mine[np.argmax(sure[mine])])
        pixels = np.asarray(judged.store.pixels[judged.rows[place]])
        picture = figures.picture(pixels[_colours(judged)], limits)
        found.append(activations.Shown(pixels[judged.places], picture, judged.titles[one]))
    return found


def _colours(judged: Judged) -> list[int]:
    """Places of red, green and blue in the store, or of its first bands where it has none."""
    bands = judged.store.meta.bands
    return [bands.index(band) for band in _shown_bands(judged)]


def _shown_bands(judged: Judged) -> list[str]:
    bands, shown = judged.store.meta.bands, ["B04", "B03", "B02"]
    return shown if set(shown) <= set(bands) else (bands * 3)[:3]


def _limits(judged: Judged) -> npt.NDArray[np.float64]:
    """How pictures are stretched, by the pixels of some test patches."""
    some = judged.rows[:: max(1, len(judged.rows) // _STRETCHED)]
    return figures.stretch(judged.store.pixels[some][:, _colours(judged)])


def _gallery(judged: Judged, count: int) -> Figure:
    """The most confident mistakes in true colour, or in the first bands of a store without it."""
    places, limits, titles = _colours(judged), _limits(judged), judged.titles
    mistakes = [
        figures.Mistake(
            picture=figures.picture(judged.store.pixels[judged.rows[place]][places], limits),
            truth=titles[judged.truth[place]],
            predicted=titles[judged.probabilities[place].argmax()],
            probability=float(judged.probabilities[place].max()),
        )
        for place in most_confident_mistakes(judged.truth, judged.probabilities, count)
    ]
    geometry = judged.meta.geometry
    patch_m, cell_m = geometry.patch_px * geometry.pixel_m, geometry.cell_px * geometry.pixel_m
    return figures.gallery(mistakes, _shown_bands(judged), patch_m, cell_m)
