"""trials.csv and study.html: every trial of a study, and what the search found."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
from matplotlib.ticker import MaxNLocator, NullFormatter
from optuna.trial import FrozenTrial, TrialState

from hilum.files import atomic_path
from hilum.report.render import Block, Cell, Code, Figure, KeyFigure, Page, Section, Table, render_page
from hilum.report.style import COLOURS, FULL_WIDTH, HALF_WIDTH, INK, NEUTRAL, draw_figure
from hilum.tuning.space import Space
from hilum.tuning.study import BEST, ENDED, rank
from hilum.types import Label, Split

TABLE = "trials.csv"
REPORT = "study.html"
_FIGURES = (
    "auroc_mean", "auroc_worst", "balanced_accuracy_mean", "balanced_accuracy_worst", "brier_mean", "best_epoch",
    "val_loss", "val_auroc", "minutes",
)  # fmt: skip
_ENOUGH = 10  # completed trials from which importances are worth drawing
_COLUMNS = 4


def write_report(study: optuna.Study, out: Path, space: Space) -> Path:
    """Write trials.csv and study.html with its figures into the study's folder; return the page."""
    trials = study.get_trials(deepcopy=False, states=ENDED)
    _write_table(trials, out / TABLE, space)
    ranked = rank(study)
    states = {state: sum(trial.state is state for trial in trials) for state in ENDED}
    best = ranked[0] if ranked else None
    blocks: list[Block] = []
    if best is not None:
        blocks.append(_draw_history(trials, out / "figures" / "history.png"))
    importance = measure_importance(study, space)
    if importance:
        blocks.append(_draw_importance(importance, out / "figures" / "importance.png"))
    if len(ranked) > 1:
        blocks.append(_draw_slices(ranked, out / "figures" / "slices.png", space))
    sections = [Section("What the search found", blocks)] if blocks else []
    if best is not None:
        sections.append(Section("The best trials", [_tabulate_best(ranked[:10], space), *_write_best(out)]))
    sections.append(Section("All trials", [_tabulate_all(trials)]))
    page = Page(
        title="Search for a recipe",
        subtitle=f"{len(trials):,} trials, judged by robust validation; test was not read",
        sections=sections,
        key_figures=[
            KeyFigure("–" if best is None else f"{best.value:.4f}", "Best objective", _note_best(best)),
            KeyFigure(f"{states[TrialState.COMPLETE]:,}", "Completed"),
            KeyFigure(f"{states[TrialState.PRUNED]:,}", "Pruned"),
            KeyFigure(f"{states[TrialState.FAIL]:,}", "Failed"),
        ],
        facts={"Settings varied": str(len(space))},
    )
    render_page("study.html.j2", out / REPORT, page=page)
    return out / REPORT


def measure_importance(study: optuna.Study, space: Space) -> dict[str, float]:
    """Return the share of the objective's variance that each setting explains (fANOVA, Hutter et al. 2014).

    Empty where there are too few completed trials to tell, or all are equal.
    """
    ranked = rank(study)
    if len(ranked) < _ENOUGH or ranked[0].value == ranked[-1].value or len(space) < 2:
        return {}
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
    return dict(optuna.importance.get_param_importances(study, evaluator=evaluator))


def _note_best(best: FrozenTrial | None) -> str:
    return "no trial has completed" if best is None else f"trial {best.number}"


def _write_table(trials: Sequence[FrozenTrial], path: Path, space: Space) -> None:
    rows = [
        {
            "trial": trial.number,
            "state": trial.state.name.lower(),
            "objective": trial.value if trial.state is TrialState.COMPLETE else None,
            "epochs_seen": trial.user_attrs.get("epochs_seen"),
            "last_glance": _glance(trial),
            **{name: trial.user_attrs.get(name) for name in _FIGURES},
            **{name: trial.params.get(name) for name in space},
            "note": trial.user_attrs.get("error") or trial.user_attrs.get("note") or "",
        }
        for trial in trials
    ]
    with atomic_path(path) as temporary:
        pd.DataFrame(rows).to_csv(temporary, index=False)


def _glance(trial: FrozenTrial) -> float | None:
    return trial.intermediate_values[max(trial.intermediate_values)] if trial.intermediate_values else None


