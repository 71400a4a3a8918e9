"""The Lightning trainer of a run: precision, callbacks, checkpoints and loggers."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from lightning.pytorch.loggers import Logger, MLFlowLogger, TensorBoardLogger

from hilum import progress
from hilum.config import TrainConfig
from hilum.errors import ConfigError
from hilum.model import run as run_folder
from hilum.model.callbacks import Averaging, EpochHook, SafeCheckpointIO, Scoreboard, TrainingProgress
from hilum.model.processor import has_bfloat16


def resolve_precision(config: TrainConfig) -> str:
    """Return Lightning's name of the precision: bfloat16 where the processor computes in it, else float32."""
    if config.precision == "float32":
        return "32-true"
    if config.precision == "bfloat16":
        return "bf16-mixed"
    if torch.cuda.is_available():
        return "bf16-mixed" if torch.cuda.is_bf16_supported() else "32-true"
    if torch.backends.mps.is_available():
        return "32-true"
    return "bf16-mixed" if has_bfloat16() else "32-true"


def build_trainer(out: Path, config: TrainConfig, on_epoch: EpochHook | None) -> Trainer:
    """Return the trainer of the run in `out`: both phases, a checkpoint an epoch, nothing printed."""
    return Trainer(
        max_epochs=config.head_epochs + config.epochs,
        precision=resolve_precision(config),  # type: ignore[arg-type]
        callbacks=_build_callbacks(out, config, on_epoch),
        plugins=[SafeCheckpointIO()],
        logger=_build_logger(out, config),
        gradient_clip_val=config.clip_norm,
        default_root_dir=out,
        log_every_n_steps=10,
        num_sanity_val_steps=0,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def _build_callbacks(out: Path, config: TrainConfig, on_epoch: EpochHook | None) -> list[Callback]:
    # Before Averaging: see Scoreboard.
    callbacks: list[Callback] = [Scoreboard(out, monitor=config.monitor, on_epoch=on_epoch)]
    if config.ema_decay is not None:
        callbacks.append(Averaging(config.ema_decay))
    if config.patience is not None:
        mode = "min" if config.monitor == "val_loss" else "max"
        callbacks.append(EarlyStopping(config.monitor, patience=config.patience, mode=mode))
    if progress.is_enabled():
        callbacks.append(TrainingProgress())
    callbacks.append(
        ModelCheckpoint(
            (out / run_folder.CHECKPOINT).parent,
            filename="last",
            save_top_k=1,
            enable_version_counter=False,
            save_on_train_epoch_end=True,
        )
    )
    return callbacks


def _build_logger(out: Path, config: TrainConfig) -> Logger | bool:
    if config.logger == "tensorboard":
        return TensorBoardLogger(out, name="tensorboard", version="")
    if config.logger == "mlflow":
        try:
            return MLFlowLogger(experiment_name="hilum", run_name=out.name, tracking_uri=f"file:{out.resolve()}/mlruns")
        except ModuleNotFoundError:
            raise ConfigError(
                "train.logger=mlflow needs MLflow: install it with pip install 'hilum[mlflow]'."
            ) from None
    return False


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Silence advice that does not apply: few workers are right where the network takes every core."""
    names = [name for name in logging.root.manager.loggerDict if name.startswith("lightning")]
    levels = [logging.getLogger(name).level for name in names]
    for name in names:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"(lightning|torch)\.")
            yield
    finally:
        for name, level in zip(names, levels, strict=True):
            logging.getLogger(name).setLevel(level)
