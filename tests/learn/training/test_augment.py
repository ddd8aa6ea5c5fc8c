from __future__ import annotations

import pytest
import torch

from pipeline.config.train import AugmentConf
from pipeline.learn.training.augment import augment

PATCH = torch.arange(2 * 3 * 3, dtype=torch.float32).reshape(2, 3, 3) + 100


def views(**conf):
    """The distinct patches that augmentation makes of one, as tuples of their values."""
    torch.manual_seed(0)
    made = augment(PATCH.expand(400, -1, -1, -1), AugmentConf(jitter=0.0, **conf))
    return {tuple(patch.flatten().tolist()) for patch in made}


def turned(quarters, flipped=False):
    patch = PATCH.flip(2) if flipped else PATCH
    return tuple(patch.rot90(quarters, (1, 2)).flatten().tolist())


@pytest.mark.parametrize(
    ("flips", "turns", "expected"),
    [
        (False, False, {turned(0)}),
        (False, True, {turned(k) for k in range(4)}),
        (True, False, {turned(0), turned(2), turned(0, True), turned(2, True)}),
        (True, True, {turned(k, flipped) for k in range(4) for flipped in (False, True)}),
    ],
)
def test_a_patch_takes_exactly_the_views_that_are_asked_for(flips, turns, expected):
    assert views(flips=flips, turns=turns) == expected


def test_views_are_drawn_patch_by_patch_and_evenly():
    torch.manual_seed(1)
    made = augment(PATCH.expand(4000, -1, -1, -1), AugmentConf(jitter=0.0))
    _, counts = made.reshape(4000, -1).unique(dim=0, return_counts=True)
    assert len(counts) == 8
    assert 400 < int(counts.min()) <= int(counts.max()) < 600


def test_jitter_is_one_gain_a_patch_and_band():
    torch.manual_seed(0)
    flat = torch.full((3000, 2, 3, 3), 1000.0)
    made = augment(flat, AugmentConf(jitter=0.05)) / 1000
    assert torch.equal(made.amax((2, 3)), made.amin((2, 3)))
    gains = made[:, :, 0, 0]
    assert gains.mean().item() == pytest.approx(1, abs=0.005)
    assert gains.std().item() == pytest.approx(0.05, rel=0.05)
    assert abs(torch.corrcoef(gains.T)[0, 1].item()) < 0.05
