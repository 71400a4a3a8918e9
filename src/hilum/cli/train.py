"""`hilum train`: from pictures to a run folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hilum.cli import options
from hilum.errors import ConfigError

if TYPE_CHECKING:
    import pandas as pd

    from hilum.config import Config
    from hilum.model.training import TrainingResult


def train(
    data: options.DataArgument,
    out: Annotated[Path, typer.Option("--out", metavar="RUN", help="Run folder to write.")] = Path("runs/run"),
    config: options.ConfigFile = None,
    settings: options.Overrides = None,
    weights: options.Weights = None,
    task: options.TaskOption = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue an interrupted run in RUN to its schedule.")
    ] = False,
    device: options.Device = "auto",
    seed: options.Seed = None,
    verbose: options.Verbose = False,
) -> None:
    """Fine-tune ResNet-50 on split train and choose the best epoch on val; test is not read."""
    require_training()
    given = config is not None or settings or any(value is not None for value in (weights, seed, task))
    resolved = options.resolve_config(config, settings, weights=weights, seed=seed, task=task)
    require_device(device)
    if resume:
        from hilum.model import training

        result = training.resume(out, overrides=resolved if given else None, device=device)
    else:
        manifest, splits = load_splits(data, resolved)
        result = start_training(manifest, splits, out, resolved, device=device)
    print_training(result)


def require_training() -> None:
    """Refuse early, in one sentence, where the packages that train are not installed.

    Raises:
        ConfigError: torch or one of its companions is missing.
    """
    from importlib.util import find_spec

    missing = [name for name in ("torch", "safetensors") if find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"This needs {', '.join(missing)}: install the training part with pip install 'hilum[train]'."
        )


def require_device(device: str) -> None:
    """Refuse early, in one sentence, a device that is not there: before pictures are read.

    Raises:
        ConfigError: no such name.
        DeviceError: it is not there, or torch cannot use it.
    """
    from hilum.model.device import choose_device

    choose_device(device)


def load_splits(data: Path, config: Config) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Scan or read DATA and split it by patient."""
    from hilum.data.manifest import load_data
    from hilum.data.splits import build_splits

    manifest = load_data(data)
    splits = build_splits(
        manifest, val_fraction=config.data.val_fraction, seed=config.split_seed, fold=config.data.val_fold
    )
    return manifest, splits


def start_training(
    manifest: pd.DataFrame, splits: pd.DataFrame, out: Path, config: Config, *, device: str
) -> TrainingResult:
    """Train into a new run folder."""
    from hilum.model import training

    return training.train(manifest, splits, out, config, device=device)


def print_training(result: TrainingResult) -> None:
    """Say what the training reached."""
    typer.echo(
        f"Trained in {result.seconds / 60:.1f} min; best epoch {result.best_epoch}: "
        f"val loss {result.val_loss:.4f}, val AUROC {result.val_auroc:.4f}."
    )
    typer.echo(f"Run folder: {result.run}")
