"""`hilum ledger`: the looks at test sets, and those to be entered afterwards."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hilum.cli import options
from hilum.cli.judging import identify_bundle, identify_run

if TYPE_CHECKING:
    from hilum.evaluation.ledger import ModelIdentity


def ledger(
    file: Annotated[Path, typer.Argument(metavar="LEDGER", help="The CSV.", show_default=False)],
    enter: Annotated[
        Path | None,
        typer.Option("--enter", metavar="EVALUATION", help="Append the look of this evaluation folder, made earlier."),
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option(
            "--model", metavar="MODEL", help="The run or bundle that was evaluated, where metrics.json does not say."
        ),
    ] = None,
    note: Annotated[str, typer.Option("--note", metavar="TEXT", help="A remark on the look that is entered.")] = "",
    verbose: options.Verbose = False,
) -> None:
    """Count the looks at each test set that LEDGER records; with --enter, record one that is missing."""
    from hilum.evaluation.ledger import append_look, read_ledger, read_past_look
    from hilum.evaluation.wording import write_count

    if enter is not None:
        identity = _identify(model) if model is not None else None
        number = append_look(file, read_past_look(enter, identity=identity, note=note))
        typer.echo(number.describe())
        return
    looks = read_ledger(file)
    for test_hash, count in Counter(look.test_hash for look in looks).items():
        own = [look for look in looks if look.test_hash == test_hash]
        pictures, times = write_count(own[0].n, "picture"), write_count(count, "look")
        models = write_count(len({look.model_hash for look in own}), "model")
        name = test_hash[:12] or "unknown"
        typer.echo(f"test set {name} ({pictures}): {times} by {models}, {own[0].date} to {own[-1].date}")
    if not looks:
        typer.echo("No looks.")


def _identify(model: Path) -> ModelIdentity:
    from hilum.bundle import PACKAGED, is_bundle, read_bundle, resolve_bundle
    from hilum.model.run import read_run

    if str(model) == PACKAGED or is_bundle(model):
        return identify_bundle(read_bundle(resolve_bundle(model)))
    return identify_run(read_run(model))
