"""`hilum results`: the page that puts evaluations side by side."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from hilum.cli import options


def results(
    evaluations: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN_OR_EVALUATION...",
            help="Evaluation folders, or runs with an evaluation inside or beside them: the seeds of a recipe first, "
            "then other recipes and bundles.",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="Markdown file to write.")] = Path("results.md"),
    ledger: Annotated[
        Path | None,
        typer.Option(
            "--ledger",
            metavar="FILE",
            help="The ledger of looks at test; none given: HILUM_LEDGER, else test_ledger.csv beside --out.",
        ),
    ] = None,
    verbose: options.Verbose = False,
) -> None:
    """Write tables, curves, limits and the comparison with published figures; nothing is typed by hand.

    Figures go to the folder images beside FILE. The same evaluations give the same bytes. Nothing is scored.
    """
    from hilum.evaluation.ledger import LEDGER, LEDGER_VARIABLE
    from hilum.summary.page import write_results

    if ledger is None:
        beside = out.parent / LEDGER
        named = os.environ.get(LEDGER_VARIABLE)
        ledger = Path(named) if named else beside if beside.is_file() else None
    write_results(evaluations, out, ledger=ledger)
    typer.echo(out)
