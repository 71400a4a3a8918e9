"""What training minimises."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from torch.nn import functional as F

from hilum.config import TrainConfig


def build_loss(config: TrainConfig, *, class_weights: tuple[float, float]) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the training loss of logits and targets, both (n, outputs).

    Binary cross-entropy with label smoothing, weighted by `class_weights` of (NORMAL, PNEUMONIA). A second output adds
    `pathogen_loss` times its own mean over the images whose pathogen is known (not NaN).
    """

    def compute_loss(logits: Tensor, targets: Tensor) -> Tensor:
        pneumonia = targets[:, 0]
        weights = pneumonia * class_weights[1] + (1 - pneumonia) * class_weights[0]
        loss = F.binary_cross_entropy_with_logits(
            logits[:, 0], smooth(pneumonia, config.label_smoothing), weight=weights
        )
        if targets.shape[1] > 1:
            loss = loss + config.pathogen_loss * measure_pathogen_loss(
                logits[:, 1], targets[:, 1], smoothing=config.label_smoothing
            )
        return loss

    return compute_loss


def measure_validation_loss(logits: Tensor, targets: Tensor, config: TrainConfig) -> Tensor:
    """Return the plain cross-entropy by which the best epoch is chosen: neither smoothed nor weighted by class."""
    loss = F.binary_cross_entropy_with_logits(logits[:, 0], targets[:, 0])
    if targets.shape[1] > 1:
        loss = loss + config.pathogen_loss * measure_pathogen_loss(logits[:, 1], targets[:, 1], smoothing=0.0)
    return loss


def measure_pathogen_loss(logits: Tensor, targets: Tensor, *, smoothing: float) -> Tensor:
    """Return the mean cross-entropy over the targets (n,) that are known; 0 where none is.

    Unknown ones (NaN) are weighted by 0 and not left out: a captured step must not ask how many there are.
    """
    known = ~targets.isnan()
    losses = F.binary_cross_entropy_with_logits(
        logits, smooth(targets.nan_to_num(), smoothing), weight=known.to(logits.dtype), reduction="sum"
    )
    return losses / known.sum().clamp(min=1)


def smooth(targets: Tensor, smoothing: float) -> Tensor:
    """Move targets from 0 and 1 towards a half."""
    return targets * (1 - smoothing) + smoothing / 2
