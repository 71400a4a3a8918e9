"""The epochs of a training: learn, validate, keep the best weights and a checkpoint; it reads from top to bottom."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor

from hilum.config import TrainConfig
from hilum.files import atomic_path
from hilum.model import run as run_folder
from hilum.model.average import WeightAverage
from hilum.model.checkpoint import find_checkpoint, read_checkpoint, write_checkpoint
from hilum.model.feed import PlainFeed, TrainingFeed
from hilum.model.logs import open_log
from hilum.model.loss import build_loss, measure_validation_loss
from hilum.model.network import RadiographNet
from hilum.model.step import RateSchedule, TrainingStep, build_optimizer, mix, scale_decay
from hilum.model.watch import Watch
from hilum.model.weights import save_network

logger = logging.getLogger(__name__)

EpochHook = Callable[[Path, Mapping[str, float | int | str]], None]
"""Called after each epoch with the run folder, which holds the best weights so far, and the epoch's row of history.csv.

What it raises ends the training.
"""

CHECKPOINT_SECONDS = 30.0
"""Checkpoints are this far apart at least. One has 400 MB, and an epoch on a GPU takes seconds."""

Row = dict[str, float | int | str]


class Trainer:
    """Fine-tunes a network: first the head alone, then all stages, the earlier ones more slowly.

    Args:
        network: on the device, in channels_last.
        feed: what is learnt from.
        val: the validation images, and `val_targets` (n, outputs) on the device.
        out: the run folder.
        config: epochs, rates and what chooses the best epoch.
        class_weights: weights of (NORMAL, PNEUMONIA) in the loss.
        seed: of dropout; all other chance is the feed's.
        device, dtype: where, and in which precision, the network computes.
    """

    def __init__(
        self,
        network: RadiographNet,
        feed: TrainingFeed,
        val: PlainFeed,
        val_targets: Tensor,
        out: Path,
        config: TrainConfig,
        *,
        class_weights: tuple[float, float],
        seed: int,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        self.network = network
        self.feed = feed
        self.val = val
        self.val_targets = val_targets
        self.out = out
        self.config = config
        self.seed = seed
        self.device = device
        self.dtype = dtype
        decay = scale_decay(config)
        self.average = None if decay is None else WeightAverage(network, decay)
        self.optimizer = build_optimizer(network, config, device)
        self.schedule = RateSchedule(self.optimizer, config, steps_per_epoch=len(feed))
        self.step = TrainingStep(
            network,
            self.optimizer,
            build_loss(config, class_weights=class_weights),
            device=device,
            dtype=dtype,
            clip_norm=config.clip_norm,
        )
        self.rows: list[Row] = []
        self._saved: float | None = None
        self._phase: str | None = None

    def fit(self, *, on_epoch: EpochHook | None = None) -> None:
        """Train to the end of the schedule, from the checkpoint in the run folder if there is one."""
        total = self.config.head_epochs + self.config.epochs
        path = self.out / run_folder.CHECKPOINT
        if find_checkpoint(path):
            self.rows = read_checkpoint(path, self.network, self.average, self.optimizer)
        with open_log(self.out, self.config) as log, Watch(log, epochs=total, device=self.device) as watch:
            for epoch in range(len(self.rows), total):
                if self._has_lost_patience():
                    break
                row = self._run_epoch(epoch, watch)
                self._report(row, log)
                if on_epoch is not None:
                    on_epoch(self.out, row)
                if self._is_checkpoint_due(last=epoch + 1 == total):
                    write_checkpoint(path, self.rows, self.network, self.average, self.optimizer)
                    self._saved = time.monotonic()

    def _run_epoch(self, epoch: int, watch: Watch) -> Row:
        started = time.perf_counter()
        train_loss = self._learn(epoch, watch)
        seconds = time.perf_counter() - started
        figures = self._validate()
        best = self._is_best(figures)
        self.rows.append(
            {
                "epoch": epoch + 1,
                "phase": "head" if epoch < self.config.head_epochs else "all",
                "train_loss": train_loss,
                **figures,
                "best": int(best),
                "seconds": round(seconds, 2),
                "pictures_per_second": round(len(self.feed) * self.feed.batch_size / max(seconds, 1e-9), 2),
            }
        )
        if best:
            save_network(self._scored_network, self.out / run_folder.WEIGHTS)
        with atomic_path(self.out / run_folder.HISTORY) as temporary:
            pd.DataFrame(self.rows).to_csv(temporary, index=False)
        watch.end_epoch(figures["val_auroc"])
        return self.rows[-1]

    def _learn(self, epoch: int, watch: Watch) -> float:
        """Learn for one epoch and return its mean loss. Nothing here waits for the device but its end."""
        torch.manual_seed((self.seed * 1_000_003 + epoch) % 2**63)
        self._choose_what_learns(epoch)
        watch.start_epoch(epoch, steps=len(self.feed), batch_size=self.feed.batch_size)
        total = torch.zeros((), device=self.device)
        first = epoch * len(self.feed)
        for number, (inputs, targets) in enumerate(self.feed.iterate(epoch), start=first):
            if self.config.mixup:
                inputs, targets = mix(inputs, targets, alpha=self.config.mixup, seed=[self.seed, number])  # noqa: PLW2901
            self.schedule.apply(number)
            loss = self.step(inputs, targets)
            total += loss
            if self.average is not None:
                self.average.update()
            watch.see_step(number - first, loss)
        return float(total) / len(self.feed)

    def _choose_what_learns(self, epoch: int) -> None:
        """Set what learns in this epoch. BatchNorm statistics follow the data in both phases unless frozen."""
        self.network.train()
        self.network.freeze_backbone(epoch < self.config.head_epochs)
        self.network.freeze_stages(self.config.freeze)
        if self.config.batch_norm == "freeze":
            self.network.freeze_batch_norm()
        phase = "head" if epoch < self.config.head_epochs else "all"
        if self._phase not in (None, phase):
            self.step.forget()
        self._phase = phase

    @property
    def _scored_network(self) -> RadiographNet:
        return self.network if self.average is None else self.average.network

    def _validate(self) -> dict[str, float]:
        network = self._scored_network.eval()
        mixed = torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.dtype is torch.bfloat16)
        with torch.inference_mode(), mixed:
            logits = torch.cat(
                [network(inputs.contiguous(memory_format=torch.channels_last)).float() for inputs in self.val.iterate()]
            )
            loss = float(measure_validation_loss(logits, self.val_targets, self.config))
        said, true = logits.cpu().numpy(), self.val_targets.cpu().numpy()
        if not math.isfinite(loss):
            return {"val_loss": math.inf, "val_auroc": 0.5}
        figures = {"val_loss": loss, "val_auroc": float(roc_auc_score(true[:, 0], said[:, 0]))}
        if true.shape[1] > 1:
            known = ~np.isnan(true[:, 1])
            figures["val_pathogen_auroc"] = float(roc_auc_score(true[known, 1], said[known, 1]))
        return figures

    def _is_best(self, figures: Mapping[str, float]) -> bool:
        sign = 1 if self.config.monitor == "val_loss" else -1
        before = [sign * float(row[self.config.monitor]) for row in self.rows]
        return not before or sign * figures[self.config.monitor] < min(before)

    def _is_checkpoint_due(self, *, last: bool) -> bool:
        ended = last or self._has_lost_patience()
        return ended or self._saved is None or time.monotonic() - self._saved > CHECKPOINT_SECONDS

    def _has_lost_patience(self) -> bool:
        if self.config.patience is None or not self.rows:
            return False
        best = max(place for place, row in enumerate(self.rows) if row["best"])
        return len(self.rows) - 1 - best >= self.config.patience

    def _report(self, row: Row, log: Any) -> None:
        log.write({key: float(row[key]) for key in ("train_loss", "val_loss", "val_auroc")}, step=int(row["epoch"]))
        logger.info(
            "epoch %d (%s): training loss %.4f, val loss %.4f, val AUROC %.4f, %.1f images/s%s",
            row["epoch"],
            row["phase"],
            row["train_loss"],
            row["val_loss"],
            row["val_auroc"],
            row["pictures_per_second"],
            ", best so far" if row["best"] else "",
        )
