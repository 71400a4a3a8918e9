"""The learning itself: loss, two phases, optimiser and schedule, as a LightningModule."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningModule
from torch import Tensor
from torch.nn import functional as F
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from hilum.config import TrainConfig
from hilum.model.network import RadiographNet, list_parameter_groups


class PneumoniaModule(LightningModule):
    """Fine-tunes a RadiographNet: first the head alone, then all stages, the earlier ones more slowly.

    `class_weights` are (NORMAL, PNEUMONIA) weights in the loss; `steps_per_epoch` counts optimiser steps.
    """

    def __init__(
        self, network: RadiographNet, config: TrainConfig, *, class_weights: tuple[float, float], steps_per_epoch: int
    ) -> None:
        super().__init__()
        self.network = network
        self.config = config
        self.class_weights = class_weights
        self.steps_per_epoch = steps_per_epoch
        self.validation: list[tuple[Tensor, Tensor]] = []

    def on_train_epoch_start(self) -> None:
        """Choose what learns in this epoch. BatchNorm statistics follow the data in both phases unless frozen."""
        self.network.freeze_backbone(self.current_epoch < self.config.head_epochs)
        if self.config.batch_norm == "freeze":
            self.network.freeze_batch_norm()

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Return the mean loss of one batch."""
        pictures, targets = batch
        if self.config.mixup:
            pictures, targets = mix(pictures, targets, alpha=self.config.mixup, seed=self.global_step)
        logits = self.network(pictures.contiguous(memory_format=torch.channels_last)).float()
        loss = self.compute_loss(logits, targets)
        self.log("train_loss", loss.detach(), on_step=True, on_epoch=True, batch_size=len(targets))
        return loss

    def compute_loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Binary cross-entropy with label smoothing, shapes (n, outputs); class weights for sick or healthy.

        A second output adds `pathogen_loss` times its own, over the pictures whose pathogen is known.
        """
        sick, smoothing = targets[:, 0], self.config.label_smoothing
        weights = sick * self.class_weights[1] + (1 - sick) * self.class_weights[0]
        loss = F.binary_cross_entropy_with_logits(logits[:, 0], smooth(sick, smoothing), weight=weights)
        if targets.shape[1] > 1:
            known = ~targets[:, 1].isnan()
            losses = F.binary_cross_entropy_with_logits(
                logits[known, 1], smooth(targets[known, 1], smoothing), reduction="sum"
            )
            loss = loss + self.config.pathogen_loss * losses / known.sum().clamp(min=1)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Keep logits and targets; the Scoreboard callback turns an epoch of them into figures."""
        pictures, targets = batch
        logits = self.network(pictures.contiguous(memory_format=torch.channels_last)).float()
        self.validation.append((logits, targets))

    def configure_optimizers(self) -> Any:
        """AdamW with a learning rate for each stage; every stage follows the same warm-up and cosine."""
        config = self.config
        groups = list_parameter_groups(
            self.network, lr=config.lr, layer_decay=config.layer_decay, weight_decay=config.weight_decay
        )
        is_head = [group.pop("stage") == "fc" for group in groups]
        optimizer = AdamW(groups, lr=config.lr)
        schedule = LambdaLR(optimizer, [self._head_factor if head else self._backbone_factor for head in is_head])
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _head_factor(self, step: int) -> float:
        head_steps = self.config.head_epochs * self.steps_per_epoch
        if step < head_steps:
            return self.config.head_lr / self.config.lr
        return self._backbone_factor(step)

    def _backbone_factor(self, step: int) -> float:
        start = self.config.head_epochs * self.steps_per_epoch
        total = self.config.epochs * self.steps_per_epoch
        return compute_schedule(step - start, total=total, warmup=self.config.warmup)


def smooth(targets: Tensor, smoothing: float) -> Tensor:
    """Move targets of 0 and 1 towards the middle (label smoothing, Szegedy et al. 2016)."""
    return targets * (1 - smoothing) + smoothing / 2


def mix(pictures: Tensor, targets: Tensor, *, alpha: float, seed: int) -> tuple[Tensor, Tensor]:
    """Blend each picture and target of a batch with another one (MixUp, Zhang et al. 2018, arXiv:1710.09412).

    One share a batch, drawn from Beta(alpha, alpha) and taken as at least a half, so that each picture stays the
    larger part of itself. `seed` alone decides, so that a resumed training mixes alike.
    """
    rng = np.random.default_rng(seed)
    share = rng.beta(alpha, alpha)
    share = max(share, 1 - share)
    partner = torch.from_numpy(rng.permutation(len(targets)))
    return share * pictures + (1 - share) * pictures[partner], share * targets + (1 - share) * targets[partner]


def compute_schedule(step: int, *, total: int, warmup: float) -> float:
    """Return the factor on the peak learning rate: linear warm-up, then half a cosine down to 0 (SGDR, 2017).

    Negative steps (before the phase begins) and steps past the end give 0.
    """
    if step < 0 or step >= total:
        return 0.0
    rise = max(round(total * warmup), 1)
    if step < rise:
        return (step + 1) / rise
    return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(total - rise, 1)))
