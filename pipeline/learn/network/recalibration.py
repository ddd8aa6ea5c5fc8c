"""The calibration of log odds as a layer: the part of `Calibration` that no layer can take in."""

from __future__ import annotations

import torch
from torch import Tensor

from pipeline.learn.stats.calibration import LEAST_LEAD


def recalibrated(logits: Tensor, slope_and_bias: tuple[float, float], dim: int) -> Tensor:
    """Logits whose classes lie along `dim`, with the log odds of the predicted class changed.

    See `Calibration`, whose temperature they were divided by already.
    """
    if slope_and_bias == (1.0, 0.0) or logits.shape[dim] < 2:
        return logits
    slope, bias = slope_and_bias
    top, best = logits.max(dim, keepdim=True)
    others = logits.scatter(dim, best, -torch.inf)
    rest, second = others.logsumexp(dim, keepdim=True), others.amax(dim, keepdim=True)
    raised = torch.maximum(slope * (top - rest) + bias + rest, second + LEAST_LEAD)
    return logits.scatter(dim, best, raised)
