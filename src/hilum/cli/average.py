"""`hilum average`: one network from several runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hilum.cli import options
from hilum.cli.train import require_training


def average(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN...", help="Run folders of one recipe or of several, on the same splits."),
    ],
    out: Annotated[Path, typer.Option("--out", metavar="RUN", help="Run folder to write.")],
    verbose: options.Verbose = False,
) -> None:
    """Average the weights of runs that started from the same pre-trained weights: one network, no slower than each.

    The result is a run folder, to be judged by hilum robust, evaluated and exported as any other.
    """
    require_training()
    from hilum.model.averaging import average_runs

    typer.echo(f"Run folder: {average_runs(runs, out)}")
