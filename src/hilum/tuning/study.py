"""The study: an Optuna database, and one run folder a trial. The same command continues it where it was left.

STUDY/study.db        every trial with its values, also those that were pruned or failed
STUDY/trials/0007/    the run of trial 7
STUDY/trials.csv      the same as a table; study.html draws it; best.yaml is the best configuration, for --config

What a trial proposes depends on the seed, its number and the trials before it alone: an interrupted study goes on as it
would have without the interruption.
"""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
from optuna.trial import FrozenTrial, Trial, TrialState

from hilum.config import Config, read_run_config
from hilum.data.manifest import hash_manifest
from hilum.data.splits import hash_splits
from hilum.errors import ConfigError, HilumError, InterruptionError
from hilum.files import hold, write_text
from hilum.model import run as run_folder
from hilum.research.measure import run_one
from hilum.tuning.objective import Judge
from hilum.tuning.space import Space, apply_values

logger = logging.getLogger(__name__)

DATABASE = "study.db"
TRIALS = "trials"
BEST = "best.yaml"
_NAME = "hilum"
_FIXED = "fixed"
_STARTUP = 5  # trials that are never pruned: a median of fewer says little
_PARTS = 4  # glances are taken after quarters of the schedule: trials of few and of many epochs are compared alike
_WARMUP = 2  # quarters before whose end none is pruned

ENDED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)


@dataclass(frozen=True, slots=True)
class StudyOptions:
    """How long and how a study goes on.

    `trials` counts all that have ended in the study, those of earlier sittings too. After `timeout_minutes` no further
    trial is started. Weights are kept for the best `keep` trials alone; `prune` stops trials that fall behind.
    """

    trials: int
    timeout_minutes: float | None = None
    keep: int = 3
    prune: bool = True


def tune(
    manifest: pd.DataFrame,
    splits: pd.DataFrame,
    out: Path,
    config: Config,
    space: Space,
    options: StudyOptions,
    *,
    judge: Judge,
    device: str = "auto",
) -> optuna.Study:
    """Run or continue a study; `config` is what trials share, and its own values in `space` are the first trial.

    A trial that fails is recorded, and the study goes on, unless none has succeeded yet.

    Raises:
        ConfigError: `out` holds a study of other data, another configuration or another space.
        HilumError: the first trials fail, or another process works on the study.
        InterruptionError: the user stopped it; the same command continues.
    """
    out.mkdir(parents=True, exist_ok=True)
    with hold(out, what="the study"):
        study = open_study(out, prune=options.prune)
        _fix(study, out, config, space, {"data": f"{hash_manifest(manifest)} {hash_splits(splits)}"})
        started = time.monotonic()
        while len(study.get_trials(deepcopy=False, states=ENDED)) < options.trials:
            if options.timeout_minutes is not None and time.monotonic() - started > options.timeout_minutes * 60:
                logger.info("The time is up; no further trial is started.")
                break
            trial = _next_trial(study, config.seed)
            _run_trial(study, trial, manifest, splits, out, config, space, judge, device)
            _tidy(study, out, keep=options.keep)
            _write_best(study, out, config)
    return study


def open_study(out: Path, *, prune: bool = True) -> optuna.Study:
    """Open the database of a study, or make it."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    pruner: optuna.pruners.BasePruner = optuna.pruners.NopPruner()
    if prune:
        pruner = optuna.pruners.MedianPruner(n_startup_trials=_STARTUP, n_warmup_steps=_WARMUP)
    storage = optuna.storages.RDBStorage(f"sqlite:///{(out / DATABASE).resolve()}")
    return optuna.create_study(
        storage=storage, study_name=_NAME, direction="maximize", pruner=pruner, load_if_exists=True
    )


def locate_trial(out: Path, number: int) -> Path:
    """Return the run folder of a trial."""
    return out / TRIALS / f"{number:04d}"


def _fix(study: optuna.Study, out: Path, config: Config, space: Space, data: Mapping[str, str]) -> None:
    """Write down what all trials share, and the first trial; refuse to go on with anything else."""
    fixed = {
        **data,
        "configuration": config.model_dump_json(),
        "search space": str({name: dimension.model_dump() for name, dimension in space.items()}),
    }
    known = study.user_attrs.get(_FIXED)
    if known is None:
        study.set_user_attr(_FIXED, fixed)
        study.enqueue_trial(_list_own_values(config, space), user_attrs={"note": "the configuration as given"})
        return
    changed = [name for name, value in fixed.items() if known.get(name) != value]
    if changed:
        raise ConfigError(
            f"The study {out} was started with another {' and another '.join(changed)}; continue it with the command "
            "that started it, or name another folder with --out."
        )


def _list_own_values(config: Config, space: Space) -> dict[str, Any]:
    """Return the configuration's own values where they lie in the space."""
    tree = config.model_dump()
    values = {}
    for name, dimension in space.items():
        value: Any = tree
        for key in name.split("."):
            value = value[key]
        if dimension.holds(value):
            values[name] = value
    return values


