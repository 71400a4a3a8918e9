"""95 % intervals of metrics by a bootstrap over patients, and exact or score intervals where that has no width.

Pictures of one patient resemble each other: resampling pictures would pretend to more evidence than there is. Whole
patients are drawn with replacement, and each picture counts as often as its patient was drawn (Field & Welsh 2007).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hilum.evaluation.metrics import (
    METRICS,
    PROPORTIONS,
    MetricSet,
    count_confusion,
    explain_undefined,
)
from hilum.types import BoolArray, DoubleArray, IntArray

LEVEL_PERCENT = 95
_TAILS = ((100 - LEVEL_PERCENT) / 2, (100 + LEVEL_PERCENT) / 2)
_Z = 1.959963984540054  # the 97.5 % quantile of the standard normal distribution
_CELLS_AT_ONCE = 4_000_000  # weights in memory at a time: 32 MB of float64


@dataclass(frozen=True, slots=True)
class Estimate:
    """A metric with its 95 % interval. `value` is None where the metric is not defined; `reason` then says why.

    `method` is bootstrap, wilson or clopper-pearson; None without an interval.
    """

    value: float | None
    ci_low: float | None = None
    ci_high: float | None = None
    method: str | None = None
    reason: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return value and interval, and method or reason where there is one."""
        content: dict[str, Any] = {"value": self.value, "ci_low": self.ci_low, "ci_high": self.ci_high}
        if self.method:
            content["method"] = self.method
        if self.reason:
            content["reason"] = self.reason
        return content


