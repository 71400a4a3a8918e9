"""The curves of all runs in one figure each, with a sentence that says what it shows on these data."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib import colormaps

from hilum.evaluation.calibration import ECE_BINS, measure_reliability
from hilum.evaluation.curves import trace_precision_recall, trace_roc
from hilum.report.style import FULL_WIDTH, HALF_WIDTH, NEUTRAL, SEQUENTIAL, draw_figure
from hilum.summary.sources import Source
from hilum.summary.values import to_number, write_number
from hilum.types import BoolArray, DoubleArray

Scores = tuple[BoolArray, DoubleArray]

_READ_AT = 0.9  # specificity at which the sentence reads the ROC curves
_MARGIN = 0.01


def draw_curves(sources: Sequence[Source], scores: Sequence[Scores], path: Path) -> str:
    """Draw the upper parts of the ROC and precision-recall curves of all runs; return what they show."""
    found = []
    with draw_figure(path, width=FULL_WIDTH, height=4.8) as figure:
        left, right = figure.subplots(1, 2)
        low = 1.0
        for source, colour, (labels, probabilities) in zip(sources, _choose_colours(len(sources)), scores, strict=True):
            roc = trace_roc(labels, probabilities, resamples=())
            precision = trace_precision_recall(labels, probabilities, resamples=())
            auroc, auprc = (write_number(to_number(source.get("metrics", name))) for name in ("auroc", "auprc"))
            left.plot(roc.x, roc.y, color=colour, linewidth=1.4, label=f"seed {source.seed}, AUROC {auroc}")
            right.plot(
                precision.x, precision.y, color=colour, linewidth=1.4, label=f"seed {source.seed}, AUPRC {auprc}"
            )
            recall, specificity, own_precision = (
                to_number(source.get("metrics", name)) for name in ("recall", "specificity", "precision")
            )
            if recall is not None and specificity is not None:
                left.plot(1 - specificity, recall, "o", color=colour, markersize=6)
            if recall is not None and own_precision is not None:
                right.plot(recall, own_precision, "o", color=colour, markersize=6)
            found.append(float(np.interp(1 - _READ_AT, roc.x, roc.y)))
            low = min(low, *roc.y[roc.x >= 0.02].tolist(), *precision.y[precision.x <= 0.98].tolist())
        floor = max(0.0, np.floor(low * 10) / 10)
        left.set(xlabel="false positive rate (1 - specificity)", ylabel="sensitivity", xlim=(-_MARGIN, 0.5))
        right.set(xlabel="recall (sensitivity)", ylabel="precision", xlim=(min(floor, 0.5), 1 + _MARGIN))
        for axes, title in ((left, "ROC, left half"), (right, "Precision and recall, right part")):
            axes.set(title=title, ylim=(floor - _MARGIN, 1 + _MARGIN))
            axes.grid(True, axis="both")
            axes.legend(loc="lower right" if axes is left else "lower left")
    lowest, highest = write_number(min(found)), write_number(max(found))
    read = f"sensitivity at a specificity of {_READ_AT:g} is"
    if len(sources) == 1:
        return f"The {read} {highest}; the dot is the operating point that validation chose."
    return (
        f"Over {len(sources)} runs the {read} between {lowest} and {highest}; dots are the operating points that "
        "validation chose."
    )


def draw_reliability(sources: Sequence[Source], scores: Sequence[Scores], path: Path) -> str:
    """Draw observed share against predicted probability of all runs; return what it shows."""
    gaps = []
    with draw_figure(path, width=HALF_WIDTH, height=5.2) as figure:
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1], color=NEUTRAL, linewidth=1, linestyle=":", label="perfect calibration")
        for source, colour, (labels, probabilities) in zip(sources, _choose_colours(len(sources)), scores, strict=True):
            curve = measure_reliability(labels, probabilities)
            ece = write_number(to_number(source.get("metrics", "ece")))
            label = f"seed {source.seed}, ECE {ece}"
            axes.plot(curve.predicted, curve.observed, "o-", color=colour, markersize=4, linewidth=1.3, label=label)
            gaps.append(float(probabilities.mean() - labels.mean()))
        axes.set(
            xlabel="predicted probability of PNEUMONIA", ylabel="share that is PNEUMONIA", xlim=(-0.03, 1.03),
            ylim=(-0.03, 1.03), aspect="equal",
        )  # fmt: skip
        axes.grid(True, axis="both")
        axes.legend(loc="upper left")
    share = float(scores[0][0].mean())
    mean = share + float(np.mean(gaps))
    direction = "too high" if mean > share else "too low"
    return (
        f"The mean probability is {write_number(mean)} where a share of {write_number(share)} is PNEUMONIA: "
        f"predictions are {abs(mean - share):.3f} {direction} on the whole. Points are the means of {ECE_BINS} bins of "
        "equally many pictures."
    )


def _choose_colours(count: int) -> list[tuple[float, ...]]:
    """Return colours from dark to light, so that they differ in grey print too; the palest are left out."""
    return [tuple(colour) for colour in colormaps[SEQUENTIAL](np.linspace(0.05, 0.85, count))]
