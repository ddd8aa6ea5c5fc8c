"""What a network needs after training to be believed: calibrated, and aware of what it learnt from."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pipeline.learn.calibration import trusted_temperature
from pipeline.learn.classifier import PatchClassifier
from pipeline.learn.dataset import TrainingData
from pipeline.learn.dissimilarity import MOST_ROWS, Familiar, Features, patch_features
from pipeline.learn.patchwise import batched_probabilities
from pipeline.learn.reader import PatchReader, Rows

_LEAST = np.finfo(np.float32).tiny


def make_trustworthy(classifier: PatchClassifier, data: TrainingData) -> None:
    """Calibrate a trained network and tell it what its training data look like.

    The validation part decides on both the temperature and the limit; the test part is not seen.
    """
    classifier.soften(_temperature(classifier, data))
    classifier.familiar = _familiar(classifier, data)


def _temperature(classifier: PatchClassifier, data: TrainingData) -> float:
    pieces = PatchReader(data.store, data.places).pieces(data.validation)
    probabilities = batched_probabilities(classifier, pieces)
    truth = data.store.patches["label"][data.validation]
    return trusted_temperature(truth, np.log(np.maximum(probabilities, _LEAST)), _blocks(data))


def _blocks(data: TrainingData) -> npt.NDArray[np.integer]:
    """The block of each validation patch, by number."""
    epsg, x, y = (data.store.patches[name][data.validation] for name in ("epsg", "x", "y"))
    places = np.stack([epsg, np.floor(x / data.block_m), np.floor(y / data.block_m)])
    return np.unique(places, axis=1, return_inverse=True)[1].reshape(-1)


def _familiar(classifier: PatchClassifier, data: TrainingData) -> Familiar:
    rows = data.train
    if len(rows) > MOST_ROWS:
        rows = np.sort(np.random.default_rng(0).choice(rows, MOST_ROWS, replace=False))

    reader, cell_px = PatchReader(data.store, data.places), classifier.meta.geometry.cell_px

    def described(some: Rows) -> Features:
        return patch_features(reader.pieces(some), cell_px, classifier.fill_dn)

    return Familiar.of(described(rows), data.store.patches["label"][rows], described(data.validation))