def _next_trial(study: optuna.Study, seed: int) -> Trial:
    running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    number = running[0].number if running else len(study.get_trials(deepcopy=False, states=ENDED))
    study.sampler = optuna.samplers.TPESampler(seed=[seed, number], n_startup_trials=10)  # type: ignore[arg-type]
    return Trial(study, running[0]._trial_id) if running else study.ask()


def _run_trial(
    study: optuna.Study,
    trial: Trial,
    manifest: pd.DataFrame,
    splits: pd.DataFrame,
    out: Path,
    config: Config,
    space: Space,
    judge: Judge,
    device: str,
) -> None:
    values = {name: dimension.suggest(trial, name) for name, dimension in space.items()}
    logger.info("trial %d: %s", trial.number, ", ".join(f"{name} {_write(value)}" for name, value in values.items()))
    try:
        chosen = apply_values(config, values)
        if chosen.data.cache_dir is None:  # pictures are decoded once, and not for each trial
            cache = chosen.data.model_copy(update={"cache_dir": (out / "cache").resolve()})
            chosen = chosen.model_copy(update={"data": cache})
        figures = _train_and_judge(trial, manifest, splits, locate_trial(out, trial.number), chosen, judge, device)
    except optuna.TrialPruned:
        study.tell(trial, state=TrialState.PRUNED)
        logger.info("trial %d: pruned", trial.number)
    except InterruptionError:
        raise InterruptionError(f"Interrupted in trial {trial.number}; the same command continues the study.") from None
    except (HilumError, RuntimeError, ValueError, ArithmeticError) as error:
        message = " ".join(str(error).split())
        trial.set_user_attr("error", message)
        study.tell(trial, state=TrialState.FAIL)
        if not study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED)):
            raise HilumError(f"Trial {trial.number} failed, and none has succeeded yet: {message}") from error
        logger.warning("trial %d failed: %s", trial.number, message)
    else:
        study.tell(trial, figures["objective"])
        logger.info("trial %d: objective %.4f, best so far %.4f", trial.number, figures["objective"], study.best_value)


def _train_and_judge(
    trial: Trial,
    manifest: pd.DataFrame,
    splits: pd.DataFrame,
    folder: Path,
    config: Config,
    judge: Judge,
    device: str,
) -> Mapping[str, float]:
    """Train and judge; the figures are kept with the trial."""
    seen = set(trial.study.trials[trial.number].intermediate_values)  # those of before an interruption
    total = config.train.head_epochs + config.train.epochs

    def glance(run: Path, row: Mapping[str, float | int | str]) -> None:
        epoch = int(row["epoch"])
        trial.set_user_attr("epochs_seen", epoch)
        share = _PARTS * epoch // total
        if epoch == total or share == 0 or share in seen:
            return
        seen.add(share)
        trial.report(judge(run, quick=True)["objective"], share)
        if trial.should_prune():
            raise optuna.TrialPruned

    outcome = run_one(
        manifest,
        splits,
        folder,
        config,
        measure=lambda run: judge(run, quick=False),
        device=device,
        on_epoch=glance,
    )
    for name, value in {
        **outcome.figures,
        "best_epoch": outcome.training.best_epoch,
        "val_loss": outcome.training.val_loss,
        "val_auroc": outcome.training.val_auroc,
        "minutes": round(outcome.train_seconds / 60, 2),
    }.items():
        trial.set_user_attr(name, value)
    return outcome.figures


def rank(study: optuna.Study) -> list[FrozenTrial]:
    """Return the completed trials, the best first; of equal ones the earlier."""
    done = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return sorted(done, key=lambda trial: (-float(trial.value or 0), trial.number))


def _tidy(study: optuna.Study, out: Path, *, keep: int) -> None:
    """Remove checkpoints of trials that have ended, and the weights of all but the best."""
    best = {trial.number for trial in rank(study)[:keep]}
    for trial in study.get_trials(deepcopy=False, states=ENDED):
        folder = locate_trial(out, trial.number)
        shutil.rmtree(folder / run_folder.CHECKPOINT.parent, ignore_errors=True)
        if trial.number not in best:
            (folder / run_folder.WEIGHTS).unlink(missing_ok=True)


def _write_best(study: optuna.Study, out: Path, config: Config) -> None:
    ranked = rank(study)
    if ranked:
        best = read_run_config(locate_trial(out, ranked[0].number) / run_folder.CONFIG)
        data = best.data.model_copy(update={"cache_dir": config.data.cache_dir})
        write_text(out / BEST, best.model_copy(update={"data": data}).to_yaml())


def _write(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
