"""Figures of decisions at the operating point: confusion matrix, classification report, recall by pathogen.

Each function draws one PNG and returns it with a caption that says what it shows on these data.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap

from hilum.evaluation.intervals import Estimate
from hilum.evaluation.results import Results, SplitResult
from hilum.evaluation.wording import write_count, write_interval, write_list, write_percent, write_value
from hilum.report.render import Figure
from hilum.report.style import COLOURS, FULL_WIDTH, HALF_WIDTH, INK, SOFT_INK, draw_figure
from hilum.types import DoubleArray, Label, Pathogen

# White to a deep blue; dark text is legible on it up to _DARK, white text beyond.
_SHADES = LinearSegmentedColormap.from_list("shades", ["#FFFFFF", "#D6E6F2", "#8DBBDB", "#17568C"])
_DARK = 0.7


def draw_confusion_matrix(result: SplitResult, path: Path) -> Figure:
    """Draw counts and, below them, the share of each true class; colour follows the share."""
    cells = np.array([[result.confusion.tn, result.confusion.fp], [result.confusion.fn, result.confusion.tp]])
    totals = cells.sum(1, keepdims=True)
    shares = np.divide(cells, totals, out=np.zeros(cells.shape), where=totals > 0)
    with draw_figure(path, width=HALF_WIDTH, height=4.6) as figure:
        axes = figure.subplots()
        _shade(axes, shares)
        for (row, column), count in np.ndenumerate(cells):
            colour = _ink_on(shares[row, column])
            axes.text(column, row - 0.08, f"{count:,}", ha="center", va="center", fontsize=22, color=colour)
            share = write_percent(float(shares[row, column])) if totals[row, 0] else "–"
            axes.text(column, row + 0.2, share, ha="center", va="center", fontsize=10.5, color=colour)
        names = [str(label) for label in Label]
        axes.set_xticks(range(2), [f"called {name}" for name in names])
        axes.set_yticks(range(2), [f"{name}\n{count:,}" for name, count in zip(names, totals[:, 0], strict=True)])
        axes.tick_params(labelsize=10, labelcolor=INK)
        axes.set(title=f"{_name_split(result)}, {result.n:,} pictures", ylabel="label")
    missed, alarms = result.confusion.fn, result.confusion.fp
    caption = (
        f"At the chosen threshold the model misses {write_count(missed, 'pneumonia')} of "
        f"{result.confusion.positives:,} and raises {write_count(alarms, 'false alarm')} among "
        f"{write_count(result.confusion.negatives, 'normal picture')}; the percentages are of each row."
    )
    return Figure(path, "Confusion matrix.", caption, alt=f"Confusion matrix. {caption}")


def draw_classification_report(report: Mapping[str, Any], path: Path) -> Figure:
    """Draw scikit-learn's classification report (its output_dict) as a table whose cells are shaded by value."""
    rows = [*(str(label) for label in Label), "macro avg", "weighted avg"]
    columns = ["precision", "recall", "f1-score", "support"]
    values = np.array([[float(report[row][column]) for column in columns] for row in rows])
    shades = values.copy()
    shades[:, 3] = 0.0
    with draw_figure(path, width=HALF_WIDTH, height=4.6) as figure:
        axes = figure.subplots()
        # Nearly all values of a working model lie above one half: shading from there tells them apart.
        _shade(axes, np.nan_to_num(np.clip((shades - 0.5) * 2, 0, 1)) * _DARK)
        for (row, column), value in np.ndenumerate(values):
            text = f"{value:,.0f}" if column == 3 else "–" if math.isnan(value) else f"{value:.3f}"
            axes.text(column, row, text, ha="center", va="center", fontsize=12, color=SOFT_INK if column == 3 else INK)
        axes.axhline(1.5, color=INK, linewidth=1.0)
        axes.set_xticks(range(4), columns)
        axes.set_yticks(range(4), rows)
        axes.tick_params(labelsize=10, labelcolor=INK, top=True, bottom=False, labeltop=True, labelbottom=False)
    precision, recall = values[1, 0], values[1, 1]
    if math.isnan(precision) or math.isnan(recall):
        caption = "A dash stands where a value is not defined, because no picture has that label or got that call."
    else:
        caption = (
            f"Of the pictures called PNEUMONIA {write_percent(float(precision))} are labelled so, and of those "
            f"labelled so {write_percent(float(recall))} are called so; the macro average counts both classes alike."
        )
    return Figure(path, "Classification report.", caption, alt=f"Classification report as a table. {caption}")


def draw_recall_by_pathogen(results: Results, path: Path) -> Figure:
    """Draw the share called right, with its 95 % interval, for each pathogen and for NORMAL."""
    tested = results.tested
    groups: list[tuple[str, str, int, Estimate]] = [
        (f"pneumonia: {name}", COLOURS[Pathogen(name)], group.n, group.recall)
        for name, group in results.by_pathogen.items()
    ]
    groups.append(("NORMAL", COLOURS[Label.NORMAL], tested.confusion.negatives, tested.estimates["specificity"]))
    groups = [group for group in groups if group[3].value is not None]
    with draw_figure(path, width=FULL_WIDTH, height=1.0 + 0.65 * len(groups)) as figure:
        axes = figure.subplots()
        lowest = 1.0
        for row, (_, colour, _, estimate) in enumerate(groups):
            value = estimate.value or 0.0
            low = value if estimate.ci_low is None else estimate.ci_low
            high = value if estimate.ci_high is None else estimate.ci_high
            lowest = min(lowest, low)
            axes.plot([low, high], [row, row], color=colour, linewidth=3, alpha=0.45, solid_capstyle="round")
            axes.plot(value, row, "o", color=colour, markersize=9)
            axes.annotate(
                write_percent(value), (value, row), (0, 11), textcoords="offset points", ha="center", fontsize=9.5
            )
        axes.set_yticks(range(len(groups)), [f"{name}\n{count:,} pictures" for name, _, count, _ in groups])
        axes.set_ylim(len(groups) - 0.5, -0.7)
        axes.set_xlim(max(0.0, math.floor((lowest - 0.05) * 10) / 10), 1.02)
        axes.xaxis.set_major_formatter(lambda share, _: f"{share * 100:g}%")
        axes.grid(True, axis="x")
        axes.grid(False, axis="y")
        axes.spines["left"].set_visible(False)
        axes.tick_params(axis="y", length=0, labelcolor=INK)
        axes.set(xlabel="called right, with 95 % interval")
    found = [
        f"{write_value(group.recall)} of {group.n:,} pneumonias by {name} (interval {write_interval(group.recall)})"
        for name, group in results.by_pathogen.items()
    ]
    caption = f"Found: {write_list(found)}."
    return Figure(path, "Recall by pathogen.", caption, alt=f"Recall by pathogen. {caption}", wide=True)


def _shade(axes: Axes, shares: DoubleArray) -> None:
    axes.imshow(shares, cmap=_SHADES, vmin=0, vmax=1, aspect="auto")
    axes.grid(False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    rows, columns = shares.shape
    axes.set_xticks(np.arange(columns - 1) + 0.5, minor=True)
    axes.set_yticks(np.arange(rows - 1) + 0.5, minor=True)
    axes.grid(True, which="minor", axis="both", color="white", linewidth=3)
    axes.tick_params(which="minor", length=0)


def _ink_on(share: float) -> str:
    return "white" if share > _DARK else INK if share > 0.02 else SOFT_INK


def _name_split(result: SplitResult) -> str:
    return {"val": "Validation", "test": "Test", "train": "Training"}[str(result.split)]
