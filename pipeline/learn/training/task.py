"""How the network learns: loss, scores, optimiser and augmentation, as a Lightning task of torchgeo."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import OneCycleLR
from torchgeo.tasks import Classification
from torchmetrics import MeanMetric
from torchmetrics.classification import MulticlassConfusionMatrix

from pipeline.config.train import AugmentConf, TrainConf
from pipeline.learn.network.classifier import ModelMeta, PatchClassifier
from pipeline.learn.network.history import Epoch

Batch = dict[str, Tensor]
WARMUP = 0.2
"""Share of the steps in which the learning rate rises."""
_FLIPS: tuple[tuple[int, ...], ...] = ((), (0,), (1,), (0, 1))
# the views of a patch, as indexes of `_views`
_ROTATIONS, _FLIPPED, _ALL = [0, 3, 5, 6], [0, 1, 2, 3], list(range(8))


def augment(values: Tensor, conf: AugmentConf) -> Tensor:
    """Each patch of DN (N, C, P, P), without nodata, flipped, rotated and its bands' gain changed."""
    count, bands, side, _ = values.shape
    device = values.device
    if conf.flips or conf.turns:
        views = _ALL if conf.flips and conf.turns else _FLIPPED if conf.flips else _ROTATIONS
        drawn = torch.tensor(views, device=device)[torch.randint(len(views), (count,), device=device)]
        pixels = _views(side, device)[drawn].flatten(1)
        # all views in one pass: each pixel of the new patch is fetched from the old one
        values = values.flatten(2).gather(2, pixels[:, None].expand(-1, bands, -1)).view_as(values)
    if conf.jitter:
        values = values * (1 + conf.jitter * torch.randn(count, bands, 1, 1, device=device))
    return values


def _views(side: int, device: torch.device) -> Tensor:
    """The eight symmetries of a square, (8, side, side): for each pixel the index of its source."""
    pixels = torch.arange(side * side, device=device).reshape(side, side)
    return torch.stack([turned.flip(axes) for turned in (pixels, pixels.T) for axes in _FLIPS])


class BalancedAccuracy(MulticlassConfusionMatrix):
    """Recall averaged over the classes that occur; one that does not occur does not count."""

    def compute(self) -> Tensor:
        """The score so far, from 0 to 1."""
        confusion: Tensor = super().compute().float()
        support = confusion.sum(dim=1)
        return (confusion.diagonal() / support)[support > 0].mean()


class PatchClassification(Classification):
    """Trains a `PatchClassifier`; the rows of its history go to `on_epoch` as they come."""

    # records and functions are no hyperparameters: the checkpoint holds plain values only
    ignore = ("weights", "meta", "conf", "on_epoch")
    model: PatchClassifier
    criterion: nn.CrossEntropyLoss
    train_score: BalancedAccuracy
    val_score: BalancedAccuracy

    def __init__(
        self,
        meta: ModelMeta,
        conf: TrainConf,
        class_weights: list[float],
        on_epoch: Callable[[Epoch], None],
    ) -> None:
        self.meta, self.conf, self.on_epoch = meta, conf, on_epoch
        super().__init__(
            model=meta.preset,
            in_channels=len(meta.bands),
            num_classes=len(meta.classes),
            labels=[info.name for info in meta.classes],
            class_weights=class_weights,
            lr=conf.lr,
            patience=conf.patience,
        )

    def configure_models(self) -> None:
        """The classifier with fresh weights; it normalises and fills nodata itself."""
        self.model = PatchClassifier(self.meta)
        # without a running mean of the weights, the weights themselves are validated and kept
        self.kept = copy.deepcopy(self.model).requires_grad_(False) if self.conf.ema else self.model

    def configure_losses(self) -> None:
        """Cross entropy with class weights."""
        weights = torch.tensor(self.hparams["class_weights"], dtype=torch.float32)
        self.criterion = nn.CrossEntropyLoss(weights, label_smoothing=self.conf.label_smoothing)

    def configure_metrics(self) -> None:
        """Class-averaged scores; the overall ones are evaluate's."""
        classes = self.hparams["num_classes"]
        self.train_score, self.val_score = BalancedAccuracy(classes), BalancedAccuracy(classes)
        # a loss that is not a number stays one: neither dropped, as by default, nor warned of
        self.train_loss, self.val_loss = MeanMetric(math.nan), MeanMetric(math.nan)

    def configure_optimizers(self) -> Any:
        """AdamW; the learning rate rises to `lr` and falls to nothing over the epochs."""
        weights = self.model.parameters()
        optimizer = AdamW(weights, self.conf.lr, weight_decay=self.conf.weight_decay, fused=True)
        steps = int(self.trainer.estimated_stepping_batches)
        # torch divides by the steps of the warm-up less one
        warmup = WARMUP if steps * WARMUP != 1 else 1.5 * WARMUP
        scheduler = OneCycleLR(optimizer, self.conf.lr, total_steps=steps, pct_start=warmup)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_train_epoch_start(self) -> None:
        """Draw from seed and epoch alone: a training that was cut off goes on as it would have."""
        drawn = np.random.SeedSequence((self.conf.seed, self.current_epoch)).generate_state(
            1, np.uint64
        )
        torch.manual_seed(int(drawn[0] >> 1))

    def training_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> Tensor:
        """The loss of a batch of augmented patches."""
        del batch_idx, dataloader_idx
        logits = self.model.logits(augment(self.model.filled(batch["image"]), self.conf.augment))
        self.train_score.update(logits.detach(), batch["label"])
        return self._loss(self.train_loss, logits, batch["label"])

    @torch.no_grad()
    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        """Let the running mean of the weights follow; early on it follows faster."""
        del outputs, batch, batch_idx
        if not self.conf.ema:
            return
        decay = min(self.conf.ema, (1 + self.global_step) / (10 + self.global_step))
        states = zip(self.kept.state_dict().values(), self.model.state_dict().values(), strict=True)
        for mean, now in states:
            if mean.is_floating_point():
                mean.lerp_(now, 1 - decay)
            else:
                mean.copy_(now)

    def validation_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Add a batch of patches, as they are, to the validation scores."""
        del batch_idx, dataloader_idx
        logits = self.kept(batch["image"])
        self.val_score.update(logits, batch["label"])
        self._loss(self.val_loss, logits, batch["label"])

    def _loss(self, mean: MeanMetric, logits: Tensor, labels: Tensor) -> Tensor:
        """The loss of a batch, added to the mean of the epoch."""
        loss: Tensor = self.criterion(logits.float(), labels)
        # the loss of a batch is a mean weighted by class: so is the mean over batches
        weights = cast(Tensor, self.criterion.weight)
        mean.update(loss.detach(), weights[labels].sum())
        return loss

    def on_validation_epoch_end(self) -> None:
        """Nothing to log: the row of the history has the scores of both parts."""

    def on_train_epoch_end(self) -> None:
        """Hand out the row of the history; an epoch is validated before it ends."""
        validated = bool(self.trainer.num_val_batches and sum(self.trainer.num_val_batches))
        trained, validated_by = (self.train_loss, self.train_score), (self.val_loss, self.val_score)
        means = [float(metric.compute()) for metric in trained]
        held_out = [float(metric.compute()) if validated else None for metric in validated_by]
        for metric in (*trained, *validated_by):
            metric.reset()
        values = means[0], held_out[0], means[1], held_out[1]
        optimizer: Any = self.optimizers()
        self.on_epoch(Epoch._make([self.current_epoch + 1, *values, optimizer.param_groups[0]["lr"]]))
