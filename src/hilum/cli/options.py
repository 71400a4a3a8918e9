"""Options that several verbs share, and what they set for the whole process."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.logging import RichHandler

from hilum import __version__, progress
from hilum.config import Config, load_config
from hilum.errors import ConfigError


def configure_logging(*, verbose: bool) -> None:
    """Send Hilum's log to stderr: notes by default, everything with --verbose; other packages from warnings on."""
    handler = RichHandler(console=progress.console, show_path=verbose, show_time=verbose, markup=False)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", handlers=[handler], force=True)
    logging.getLogger("hilum").setLevel(logging.DEBUG if verbose else logging.INFO)


def _set_verbose(verbose: bool) -> bool:
    if verbose:
        configure_logging(verbose=True)
    return verbose


def print_version(wanted: bool) -> None:
    """Print the version and stop, when asked to."""
    if wanted:
        typer.echo(f"hilum {__version__}")
        raise typer.Exit


DataArgument = Annotated[
    Path,
    typer.Argument(
        metavar="DATA",
        help="A folder in the Kaggle layout (train/ and test/, each with NORMAL/ and PNEUMONIA/), a manifest.csv, "
        "a CSV of labels, or a MedMNIST .npz file.",
    ),
]
OutFolder = Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder to write to; made if missing.")]
Verbose = Annotated[
    bool, typer.Option("--verbose", "-v", callback=_set_verbose, help="Log what is done, and where.", is_eager=True)
]
Seed = Annotated[
    int | None, typer.Option("--seed", min=0, help="Seed of all that is drawn by chance.", show_default="0")
]
ConfigFile = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="YAML file; its keys win over the defaults.")
]
Ledger = Annotated[
    Path | None,
    typer.Option(
        "--ledger",
        metavar="FILE",
        help="CSV to which each look at a test set is appended; none given: the environment variable HILUM_LEDGER, "
        "else test_ledger.csv in the folder above --out. Phantoms are never recorded in HILUM_LEDGER.",
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="One setting, such as train.lr=3e-4; wins over the file. Repeatable."
    ),
]
Weights = Annotated[
    str | None,
    typer.Option(
        "--weights",
        metavar="imagenet|random|PATH",
        help="What the network starts from: torchvision's ImageNet weights (downloaded), chance, or a .pth or "
        ".safetensors file in torchvision's key names.",
        show_default="imagenet",
    ),
]


Device = Annotated[
    str,
    typer.Option(
        "--device",
        metavar="auto|cpu|cuda|cuda:N|mps",
        help="What computes; auto takes GPU 0 where there is one.",
    ),
]


class Task(StrEnum):
    """What the network learns."""

    PNEUMONIA = "pneumonia"
    PATHOGEN = "pathogen"


TaskOption = Annotated[
    Task | None,
    typer.Option(
        "--task",
        help="pathogen: learn besides whether a pneumonia is bacterial or viral, as the file names say.",
        show_default="pneumonia",
    ),
]


def resolve_config(
    file: Path | None,
    overrides: list[str] | None,
    *,
    weights: str | None,
    seed: int | None,
    task: Task | None = None,
    base: Config | None = None,
) -> Config:
    """Build the configuration from what the command line gives, laid over `base` in place of the defaults."""
    chosen = list(overrides or [])
    if task is not None:
        chosen.append(f"task={task}")
    config = load_config(file, overrides=chosen, base=base)
    if weights is not None:
        config = config.model_copy(update={"model": config.model.model_copy(update={"weights": weights})})
    if seed is not None:
        config = config.model_copy(update={"seed": seed})
    return config


def parse_sets(pairs: Sequence[str]) -> dict[str, Path]:
    """Read the values of --also: NAME=DATA, each name once.

    Raises:
        ConfigError: one is not written so.
    """
    from hilum.research.recipes import check_name

    sets: dict[str, Path] = {}
    for pair in pairs:
        name, separator, data = pair.partition("=")
        if not separator or not data:
            raise ConfigError(f"--also {pair}: write it as NAME=DATA, for example --also nih=nih.csv.")
        try:
            check_name(name)
        except ValueError as error:
            raise ConfigError(f"--also {pair}: {error}.") from None
        if name in sets:
            raise ConfigError(f"--also {pair}: the name {name} stands twice.")
        sets[name] = Path(data)
    return sets
