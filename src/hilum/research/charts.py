"""Charts of a study: a dot for each seed, mean and standard deviation for each recipe."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from hilum.report.render import Figure
from hilum.report.style import COLOURS, FULL_WIDTH, INK, NEUTRAL, draw_figure
from hilum.research.names import is_lower_better, write_name
from hilum.research.tables import RecipeSummary
from hilum.types import Split

_COLUMNS = 3


def draw_ranking(ranked: Sequence[RecipeSummary], name: str, path: Path) -> Figure:
    """Draw the figure that ranks the recipes, the best at the top."""
    with draw_figure(path, width=FULL_WIDTH, height=1.1 + 0.38 * len(ranked)) as figure:
        axes = figure.subplots()
        _draw(axes, ranked, name)
        axes.set_xlabel(f"{write_name(name)} ({'lower' if is_lower_better(name) else 'higher'} is better)")
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=3)
    caption = (
        f"Recipes by {write_name(name)}, best first. The bar is one standard deviation to each side of the mean; a "
        "recipe with a single seed has none."
    )
    return Figure(path, "Ranking of the recipes.", caption, alt=caption, wide=True)


def draw_others(ranked: Sequence[RecipeSummary], names: Sequence[str], path: Path) -> Figure:
    """Draw further figures, a panel each, with the recipes in the order of the ranking."""
    columns = min(_COLUMNS, len(names))
    rows = -(-len(names) // columns)
    with draw_figure(path, width=FULL_WIDTH, height=rows * (0.85 + 0.26 * len(ranked))) as figure:
        figure.get_layout_engine().set(hspace=0.06)  # type: ignore[call-arg, union-attr]
        grid = figure.subplots(rows, columns, squeeze=False, sharey=True)
        for axes, name in zip(grid.flat, names, strict=False):
            _draw(axes, ranked, name, size=20)
            axes.set_title(f"{write_name(name)} {'↓' if is_lower_better(name) else '↑'}", fontsize=9)
            axes.tick_params(labelsize=8)
        for axes in grid.flat[len(names) :]:
            axes.set_visible(False)
    caption = (
        "Recipes in the order of the ranking; ↑ higher is better, ↓ lower is better. Axes differ between the panels."
    )
    return Figure(path, "Other figures of the same runs.", caption, alt=caption, wide=True)


def _draw(axes: Axes, ranked: Sequence[RecipeSummary], name: str, *, size: float = 44) -> None:
    """Draw a row for each recipe."""
    places = range(len(ranked))
    points = [(value, place) for place, summary in enumerate(ranked) for value in summary.seeds.get(name, ())]
    known = [place for place in places if not math.isnan(ranked[place].means.get(name, math.nan))]
    means = [ranked[place].means[name] for place in known]
    deviations = [0.0 if math.isnan(d := ranked[place].deviations[name]) else d for place in known]
    # Above the line of the mean and below it, so that a seed at the mean is seen.
    axes.errorbar(
        means, known, xerr=deviations, fmt="none", ecolor=NEUTRAL, elinewidth=size / 8, alpha=0.45, zorder=1,
        label="± standard deviation",
    )  # fmt: skip
    axes.scatter(
        [value for value, _ in points], [place for _, place in points], s=size, color=COLOURS[Split.VAL],
        edgecolors="white", linewidths=0.6, zorder=3, label="seed",
    )  # fmt: skip
    axes.scatter(means, known, s=3.5 * size, marker="|", color=INK, linewidths=2, zorder=2, label="mean")
    axes.set_yticks(list(places), [summary.recipe for summary in ranked])
    axes.set_ylim(len(ranked) - 0.5, -0.5)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=7 if size > 20 else 4, steps=[1, 2, 5, 10]))
    axes.grid(True, axis="x")
    axes.grid(False, axis="y")
