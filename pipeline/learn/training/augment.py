"""Random changes of training patches, made on the device; none moves a patch to other ground."""

from __future__ import annotations

import torch
from torch import Tensor

from pipeline.config.train import AugmentConf

_FLIPS: tuple[tuple[int, ...], ...] = ((), (0,), (1,), (0, 1))
# the views of a patch, by their place in `_views`
_ROTATIONS, _FLIPPED, _ALL = [0, 3, 5, 6], [0, 1, 2, 3], list(range(8))


def augment(values: Tensor, conf: AugmentConf) -> Tensor:
    """Each patch of DN (N, C, P, P), without nodata, flipped, rotated and its bands' gain changed."""
    count, bands, side, _ = values.shape
    device = values.device
    if conf.flips or conf.turns:
        views = _ALL if conf.flips and conf.turns else _FLIPPED if conf.flips else _ROTATIONS
        drawn = torch.tensor(views, device=device)[torch.randint(len(views), (count,), device=device)]
        pixels = _views(side, device)[drawn].flatten(1)
        # all views at once: each pixel of the new patch is fetched from its place in the old one
        values = values.flatten(2).gather(2, pixels[:, None].expand(-1, bands, -1)).view_as(values)
    if conf.jitter:
        values = values * (1 + conf.jitter * torch.randn(count, bands, 1, 1, device=device))
    return values


def _views(side: int, device: torch.device) -> Tensor:
    """The eight symmetries of a square, (8, side, side): for each pixel the pixel it comes from."""
    pixels = torch.arange(side * side, device=device).reshape(side, side)
    return torch.stack([turned.flip(axes) for turned in (pixels, pixels.T) for axes in _FLIPS])
