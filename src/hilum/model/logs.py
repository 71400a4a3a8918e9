"""Where the figures of a training go beside history.csv: TensorBoard, MLflow or nowhere."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from hilum.config import TrainConfig
from hilum.errors import ConfigError


class Log(Protocol):
    """Takes figures by name."""

    def write(self, figures: Mapping[str, float], *, step: int) -> None:
        """Record figures of a step or an epoch."""
        ...


class _NoLog:
    def write(self, figures: Mapping[str, float], *, step: int) -> None:
        pass


class _TensorBoardLog:
    def __init__(self, folder: Path) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of packages that it tries to import
            from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415 - takes a second that not all runs need

            self.writer: Any = SummaryWriter(str(folder))

    def write(self, figures: Mapping[str, float], *, step: int) -> None:
        for name, value in figures.items():
            self.writer.add_scalar(name, value, step)


class _MlflowLog:
    def __init__(self, mlflow: Any) -> None:
        self.mlflow = mlflow

    def write(self, figures: Mapping[str, float], *, step: int) -> None:
        self.mlflow.log_metrics(dict(figures), step=step)


@contextmanager
def open_log(out: Path, config: TrainConfig) -> Iterator[Log]:
    """Yield the log of the run in `out` that `config.logger` asks for.

    Raises:
        ConfigError: MLflow is asked for and is not installed.
    """
    if config.logger == "tensorboard":
        log = _TensorBoardLog(out / "tensorboard")
        try:
            yield log
        finally:
            log.writer.close()
    elif config.logger == "mlflow":
        try:
            import mlflow  # noqa: PLC0415 - an extra
        except ModuleNotFoundError:
            raise ConfigError(
                "train.logger=mlflow needs MLflow: install it with pip install 'hilum[mlflow]'."
            ) from None
        mlflow.set_tracking_uri(f"file:{out.resolve()}/mlruns")
        mlflow.set_experiment("hilum")
        with mlflow.start_run(run_name=out.name):
            yield _MlflowLog(mlflow)
    else:
        yield _NoLog()
