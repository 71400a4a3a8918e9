"""`hilum evaluate`: what a trained model is worth on pictures that chose nothing."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hilum.cli import options
from hilum.cli.judging import Part, evaluate_bundle, evaluate_run
from hilum.cli.train import require_training
from hilum.errors import ConfigError

if TYPE_CHECKING:
    from hilum.evaluation.evaluate import EvaluationResult
    from hilum.evaluation.external import ExternalSet


def evaluate(
    model: Annotated[
        Path,
        typer.Argument(
            metavar="MODEL",
            help="A run folder, as hilum train makes it, a bundle, as hilum export makes it, or the word packaged for "
            "the bundle that comes with Hilum.",
        ),
    ],
    data: options.DataArgument,
    out: options.OutFolder,
    split: Annotated[
        Part,
        typer.Option(
            "--split",
            help="test: the test pictures of DATA. all: every picture of DATA, for data of another hospital. "
            "val: the run's own validation pictures, whose figures flatter.",
        ),
    ] = Part.TEST,
    shortcuts: Annotated[
        bool,
        typer.Option(
            "--shortcuts",
            help="Check whether MODEL looks at the lungs: pictures without lungs, lungs alone, heat maps against lung "
            "masks, markers taken out. Up to 2,500 further forward passes.",
        ),
    ] = False,
    also: Annotated[
        list[str] | None,
        typer.Option(
            "--also",
            metavar="NAME=DATA",
            help="A labelled set of another source, all of which is scored for the table of external validation; by "
            "the columns source and age_group, too, where its CSV has them. May be given several times.",
        ),
    ] = None,
    unfinished: Annotated[
        bool, typer.Option("--unfinished", help="Take a run whose training has not come to its end as it is.")
    ] = False,
    device: options.Device = "auto",
    ledger: options.Ledger = None,
    config: options.ConfigFile = None,
    settings: options.Overrides = None,
    seed: options.Seed = None,
    verbose: options.Verbose = False,
) -> None:
    """Score MODEL on a split of DATA.

    A run's thresholds and calibration are fitted on its own validation pictures first; a bundle carries its own.
    """
    from hilum.bundle import PACKAGED, is_bundle
    from hilum.data.manifest import load_data

    given = options.resolve_config(config, settings, weights=None, seed=seed)
    command = shlex.join(["hilum", "evaluate", str(model), str(data), "--out", str(out), "--split", split])
    command += " --shortcuts" * shortcuts
    command += "".join(f" --also {shlex.quote(pair)}" for pair in also or [])
    sets = options.parse_sets(also or [])
    if str(model) == PACKAGED or is_bundle(model):
        from hilum.inference.scoring import BundleScorer

        _refuse_val(split)
        _refuse_gpu(device)
        bundled = BundleScorer.open(model)
        external = _read_external(sets)
        result = evaluate_bundle(
            bundled, load_data(data, splits_matter=split is not Part.ALL), out,
            split=split, settings=given.evaluate, seed=given.seed, data=str(data), command=command, ledger=ledger,
            shortcuts=shortcuts, external=external,
        )  # fmt: skip
    else:
        require_training()
        from hilum.model.run import read_run
        from hilum.model.scoring import RunScorer

        scorer = RunScorer(read_run(model, unfinished=unfinished), device=device)
        chosen = options.resolve_config(config, settings, weights=None, seed=None, base=scorer.run.config).evaluate
        result = evaluate_run(
            scorer, load_data(data, splits_matter=split is not Part.ALL), out,
            split=split, settings=chosen, seed=given.seed, data=str(data), command=command, ledger=ledger,
            shortcuts=shortcuts, external=_read_external(sets),
        )  # fmt: skip
    print_evaluation(result)
    if result.failed:
        raise typer.Exit(1)


def _read_external(sets: dict[str, Path]) -> list[ExternalSet]:
    from hilum.evaluation.external import read_external

    return read_external(sets)


def _refuse_val(split: Part) -> None:
    if split is Part.VAL:
        raise ConfigError(
            "A bundle does not know which pictures validated it; evaluate its run for --split val, or see the bundle's "
            "model_card.md."
        )


def _refuse_gpu(device: str) -> None:
    if device not in ("auto", "cpu"):
        raise ConfigError(
            f"--device {device}: a bundle is scored on the CPU; leave --device out, or evaluate the run that it was "
            "exported from."
        )


def print_evaluation(result: EvaluationResult) -> None:
    """Say how good the model is, and where the report lies."""
    from rich.console import Console
    from rich.table import Table

    shown = {
        "auroc": "AUROC",
        "accuracy": "accuracy",
        "precision": "precision",
        "recall": "recall (sensitivity)",
        "specificity": "specificity",
        "f1": "F1",
        "mcc": "MCC",
        "auprc": "AUPRC",
        "brier": "Brier score",
        "ece": "ECE",
    }
    metrics = result.metrics
    table = Table(
        title=f"{metrics['split']}, {metrics['n']:,} pictures, threshold {metrics['threshold']:.4f}",
        title_justify="left",
    )
    for heading in ("Metric", "Value", "95 % interval"):
        table.add_column(heading, justify="left" if heading == "Metric" else "right")
    for key, name in shown.items():
        entry = metrics["metrics"][key]
        value, low, high = (entry[part] for part in ("value", "ci_low", "ci_high"))
        interval = "–" if low is None else f"{low:.3f} to {high:.3f}"
        table.add_row(name, "–" if value is None else f"{value:.4f}", interval)
    Console().print(table)
    for entry in metrics["external"]:
        if not entry["group"]:
            auroc = entry["metrics"]["auroc"]
            said = "no AUROC" if auroc["value"] is None else f"AUROC {auroc['value']:.3f}"
            typer.echo(f"{entry['set']}: {entry['n']:,} pictures, {said}")
    cells = metrics["confusion_matrix"]
    typer.echo(f"Confusion matrix: TN {cells['tn']}, FP {cells['fp']}, FN {cells['fn']}, TP {cells['tp']}")
    if "look" in metrics:
        total, own = metrics["look"]["total"], metrics["look"]["by_model"]
        typer.echo(f"This is look number {total:,} at this test set (by this model: {own:,}).")
    if result.failed:
        typer.echo(f"Pictures without a score: {result.failed:,}; predictions.csv says why")
    typer.echo(f"Report: {result.report}")