def draw_resamples(patients: Sequence[str], *, resamples: int, seed: int) -> Iterator[DoubleArray]:
    """Yield blocks of (b, n) weights, `resamples` rows in all: how often the patient of each picture was drawn.

    The same patients, count and seed give the same rows.
    """
    _, cluster = np.unique(np.asarray(patients, dtype=object).astype(str), return_inverse=True)
    clusters = int(cluster.max()) + 1
    random = np.random.default_rng(seed)
    block = max(1, _CELLS_AT_ONCE // max(1, len(patients)))
    for start in range(0, resamples, block):
        rows = min(block, resamples - start)
        drawn = random.multinomial(clusters, np.full(clusters, 1 / clusters), size=rows)
        yield drawn[:, cluster].astype(np.float64)


def estimate_metrics(
    labels: BoolArray,
    probabilities: DoubleArray,
    patients: Sequence[str],
    *,
    threshold: float,
    resamples: int,
    seed: int,
) -> dict[str, Estimate]:
    """Return all METRICS with 95 % percentile intervals of a bootstrap over patients.

    Shapes: all (n,), n > 0. Some metrics need care:

    - A proportion of exactly 0 or 1 has no width in any resample, though the next patient may differ: it gets
      Wilson's interval over the patients that it rests on.
    - An AUROC of exactly 0 or 1 has no width either: it gets the interval of `estimate_separated_auroc`.
    - ECE, a sum of absolute gaps, rises with noise, and a resample is noisier than the sample (Kumar et al. 2019,
      arXiv:1909.10155): its resamples are shifted so that their mean is the estimate.
    """
    metric_set = MetricSet(labels, probabilities, threshold=threshold)
    points = metric_set.compute(np.ones((1, labels.size)))
    blocks = [metric_set.compute(weights) for weights in draw_resamples(patients, resamples=resamples, seed=seed)]
    confusion = count_confusion(labels, probabilities, threshold=threshold)
    called = probabilities >= threshold
    bases = {
        "accuracy": np.ones_like(labels),
        "precision": called,
        "recall": labels,
        "specificity": ~labels,
    }
    names = np.asarray(patients, dtype=object).astype(str)
    estimates: dict[str, Estimate] = {}
    for name in METRICS:
        point = float(points[name][0])
        if np.isnan(point):
            estimates[name] = Estimate(None, reason=explain_undefined(name, confusion))
            continue
        if name in PROPORTIONS and point in {0.0, 1.0}:
            estimates[name] = estimate_wilson(point, count=int(np.unique(names[bases[name]]).size))
            continue
        if name == "auroc" and are_separated(labels, probabilities):
            estimates[name] = estimate_separated_auroc(labels, probabilities, patients)
            continue
        drawn = np.concatenate([block[name] for block in blocks])
        if name == "ece":
            drawn = np.clip(drawn - drawn.mean() + point, 0.0, 1.0)
        estimates[name] = _take_percentiles(point, drawn, clusters=int(np.unique(names).size))
    return estimates


def estimate_recall(called: BoolArray, patients: Sequence[str], *, resamples: int, seed: int) -> Estimate:
    """Return the share of pictures called PNEUMONIA among pictures that all are, by the rules of `estimate_metrics`."""
    if not called.size:
        return Estimate(None, reason="no picture")
    point = float(called.mean())
    clusters = len(set(patients))
    if point in {0.0, 1.0}:
        return estimate_wilson(point, count=clusters)
    weights = draw_resamples(patients, resamples=resamples, seed=seed)
    drawn = np.concatenate([block @ called / block.sum(1) for block in weights])
    return _take_percentiles(point, drawn, clusters=clusters)


def estimate_ratios(
    ratios: Mapping[str, tuple[BoolArray | IntArray, BoolArray]],
    patients: Sequence[str],
    *,
    resamples: int,
    seed: int,
) -> dict[str, Estimate]:
    """Return sum(counted) / sum(among) over pictures for each (counted, among) by the rules of `estimate_metrics`.

    Both are (n,); `counted` counts nothing outside of `among`. Where it is boolean the ratio is a proportion, else the
    mean of a whole number.
    """
    names = np.asarray(patients, dtype=object).astype(str)
    tops = np.stack([np.where(among, counted, 0) for counted, among in ratios.values()], 1).astype(np.float64)
    bottoms = np.stack([among for _, among in ratios.values()], 1).astype(np.float64)
    drawn = []
    with np.errstate(divide="ignore", invalid="ignore"):
        for weights in draw_resamples(patients, resamples=resamples, seed=seed):
            drawn.append(weights @ tops / (weights @ bottoms))
        points = tops.sum(0) / bottoms.sum(0)
    spread = np.concatenate(drawn)
    estimates = {}
    for column, (name, (counted, among)) in enumerate(ratios.items()):
        point = float(points[column])
        if not among.any():
            estimates[name] = Estimate(None, reason="no such picture")
        elif counted.dtype == np.bool_ and point in {0.0, 1.0}:
            estimates[name] = estimate_wilson(point, count=int(np.unique(names[among]).size))
        else:
            clusters = int(np.unique(names).size)
            estimates[name] = _take_percentiles(point, spread[:, column], clusters=clusters)
    return estimates


def estimate_wilson(share: float, *, count: int) -> Estimate:
    """Return a proportion out of `count` cases with Wilson's score interval (Wilson 1927)."""
    shrink = 1 + _Z**2 / count
    middle = (share + _Z**2 / (2 * count)) / shrink
    half = _Z / shrink * np.sqrt(share * (1 - share) / count + _Z**2 / (4 * count**2))
    # At 0 and 1 the formula touches the estimate itself; rounding must not cross it.
    low, high = min(share, float(middle - half)), max(share, float(middle + half))
    return Estimate(share, max(0.0, low), min(1.0, high), method="wilson")


def are_separated(labels: BoolArray, scores: DoubleArray) -> bool:
    """Return whether one class lies wholly above the other: the AUROC is 1 or 0. Shapes: both (n,)."""
    positive, negative = scores[labels], scores[~labels]
    if not positive.size or not negative.size:
        return False
    return bool(positive.min() > negative.max() or positive.max() < negative.min())


def estimate_separated_auroc(labels: BoolArray, scores: DoubleArray, patients: Sequence[str]) -> Estimate:
    """Return the AUROC, 1 or 0, of classes that `are_separated`, with a conservative exact interval. All are (n,).

    The usual intervals collapse to the estimate here. Each bootstrap resample of separated classes is separated too,
    and the variances of Hanley and McNeil (1982, Radiology 143:29) and of DeLong et al. (1988, Biometrics 44:837) are 0
    where the AUROC is 1. But the AUROC is the probability that an image of PNEUMONIA scores higher than a NORMAL one
    (is concordant). With n the smaller number of patients of the two classes, n such pairs can be formed of which no
    two share a patient (Hoeffding 1963, J Am Stat Assoc 58:13, section 5). These are independent trials, and all of
    them are concordant where the classes are separated: that has at most the probability AUROC^n. So the interval of
    Clopper and Pearson (1934, Biometrika 26:404) for n successes in n trials, from 0.025^(1/n) to 1, holds the true
    AUROC at least as often as it says. It is conservative: the other pairs count for nothing.
    """
    names = np.asarray(patients, dtype=object).astype(str)
    pairs = min(np.unique(names[labels]).size, np.unique(names[~labels]).size)
    bound = (_TAILS[0] / 100) ** (1 / pairs)
    if scores[labels].min() > scores[~labels].max():
        return Estimate(1.0, bound, 1.0, method="clopper-pearson")
    return Estimate(0.0, 0.0, 1 - bound, method="clopper-pearson")


def _take_percentiles(point: float, drawn: DoubleArray, *, clusters: int) -> Estimate:
    if clusters < 2:
        return Estimate(point, reason="no interval: all pictures are of one patient")
    defined = drawn[~np.isnan(drawn)]
    # Where most resamples lack a class the rest would be a picked few.
    if defined.size < drawn.size / 2:
        return Estimate(point, reason="no interval: most resamples of so few patients hold one class only")
    low, high = np.percentile(defined, _TAILS)
    return Estimate(point, float(low), float(high), method="bootstrap")
