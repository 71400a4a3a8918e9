"""`hilum robust`: how a trained run holds up when its validation pictures look as if taken elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hilum.cli import options
from hilum.cli.train import require_training

if TYPE_CHECKING:
    from hilum.evaluation.robust import Assessment


def robust(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, as hilum train makes it.")],
    out: options.OutFolder,
    pictures: Annotated[
        int | None,
        typer.Option(
            "--pictures", min=20, metavar="N", help="Only this many of val, half of each class.", show_default="all"
        ),
    ] = None,
    device: options.Device = "auto",
    verbose: options.Verbose = False,
) -> None:
    """Score the run's validation pictures under fixed changes of exposure, display, sharpness, noise and framing.

    Plain validation hardly tells recipes apart; this does. Test is not read. Writes robust.json and robust.png.
    """
    require_training()
    from hilum.evaluation.robust import draw_assessment
    from hilum.files import new_folder, write_json
    from hilum.model.scoring import RunScorer
    from hilum.tuning.objective import assess_run

    scorer = RunScorer.open(run, device=device)
    new_folder(out, marker="robust.json")
    assessment = assess_run(scorer, pictures=pictures)
    draw_assessment(assessment, out / "robust.png", title=scorer.name)
    said = {"model": scorer.name, **scorer.describe_runtime(quickly=True)}
    write_json(out / "robust.json", {**said, **assessment.to_json()})
    print_assessment(assessment)
    typer.echo(f"Figures: {out / 'robust.json'}, {out / 'robust.png'}")


def print_assessment(assessment: Assessment) -> None:
    """Print a line for each condition, the worst first, and the summary."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"Robust validation on {assessment.n:,} pictures of val", title_justify="left")
    for heading in ("Condition", "AUROC", "Brier", "Sensitivity", "Specificity"):
        table.add_column(heading, justify="left" if heading == "Condition" else "right")
    ordered = sorted(assessment.conditions, key=lambda result: result.balanced_accuracy)
    for result in [assessment.clean, *ordered]:
        figures = (result.auroc, result.brier, result.sensitivity, result.specificity)
        table.add_row(f"{result.family}: {result.condition}", *(f"{value:.3f}" for value in figures))
    Console().print(table)
    summary = assessment.summarise()
    typer.echo(
        f"Objective {summary['objective']:.4f}; AUROC mean {summary['auroc_mean']:.4f}, worst "
        f"{summary['auroc_worst']:.4f}; balanced accuracy mean {summary['balanced_accuracy_mean']:.4f}, worst "
        f"{summary['balanced_accuracy_worst']:.4f}"
    )
