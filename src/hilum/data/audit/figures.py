"""Charts of an audit: each function draws one figure from counts and columns, and knows nothing of sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator
from numpy.typing import NDArray

from hilum.data.audit.census import UNKNOWN, present_labels
from hilum.data.audit.pixels import GRAY_BINS
from hilum.data.audit.shortcut import Shortcut, ShortcutCheck
from hilum.report.style import (
    COLOURS,
    FULL_WIDTH,
    INK,
    NEUTRAL,
    SOFT_INK,
    draw_figure,
    label_bars,
)
from hilum.types import BoolArray, Label, Pathogen, Split

# From this many pictures of one patient on, the bars are added up.
_MOST_A_PATIENT = 10


def draw_class_counts(counts: Mapping[str, Mapping[str, int]], path: Path) -> None:
    """Draw bars of pictures by split and class."""
    _draw_grouped_counts(counts, [str(label) for label in Label], path)


def draw_pathogen_counts(counts: Mapping[str, Mapping[str, int]], path: Path) -> None:
    """Draw bars of pneumonia pictures by split and pathogen."""
    groups = [str(pathogen) for pathogen in Pathogen]
    if any(row[UNKNOWN] for row in counts.values()):
        groups.append(UNKNOWN)
    _draw_grouped_counts(counts, groups, path)


def _draw_grouped_counts(counts: Mapping[str, Mapping[str, int]], groups: Sequence[str], path: Path) -> None:
    positions = np.arange(len(counts))
    breadth = 0.8 / len(groups)
    with draw_figure(path) as figure:
        axes = figure.subplots()
        for k, group in enumerate(groups):
            heights = [row[group] for row in counts.values()]
            offset = (k - (len(groups) - 1) / 2) * breadth
            bars = axes.bar(positions + offset, heights, breadth * 0.92, label=group, color=COLOURS.get(group, NEUTRAL))
            label_bars(axes, bars, [f"{height:,}" for height in heights])
        axes.set_xticks(positions, list(counts))
        axes.tick_params(axis="x", length=0, labelsize=10)
        axes.set_xlim(-0.6, len(counts) - 0.4)
        axes.set_ylabel("pictures")
        _set_whole_numbers(axes)
        _add_legend(figure, axes)


def draw_pictures_per_patient(frame: pd.DataFrame, path: Path) -> None:
    """Draw how many patients have 1, 2, 3 ... pictures, by class."""
    labels = present_labels(frame)
    with draw_figure(path) as figure:
        axes = figure.subplots()
        breadth = 0.8 / len(labels)
        highest, tallest, lowest = 1, 1, len(frame)
        for k, label in enumerate(labels):
            pictures = frame[frame["label"] == label].groupby("patient").size().clip(upper=_MOST_A_PATIENT)
            values = np.bincount(pictures, minlength=_MOST_A_PATIENT + 1)[1:]
            highest, tallest = max(highest, int(pictures.max())), max(tallest, int(values.max()))
            lowest = min(lowest, int(values[values > 0].min()))
            offset = (k - (len(labels) - 1) / 2) * breadth
            positions = np.arange(1, _MOST_A_PATIENT + 1) + offset
            axes.bar(positions, values, breadth * 0.92, color=COLOURS[label], label=label)
        names = [str(i) for i in range(1, _MOST_A_PATIENT)] + [f"{_MOST_A_PATIENT}+"]
        axes.set_xticks(range(1, _MOST_A_PATIENT + 1), names)
        axes.set_xlim(0.4, max(highest, 3) + 0.6)
        axes.set_xlabel("pictures of one patient")
        axes.set_ylabel("patients")
        _set_whole_numbers(axes)
        if tallest > 50 * lowest:
            axes.set_yscale("log")
            axes.set_ylim(bottom=0.7)
            axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
            axes.yaxis.set_minor_locator(NullLocator())
            axes.set_ylabel("patients (logarithmic)")
        _add_legend(figure, axes)


def draw_sizes(frame: pd.DataFrame, path: Path) -> None:
    """Draw width against height of every file, by class."""
    with draw_figure(path, height=4.4) as figure:
        axes = figure.subplots()
        # One shuffled cloud, so that neither class covers the other.
        order = np.random.default_rng(0).permutation(len(frame))
        shuffled = frame.iloc[order]
        colours = shuffled["label"].map(COLOURS.get).to_numpy()
        axes.scatter(shuffled["width"], shuffled["height"], s=9, c=colours, alpha=0.45, linewidths=0)
        for label in present_labels(frame):
            axes.scatter([], [], s=30, color=COLOURS[label], label=label)
        largest = max(frame["width"].max(), frame["height"].max()) * 1.04
        axes.plot([0, largest], [0, largest], color=NEUTRAL, linewidth=0.8, linestyle=(0, (4, 4)), zorder=0)
        axes.annotate(
            "square",
            (largest * 0.93, largest * 0.93),
            xytext=(-4, 6),
            textcoords="offset points",
            ha="right",
            fontsize=8,
            color=SOFT_INK,
        )
        axes.set_xlim(0, largest)
        axes.set_ylim(0, largest)
        axes.grid(True)
        axes.set_xlabel("width (pixels)")
        axes.set_ylabel("height (pixels)")
        _add_legend(figure, axes)


def draw_aspect_ratios(frame: pd.DataFrame, path: Path) -> None:
    """Draw the distribution of width over height, by class."""
    with draw_figure(path) as figure:
        axes = figure.subplots()
        _draw_distributions(
            figure, axes, frame, frame["aspect"].to_numpy(dtype=float), bins=_make_bins(frame["aspect"])
        )
        axes.set_xlabel("width / height")


def draw_colour_modes(frame: pd.DataFrame, path: Path) -> None:
    """Draw the share of each class in every colour mode."""
    modes = sorted(frame["mode"].unique())
    labels = present_labels(frame)
    with draw_figure(path) as figure:
        axes = figure.subplots()
        breadth = 0.8 / len(labels)
        for k, label in enumerate(labels):
            own = frame[frame["label"] == label]["mode"]
            numbers = [int((own == mode).sum()) for mode in modes]
            offset = (k - (len(labels) - 1) / 2) * breadth
            shares = [100 * number / len(own) for number in numbers]
            bars = axes.bar(np.arange(len(modes)) + offset, shares, breadth * 0.92, color=COLOURS[label], label=label)
            label_bars(axes, bars, [f"{number:,}" for number in numbers])
        axes.set_xticks(range(len(modes)), modes)
        axes.tick_params(axis="x", length=0, labelsize=10)
        axes.set_xlim(-0.8, len(modes) - 0.2)
        axes.set_ylabel("share of the class (%)")
        axes.set_xlabel("colour mode (Pillow)")
        _add_legend(figure, axes)


def draw_file_sizes(frame: pd.DataFrame, path: Path) -> None:
    """Draw the distribution of file sizes, by class."""
    values = frame["bytes"].to_numpy(dtype=float)
    unit, name = (1e6, "MB") if np.median(values) >= 1e6 else (1e3, "kB")
    wide = values.max() > 20 * max(values.min(), 1)
    with draw_figure(path) as figure:
        axes = figure.subplots()
        _draw_distributions(
            figure, axes, frame, values / unit, bins=_make_bins(frame["bytes"] / unit, logarithmic=wide)
        )
        if wide:
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.set_xlabel(f"file size ({name}{', logarithmic' if wide else ''})")


def draw_mean_gray(frame: pd.DataFrame, path: Path) -> None:
    """Draw the distribution of the mean gray of a picture, by class."""
    with draw_figure(path) as figure:
        axes = figure.subplots()
        _draw_distributions(figure, axes, frame, frame["mean"].to_numpy(dtype=float), bins=_make_bins(frame["mean"]))
        axes.set_xlabel("mean gray level of a picture (0 black, 255 white)")


def draw_intensities(frame: pd.DataFrame, histograms: NDArray[Any], path: Path) -> None:
    """Draw the gray levels of a class: the median picture's histogram and the range of its middle half.

    `histograms` (n, 64) belong to the rows of `frame`.
    """
    levels = (np.arange(GRAY_BINS) + 0.5) * 256 / GRAY_BINS
    highest = 0.0
    with draw_figure(path) as figure:
        axes = figure.subplots()
        for label in present_labels(frame):
            own = 100 * histograms[(frame["label"] == label).to_numpy()]
            low, middle, high = np.quantile(own, (0.25, 0.5, 0.75), axis=0)
            axes.fill_between(levels, low, high, color=COLOURS[label], alpha=0.18, linewidth=0)
            axes.plot(levels, middle, color=COLOURS[label], label=f"{label}: median and middle half")
            highest = max(highest, float(high[1:-1].max()))
        # Black borders put a spike at 0 that would flatten all else.
        axes.set_ylim(0, highest * 1.25 + 0.1)
        axes.set_xlim(0, 255)
        axes.set_xticks([0, 64, 128, 192, 255])
        axes.set_xlabel("gray level (0 black, 255 white)")
        axes.set_ylabel("share of the pixels (%)")
        _add_legend(figure, axes)


def draw_shortcuts(check: ShortcutCheck, path: Path) -> None:
    """Draw the AUROC of each metadata classifier on val and test with its interval, the whole sets on top."""
    rows: list[Shortcut] = [*check.together, *check.alone]
    splits = [split for split in (Split.VAL, Split.TEST) if any(split in row.scores for row in rows)]
    with draw_figure(path, width=FULL_WIDTH, height=1.2 + 0.42 * len(rows)) as figure:
        axes = figure.subplots()
        positions = np.array([i + (0.5 if i >= len(check.together) else 0) for i in range(len(rows))])
        for k, split in enumerate(splits):
            offset = (k - (len(splits) - 1) / 2) * 0.34
            for position, row in zip(positions, rows, strict=True):
                if row.constant:
                    continue
                score = row.scores[split]
                axes.plot([score.ci_low, score.ci_high], [position + offset] * 2, color=COLOURS[split], linewidth=2.2)
                axes.plot(score.value, position + offset, "o", markersize=6, color=COLOURS[split])
                axes.annotate(
                    f"{score.value:.2f}",
                    (score.ci_high, position + offset),
                    xytext=(6, 0),
                    textcoords="offset points",
                    va="center",
                    fontsize=8,
                    color=INK,
                )
            axes.plot([], [], "o-", color=COLOURS[split], label=f"{split} (95 % interval)")
        for position, row in zip(positions, rows, strict=True):
            if row.constant:
                axes.annotate(
                    "does not vary",
                    (0.5, position),
                    xytext=(8, 0),
                    textcoords="offset points",
                    va="center",
                    fontsize=8,
                    color=SOFT_INK,
                )
        axes.axvline(0.5, color=INK, linewidth=0.9)
        lowest = min([0.45, *(row.scores[split].ci_low - 0.03 for row in rows for split in row.scores)])
        axes.set_xlim(lowest, 1.03)
        axes.set_ylim(positions[-1] + 0.6, -0.6)
        axes.set_yticks(positions, [row.name for row in rows])
        axes.tick_params(axis="y", length=0, labelsize=10)
        axes.grid(True, axis="x")
        axes.grid(False, axis="y")
        axes.set_xlabel("AUROC (0.5: the metadata say nothing; 1: they give the class away)")
        _add_legend(figure, axes)


def _draw_distributions(
    figure: Figure, axes: Axes, frame: pd.DataFrame, values: NDArray[Any], *, bins: NDArray[Any]
) -> None:
    """Draw one histogram a class, each as shares of its own pictures so that classes of any size compare."""
    for label in present_labels(frame):
        inside: BoolArray = (frame["label"] == label).to_numpy(dtype=bool)
        weights = np.full(int(inside.sum()), 100 / inside.sum())
        axes.hist(
            values[inside],
            bins=bins.tolist(),
            weights=weights,
            histtype="stepfilled",
            facecolor=to_rgba(COLOURS[label], 0.28),
            edgecolor=COLOURS[label],
            linewidth=1.5,
            label=label,
        )
    axes.set_ylabel("share of the class (%)")
    _add_legend(figure, axes)


def _make_bins(values: pd.Series[Any], *, logarithmic: bool = False) -> NDArray[Any]:
    """Return the borders of equal bins over all values, more of them for more values (as their cube root)."""
    number = int(np.clip(2.5 * len(values) ** (1 / 3), 8, 45))
    low, high = float(values.min()), float(values.max())
    if logarithmic:
        return np.geomspace(max(low, 1e-3), high, number + 1)
    if high - low < 1e-9:
        low, high = low - 0.5, high + 0.5
    return np.linspace(low, high, number + 1)


def _add_legend(figure: Figure, axes: Axes) -> None:
    """Put the legend above the axes, where it covers no data."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper left", ncols=len(labels))


def _set_whole_numbers(axes: Axes) -> None:
    axes.yaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
