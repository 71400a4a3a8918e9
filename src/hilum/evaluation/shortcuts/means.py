"""95 % intervals of means and of AUROC by the bootstrap over patients that all of the evaluation uses."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hilum.evaluation.intervals import Estimate, are_separated, draw_resamples, estimate_separated_auroc
from hilum.evaluation.metrics import MetricSet
from hilum.types import BoolArray, DoubleArray

_TAILS = (2.5, 97.5)


def estimate_mean(values: DoubleArray, patients: Sequence[str], *, resamples: int, seed: int) -> Estimate:
    """Return the mean of `values` (n,) over pictures; its interval resamples patients."""
    if not values.size:
        return Estimate(None, reason="no such picture")
    blocks = draw_resamples(patients, resamples=resamples, seed=seed)
    drawn = np.concatenate([weights @ values / weights.sum(axis=1) for weights in blocks])
    return _take_interval(float(values.mean()), drawn, patients)


def estimate_auroc(
    labels: BoolArray,
    scores: DoubleArray,
    patients: Sequence[str],
    *,
    resamples: int,
    seed: int,
    weights: DoubleArray | None = None,
) -> Estimate:
    """Return the AUROC of scores in [0, 1], both (n,); its interval resamples patients.

    With `weights` (n,) a picture counts as often as its weight says. Where the classes are separated, the interval is
    that of `estimate_separated_auroc`, over the patients of images that count.
    """
    if labels.all() or not labels.any():
        return Estimate(None, reason="the pictures are of one class")
    counts = np.ones(labels.size) if weights is None else weights
    counted = counts > 0
    if are_separated(labels[counted], scores[counted]):
        names = np.asarray(patients, dtype=object)[counted].tolist()
        return estimate_separated_auroc(labels[counted], scores[counted], names)
    metric_set = MetricSet(labels, scores, threshold=0.5)
    point = float(metric_set.compute(counts[None])["auroc"][0])
    blocks = draw_resamples(patients, resamples=resamples, seed=seed)
    drawn = np.concatenate([metric_set.compute(block * counts)["auroc"] for block in blocks])
    return _take_interval(point, drawn, patients)


def _take_interval(point: float, drawn: DoubleArray, patients: Sequence[str]) -> Estimate:
    defined = drawn[~np.isnan(drawn)]
    if len(set(patients)) < 2 or defined.size < drawn.size / 2:
        return Estimate(point, reason="no interval: too few patients")
    low, high = np.percentile(defined, _TAILS)
    return Estimate(point, float(low), float(high), method="bootstrap")
