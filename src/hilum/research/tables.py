"""study.csv and recipes.csv: a row a run, and a row a recipe with mean and standard deviation over its seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from hilum.files import atomic_path
from hilum.research.names import is_lower_better

STUDY = "study.csv"
RECIPES = "recipes.csv"


@dataclass(frozen=True, slots=True)
class RunRow:
    """A run of a study: `figures` by name where it is done, `message` where it failed."""

    recipe: str
    seed: int
    status: Literal["done", "failed", "pending"]
    figures: Mapping[str, float | None] = field(default_factory=dict)
    message: str = ""


@dataclass(frozen=True, slots=True)
class RecipeSummary:
    """A recipe over the seeds that are done: mean and sample standard deviation of each figure.

    `seeds` holds the value of each figure by seed. NaN where a figure is not known; a single seed has no deviation.
    """

    recipe: str
    n: int
    means: Mapping[str, float]
    deviations: Mapping[str, float]
    seeds: Mapping[str, Sequence[float]]


def rank_rows(rows: Sequence[RunRow], *, rank_by: str) -> list[RunRow]:
    """Return the runs that are done, the best first; those without the figure last, of equal ones the earlier."""
    done = [row for row in rows if row.status == "done"]
    return sorted(done, key=lambda row: _order(row.figures.get(rank_by), rank_by))


def summarise(rows: Sequence[RunRow], *, rank_by: str) -> list[RecipeSummary]:
    """Return a summary of each recipe, the best mean of `rank_by` first; those without a finished run last."""
    recipes = dict.fromkeys(row.recipe for row in rows)
    summaries = [_summarise_one(recipe, [row for row in rows if row.recipe == recipe]) for recipe in recipes]
    return sorted(summaries, key=lambda summary: _order(summary.means.get(rank_by), rank_by))


def write_tables(rows: Sequence[RunRow], out: Path, *, rank_by: str) -> None:
    """Write study.csv and recipes.csv into a study's folder."""
    names = _list_names(rows)
    runs = [
        {
            "recipe": row.recipe,
            "seed": row.seed,
            "status": row.status,
            **{name: row.figures.get(name) for name in names},
            "message": row.message,
        }
        for row in rows
    ]
    recipes = [
        {
            "rank": place,
            "recipe": summary.recipe,
            "n": summary.n,
            **{
                f"{name}_{kind}": values.get(name)
                for name in names
                for kind, values in (("mean", summary.means), ("sd", summary.deviations))
            },
        }
        for place, summary in enumerate(summarise(rows, rank_by=rank_by), 1)
    ]
    for path, table in ((out / STUDY, runs), (out / RECIPES, recipes)):
        with atomic_path(path) as temporary:
            pd.DataFrame(table).to_csv(temporary, index=False)


def pool_deviations(summaries: Sequence[RecipeSummary], name: str) -> float:
    """Return the standard deviation between seeds of one recipe, pooled over recipes; NaN without two seeds.

    Variances are weighted by their degrees of freedom, n - 1.
    """
    parts = [summary.seeds.get(name, ()) for summary in summaries]
    several = [values for values in parts if len(values) > 1]
    if not several:
        return math.nan
    squares = sum(float(np.var(values)) * len(values) for values in several)
    return math.sqrt(squares / sum(len(values) - 1 for values in several))


def _summarise_one(recipe: str, rows: Sequence[RunRow]) -> RecipeSummary:
    done = [row for row in rows if row.status == "done"]
    seeds = {
        name: [float(value) for row in done if (value := row.figures.get(name)) is not None]
        for name in _list_names(done)
    }
    return RecipeSummary(
        recipe,
        len(done),
        {name: float(np.mean(values)) if values else math.nan for name, values in seeds.items()},
        {name: float(np.std(values, ddof=1)) if len(values) > 1 else math.nan for name, values in seeds.items()},
        seeds,
    )


def _list_names(rows: Sequence[RunRow]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row.figures))


def _order(value: float | None, name: str) -> float:
    if value is None or math.isnan(value):
        return math.inf
    return value if is_lower_better(name) else -value
