"""The verbs that get data and describe them: fetch, scan."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from hilum.cli.options import Verbose
from hilum.types import Label, Split, Status

if TYPE_CHECKING:
    from hilum.data.summary import ManifestSummary

_FAILURES_SHOWN = 5


class Source(StrEnum):
    """A public data set."""

    KAGGLE = "kaggle"
    MEDMNIST = "medmnist"


def fetch(
    source: Annotated[
        Source,
        typer.Argument(
            show_default=False,
            help="kaggle: the 5,856 radiographs of Kermany et al. in full resolution (1.2 GB); "
            "medmnist: PneumoniaMNIST, the same radiographs at 224 x 224 px.",
        ),
    ],
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder to download to; none given: data/ and the name of the source.")
    ] = None,
    verbose: Verbose = False,
) -> None:
    """Download a public data set."""
    from hilum.data.sources import fetch_kaggle, fetch_medmnist

    folder = out if out is not None else Path("data") / source
    path = fetch_kaggle(folder) if source is Source.KAGGLE else fetch_medmnist(folder)
    typer.echo(path)


def scan(
    data: Annotated[
        Path,
        typer.Argument(
            metavar="DATA",
            help="A folder such as train/ and test/ with NORMAL/ and PNEUMONIA/ in each (any case, at any depth), "
            "a CSV with the columns path,label[,patient,split], or a MedMNIST .npz.",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option("--out", help="The manifest to write.")] = Path("manifest.csv"),
    verbose: Verbose = False,
) -> None:
    """Describe every picture of a data set in a manifest.csv: label, split, patient, size, hashes, status.

    A picture that cannot be read keeps its row, with the reason; the exit code is then 1.
    """
    from hilum.data.manifest import check_replaceable, hash_manifest, write_manifest
    from hilum.data.manifest import scan as scan_data
    from hilum.data.summary import summarise

    check_replaceable(out)
    manifest = scan_data(data)
    write_manifest(manifest, out)
    summary = summarise(manifest)
    _print_summary(summary)
    failed = manifest[manifest["status"] != Status.OK]
    for row in failed.head(_FAILURES_SHOWN).itertuples():
        typer.echo(f"  {row.status}: {row.path}: {row.message}")
    if len(failed) > _FAILURES_SHOWN:
        typer.echo(f"  and {len(failed) - _FAILURES_SHOWN:,} more; see the columns status and message")
    typer.echo(f"Manifest: {out} (hash {hash_manifest(manifest)})")
    if len(failed):
        raise typer.Exit(1)


def _print_summary(summary: ManifestSummary) -> None:
    table = Table(title=f"{summary.pictures:,} pictures", title_justify="left")
    table.add_column("Split")
    for heading in (*Label, "Pictures", "Patients"):
        table.add_column(heading, justify="right")
    for split in Split:
        by_label = summary.counts[split]
        if not any(by_label.values()):
            continue
        numbers = (*by_label.values(), sum(by_label.values()), summary.patients[split])
        table.add_row(split, *(f"{number:,}" for number in numbers))
    Console().print(table)
    for line in _describe(summary):
        typer.echo(line)


def _describe(summary: ManifestSummary) -> list[str]:
    lines = [
        f"Patients in more than one split: {summary.patients_shared:,}",
        f"Pictures whose patient is unknown (each counts as one): {summary.patients_unknown:,}",
        f"Exact duplicates: {summary.duplicate_groups:,} groups, {summary.duplicate_files:,} files; "
        f"{summary.duplicates_across:,} groups across splits, {summary.duplicates_mixed:,} across classes",
    ]
    if summary.folded:
        lines.append(f"Pictures of the folder val, used in train: {summary.folded:,}")
    lines.append(f"Pictures that cannot be used: {summary.failed:,}")
    return lines
