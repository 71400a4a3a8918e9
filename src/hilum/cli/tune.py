"""`hilum tune`: search for a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hilum.cli import options
from hilum.cli.train import load_splits, require_device, require_training
from hilum.errors import ConfigError


def tune(
    data: options.DataArgument,
    out: Annotated[Path, typer.Option("--out", metavar="STUDY", help="Folder of the study; one that exists goes on.")],
    trials: Annotated[
        int, typer.Option("--trials", min=1, metavar="N", help="Trials of the study in all, earlier sittings included.")
    ] = 20,
    config: options.ConfigFile = None,
    settings: options.Overrides = None,
    weights: options.Weights = None,
    space: Annotated[
        Path | None,
        typer.Option("--space", metavar="FILE", help="YAML of settings and bounds; none given: that of the package."),
    ] = None,
    timeout: Annotated[
        float | None, typer.Option("--timeout", min=0, metavar="MINUTES", help="Start no trial after this time.")
    ] = None,
    pictures: Annotated[
        int, typer.Option("--pictures", min=8, metavar="N", help="Pictures of val that judge a trial.")
    ] = 240,
    keep: Annotated[
        int, typer.Option("--keep", min=1, metavar="K", help="Weights are kept of the best K trials alone.")
    ] = 3,
    device: options.Device = "auto",
    prune: Annotated[bool, typer.Option(help="Stop trials that fall behind the median of the others.")] = True,
    seed: options.Seed = None,
    verbose: options.Verbose = False,
) -> None:
    """Try recipes proposed by an optimiser (TPE), each a training on split train, and judge them by robust validation.

    Test is not read. The first trial is the configuration as given. Interrupted, the same command continues. Writes
    study.db, trials.csv, study.html, and best.yaml for --config.
    """
    require_training()
    require_device(device)
    _require_optuna()
    from hilum.tuning.objective import RobustJudge
    from hilum.tuning.report import TABLE, write_report
    from hilum.tuning.space import DEFAULT_SPACE, read_space
    from hilum.tuning.study import BEST, ENDED, StudyOptions, rank
    from hilum.tuning.study import tune as run_study

    resolved = options.resolve_config(config, settings, weights=weights, seed=seed)
    dimensions = read_space(space or DEFAULT_SPACE, config=resolved)
    manifest, splits = load_splits(data, resolved)
    chosen = StudyOptions(trials, timeout, keep, prune)
    study = run_study(
        manifest, splits, out, resolved, dimensions, chosen, judge=RobustJudge(pictures, device=device), device=device
    )
    report = write_report(study, out, dimensions)
    ended, ranked = study.get_trials(deepcopy=False, states=ENDED), rank(study)
    if ranked:
        typer.echo(f"Best of {len(ended):,} trials: {ranked[0].number}, objective {ranked[0].value:.4f}: {out / BEST}")
    typer.echo(f"Trials: {out / TABLE}")
    typer.echo(f"Report: {report}")
    if any(trial.user_attrs.get("error") for trial in ended):
        raise typer.Exit(1)


def _require_optuna() -> None:
    from importlib.util import find_spec

    if find_spec("optuna") is None:
        raise ConfigError("This needs optuna: install it with pip install 'hilum[tune]'.")
