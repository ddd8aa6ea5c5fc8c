"""Whether an ONNX file says what its model says: both are run on the same made-up pictures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnxruntime

from pipeline.learn.inference.onnx_export import CLASSES, INPUT, PROBABILITIES
from pipeline.learn.inference.predictor import Predictor
from pipeline.learn.network.classifier import PatchClassifier

_SIZES = ((1, 1), (7, 12), (40, 33))
"""Rows and columns of cells of the pictures."""
_NODATA_SHARE = 0.02
_TIE = 1e-3
"""Where two classes are less apart, the last bits of arithmetic may decide."""
_CLOSE = 1e-3


@dataclass(frozen=True)
class Agreement:
    """How far two forms of a model agree."""

    cells: int
    same: int
    """Cells of the same class."""
    decided: int
    """Cells of another class whose two best classes are no tie."""
    largest: float
    """Largest difference of a probability."""

    @property
    def holds(self) -> bool:
        """Whether they say the same but for ties."""
        return self.decided == 0 and self.largest < _CLOSE


def agreement(content: bytes, classifier: PatchClassifier) -> Agreement:
    """Run an ONNX file by onnxruntime, and the model by torch, on pictures of several sizes.

    The pictures are noise around the statistics of the training part, with nodata pixels.
    """
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    predictor, random = Predictor(classifier), np.random.default_rng(0)
    cells = same = decided = 0
    largest = 0.0
    for rows, cols in _SIZES:
        pixels = _picture(classifier, rows, cols, random)
        classes, found = session.run([CLASSES, PROBABILITIES], {INPUT: pixels[None]})
        exact = predictor(pixels, rows, cols)
        best = np.sort(exact, axis=0)[-2:]
        other = found[0].argmax(axis=0) != exact.argmax(axis=0)
        called = np.where(_mapped(classifier, pixels), found[0].argmax(axis=0) + 1, 0)
        cells += rows * cols
        same += int((~other).sum())
        decided += int((other & (best[-1] - best[0] > _TIE)).sum()) + int((classes[0] != called).sum())
        # not `max`, which takes what is no number for small
        largest = float(np.maximum(largest, np.abs(found[0] - exact).max()))
    return Agreement(cells, same, decided, largest)


def _mapped(classifier: PatchClassifier, pixels: npt.NDArray[np.uint16]) -> npt.NDArray[np.bool_]:
    """Whether enough of each cell is valid, (rows, cols)."""
    geometry = classifier.meta.geometry
    margin, side = geometry.margin_px, geometry.cell_px
    inner = pixels[:, margin : pixels.shape[1] - margin, margin : pixels.shape[2] - margin] > 0
    rows, cols = (length // side for length in inner.shape[1:])
    valid = inner.reshape(len(inner), rows, side, cols, side).mean(axis=(0, 2, 4))
    mapped: npt.NDArray[np.bool_] = valid >= geometry.min_valid - 1e-9
    return mapped


def _picture(
    classifier: PatchClassifier, rows: int, cols: int, random: np.random.Generator
) -> npt.NDArray[np.uint16]:
    geometry, statistics = classifier.meta.geometry, classifier.meta.statistics
    context = geometry.patch_px - geometry.cell_px
    shape = rows * geometry.cell_px + context, cols * geometry.cell_px + context
    mean, std = (np.asarray(values)[:, None, None] for values in (statistics.mean, statistics.std))
    noise = random.standard_normal((len(mean), *shape)) + 2 * random.standard_normal((len(mean), 1, 1))
    pixels = (mean + std * noise).clip(1, 65534).astype(np.uint16)
    pixels[random.random(pixels.shape) < _NODATA_SHARE] = 0
    # in a corner so many nodata pixels that some cells have no class
    corner = pixels[:, : shape[0] // 3, : shape[1] // 3]
    corner[random.random(corner.shape) < 0.3] = 0
    return pixels
