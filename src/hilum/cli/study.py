"""`hilum study`: many recipes and seeds trained and measured alike, in one table."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hilum.cli import options
from hilum.cli.train import load_splits, require_device, require_training

if TYPE_CHECKING:
    from hilum.research.recipes import StudyPlan
    from hilum.research.tables import RunRow

_COLUMN = 16  # characters that "0.912 ± 0.013" takes with its borders


def study(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="STUDY.yaml",
            help="YAML with data, seeds and recipes; optional: rank_by, robust, also, settings. Its paths are relative "
            "to its folder.",
        ),
    ],
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Folder of the study; an existing one is continued.")
    ],
    also: Annotated[
        list[str] | None,
        typer.Option(
            "--also",
            metavar="NAME=DATA",
            help="A further set, all of whose labelled images every run scores, such as nih=nih.csv. Repeatable. Test "
            "splits and images of the study's own data are refused.",
        ),
    ] = None,
    device: options.Device = "auto",
    jobs: Annotated[
        int | None,
        typer.Option(
            "--jobs",
            min=1,
            metavar="N",
            help="Runs at once, each in a process of its own.",
            show_default="1 on a CPU; on a GPU up to 4, 10 GB of free memory each",
        ),
    ] = None,
    weights: options.Weights = None,
    keep: Annotated[
        int | None,
        typer.Option(
            "--keep", min=1, metavar="N", help="Keep the weights of the best N runs only.", show_default="all"
        ),
    ] = None,
    verbose: options.Verbose = False,
) -> None:
    """Train every recipe of STUDY.yaml with every seed, and compare them on val and on external sets.

    All runs share one validation set (data.split_seed is 0 unless the settings give it); test is not read.
    Interrupted, the same command continues; recipes and seeds can be added. Writes study.csv (a row a run), recipes.csv
    (mean and standard deviation a recipe), study.html, and a run folder for each run.
    """
    require_training()
    require_device(device)
    from hilum.research.page import REPORT
    from hilum.research.recipes import read_study
    from hilum.research.sets import read_sets
    from hilum.research.study import StudyOptions, run_study
    from hilum.research.tables import RECIPES, STUDY

    plan = read_study(file, also=options.parse_sets(also or []), weights=weights)
    manifest, splits = load_splits(plan.data, plan.shared)
    sets = read_sets(plan.also, manifest)
    rows = run_study(plan, manifest, splits, sets, out, StudyOptions(device, jobs, keep, verbose))
    print_recipes(plan, rows)
    typer.echo(f"Recipes: {out / RECIPES}")
    typer.echo(f"Runs: {out / STUDY}")
    typer.echo(f"Report: {out / REPORT}")
    if any(row.status != "done" for row in rows):
        raise typer.Exit(1)


def print_recipes(plan: StudyPlan, rows: Sequence[RunRow]) -> None:
    """Print a line for each recipe, the best first."""
    import math

    from rich.console import Console
    from rich.table import Table

    from hilum.research.names import list_main, write_name
    from hilum.research.page import write_spread
    from hilum.research.tables import summarise

    console = Console(width=None if sys.stdout.isatty() else 160)
    summaries = summarise(rows, rank_by=plan.rank_by)
    main = [
        name
        for name in list_main(plan.also, robust=plan.robust > 0, rank_by=plan.rank_by)
        if any(summary.seeds.get(name) for summary in summaries)
    ]
    widest = max(len(recipe) for recipe in plan.recipes)
    main = main[: max(1, (console.width - widest - 14) // _COLUMN)]
    table = Table(
        title=f"Recipes by {write_name(plan.rank_by)}, mean ± standard deviation over seeds", title_justify="left"
    )
    table.add_column("Recipe", no_wrap=True)
    for heading in ("Seeds", *(write_name(name) for name in main)):
        table.add_column(heading, justify="right")
    for summary in summaries:
        cells = (
            write_spread(summary.means.get(name, math.nan), summary.deviations.get(name, math.nan)) or "–"
            for name in main
        )
        table.add_row(summary.recipe, str(summary.n), *cells)
    console.print(table)
