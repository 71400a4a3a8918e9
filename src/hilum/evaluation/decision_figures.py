"""The figure of how operating points carry over to other pictures."""

from __future__ import annotations

from pathlib import Path

from hilum.evaluation.decision_sections import find_worst_fall
from hilum.evaluation.intervals import Estimate
from hilum.evaluation.transfer import Spread, Transfer
from hilum.evaluation.wording import write_list, write_percent, write_value
from hilum.report.render import Figure
from hilum.report.style import COLOURS, FULL_WIDTH, INK, NEUTRAL, SOFT_INK, draw_figure
from hilum.types import Label, Split

# From light to dark: the more pictures, the darker.
_BLUES = ("#9CC9E6", "#3E8FC6", "#0B4F82")
_STEP = 0.13


def draw_transfer(transfer: Transfer, path: Path, *, split: Split, source: str) -> Figure:
    """Draw sensitivity and specificity of each operating point at each step from `source`, which chose them, on."""
    with draw_figure(path, width=FULL_WIDTH, height=1.6 + 1.0 * len(transfer.points)) as figure:
        panels = figure.subplots(1, 2, sharey=True)
        for axes, rate in zip(panels, ("sensitivity", "specificity"), strict=True):
            lowest = 1.0
            for row, point in enumerate(transfer.points.values()):
                steps: list[tuple[str, str, str, Estimate | Spread]] = [
                    (source, "D", NEUTRAL, getattr(point.known, rate)),
                    (f"{split}, as it is", "o", COLOURS[Label.PNEUMONIA], getattr(point.as_is, rate)),
                    ("prior adapted", "s", COLOURS[Split.VAL], getattr(point.adapted, rate)),
                ]
                steps += [
                    (f"{size} local pictures", "o", colour, getattr(spread, rate))
                    for colour, (size, spread) in zip(_BLUES, point.recalibrated.items(), strict=False)
                ]
                for place, (label, marker, colour, value) in enumerate(steps):
                    y = row + (place - (len(steps) - 1) / 2) * _STEP
                    centre, low, high = _read(value)
                    lowest = min(lowest, low)
                    axes.plot([low, high], [y, y], color=colour, linewidth=2.2, alpha=0.55, solid_capstyle="round")
                    axes.plot(centre, y, marker, color=colour, markersize=6, label=label if row == 0 else None)
            axes.set_yticks(range(len(transfer.points)), list(transfer.points))
            axes.set_ylim(len(transfer.points) - 0.4, -0.6)
            axes.set_xlim(max(0.0, lowest - 0.03), 1.01)
            axes.xaxis.set_major_formatter(lambda share, _: f"{share * 100:g}%")
            axes.grid(True, axis="x")
            axes.grid(False, axis="y")
            for row in range(1, len(transfer.points)):
                axes.axhline(row - 0.5, color=NEUTRAL, linewidth=0.5)
            axes.tick_params(axis="y", length=0, labelcolor=INK)
            axes.set_xlabel(rate, color=SOFT_INK)
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    caption = _describe(transfer, split, source)
    return Figure(path, "What carries over.", caption, alt=f"Transfer of operating points. {caption}", wide=True)


def _describe(transfer: Transfer, split: Split, source: str) -> str:
    rate = max(("sensitivity", "specificity"), key=lambda name: find_worst_fall(transfer, name)[1])
    name, _ = find_worst_fall(transfer, rate)
    point = transfer.points[name]
    steps = [
        f"{write_value(getattr(point.known, rate))} on {source}",
        f"{write_value(getattr(point.as_is, rate))} on {split} as it is",
        f"{write_value(getattr(point.adapted, rate))} with an adapted prior",
    ]
    if transfer.sizes:
        size = transfer.sizes[-1]
        recalibrated = getattr(point.recalibrated[size], rate).mean
        steps.append(f"{write_percent(recalibrated)} after recalibration on {size} local pictures")
    return (
        f"At {name} {rate} is {write_list(steps)}. Lines are 95 % intervals, and for local pictures the 5th to 95th "
        "percentile of draws."
    )


def _read(value: Estimate | Spread) -> tuple[float, float, float]:
    if isinstance(value, Spread):
        return value.mean, value.low, value.high
    centre = value.value or 0.0
    return (
        centre,
        centre if value.ci_low is None else value.ci_low,
        centre if value.ci_high is None else value.ci_high,
    )
