"""A patch classifier patch by patch: the path that every network can take.

Patches run in padded batches of one fixed size on one thread each, so that neither the number of
threads or workers nor the size of the block changes a bit of the result.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import torch

from pipeline.learn.inference.dense import one_thread
from pipeline.learn.network.classifier import PatchClassifier

BATCH = 256
"""Patches a batch; the last one is filled up."""

Pixels = npt.NDArray[np.uint16]
Probabilities = npt.NDArray[np.float32]


def class_probabilities(
    classifier: PatchClassifier, pixels: Pixels, rows: int, cols: int
) -> Probabilities:
    """Probabilities of the classes, float32 (K, rows, cols), of a block of cells.

    Args:
        classifier: The model.
        pixels: Harmonised DN, uint16 (C, H, W), 0 is a hole; the cells and the context around them,
            so that H = rows x cell_px + 2 x margin_px, and W likewise.
        rows: Cells from north to south.
        cols: Cells from west to east.

    Raises:
        ValueError: when `pixels` does not have the size that rows and cols ask for.
    """
    geometry = classifier.meta.geometry
    expected = (
        len(classifier.meta.bands),
        rows * geometry.cell_px + 2 * geometry.margin_px,
        cols * geometry.cell_px + 2 * geometry.margin_px,
    )
    if pixels.shape != expected:
        raise ValueError(f"{rows} x {cols} cells need pixels of {expected}, got {pixels.shape}")
    side, step = geometry.patch_px, geometry.cell_px
    views = np.lib.stride_tricks.sliding_window_view(pixels, (side, side), axis=(1, 2))
    # axis order (rows, cols, C, P, P): a view, of which each batch copies only its own patches
    patches = views[:, ::step, ::step].transpose(1, 2, 0, 3, 4)
    places = np.arange(rows * cols)
    batches = (
        patches[places[start : start + BATCH] // cols, places[start : start + BATCH] % cols]
        for start in range(0, rows * cols, BATCH)
    )
    flat = batched_probabilities(classifier, batches)
    return np.ascontiguousarray(flat.T).reshape(-1, rows, cols)


def batched_probabilities(classifier: PatchClassifier, patches: Iterable[Pixels]) -> Probabilities:
    """Probabilities of the classes, float32 (N, K), of patches that come in pieces.

    Args:
        classifier: The model; it is set to evaluation.
        patches: Arrays of harmonised DN, uint16 (n, C, P, P), of any n.
    """
    classifier.eval()
    with torch.inference_mode(), one_thread():
        parts = [
            _probabilities(classifier, piece[start : start + BATCH])
            for piece in patches
            for start in range(0, len(piece), BATCH)
        ]
    empty = np.empty((0, len(classifier.meta.classes)), dtype=np.float32)
    return np.concatenate([empty, *parts])


def _probabilities(classifier: PatchClassifier, patches: Pixels) -> Probabilities:
    """Probabilities (n, K) of at most `BATCH` patches, run as a batch of exactly `BATCH`."""
    batch = np.zeros((BATCH, *patches.shape[1:]), dtype=np.uint16)
    batch[: len(patches)] = patches
    logits = classifier(torch.from_numpy(batch).to(classifier.mean.device))
    shares: Probabilities = logits.softmax(dim=1).cpu().numpy()
    return shares[: len(patches)]
