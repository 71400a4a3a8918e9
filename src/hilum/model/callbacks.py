"""What happens around the learning: validation figures, best weights, averaging, progress, checkpoints that last."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import WeightAveraging
from lightning.pytorch.plugins.io import TorchCheckpointIO
from rich.progress import Progress, TextColumn
from torch import Tensor
from torchmetrics.functional.classification import binary_auroc

from hilum import progress
from hilum.files import atomic_path
from hilum.model.module import PneumoniaModule
from hilum.model.weights import save_network

logger = logging.getLogger(__name__)

WEIGHTS = "model.safetensors"
HISTORY = "history.csv"

EpochHook = Callable[[Path, Mapping[str, float | int | str]], None]
"""Called after each epoch with the run folder, which holds the best weights so far, and the epoch's row of history.csv.

What it raises ends the training.
"""


class Averaging(WeightAveraging):
    """Exponential moving average of weights and BatchNorm statistics.

    The decay grows as (1 + n) / (10 + n) up to `decay`, so that a short training is not held at its start (the rule of
    TensorFlow's ExponentialMovingAverage).
    """

    def __init__(self, decay: float) -> None:
        def average(old: Tensor, new: Tensor, count: Tensor | int) -> Tensor:
            current = min(decay, (1 + int(count)) / (10 + int(count)))
            return old + (new - old) * (1 - current) if old.is_floating_point() else new

        super().__init__(avg_fn=average)


class Scoreboard(Callback):
    """Scores val after each epoch, appends a row to history.csv and keeps the best weights as model.safetensors.

    It must stand before Averaging in the list of callbacks: then the network holds the averaged weights when it is
    scored and saved.
    """

    def __init__(self, run: Path, *, monitor: str, on_epoch: EpochHook | None = None) -> None:
        self.run = run
        self.on_epoch = on_epoch
        self.monitor = monitor
        self.rows: list[dict[str, float | int | str]] = []
        self.best: float | None = None
        self._started = 0.0
        self._train_seconds = 0.0

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._started = time.perf_counter()

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop the clock of training."""
        self._train_seconds = time.perf_counter() - self._started

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Score, log, and save when better."""
        module = pl_module
        assert isinstance(module, PneumoniaModule)
        outputs, module.validation = module.validation, []
        if trainer.sanity_checking or not outputs:
            return
        logits = torch.cat([logit for logit, _ in outputs])
        targets = torch.cat([target for _, target in outputs])
        loss = float(torch.nn.functional.binary_cross_entropy_with_logits(logits[:, 0], targets[:, 0]))
        auroc = float(binary_auroc(logits[:, 0], targets[:, 0].int()))
        pathogen = {}
        if targets.shape[1] > 1:
            known = ~targets[:, 1].isnan()
            guessed, viral = logits[known, 1], targets[known, 1]
            loss += module.config.pathogen_loss * float(
                torch.nn.functional.binary_cross_entropy_with_logits(guessed, viral)
            )
            pathogen = {"val_pathogen_auroc": float(binary_auroc(guessed, viral.int()))}
        module.log_dict({"val_loss": loss, "val_auroc": auroc})
        value = loss if self.monitor == "val_loss" else -auroc
        better = self.best is None or value < self.best
        if better:
            self.best = value
            save_network(module.network, self.run / WEIGHTS)
        pictures = trainer.num_training_batches * (
            trainer.train_dataloader.batch_size if trainer.train_dataloader else 0
        )
        self.rows.append(
            {
                "epoch": trainer.current_epoch + 1,
                "phase": "head" if trainer.current_epoch < module.config.head_epochs else "all",
                "train_loss": float("nan"),
                "val_loss": loss,
                "val_auroc": auroc,
                **pathogen,
                "best": int(better),
                "seconds": round(self._train_seconds, 2),
                "pictures_per_second": round(pictures / max(self._train_seconds, 1e-9), 2),
            }
        )

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Fill in the epoch's mean training loss, known only now, and write history.csv."""
        if not self.rows:
            return
        self.rows[-1]["train_loss"] = float(trainer.callback_metrics.get("train_loss_epoch", float("nan")))
        with atomic_path(self.run / HISTORY) as temporary:
            pd.DataFrame(self.rows).to_csv(temporary, index=False)
        row = self.rows[-1]
        logger.info(
            "epoch %d (%s): training loss %.4f, val loss %.4f, val AUROC %.4f, %.1f pictures/s%s",
            row["epoch"],
            row["phase"],
            row["train_loss"],
            row["val_loss"],
            row["val_auroc"],
            row["pictures_per_second"],
            ", best so far" if row["best"] else "",
        )
        if self.on_epoch is not None:
            with torch.random.fork_rng(devices=[]):  # what the hook draws must not change the training
                self.on_epoch(self.run, row)

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed training needs."""
        return {"rows": self.rows, "best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up where the checkpoint left off."""
        self.rows = list(state_dict["rows"])
        self.best = state_dict["best"]


class SafeCheckpointIO(TorchCheckpointIO):
    """Checkpoints written to a temporary name and renamed, and read without unpickling."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Write the checkpoint; a kill or a full disk leaves the previous one whole."""
        # Through a Python stream: torch's own writer turns a full disk into a RuntimeError without a reason.
        with atomic_path(Path(path)) as temporary, temporary.open("wb") as stream:
            torch.save(checkpoint, stream)

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = True) -> dict[str, Any]:
        """Read a checkpoint of tensors and plain values."""
        content: dict[str, Any] = torch.load(path, map_location=map_location or "cpu", weights_only=True)
        return content


class TrainingProgress(Callback):
    """One rich bar an epoch on stderr: loss, val AUROC, pictures a second, time left."""

    def __init__(self) -> None:
        self.bar: Progress | None = None
        self.task: Any = None
        self.auroc = "–"
        self._started = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Open the display."""
        self.bar = Progress(
            *progress.columns(),
            TextColumn("loss {task.fields[loss]}  val AUROC {task.fields[auroc]}  {task.fields[rate]} pictures/s"),
            console=progress.console,
        )
        self.bar.start()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the epoch's bar."""
        if self.bar is None:
            return
        description = f"Epoch {trainer.current_epoch + 1}/{trainer.max_epochs}"
        self.task = self.bar.add_task(
            description, total=trainer.num_training_batches, loss="–", auroc=self.auroc, rate="–"
        )
        self._started = time.perf_counter()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Move the bar on."""
        if self.bar is None:
            return
        rate = (batch_idx + 1) * len(batch[1]) / (time.perf_counter() - self._started)
        loss = float(trainer.callback_metrics.get("train_loss_step", float("nan")))
        self.bar.update(self.task, completed=batch_idx + 1, loss=f"{loss:.3f}", rate=f"{rate:.1f}")

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show the epoch's validation AUROC."""
        auroc = trainer.callback_metrics.get("val_auroc")
        if self.bar is not None and auroc is not None:
            self.auroc = f"{float(auroc):.4f}"
            self.bar.update(self.task, auroc=self.auroc)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Close the display."""
        self._close()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Close the display, so that the message is not drawn over."""
        self._close()

    def _close(self) -> None:
        if self.bar is not None:
            self.bar.stop()
            self.bar = None
