"""hilum explore: the exploratory analysis of a data set."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

import typer

from hilum.cli.options import ConfigFile, DataArgument, OutFolder, Overrides, Seed, Verbose, resolve_config
from hilum.errors import LeakageError
from hilum.files import new_folder
from hilum.types import Split, Status

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from hilum.config import Config
    from hilum.report.render import Section


def explore(
    data: DataArgument,
    out: OutFolder,
    config: ConfigFile = None,
    overrides: Overrides = None,
    seed: Seed = None,
    verbose: Verbose = False,
) -> None:
    """Show what a data set holds, and what in it could mislead a network, on one self-contained page.

    Writes eda.html, eda.json, figures/, manifest.csv and splits.csv. Unreadable files are listed, and the exit code is
    then 1.
    """
    from hilum.data.audit import build_audit
    from hilum.data.manifest import load_data, write_manifest
    from hilum.data.splits import build_splits, write_splits

    settings = resolve_config(config, overrides, weights=None, seed=seed)
    share = settings.data.val_fraction
    new_folder(out, marker="eda.html")
    manifest = load_data(data)
    leak: LeakageError | None = None
    try:
        splits = build_splits(manifest, val_fraction=share, seed=settings.split_seed, fold=settings.data.val_fold)
        write_splits(splits, out / "splits.csv", seed=settings.split_seed, val_fraction=share)
    except LeakageError as error:
        # The page is where a leak is best looked at, so it is made with the splits as the data give them.
        leak = error
        splits = manifest[manifest["status"] == Status.OK]
    write_manifest(manifest, out / "manifest.csv")
    sections = build_extra_sections(splits, out, settings)
    audit = build_audit(manifest, splits, out, seed=settings.seed, source=str(data), extra_sections=sections)
    for finding in audit.findings:
        typer.echo(f"{finding.severity:<8} {finding.text}")
    typer.echo(f"Page: {audit.page}")
    if leak is not None:
        raise leak
    if audit.numbers["unreadable"]:
        raise typer.Exit(1)


def build_extra_sections(splits: pd.DataFrame, out: Path, config: Config) -> list[Section]:
    """Return the sheet of augmented pictures where torch is installed and there is something to train on."""
    if find_spec("torch") is None or not (splits["split"] == Split.TRAIN).any():
        return []
    from hilum.model.augmentation_sheet import build_augmentation_section

    return [build_augmentation_section(splits, out / "figures" / "augmentation.png", config)]
