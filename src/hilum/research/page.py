"""study.html: recipes compared by the figure that ranks them and by the others, and every run."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from hilum.config import Config, list_differences
from hilum.report.render import Block, Cell, Finding, KeyFigure, Page, Section, Severity, Table, render_page
from hilum.report.wording import count, listing
from hilum.research.charts import draw_others, draw_ranking
from hilum.research.names import is_lower_better, list_main, write_name
from hilum.research.recipes import Settings, StudyPlan
from hilum.research.tables import RECIPES, STUDY, RecipeSummary, RunRow, pool_deviations, rank_rows, summarise
from hilum.types import Split

REPORT = "study.html"
_WIDTH = 5  # figures of a table that a page has room for


def write_page(plan: StudyPlan, rows: Sequence[RunRow], out: Path, splits: pd.DataFrame) -> Path:
    """Write study.html with its figures into the study's folder; return the page."""
    summaries = summarise(rows, rank_by=plan.rank_by)
    ranked = [summary for summary in summaries if summary.n]
    main = [
        name
        for name in list_main(plan.also, robust=plan.robust > 0, rank_by=plan.rank_by)
        if name == plan.rank_by or any(summary.seeds.get(name) for summary in ranked)
    ]
    sections = []
    if ranked:
        blocks: list[Block] = [
            draw_ranking(ranked, plan.rank_by, out / "figures" / "ranking.png"),
            _tabulate_recipes(summaries, main[:_WIDTH]),
        ]
        sections.append(Section("Recipes", blocks))
        if others := main[1:]:
            sections.append(Section("Other figures", [draw_others(ranked, others, out / "figures" / "others.png")]))
    sections.append(Section("Settings", [_tabulate_settings(plan)]))
    sections.append(Section("Runs", [*_tabulate_failures(rows), _tabulate_runs(rows, main[:_WIDTH], plan.rank_by)]))
    page = Page(
        title="Study of recipes",
        subtitle=f"{count(len(plan.recipes), 'recipe')}, {count(len(plan.seeds), 'seed')} each, ranked by "
        f"{write_name(plan.rank_by)}; the test split was not read",
        sections=sections,
        key_figures=_list_key_figures(plan, rows, ranked),
        findings=list(_find(plan, rows, ranked)),
        facts=_list_facts(plan, splits),
    )
    render_page("study.html.j2", out / REPORT, page=page)
    return out / REPORT


def write_spread(mean: float, deviation: float) -> str | None:
    """Write "0.912 ± 0.013", without the deviation where a single seed has none; None where there is no mean."""
    if math.isnan(mean):
        return None
    return f"{mean:.3f}" if math.isnan(deviation) else f"{mean:.3f} ± {deviation:.3f}"


def _find(plan: StudyPlan, rows: Sequence[RunRow], ranked: Sequence[RecipeSummary]) -> list[Finding]:
    name, findings = plan.rank_by, []
    failed = sum(row.status == "failed" for row in rows)
    pending = sum(row.status == "pending" for row in rows)
    if failed:
        findings.append(
            Finding(
                Severity.WARNING,
                f"{count(failed, 'run')} failed; the section Runs says why. The same command tries again.",
            )
        )
    if pending:
        findings.append(
            Finding(
                Severity.NOTE, f"{count(pending, 'run')} of {len(rows):,} not finished yet: the ranking may change."
            )
        )
    compared = [summary for summary in ranked if not math.isnan(summary.means.get(name, math.nan))]
    if compared:
        findings.append(_compare_best(compared, name))
    if len({summary.n for summary in compared}) > 1:
        findings.append(
            Finding(
                Severity.WARNING, "The recipes have different numbers of finished seeds, so their means compare badly."
            )
        )
    return findings


def _compare_best(compared: Sequence[RecipeSummary], name: str) -> Finding:
    """Say which recipe is best, and whether it can be told from the others by more than the seeds' spread."""
    best, title, spread = compared[0], write_name(name), pool_deviations(compared, name)
    reached = f"{best.recipe} has the {'lowest' if is_lower_better(name) else 'highest'} mean {title}"
    reached += f", {write_spread(best.means[name], best.deviations[name])} over {count(best.n, 'seed')}."
    if math.isnan(spread):
        return Finding(
            Severity.WARNING,
            f"{reached} With one seed a recipe the spread between seeds is unknown: no difference can be told from "
            "chance.",
        )
    rule = (
        f"Seeds of one recipe differ by a standard deviation of {spread:.3f} (pooled over recipes). A difference of "
        "two means counts here from twice its standard error on, without a correction for the number of recipes."
    )
    near = [
        summary.recipe
        for summary in compared[1:]
        if abs(summary.means[name] - best.means[name]) < 2 * spread * math.sqrt(1 / best.n + 1 / summary.n)
    ]
    if near:
        return Finding(
            Severity.NOTE, f"{reached} {rule} By that, {best.recipe} cannot be told apart from {listing(near, most=6)}."
        )
    return Finding(Severity.NOTE, f"{reached} {rule}")


