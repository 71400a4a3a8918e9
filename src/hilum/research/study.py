"""A study: every recipe trained with every seed, each as a run folder. The same command continues it where it was left.

DIR/study.json                    what the study was started with
DIR/runs/RECIPE/seed-N/           the run, and figures.json once it is done
DIR/cache/                        images that all runs share, made before the first
DIR/study.csv, recipes.csv        all figures by run, and by recipe; study.html draws them
"""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from rich.progress import Progress, TextColumn

from hilum import progress
from hilum.config import Config, list_differences
from hilum.data.manifest import hash_manifest
from hilum.data.splits import hash_splits
from hilum.errors import ConfigError, InterruptionError
from hilum.files import hold, read_json, write_json
from hilum.model import run as run_folder
from hilum.model.device import choose_device
from hilum.research.measure import FIGURES, StudyMeasure
from hilum.research.page import write_page
from hilum.research.prepared import open_battery, open_further, open_val, prepare_lungs
from hilum.research.recipes import StudyPlan
from hilum.research.sets import FurtherSet
from hilum.research.tables import RunRow, rank_rows, write_tables
from hilum.research.workers import Context, Event, Job, run_jobs

logger = logging.getLogger(__name__)

RUNS = "runs"
_FIXED = "study.json"
_JOB_BYTES = 10 * 2**30  # memory of a GPU that one training may need
_MOST_JOBS = 4
_PAGE_SECONDS = 60.0  # between two drawings of the page while runs go on


@dataclass(frozen=True, slots=True)
class StudyOptions:
    """How a study is carried out; none of it changes a figure.

    `jobs` trainings run at once; None: one on a CPU, up to four on a GPU, as its free memory allows. Weights are kept
    of the best `keep` runs; None: of all. `verbose` shows the log of every run.
    """

    device: str = "auto"
    jobs: int | None = None
    keep: int | None = None
    verbose: bool = False


def run_study(
    plan: StudyPlan,
    manifest: pd.DataFrame,
    splits: pd.DataFrame,
    sets: Sequence[FurtherSet],
    out: Path,
    options: StudyOptions,
) -> list[RunRow]:
    """Run or continue a study; return a row for each run of the plan.

    A run that fails is recorded with its message, and the study goes on; the next call tries it again. Tables and page
    are written anew after each run.

    Raises:
        ConfigError: `out` holds a study that was started with something else.
        HilumError: another process works on the study, or the shared images cannot be prepared.
        InterruptionError: the user stopped it; the same command continues.
    """
    device = choose_device(options.device)
    out.mkdir(parents=True, exist_ok=True)
    with hold(out, what="the study"):
        _fix(plan, manifest, splits, sets, out)
        jobs = _list_jobs(plan, out)
        rows = {name: _read_row(out, *name) for name in jobs}
        measure = StudyMeasure(splits, tuple(sets), plan.robust, str(device))
        context = Context(manifest, splits, measure, options.verbose)
        pending = {name: job for name, job in jobs.items() if rows[name].status != "done"}
        workers = options.jobs or _count_jobs(device)
        try:
            if pending:
                _prepare(measure, [job.config for job in pending.values()])
            _write(plan, rows, out, splits)
            _run_pending(plan, pending, context, rows, out, splits, workers=workers, keep=options.keep)
        except KeyboardInterrupt:
            done = sum(row.status == "done" for row in rows.values())
            raise InterruptionError(
                f"Interrupted with {done:,} of {len(rows):,} runs finished; the same command continues the study."
            ) from None
        _tidy(plan, rows, out, keep=options.keep)
    return list(rows.values())


def locate_run(out: Path, recipe: str, seed: int) -> Path:
    """Return the folder of a run."""
    return out / RUNS / recipe / f"seed-{seed}"


def _fix(plan: StudyPlan, manifest: pd.DataFrame, splits: pd.DataFrame, sets: Sequence[FurtherSet], out: Path) -> None:
    """Write down what the study is; refuse to go on with anything else but further recipes and seeds."""
    path = out / _FIXED
    fixed: dict[str, Any] = {
        "data": f"{hash_manifest(manifest)} {hash_splits(splits)}",
        "robust": plan.robust,
        "rank_by": plan.rank_by,
        "also": {further.name: further.hash for further in sets},
        "seeds": list(plan.seeds),
        "recipes": {name: config.model_dump(mode="json") for name, config in plan.recipes.items()},
    }
    if path.exists():
        changed = list(_list_changes(read_json(path), fixed))
        if changed:
            raise ConfigError(
                f"The study {out} was started with another {' and another '.join(changed)}; recipes and seeds can be "
                "added to it, everything else needs another folder with --out."
            )
    write_json(path, fixed)


def _list_changes(known: Mapping[str, Any], fixed: Mapping[str, Any]) -> Iterator[str]:
    if known["data"] != fixed["data"]:
        yield "data set or split"
    if known["robust"] != fixed["robust"]:
        yield f"number of images for robust validation ({known['robust']})"
    if known["rank_by"] != fixed["rank_by"]:
        yield f"figure that ranks the recipes ({known['rank_by']})"
    if known["also"] != fixed["also"]:
        yield f"choice of further sets ({', '.join(known['also']) or 'none'}, or other images in them)"
    if not set(known["seeds"]) <= set(fixed["seeds"]):
        yield f"list of seeds ({', '.join(map(str, known['seeds']))})"
    for name, tree in known["recipes"].items():
        if name not in fixed["recipes"]:
            yield f"list of recipes (this one lacks {name})"
            continue
        keys = [key for key, _, _ in list_differences(tree, fixed["recipes"][name]) if key != "data.cache_dir"]
        if keys:
            yield f"recipe {name} ({', '.join(keys)})"