def _draw_history(trials: Sequence[FrozenTrial], path: Path) -> Figure:
    done = [trial for trial in trials if trial.state is TrialState.COMPLETE]
    pruned = [
        (trial.number, glance) for trial in trials if trial.state is TrialState.PRUNED and (glance := _glance(trial))
    ]
    numbers, values = [trial.number for trial in done], [float(trial.value or 0) for trial in done]
    best = np.maximum.accumulate(values)
    with draw_figure(path, width=FULL_WIDTH, height=4.0) as figure:
        axes = figure.subplots()
        axes.step(numbers, best, where="post", color=COLOURS[Split.VAL], label="best so far")
        axes.plot(numbers, values, "o", color=INK, markersize=5, label="completed")
        if pruned:
            axes.plot(*zip(*pruned, strict=True), "x", color=NEUTRAL, label="pruned: last glance")
        axes.set(xlabel="trial", ylabel="objective (robust validation)")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=4)
    first = f" The configuration as given, trial {numbers[0]}, reached {values[0]:.4f}." if numbers[0] == 0 else ""
    caption = (
        f"The best of {len(done)} completed trials is trial {numbers[int(np.argmax(values))]} with {max(values):.4f}."
        f"{first} A glance is taken on fewer pictures and conditions, so it is not comparable with an objective."
    )
    return Figure(path, "Course of the search.", caption, alt=caption, wide=True)


def _draw_importance(importance: dict[str, float], path: Path) -> Figure:
    names = sorted(importance, key=lambda name: importance[name])
    with draw_figure(path, width=HALF_WIDTH, height=0.9 + 0.26 * len(names)) as figure:
        axes = figure.subplots()
        axes.barh(names, [importance[name] for name in names], color=COLOURS[Split.TRAIN])
        axes.set(xlabel="share of the variance explained (fANOVA)")
        axes.grid(True, axis="x")
        axes.grid(False, axis="y")
    caption = (
        f"{names[-1]} matters most ({importance[names[-1]]:.2f} of the variance among completed trials). With few "
        "trials these shares are rough."
    )
    return Figure(path, "Importance of the settings.", caption, alt=caption)


def _draw_slices(ranked: Sequence[FrozenTrial], path: Path, space: Space) -> Figure:
    rows = -(-len(space) // _COLUMNS)
    best = ranked[0]
    with draw_figure(path, width=FULL_WIDTH, height=0.4 + 1.9 * rows) as figure:
        grid = figure.subplots(rows, min(_COLUMNS, len(space)), squeeze=False, sharey=True)
        for axes, (name, dimension) in zip(grid.flat, space.items(), strict=False):
            numeric = dimension.choices is None
            places = [trial.params[name] if numeric else str(trial.params[name]) for trial in ranked]
            values = [trial.value for trial in ranked]
            axes.plot(places, values, "o", color=COLOURS[Split.TRAIN], markersize=4, alpha=0.7)
            axes.plot(places[0], best.value, "o", color=COLOURS[Label.PNEUMONIA], markersize=6)
            if dimension.log:
                axes.set_xscale("log")
                axes.xaxis.set_minor_formatter(NullFormatter())
            axes.set_title(name, fontsize=8)
            axes.tick_params(labelsize=7)
        for axes in grid.flat[len(space) :]:
            axes.set_visible(False)
        figure.supylabel("objective", fontsize=9)
    caption = (
        f"Objective of each completed trial against each setting; the best, trial {best.number}, is marked. Settings "
        "vary together, so that a slope in one panel may be the work of another."
    )
    return Figure(path, "Objective by setting.", caption, alt=caption, wide=True)


def _tabulate_best(ranked: Sequence[FrozenTrial], space: Space) -> Table:
    varied = [name for name in space if len({str(trial.params[name]) for trial in ranked}) > 1]
    headers = ("Setting", *(f"trial {trial.number}" for trial in ranked[:5]))
    rows: list[list[Cell]] = [["objective", *(f"{trial.value:.4f}" for trial in ranked[:5])]]
    rows += [[name, *(_write(trial.params[name]) for trial in ranked[:5])] for name in varied]
    return Table(headers, rows, caption="The five best, best first; differences below 0.005 count as none.")


def _write_best(out: Path) -> list[Block]:
    text = (out / BEST).read_text(encoding="utf-8")
    return [f"The best configuration, as {BEST}, for hilum train --config {BEST}:", Code(text)]


def _tabulate_all(trials: Sequence[FrozenTrial]) -> Table:
    rows: list[list[Cell]] = [
        [
            trial.number,
            trial.state.name.lower(),
            f"{trial.value:.4f}" if trial.state is TrialState.COMPLETE else None,
            _four(trial.user_attrs.get("auroc_worst")),
            _four(trial.user_attrs.get("balanced_accuracy_worst")),
            _four(trial.user_attrs.get("val_auroc")),
            trial.user_attrs.get("best_epoch"),
            trial.user_attrs.get("error") or trial.user_attrs.get("note") or "",
        ]
        for trial in trials
    ]
    headers = (
        "Trial", "State", "Objective", "Worst AUROC", "Worst balanced accuracy", "Val AUROC", "Best epoch", "Note"
    )  # fmt: skip
    return Table(headers, rows, caption=f"Every trial; {TABLE} has all their settings and figures.")


def _four(value: Any) -> str | None:
    return None if value is None else f"{value:.4f}"


def _write(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
