"""Figures of the scores over all thresholds: ROC, precision-recall, histogram, threshold transfer and calibration.

Each function draws one PNG and returns it with a caption that says what it shows on these data. Probabilities crowd
near 0 and 1, so their axes are linear in log-odds.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from hilum.evaluation.calibration import measure_reliability
from hilum.evaluation.curves import Curve, trace_precision_recall, trace_roc, trace_thresholds
from hilum.evaluation.intervals import Estimate, draw_resamples, estimate_wilson
from hilum.evaluation.results import Results
from hilum.evaluation.scoring import ScoredSplit
from hilum.evaluation.wording import write_count, write_decimal, write_estimate, write_percent, write_value
from hilum.inference.decision import calibrate
from hilum.report.render import Figure
from hilum.report.style import COLOURS, FULL_WIDTH, HALF_WIDTH, INK, NEUTRAL, SOFT_INK, draw_figure
from hilum.types import BoolArray, DoubleArray, Label, Split

_CORNER = 0.25  # the upper left corner is enlarged where the operating point lies in it
_BAND = 0.16  # opacity of bootstrap bands
_TICKS = (0.0001, 0.001, 0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99, 0.999, 0.9999)
_CROWDED = 11  # span in log-odds from which 0.3 and 0.7 would touch 0.5
_EDGE = 0.00005  # probabilities beyond are drawn at the edge


def draw_roc(scored: ScoredSplit, results: Results, path: Path) -> Figure:
    """Draw the ROC curve with its bootstrap band, and the operating point with the intervals of both rates."""
    labels, probabilities = _get_scores(scored, results)
    resamples = draw_resamples(scored.texts("patient"), resamples=results.resamples, seed=results.seed)
    curve = trace_roc(labels, probabilities, resamples=resamples)
    estimates = results.tested.estimates
    with draw_figure(path, width=HALF_WIDTH, height=5.2) as figure:
        axes = figure.subplots()
        false_rate = _complement(estimates["specificity"])
        zoomed = (false_rate.value or 0) < _CORNER and (estimates["recall"].value or 0) > 1 - _CORNER
        if not zoomed:  # it would cross the enlarged corner
            axes.plot([0, 1], [0, 1], color=NEUTRAL, linewidth=1, linestyle=":", label="chance")
        _plot_curve(axes, curve, f"AUROC {_write_short(estimates['auroc'])}")
        _plot_point(axes, false_rate, estimates["recall"])
        axes.set(xlabel="false positive rate (1 - specificity)", ylabel="sensitivity", aspect="equal")
        _frame_unit(axes)
        if zoomed:
            corner = axes.inset_axes((0.4, 0.24, 0.56, 0.56))
            _plot_curve(corner, curve, "")
            _plot_point(corner, false_rate, estimates["recall"])
            corner.set(
                xlim=(-0.005, _CORNER + 0.005),
                ylim=(0.995 - _CORNER, 1.005),
                xticks=(0, 0.1, 0.2),
                yticks=(0.8, 0.9, 1),
            )
            corner.grid(True, axis="both")
            axes.indicate_inset_zoom(corner, edgecolor=NEUTRAL, linewidth=0.7)
        axes.legend(loc="lower right")
    caption = (
        f"A pneumonia scores higher than a normal picture in {write_value(estimates['auroc'])} of all such pairs. "
        f"The operating point finds {write_value(estimates['recall'])} of the pneumonias and calls "
        f"{write_value(false_rate)} of the normal pictures PNEUMONIA; band and cross are 95 % intervals."
    )
    return Figure(path, "ROC curve.", caption, alt=f"ROC curve. {caption}")


def draw_precision_recall(scored: ScoredSplit, results: Results, path: Path) -> Figure:
    """Draw precision against recall with its bootstrap band, the operating point, and the class share as baseline."""
    labels, probabilities = _get_scores(scored, results)
    resamples = draw_resamples(scored.texts("patient"), resamples=results.resamples, seed=results.seed)
    curve = trace_precision_recall(labels, probabilities, resamples=resamples)
    estimates, share = results.tested.estimates, results.tested.share
    with draw_figure(path, width=HALF_WIDTH, height=5.2) as figure:
        axes = figure.subplots()
        axes.axhline(share, color=NEUTRAL, linewidth=1, linestyle=":", label=f"chance ({write_percent(share)})")
        _plot_curve(axes, curve, f"AUPRC {_write_short(estimates['auprc'])}")
        _plot_point(axes, estimates["recall"], estimates["precision"])
        axes.set(xlabel="recall (sensitivity)", ylabel="precision")
        _frame_unit(axes)
        lowest = min(share, float(curve.y.min()))
        axes.set_ylim(np.floor((lowest - 0.05) * 10) / 10, 1.02)
        axes.legend(loc="lower left")
    caption = (
        f"Precision stays at {write_value(estimates['precision'])} at the operating point, where calling "
        f"every picture PNEUMONIA would give {write_percent(share)}: that baseline is the share of PNEUMONIA in this "
        "split, so precision does not carry over to places where pneumonia is rarer."
        if estimates["precision"].value is not None
        else "The operating point calls no picture PNEUMONIA, so it has no precision."
    )
    return Figure(path, "Precision-recall curve.", caption, alt=f"Precision-recall curve. {caption}")


def draw_score_histogram(scored: ScoredSplit, results: Results, path: Path) -> Figure:
    """Draw the probabilities of each true class above and below a common axis, with the threshold."""
    labels, probabilities = _get_scores(scored, results)
    shown = _to_axis(probabilities)
    bins = np.linspace(shown.min() - 1e-6, shown.max() + 1e-6, 41)
    with draw_figure(path, width=HALF_WIDTH, height=5.2) as figure:
        axes = figure.subplots()
        for label, sign in ((Label.PNEUMONIA, 1), (Label.NORMAL, -1)):
            chosen = shown[labels == (label is Label.PNEUMONIA)]
            counts, _ = np.histogram(chosen, bins)
            axes.bar(bins[:-1], sign * counts, np.diff(bins), align="edge", color=COLOURS[label], alpha=0.9)
        axes.axhline(0, color=INK, linewidth=0.8)
        _mark_threshold(axes, results)
        _set_probability_axis(axes, shown)
        axes.margins(y=0.12)
        axes.yaxis.set_major_formatter(lambda count, _: f"{abs(count):g}")
        for label, place, side in ((Label.PNEUMONIA, 0.97, "top"), (Label.NORMAL, 0.03, "bottom")):
            axes.text(0.02, place, label, transform=axes.transAxes, va=side, color=COLOURS[label], fontweight="bold")
        axes.set(xlabel="probability of PNEUMONIA (log-odds axis)", ylabel="pictures")
    confusion = results.tested.confusion
    caption = (
        f"{write_count(confusion.fn, 'pneumonia').capitalize()} of {confusion.positives:,} (above the axis) "
        f"{'lies' if confusion.fn == 1 else 'lie'} left of the threshold and are missed; "
        f"{write_count(confusion.fp, 'normal picture')} of {confusion.negatives:,} (below it) "
        f"{'lies' if confusion.fp == 1 else 'lie'} right of it."
    )
    beyond = int(((probabilities < _EDGE) | (probabilities > 1 - _EDGE)).sum())
    if beyond:
        caption += (
            f" {write_count(beyond, 'probability', 'probabilities').capitalize()} beyond the axis stand at its ends."
        )
    return Figure(path, "Scores by class.", caption, alt=f"Histogram of scores by class. {caption}")


def draw_threshold_transfer(scored: ScoredSplit, val: ScoredSplit | None, results: Results, path: Path) -> Figure:
    """Draw sensitivity and specificity against the threshold, on the tested split and (dashed) on val."""
    curves = {scored.split: trace_thresholds(*_get_scores(scored, results))}
    if val is not None and val.split is not scored.split:
        curves[val.split] = trace_thresholds(*_get_scores(val, results))
    with draw_figure(path, width=FULL_WIDTH, height=4.2) as figure:
        axes = figure.subplots()
        for split, curve in curves.items():
            style = "-" if split is scored.split else "--"
            x = _to_axis(curve.thresholds)
            for name, rates, label in (
                ("sensitivity", curve.sensitivity, Label.PNEUMONIA),
                ("specificity", curve.specificity, Label.NORMAL),
            ):
                axes.step(x, rates, style, where="pre", color=COLOURS[label], label=f"{name}, {split}")
        _mark_threshold(axes, results)
        _set_probability_axis(axes, np.concatenate([_to_axis(curve.thresholds) for curve in curves.values()]))
        axes.set_ylim(-0.02, 1.04)
        axes.yaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
        axes.set(xlabel="threshold (log-odds axis)", ylabel="rate")
        figure.legend(loc="outside lower center", ncols=2 * len(curves))
    caption = _caption_transfer(results)
    return Figure(path, "Sensitivity and specificity by threshold.", caption, alt=caption, wide=True)


def _caption_transfer(results: Results) -> str:
    tested, val = results.tested, results.val
    if val is None or val.split is tested.split:
        return (
            f"Moving the threshold trades missed pneumonias against false alarms; at {results.point.threshold:.3f} "
            f"sensitivity is {write_value(tested.estimates['recall'])} and specificity "
            f"{write_value(tested.estimates['specificity'])}."
        )
    return (
        f"The threshold {results.point.threshold:.3f} was chosen on the dashed curves (val: sensitivity "
        f"{write_value(val.estimates['recall'])}, specificity "
        f"{write_value(val.estimates['specificity'])}); on {tested.split} (solid) it gives "
        f"{write_value(tested.estimates['recall'])} and "
        f"{write_value(tested.estimates['specificity'])}."
    )


def draw_calibration(scored: ScoredSplit, results: Results, path: Path) -> Figure:
    """Draw observed share against predicted probability in the 15 bins of ECE, above a histogram of predictions."""
    labels, probabilities = _get_scores(scored, results)
    curve = measure_reliability(labels, probabilities)
    raw = measure_reliability(labels, calibrate(scored.logits, temperature=1.0))
    with draw_figure(path, width=HALF_WIDTH, height=5.2) as figure:
        axes, below = figure.subplots(2, 1, height_ratios=[4, 1], sharex=True)
        axes.plot([0, 1], [0, 1], color=NEUTRAL, linewidth=1, linestyle=":", label="perfect calibration")
        axes.plot(
            raw.predicted,
            raw.observed,
            "o-",
            color=NEUTRAL,
            markerfacecolor="white",
            markersize=5,
            linewidth=1,
            label="before",
        )
        for predicted, observed, count in zip(curve.predicted, curve.observed, curve.count, strict=True):
            interval = estimate_wilson(float(observed), count=int(count))
            axes.plot([predicted] * 2, [interval.ci_low, interval.ci_high], color=INK, linewidth=1.2, alpha=0.45)
        point = results.point
        label = f"after (T = {point.temperature:.2f}{f', intercept {point.intercept:+.2f}' if point.intercept else ''})"
        axes.plot(curve.predicted, curve.observed, "o-", color=INK, markersize=6, linewidth=1.4, label=label)
        axes.set(ylabel="share that is PNEUMONIA", xlim=(-0.03, 1.03), ylim=(-0.03, 1.03))
        axes.grid(True, axis="both")
        axes.legend(loc="upper left")
        below.hist(probabilities, bins=np.linspace(0, 1, 41), color=SOFT_INK)
        below.set(xlabel="predicted probability of PNEUMONIA", ylabel="pictures")
    tested = results.tested
    gap = tested.mean_probability - tested.share
    direction = "too high" if gap > 0 else "too low"
    caption = (
        f"The mean probability is {write_percent(tested.mean_probability)} where {write_percent(tested.share)} are "
        f"PNEUMONIA, so predictions are {abs(gap) * 100:.1f} points {direction} on the whole; ECE is "
        f"{write_decimal(tested.ece_uncalibrated)} before calibrating and "
        f"{write_value(tested.estimates['ece'], percent=False)} after. Points are the means of bins of equally many "
        "pictures, with Wilson's 95 % interval."
    )
    return Figure(path, "Calibration.", caption, alt=f"Calibration plot. {caption}")


def _get_scores(scored: ScoredSplit, results: Results) -> tuple[BoolArray, DoubleArray]:
    return scored.labels, results.point.calibrate(scored.logits)


def _complement(estimate: Estimate) -> Estimate:
    """Return one minus a share, with its interval turned round."""
    low, high = estimate.ci_high, estimate.ci_low
    return Estimate(
        None if estimate.value is None else 1 - estimate.value,
        None if low is None else 1 - low,
        None if high is None else 1 - high,
    )


def _write_short(estimate: Estimate) -> str:
    if estimate.ci_low is None or estimate.ci_high is None:
        return write_estimate(estimate, percent=False)
    return f"{write_decimal(estimate.value or 0)} ({write_decimal(estimate.ci_low)}–{write_decimal(estimate.ci_high)})"


def _plot_curve(axes: Axes, curve: Curve, label: str) -> None:
    if curve.low is not None and curve.high is not None:
        axes.fill_between(curve.grid, curve.low, curve.high, color=COLOURS[Split.TRAIN], alpha=_BAND, linewidth=0)
    axes.plot(curve.x, curve.y, color=COLOURS[Split.TRAIN], label=label)


def _plot_point(axes: Axes, x: Estimate, y: Estimate) -> None:
    if x.value is None or y.value is None:
        return
    colour = COLOURS[Label.PNEUMONIA]
    if x.ci_low is not None and x.ci_high is not None:
        axes.plot([x.ci_low, x.ci_high], [y.value] * 2, color=colour, linewidth=1.2)
    if y.ci_low is not None and y.ci_high is not None:
        axes.plot([x.value] * 2, [y.ci_low, y.ci_high], color=colour, linewidth=1.2)
    axes.plot(x.value, y.value, "o", color=colour, markersize=7, label="operating point")


def _frame_unit(axes: Axes) -> None:
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    axes.grid(True, axis="both")


def _to_axis(probabilities: DoubleArray) -> DoubleArray:
    clipped = np.clip(probabilities, _EDGE, 1 - _EDGE)
    return np.asarray(np.log(clipped / (1 - clipped)), dtype=np.float64)


def _mark_threshold(axes: Axes, results: Results) -> None:
    threshold = results.point.threshold
    x = float(_to_axis(np.array([threshold]))[0])
    axes.axvline(x, color=INK, linewidth=1, linestyle=":")
    axes.text(
        x, 1.01, f"threshold {threshold:.3f}", transform=axes.get_xaxis_transform(), ha="center", fontsize=9, color=INK
    )


def _set_probability_axis(axes: Axes, shown: DoubleArray) -> None:
    """Label an axis of log-odds with probabilities. `shown` are the values drawn, (n,) in log-odds."""
    low, high = float(shown.min()) - 0.3, float(shown.max()) + 0.3
    places = _to_axis(np.array(_TICKS))
    crowded = (0.3, 0.7) if high - low > _CROWDED else ()
    named = [(place, tick) for place, tick in zip(places, _TICKS, strict=True) if tick not in crowded]
    inside = [(place, tick) for place, tick in named if low <= place <= high]
    axes.set_xticks([place for place, _ in inside], [f"{tick:g}" for _, tick in inside])
    axes.set_xlim(low, high)