def _list_jobs(plan: StudyPlan, out: Path) -> dict[tuple[str, int], Job]:
    cache = (out / "cache").resolve()
    return {
        (recipe, seed): Job(
            f"{recipe}, seed {seed}",
            locate_run(out, recipe, seed).resolve(),
            plan.build_config(recipe, seed, cache=cache),
        )
        for recipe, seed in plan.list_runs()
    }


def _read_row(out: Path, recipe: str, seed: int) -> RunRow:
    path = locate_run(out, recipe, seed) / FIGURES
    if path.exists():
        return RunRow(recipe, seed, "done", read_json(path))
    return RunRow(recipe, seed, "pending")


def _count_jobs(device: torch.device) -> int:
    if device.type != "cuda":
        return 1
    free, _ = torch.cuda.mem_get_info(device)
    return max(1, min(_MOST_JOBS, free // _JOB_BYTES))


def _prepare(measure: StudyMeasure, configs: Sequence[Config]) -> None:
    """Decode, resize and change the images that runs share, once for each input size, and find the lungs in them."""
    for config in configs:
        prepare_lungs(measure.splits, config)
    for config in {(config.preprocess.side, config.data.cache_dir): config for config in configs}.values():
        open_val(measure.splits, config)
        for further in measure.sets:
            open_further(further, config)
        if measure.robust:
            open_battery(measure.splits, config, count=measure.robust)


def _run_pending(
    plan: StudyPlan,
    pending: Mapping[tuple[str, int], Job],
    context: Context,
    rows: dict[tuple[str, int], RunRow],
    out: Path,
    splits: pd.DataFrame,
    *,
    workers: int,
    keep: int | None,
) -> None:
    names = {job.folder: name for name, job in pending.items()}
    drawn = time.monotonic()
    ended = len(rows) - len(pending)
    events = run_jobs(list(pending.values()), context, workers=workers)
    with _Display(ended, len(rows)) as display, closing(events):
        for event in events:
            name = names[event.job.folder]
            display.show(event)
            if event.kind == "log":
                logger.log(
                    logging.DEBUG if context.verbose else logging.WARNING, "%s: %s", event.job.name, event.message
                )
            if event.kind not in ("done", "failed"):
                continue
            ended += 1
            if event.kind == "failed":
                rows[name] = RunRow(*name, "failed", message=event.message)
                logger.warning("recipe %s, seed %d failed (%d of %d): %s", *name, ended, len(rows), event.message)
            else:
                rows[name] = RunRow(*name, "done", event.figures)
                logger.info("recipe %s, seed %d: %s", *name, _describe(plan, event.figures, ended, len(rows)))
                _tidy(plan, rows, out, keep=keep)
            write_tables(list(rows.values()), out, rank_by=plan.rank_by)
            if time.monotonic() - drawn > _PAGE_SECONDS:  # drawing takes seconds, in which no free worker gets a job
                write_page(plan, list(rows.values()), out, splits)
                drawn = time.monotonic()
    _write(plan, rows, out, splits)


def _describe(plan: StudyPlan, figures: Mapping[str, float | None], ended: int, total: int) -> str:
    """Return the line of a finished run: "val AUROC 0.9912, robust 0.941, nih AUROC 0.630 (3 of 12, 41 s)"."""
    shown = [("val AUROC", "val.auroc", 4), ("robust", "robust.objective", 3)]
    shown += [(f"{name} AUROC", f"{name}.auroc", 3) for name in plan.also]
    texts = [f"{title} {value:.{digits}f}" for title, name, digits in shown if (value := figures.get(name)) is not None]
    return f"{', '.join(texts)} ({ended} of {total}, {figures['seconds'] or 0:.0f} s)"


def _write(plan: StudyPlan, rows: Mapping[tuple[str, int], RunRow], out: Path, splits: pd.DataFrame) -> None:
    listed = list(rows.values())
    write_tables(listed, out, rank_by=plan.rank_by)
    write_page(plan, listed, out, splits)


def _tidy(plan: StudyPlan, rows: Mapping[tuple[str, int], RunRow], out: Path, *, keep: int | None) -> None:
    """Remove checkpoints of finished runs, and the weights of all but the best `keep`."""
    ranked = rank_rows(list(rows.values()), rank_by=plan.rank_by)
    for place, row in enumerate(ranked):
        folder = locate_run(out, row.recipe, row.seed)
        shutil.rmtree(folder / run_folder.CHECKPOINT.parent, ignore_errors=True)
        if keep is not None and place >= keep:
            (folder / run_folder.WEIGHTS).unlink(missing_ok=True)


class _Display:
    """One bar over all runs, and what each of those in flight is at."""

    def __init__(self, ended: int, total: int) -> None:
        self._states: dict[str, str] = {}
        self._bar = Progress(
            *progress.columns(),
            TextColumn("{task.fields[states]}"),
            console=progress.console,
            disable=not progress.is_enabled(),
        )
        self._task = self._bar.add_task("Runs", total=total, completed=ended, states="")

    def __enter__(self) -> _Display:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def show(self, event: Event) -> None:
        """Take up what has happened."""
        name = event.job.name.replace(", seed ", " ")
        if event.kind in ("done", "failed"):
            self._states.pop(name, None)
            self._bar.advance(self._task)
        elif event.kind == "started":
            self._states[name] = "starts"
        elif event.kind == "epoch":
            train = event.job.config.train
            epoch, total = event.row["epoch"], train.head_epochs + train.epochs
            self._states[name] = "scoring" if epoch == total else f"epoch {epoch}/{total}"
        self._bar.update(self._task, states=", ".join(f"{name}: {state}" for name, state in self._states.items()))
