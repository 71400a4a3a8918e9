"""ROC and precision-recall curves with bootstrap bands, and sensitivity and specificity against the threshold."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from hilum.evaluation.metrics import MetricSet
from hilum.evaluation.thresholds import count_above_cuts
from hilum.types import BoolArray, DoubleArray

_GRID = np.linspace(0.0, 1.0, 201)
_TAILS = (2.5, 97.5)


@dataclass(frozen=True, slots=True)
class Curve:
    """A curve (x, y) and its pointwise 95 % band over `grid`; the band is None where it cannot be made."""

    x: DoubleArray
    y: DoubleArray
    grid: DoubleArray
    low: DoubleArray | None
    high: DoubleArray | None


def trace_roc(labels: BoolArray, probabilities: DoubleArray, *, resamples: Iterable[DoubleArray]) -> Curve:
    """Return true positive rate against false positive rate, from (0, 0) to (1, 1).

    `resamples` are blocks of weights (hilum.evaluation.intervals.draw_resamples); the band is that of the true
    positive rate at each false positive rate.
    """
    metric_set = MetricSet(labels, probabilities, threshold=0.5)
    x, y = (_to_rates(counts)[0] for counts in metric_set.cumulate(np.ones((1, labels.size)))[::-1])
    drawn: list[DoubleArray] = []
    for weights in resamples:
        true_rates, false_rates = (_to_rates(counts) for counts in metric_set.cumulate(weights))
        drawn += [
            np.interp(_GRID, false_rate, true_rate)
            for true_rate, false_rate in zip(true_rates, false_rates, strict=True)
            if np.isfinite(true_rate).all() and np.isfinite(false_rate).all()
        ]
    return Curve(x, y, _GRID, *_make_band(drawn))


def trace_precision_recall(labels: BoolArray, probabilities: DoubleArray, *, resamples: Iterable[DoubleArray]) -> Curve:
    """Return precision against recall, from the highest probability downwards; the band is that of precision.

    The curve starts at recall 0 with the precision of its first point.
    """
    metric_set = MetricSet(labels, probabilities, threshold=0.5)
    x, y = (values[0] for values in _to_precision_recall(*metric_set.cumulate(np.ones((1, labels.size)))))
    drawn: list[DoubleArray] = []
    for weights in resamples:
        recalls, precisions = _to_precision_recall(*metric_set.cumulate(weights))
        for recall, precision in zip(recalls, precisions, strict=True):
            if np.isfinite(recall).all():
                # At each recall, the precision of the highest cut that reaches it.
                drawn.append(precision[np.minimum(np.searchsorted(recall, _GRID), recall.size - 1)])
    return Curve(x, y, _GRID, *_make_band(drawn))


@dataclass(frozen=True, slots=True)
class ThresholdCurve:
    """Sensitivity and specificity of one split at each threshold, thresholds rising: arrays of (k,)."""

    thresholds: DoubleArray
    sensitivity: DoubleArray
    specificity: DoubleArray


def trace_thresholds(labels: BoolArray, probabilities: DoubleArray) -> ThresholdCurve:
    """Return sensitivity and specificity at every useful threshold; both classes must be present."""
    cuts, true_positives, false_positives = count_above_cuts(labels, probabilities)
    return ThresholdCurve(
        thresholds=cuts[::-1],
        sensitivity=(true_positives / labels.sum())[::-1],
        specificity=(1 - false_positives / (~labels).sum())[::-1],
    )


def _to_rates(counts: DoubleArray) -> DoubleArray:
    """Turn cumulated counts (b, k) into rates (b, k + 1) that start at 0; NaN where there is nothing to count."""
    with np.errstate(invalid="ignore"):
        return np.asarray(np.pad(counts, ((0, 0), (1, 0))) / counts[:, -1:], dtype=np.float64)


def _to_precision_recall(true_positives: DoubleArray, false_positives: DoubleArray) -> tuple[DoubleArray, DoubleArray]:
    called = true_positives + false_positives
    precision = np.divide(true_positives, called, out=np.full_like(called, np.nan), where=called > 0)
    # A resample may lack the pictures that score highest; its curve starts at the first that it has.
    first = precision[np.arange(len(precision)), np.argmax(called > 0, axis=1)][:, None]
    precision = np.where(np.isnan(precision), first, precision)
    return _to_rates(true_positives), np.concatenate([first, precision], axis=1)


def _make_band(drawn: list[DoubleArray]) -> tuple[DoubleArray | None, DoubleArray | None]:
    if len(drawn) < 20:
        return None, None
    low, high = np.percentile(np.stack(drawn), _TAILS, axis=0)
    return low, high
