"""Sheets of pictures in an audit: a labelled sample, mean pictures, copies side by side, and the most alike pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from hilum.data.audit.duplicates import DuplicateGroup, PicturePair
from hilum.data.audit.pixels import PixelStatistics
from hilum.report.style import COLOURS, DIVERGING, FULL_WIDTH, SEQUENTIAL, SOFT_INK, draw_figure, show_picture
from hilum.types import Label, Pathogen, Split, UInt8Array

SAMPLES_A_ROW = 8
# Groups of copies that are shown as pictures; the table lists more.
GROUPS_SHOWN = 9
_GROUPS_A_ROW = 3


def choose_samples(frame: pd.DataFrame, *, seed: int) -> dict[str, list[int]]:
    """Choose up to eight pictures for each row of the contact sheet, of different patients, from train alone.

    The rows are NORMAL, then one for each pathogen, or PNEUMONIA where pathogens are unknown. Returns positions in
    `frame` by the row's name; without a train split all pictures but test's are chosen from.
    """
    pool = frame[frame["split"] == Split.TRAIN]
    if pool.empty:
        pool = frame[frame["split"] != Split.TEST]
    # One picture a patient, whichever comes first in a random order.
    order = np.random.default_rng(seed).permutation(len(pool))
    pool = pool.iloc[order].drop_duplicates("patient")
    names = pool["label"].where(pool["pathogen"] == "", pool["pathogen"])
    wanted = (Label.NORMAL, Pathogen.BACTERIA, Pathogen.VIRUS, Label.PNEUMONIA)
    chosen = {str(name): [int(i) for i in pool.index[names == name][:SAMPLES_A_ROW]] for name in wanted}
    return {name: rows for name, rows in chosen.items() if rows}


def draw_contact_sheet(
    frame: pd.DataFrame, pictures: Mapping[int, UInt8Array], chosen: Mapping[str, Sequence[int]], path: Path
) -> None:
    """Draw the chosen pictures, one row a class or pathogen, each titled with its patient."""
    columns = max(len(rows) for rows in chosen.values())
    with draw_figure(path, width=FULL_WIDTH * max(columns, 4) / SAMPLES_A_ROW, height=1.38 * len(chosen)) as figure:
        grid = figure.subplots(len(chosen), columns, squeeze=False)
        for axes_row, (name, rows) in zip(grid, chosen.items(), strict=True):
            for axes in axes_row[len(rows) :]:
                axes.set_axis_off()
            for axes, row in zip(axes_row, rows, strict=False):
                show_picture(axes, pictures[row], title=shorten(str(frame.at[row, "patient"]), 17), frame=COLOURS[name])
            title = name if name in set(Label) else f"PNEUMONIA\n{name}"
            axes_row[0].set_ylabel(title, color=COLOURS[name], fontweight="bold", fontsize=9)


def draw_average_pictures(pixels: PixelStatistics, path: Path) -> None:
    """Draw mean and standard-deviation picture of each class, and PNEUMONIA less NORMAL."""
    labels = list(pixels.mean)
    both = len(labels) == len(Label)
    columns = len(labels) + both
    with draw_figure(path, width=FULL_WIDTH * columns / 3, height=6.6) as figure:
        grid = figure.subplots(2, columns, squeeze=False)
        rows = (("Mean", pixels.mean, "gray", 0.0, 255.0), ("Standard deviation", pixels.std, SEQUENTIAL, 0.0, None))
        for axes_row, (name, pictures, colours, low, high) in zip(grid, rows, strict=True):
            top = high if high is not None else max(float(picture.max()) for picture in pictures.values())
            for axes, label in zip(axes_row, labels, strict=False):
                image = show_picture(axes, pictures[label], cmap=colours, vmin=low, vmax=top)
                axes.set_title(f"{name}, {label}", color=COLOURS[label], fontsize=10)
            _add_colour_bar(figure, image, list(axes_row[: len(labels)]), "gray levels")
            if both:
                difference = pictures[Label.PNEUMONIA] - pictures[Label.NORMAL]
                reach = max(float(np.abs(difference).max()), 1.0)
                image = show_picture(axes_row[-1], difference, cmap=DIVERGING, vmin=-reach, vmax=reach)
                axes_row[-1].set_title(f"{name}, PNEUMONIA − NORMAL", fontsize=10)
                _add_colour_bar(figure, image, [axes_row[-1]], "gray levels")


def draw_groups(
    frame: pd.DataFrame, pictures: Mapping[int, UInt8Array], groups: Sequence[DuplicateGroup], path: Path
) -> None:
    """Draw the first two pictures of each group side by side, up to nine groups."""
    shown = [(group.rows[:2], group.correlation, len(group.rows)) for group in groups[:GROUPS_SHOWN]]
    _draw_twins(frame, pictures, shown, path)


def draw_pairs(
    frame: pd.DataFrame, pictures: Mapping[int, UInt8Array], pairs: Sequence[PicturePair], path: Path
) -> None:
    """Draw pairs of pictures side by side with their correlation."""
    _draw_twins(frame, pictures, [((pair.first, pair.second), pair.correlation, 2) for pair in pairs], path)


def _draw_twins(
    frame: pd.DataFrame,
    pictures: Mapping[int, UInt8Array],
    twins: Sequence[tuple[Sequence[int], float, int]],
    path: Path,
) -> None:
    columns = min(len(twins), _GROUPS_A_ROW)
    lines = -(-len(twins) // columns)
    with draw_figure(path, width=FULL_WIDTH * columns / _GROUPS_A_ROW, height=2.15 * lines) as figure:
        panels = np.atleast_1d(np.asarray(figure.subfigures(lines, columns, squeeze=False, wspace=0.03), dtype=object))
        for panel, (rows, correlation, number) in zip(panels.ravel(), twins, strict=False):
            more = f" ({number} files)" if number > 2 else ""
            text = "equal bytes" if correlation >= 1 else f"correlation {correlation:.3f}"
            panel.suptitle(f"{text}{more}", fontsize=8.5, color=SOFT_INK)
            for axes, row in zip(panel.subplots(1, 2), rows, strict=True):
                label, split = str(frame.at[row, "label"]), str(frame.at[row, "split"])
                patient = shorten(str(frame.at[row, "patient"]), 20)
                show_picture(axes, pictures[row], title=f"{split} · {label}\n{patient}", frame=COLOURS[label])


def _add_colour_bar(figure: Any, image: Any, axes: Any, label: str) -> None:
    bar = figure.colorbar(image, ax=axes, shrink=0.86, aspect=24, pad=0.015)
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=8, length=2)
    bar.set_label(label, fontsize=8, color=SOFT_INK)


def shorten(text: str, most: int) -> str:
    """Cut a long text in its middle, to `most` characters."""
    if len(text) <= most:
        return text
    head = (most - 1) // 2
    return f"{text[:head]}…{text[-(most - 1 - head) :]}"
