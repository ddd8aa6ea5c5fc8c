from __future__ import annotations

import pytest
import torch
from torch import nn

from pipeline.config.train import AugmentConf, TrainConf
from pipeline.learn.training.task import BalancedAccuracy, PatchClassification, augment
from tests.support.learners import model_meta

PATCH = torch.arange(2 * 3 * 3, dtype=torch.float32).reshape(2, 3, 3) + 100


def task(**conf):
    torch.manual_seed(0)
    return PatchClassification(model_meta(), TrainConf(**conf), [1.0, 2.0, 0.5, 1.5], print)


def test_balanced_accuracy_averages_over_the_classes_that_occur():
    score = BalancedAccuracy(4)
    # class 0: 3 of 4 right, class 2: 1 of 2; 1 and 3 do not occur, though 3 is predicted
    score.update(torch.tensor([0, 0, 0, 3, 2, 3]), torch.tensor([0, 0, 0, 0, 2, 2]))
    assert score.compute().item() == pytest.approx((3 / 4 + 1 / 2) / 2)


def test_the_loss_is_weighted_cross_entropy():
    criterion = task(label_smoothing=0.25).criterion
    logits, labels = torch.randn(7, 4), torch.tensor([0, 1, 2, 3, 3, 1, 0])
    expected = nn.CrossEntropyLoss(torch.tensor([1.0, 2.0, 0.5, 1.5]), label_smoothing=0.25)
    assert torch.equal(criterion(logits, labels), expected(logits, labels))


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
def test_the_validation_loss_does_not_depend_on_the_batches(label_smoothing):
    made = task(label_smoothing=label_smoothing).eval()
    image = torch.randint(1, 3000, (23, 3, 16, 16)).to(torch.uint16)
    label = torch.randint(4, (23,))
    means = []
    for pieces in (1, 4):
        for images, labels in zip(image.chunk(pieces), label.chunk(pieces), strict=True):
            made.validation_step({"image": images, "label": labels}, 0)
        means.append(made.val_loss.compute())
        made.val_loss.reset()
    torch.testing.assert_close(*means)


def test_training_sees_augmented_patches_with_nodata_filled(monkeypatch):
    made = task()
    seen = []

    def remember(values, conf):
        seen.append((values, conf))
        return values

    monkeypatch.setattr("pipeline.learn.training.task.augment", remember)
    image = torch.randint(1, 3000, (4, 3, 16, 16)).to(torch.uint16)
    image[:, 1, :8] = 0
    made.training_step({"image": image, "label": torch.tensor([0, 1, 2, 3])}, 0)
    ((values, conf),) = seen
    assert conf == AugmentConf()
    assert (values[:, 1, :8] == 1000).all()
    assert torch.equal(values[:, 0], image[:, 0].float())


def test_the_running_mean_of_the_weights_follows_them(monkeypatch):
    made = task(ema=0.9)
    expected = {name: value.clone() for name, value in made.kept.state_dict().items()}
    assert all(torch.equal(value, expected[name]) for name, value in made.model.state_dict().items())
    for step in (1, 50, 1000):
        monkeypatch.setattr(PatchClassification, "global_step", step)
        for value in made.model.state_dict().values():
            value.copy_(torch.randn(value.shape) if value.is_floating_point() else value + 1)
        made.on_train_batch_end(None, {}, 0)
        decay = min(0.9, (1 + step) / (10 + step))
        for name, value in made.model.state_dict().items():
            mixed = decay * expected[name] + (1 - decay) * value
            expected[name] = mixed if value.is_floating_point() else value
            torch.testing.assert_close(made.kept.state_dict()[name], expected[name])


def test_without_a_running_mean_the_weights_themselves_are_kept():
    made = task(ema=0.0)
    assert made.kept is made.model


def test_hyperparameters_are_plain_values():
    kinds = {type(value) for value in task().hparams.values()}
    assert kinds <= {str, int, float, bool, list, type(None)}


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