def _list_key_figures(plan: StudyPlan, rows: Sequence[RunRow], ranked: Sequence[RecipeSummary]) -> list[KeyFigure]:
    done = sum(row.status == "done" for row in rows)
    failed = sum(row.status == "failed" for row in rows)
    best = ranked[0] if ranked else None
    value = math.nan if best is None else best.means.get(plan.rank_by, math.nan)
    spread = pool_deviations(ranked, plan.rank_by)
    return [
        KeyFigure(
            "–" if math.isnan(value) else f"{value:.3f}",
            f"Best mean {write_name(plan.rank_by)}",
            "no run has finished" if best is None else best.recipe,
        ),
        KeyFigure("–" if math.isnan(spread) else f"{spread:.3f}", "Standard deviation between seeds", "pooled"),
        KeyFigure(f"{done:,} of {len(rows):,}", "Runs finished", f"{count(failed, 'run')} failed" if failed else ""),
        KeyFigure(_write_time(rows), "Time of training and measuring", "sum over runs"),
    ]


def _write_time(rows: Sequence[RunRow]) -> str:
    seconds = sum(row.figures.get("seconds") or 0 for row in rows)
    return (
        f"{seconds:.0f} s"
        if seconds < 120
        else f"{seconds / 60:.0f} min"
        if seconds < 7200
        else f"{seconds / 3600:.1f} h"
    )


def _list_facts(plan: StudyPlan, splits: pd.DataFrame) -> dict[str, str]:
    counts = splits["split"].value_counts()
    facts = {
        "Data": plan.data.name if plan.data.is_dir() else f"{plan.data.resolve().parent.name}/{plan.data.name}",
        "Training set": count(int(counts.get(Split.TRAIN, 0)), "image"),
        "Validation set": count(int(counts.get(Split.VAL, 0)), "image"),
        "Seeds": ", ".join(map(str, plan.seeds)),
    }
    if plan.also:
        facts["External sets"] = ", ".join(plan.also)
    return facts


def _tabulate_recipes(summaries: Sequence[RecipeSummary], main: Sequence[str]) -> Table:
    rows: list[list[Cell]] = [
        [
            summary.recipe,
            summary.n,
            *(write_spread(summary.means.get(name, math.nan), summary.deviations.get(name, math.nan)) for name in main),
        ]
        for summary in summaries
    ]
    caption = (
        f"Mean ± standard deviation over seeds, best {write_name(main[0])} first. Balanced accuracy and ECE use the "
        "threshold (Youden's J) and the temperature fitted on the run's own validation scores, on external sets too. "
        f"{RECIPES} has all figures."
    )
    return Table(("Recipe", "Seeds", *(_capitalise(name) for name in main)), rows, caption=caption)


def _tabulate_runs(rows: Sequence[RunRow], main: Sequence[str], rank_by: str) -> Table:
    ranked = rank_rows(rows, rank_by=rank_by)
    rest = [row for status in ("failed", "pending") for row in rows if row.status == status]
    shown = [*main, "best_epoch", "seconds"]
    cells: list[list[Cell]] = [
        [row.recipe, str(row.seed), row.status, *(_write_figure(name, row.figures.get(name)) for name in shown)]
        for row in [*ranked, *rest]
    ]
    headers = ("Recipe", "Seed", "Status", *(_capitalise(name) for name in shown))
    return Table(headers, cells, caption=f"Every run, best {write_name(rank_by)} first; {STUDY} has all figures.")


def _tabulate_failures(rows: Sequence[RunRow]) -> list[Block]:
    cells: list[list[Cell]] = [[row.recipe, str(row.seed), row.message] for row in rows if row.status == "failed"]
    return [Table(("Recipe", "Seed", "Message"), cells, caption="Runs that failed.")] if cells else []


def _write_figure(name: str, value: float | None) -> str | None:
    if value is None:
        return None
    return f"{value:.0f}" if name in ("best_epoch", "seconds") else f"{value:.4f}"


def _capitalise(name: str) -> str:
    """Return a figure's name as a heading; names of sets stay as they are."""
    title = write_name(name)
    return title[0].upper() + title[1:] if name.startswith(("val.", "robust.")) or "." not in name else title


def _tabulate_settings(plan: StudyPlan) -> Table:
    """Say what each recipe changes against the defaults; what all share stands in a row of its own."""
    rows: list[list[Cell]] = [["all recipes", _write_changes(plan.shared, plan.settings) or "defaults"]]
    rows += [
        [name, _write_changes(plan.recipes[name], changes) or "nothing further"]
        for name, changes in plan.changes.items()
    ]
    return Table(("Recipe", "Changed settings (default)"), rows, caption="Settings that differ from Hilum's defaults.")


def _write_changes(config: Config, named: Settings) -> str:
    differences = {key: (old, new) for key, old, new in list_differences(_dump(Config()), _dump(config))}
    written = [key for key in named if key in differences]
    return "; ".join(f"{key}: {_write_value(key, differences)}" for key in written)


def _dump(config: Config) -> dict[str, Any]:
    return config.model_dump(mode="json")


def _write_value(key: str, differences: Mapping[str, tuple[object, object]]) -> str:
    old, new = differences[key]
    shown = Path(str(new)).name if key == "model.weights" else _write_one(new)
    return f"{shown} ({_write_one(old)})"


def _write_one(value: object) -> str:
    words = {True: "true", False: "false", None: "none"}
    return words[value] if isinstance(value, bool) or value is None else str(value)
