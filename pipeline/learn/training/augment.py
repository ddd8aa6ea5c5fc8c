"""Random changes of training patches, made on the device; none moves a patch to other ground."""

from __future__ import annotations

import torch
from torch import Tensor

from pipeline.config.train import AugmentConf


def augment(values: Tensor, conf: AugmentConf) -> Tensor:
    """Each patch of DN (N, C, P, P), without holes, flipped, turned and its bands' gain changed."""
    count, bands = values.shape[:2]
    device = values.device
    # the eight symmetries of a square are: transposed or not, rows flipped or not, columns or not
    quarter = torch.zeros(count, dtype=torch.int64, device=device)
    if conf.turns:
        quarter = torch.randint(4, (count,), device=device)
    transposed, rows, cols = quarter % 2 == 1, (quarter + 1) // 2 % 2 == 1, quarter // 2 == 1
    if conf.flips:
        rows = rows ^ (torch.rand(count, device=device) < 0.5)
        cols = cols ^ (torch.rand(count, device=device) < 0.5)
    values = torch.where(_each(transposed), values.transpose(2, 3), values)
    values = torch.where(_each(rows), values.flip(2), values)
    values = torch.where(_each(cols), values.flip(3), values)
    if conf.jitter:
        values = values * (1 + conf.jitter * torch.randn(count, bands, 1, 1, device=device))
    return values


def _each(chosen: Tensor) -> Tensor:
    return chosen[:, None, None, None]
