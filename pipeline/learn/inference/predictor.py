"""A trained model as a function of pixels: in its dense form where it has one, else patch by patch.

Patch by patch is the path that every network can take. Patches run in padded batches of one fixed
size on one thread each, so that neither the number of threads or workers nor the size of the block
changes a bit of the result.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from pipeline.learn.inference.dense import DenseForm, one_thread, require_size
from pipeline.learn.inference.levels import Levels, Normalisation, unsupported
from pipeline.learn.network.classifier import PatchClassifier
from pipeline.learn.stats.applicability import sample_px, window_features
from pipeline.store_meta import Geometry

BATCH = 256
"""Patches a batch; the last one is filled up."""
_BLOCK_PX = 1024
"""Side of a block of the patch-by-patch path; a constant, so that it cannot change a result."""
_DESCRIBED = 65_536
"""Map pixels whose statistics are in memory at a time, about."""

Pixels = npt.NDArray[np.uint16]
Probabilities = npt.NDArray[np.float32]
Logits = npt.NDArray[np.float32]


class Predictor:
    """Class probabilities of blocks of map pixels; threads may share it, and it can be pickled."""

    def __init__(
        self,
        classifier: PatchClassifier,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        geometry: Geometry | None = None,
    ) -> None:
        """Choose the path of a model; only the dense form is computed in another type than float32.

        `geometry` is that of the map (`Geometry.of_map`), whose pixels are cells by default.
        """
        self.classifier = classifier.to(device).eval()
        self.geometry = geometry or classifier.meta.geometry
        sides_px = self.geometry.patch_px, self.geometry.cell_px
        self.patchwise_because = _why_patchwise(classifier.network, sides_px)
        """Why the model runs patch by patch; None where it runs in its dense form."""
        self.form = None
        if self.patchwise_because is None:
            normalisation = normalisation_of(classifier)
            calibration = classifier.slope_and_bias
            network = classifier.network
            self.form = DenseForm(network, normalisation, sides_px, dtype, device, calibration)

    def __call__(
        self,
        pixels: npt.NDArray[np.uint16],
        rows: int,
        cols: int,
        nodata_bands: Sequence[int] | None = None,
    ) -> npt.NDArray[np.float32]:
        """Probabilities of the classes of a block of map pixels, float32 (K, rows, cols).

        Arguments and errors are those of `DenseForm.probabilities`.
        """
        if self.form is None:
            return class_probabilities(self.classifier, pixels, rows, cols, self.geometry.cell_px)
        return self.form.probabilities(pixels, rows, cols, nodata_bands)

    def dissimilarity(
        self, pixels: npt.NDArray[np.uint16], rows: int, cols: int
    ) -> npt.NDArray[np.float64]:
        """How unlike the training data the patch of each pixel of a block is, 1 at the threshold.

        Returns:
            float64 (rows, cols).

        Raises:
            ValueError: when the model does not know its training data.
        """
        distribution, trained = self.classifier.training_features, self.classifier.meta.geometry
        if distribution is None:
            raise ValueError("the model does not know its training data")
        patch_px, pixel_px = sides_px = self.geometry.patch_px, self.geometry.cell_px
        step_px = sample_px(trained.patch_px, trained.cell_px)
        result = np.empty((rows, cols))
        tall = max(1, _DESCRIBED // cols)
        for row in range(0, rows, tall):
            part = result[row : row + tall]
            below = pixels[:, row * pixel_px : (row + len(part) - 1) * pixel_px + patch_px]
            features = window_features(below, part.shape, sides_px, self.classifier.fill_dn, step_px)
            part[...] = distribution.relative(features).reshape(part.shape)
        return result

    @property
    def block_cells(self) -> tuple[int, int]:
        """Rows and columns of a block that wastes nothing; they follow from the model alone."""
        if self.form is not None:
            return self.form.rows, self.form.cols
        side = max(1, _BLOCK_PX // self.geometry.cell_px)
        return side, side

    @property
    def work_bytes(self) -> int:
        """About the memory that the network takes for a block, its pixels and probabilities aside."""
        if self.form is not None:
            return self.form.lane_bytes
        meta = self.classifier.meta
        largest = max([len(meta.bands), *(layer.filters for layer in meta.network.convolutions)])
        return 3 * 4 * BATCH * largest * meta.geometry.patch_px**2

    def agreement(self, pixels: npt.NDArray[np.uint16], rows: int, cols: int) -> float:
        """The share of the pixels of a block that have the class that float32 gives them."""
        exact = Predictor(self.classifier, self.classifier.mean.device, geometry=self.geometry)
        classes = (one(pixels, rows, cols).argmax(axis=0) for one in (self, exact))
        return float(np.mean(next(classes) == next(classes)))


def normalisation_of(classifier: PatchClassifier) -> Normalisation:
    """How a model takes DN."""
    mean, std, fill = (
        values.flatten().cpu().numpy() for values in (classifier.mean, classifier.std, classifier.hole)
    )
    return Normalisation(mean, std, fill)


def _why_patchwise(network: nn.Sequential, sides_px: tuple[int, int]) -> str | None:
    if reason := unsupported(network):
        return reason
    patch_px, pixel_px = sides_px
    levels = Levels(network, patch_px, pixel_px, None)
    if levels.patch_multiply_adds < levels.multiply_adds:
        return (
            f"patches of {patch_px} px every {pixel_px} px share so little that one by one they take "
            "less work"
        )
    return None


def class_probabilities(
    classifier: PatchClassifier, pixels: Pixels, rows: int, cols: int, pixel_px: int | None = None
) -> Probabilities:
    """Probabilities of the classes of a block of map pixels, patch by patch, float32 (K, rows, cols).

    `pixel_px` is the side of a map pixel in pixels of the scene, that of a cell by default; the other
    arguments, and errors, are those of `DenseForm.probabilities`.
    """
    geometry = classifier.meta.geometry
    side, step = geometry.patch_px, pixel_px or geometry.cell_px
    require_size(pixels, (len(classifier.meta.bands), rows, cols), side, step)
    views = np.lib.stride_tricks.sliding_window_view(pixels, (side, side), axis=(1, 2))
    # axis order (rows, cols, C, P, P): a view, of which each batch copies only its own patches
    patches = views[:, ::step, ::step].transpose(1, 2, 0, 3, 4)
    cells = np.arange(rows * cols)
    batches = (
        patches[cells[start : start + BATCH] // cols, cells[start : start + BATCH] % cols]
        for start in range(0, rows * cols, BATCH)
    )
    flat = batched_probabilities(classifier, batches)
    return np.ascontiguousarray(flat.T).reshape(-1, rows, cols)


def batched_probabilities(classifier: PatchClassifier, patches: Iterable[Pixels]) -> Probabilities:
    """Probabilities of the classes, float32 (N, K), of patches that come in pieces.

    They are harmonised DN, uint16 (n, C, P, P), of any n. The model is set to evaluation.
    """
    logits = torch.from_numpy(batched_logits(classifier, patches))
    probabilities: Probabilities = logits.softmax(dim=1).numpy()
    return probabilities


def batched_logits(classifier: PatchClassifier, patches: Iterable[Pixels]) -> Logits:
    """Logits of the classes, float32 (N, K); arguments as of `batched_probabilities`."""
    classifier.eval()
    with torch.inference_mode(), one_thread():
        parts = [_logits(classifier, batch) for batch in _full_batches(patches)]
    empty = np.empty((0, len(classifier.meta.classes)), dtype=np.float32)
    return np.concatenate([empty, *parts])


def _full_batches(pieces: Iterable[Pixels]) -> Iterator[Pixels]:
    """The patches of all pieces in their order, `BATCH` at a time; only the last batch has fewer."""
    kept: list[Pixels] = []
    count = 0
    for piece in pieces:
        for start in range(0, len(piece), BATCH):
            part = piece[start : start + BATCH]
            missing = BATCH - count
            kept.append(part[:missing])
            count += len(kept[-1])
            if count == BATCH:
                yield np.concatenate(kept)
                kept = [part[missing:]]
                count = len(kept[0])
    if count:
        yield np.concatenate(kept)


def _logits(classifier: PatchClassifier, patches: Pixels) -> Logits:
    """Logits (n, K) of at most `BATCH` patches, run as a batch of exactly `BATCH`."""
    batch = np.zeros((BATCH, *patches.shape[1:]), dtype=np.uint16)
    batch[: len(patches)] = patches
    logits: Logits = classifier(torch.from_numpy(batch).to(classifier.mean.device)).cpu().numpy()
    return logits[: len(patches)]
