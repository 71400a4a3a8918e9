"""`hilum recalibrate`: fits a bundle's probabilities and thresholds to a hospital by some labelled pictures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hilum.cli import options

if TYPE_CHECKING:
    from hilum.evaluation.recalibration import Recalibrated


def recalibrate(
    bundle: Annotated[
        Path,
        typer.Argument(metavar="BUNDLE", help="A bundle folder, or packaged for the one that comes with Hilum."),
    ],
    data: Annotated[
        Path,
        typer.Argument(
            metavar="LOCAL_DATA",
            help="Labelled pictures of your own, at least 20 and 5 of each class: a folder with NORMAL/ and "
            "PNEUMONIA/, a CSV with the columns path,label, or a manifest.csv.",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", metavar="BUNDLE2", help="Folder to make.")],
    model_version: Annotated[
        str | None,
        typer.Option("--model-version", help="Version of the new bundle.", show_default="that of BUNDLE with -local"),
    ] = None,
    seed: options.Seed = None,
    verbose: options.Verbose = False,
) -> None:
    """Refit the calibration and all operating points of BUNDLE on LOCAL_DATA; the network stays as it is.

    The fewer pictures, the closer the new numbers stay to the old ones. What it changes is measured on patients that
    are held out, and stands in the new bundle and its model card.
    """
    from hilum.data.manifest import load_data
    from hilum.evaluation.recalibration import recalibrate_bundle
    from hilum.inference.scoring import BundleScorer

    scorer = BundleScorer.open(bundle)
    done = recalibrate_bundle(
        scorer, load_data(data, splits_matter=False), out, data=str(data), version=model_version, seed=seed or 0
    )  # fmt: skip
    _print_change(done)
    if done.failed:
        raise typer.Exit(1)


def _print_change(done: Recalibrated) -> None:
    from rich.console import Console
    from rich.table import Table

    from hilum.evaluation.recalibration import tabulate_change, tell_gain

    local, spec = done.local, done.bundle.spec
    table = Table(
        title=f"{local.n:,} local pictures of {local.patients:,} patients, {spec.default_operating_point}",
        title_justify="left",
    )
    table.add_column("Figure")
    for heading in ("Before", "After, held out"):
        table.add_column(heading, justify="right")
    for row in tabulate_change(local):
        table.add_row(*row)
    Console().print(table)
    typer.echo(tell_gain(local))
    typer.echo(
        f"Calibration: temperature {local.base_temperature:.4f} -> {spec.temperature:.4f}, intercept "
        f"{local.base_intercept:.4f} -> {spec.intercept:.4f}"
    )
    typer.echo(
        f"Probabilities stand for {100 * spec.training_prior:.1f} % PNEUMONIA, the share in these pictures; for "
        "another one, predict with --prevalence"
    )
    if done.failed:
        typer.echo(f"Pictures without a score: {done.failed:,}")
    if done.refused:
        typer.echo(
            f"The input gate takes {done.refused:,} of these {local.n:,} pictures for no frontal chest radiographs. "
            "They took part here, but hilum predict gives such a picture no verdict, unless told --no-gate"
        )
    typer.echo(f"Bundle: {done.bundle.folder}")
