from __future__ import annotations

import pytest
import torch
from torch import nn

from pipeline.config.train import AugmentConf, TrainConf
from pipeline.learn.training.task import BalancedAccuracy, PatchClassification
from tests.support.learners import model_meta


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


def test_training_sees_augmented_patches_with_their_holes_filled(monkeypatch):
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
