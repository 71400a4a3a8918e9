"""What a person sees of a training while it runs: a progress bar on stderr, and the loss of every tenth step."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Any, Self

import torch
from rich.progress import Progress, TextColumn
from torch import Tensor

from hilum import progress
from hilum.model.logs import Log

_EVERY = 10


class Watch:
    """Follows the steps of each epoch.

    A loss is read ten steps after it was computed: reading the latest one would make the device wait for Python.
    """

    def __init__(self, log: Log, *, epochs: int, device: torch.device) -> None:
        self.log = log
        self.epochs = epochs
        self.device = device
        self.bar: Progress | None = None
        self.task: Any = None
        self.auroc = "–"
        self.loss = "–"
        self._started = 0.0
        self._steps = self._batch_size = self._first = 0
        self._pending: tuple[int, Tensor, torch.cuda.Event | None] | None = None

    def __enter__(self) -> Self:
        """Open the display, where progress is shown."""
        if progress.is_enabled():
            self.bar = Progress(
                *progress.columns(),
                TextColumn("loss {task.fields[loss]}  val AUROC {task.fields[auroc]}  {task.fields[rate]} images/s"),
                console=progress.console,
            )
            self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the display, so that no message is drawn over."""
        if self.bar is not None:
            self.bar.stop()

    def start_epoch(self, epoch: int, *, steps: int, batch_size: int) -> None:
        """Start the epoch's bar."""
        self._started, self._steps, self._batch_size, self._first = (
            time.perf_counter(),
            steps,
            batch_size,
            epoch * steps,
        )
        if self.bar is not None:
            self.task = self.bar.add_task(
                f"Epoch {epoch + 1}/{self.epochs}", total=steps, loss=self.loss, auroc=self.auroc, rate="–"
            )

    def see_step(self, number: int, loss: Tensor) -> None:
        """Take note of step `number` of the epoch, counted from 0; its loss may be overwritten by the next step."""
        if number % _EVERY == 0:
            self._read_pending()
            copied = loss.to("cpu", non_blocking=True) if self.device.type == "cuda" else loss.clone()
            event = None
            if self.device.type == "cuda":
                event = torch.cuda.Event()  # type: ignore[no-untyped-call]
                event.record()
            self._pending = (self._first + number, copied, event)
        if self.bar is not None and (number % _EVERY == 0 or number + 1 == self._steps):
            rate = (number + 1) * self._batch_size / (time.perf_counter() - self._started)
            self.bar.update(self.task, completed=number + 1, loss=self.loss, rate=f"{rate:.0f}")

    def end_epoch(self, auroc: float) -> None:
        """Show the epoch's validation AUROC."""
        self._read_pending()
        self.auroc = f"{auroc:.4f}"
        if self.bar is not None:
            self.bar.update(self.task, auroc=self.auroc, loss=self.loss)

    def _read_pending(self) -> None:
        if self._pending is None:
            return
        step, loss, event = self._pending
        self._pending = None
        if event is not None:
            event.synchronize()
        value = float(loss)
        self.loss = f"{value:.3f}"
        self.log.write({"train_loss_step": value}, step=step)
