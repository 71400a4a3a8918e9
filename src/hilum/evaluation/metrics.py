"""The metrics, written for multiplicity weights so that thousands of bootstrap resamples are a few matrix products.

Every function takes `weights` of (b, n): row by row how often each of n pictures counts. A row of ones is the sample
itself. Results are (b,), NaN where a metric is not defined (docs of `explain_undefined`). PNEUMONIA is positive.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hilum.evaluation.calibration import bin_gaps
from hilum.inference.decision import is_positive
from hilum.types import BoolArray, DoubleArray, IntArray

METRICS = ("accuracy", "precision", "recall", "specificity", "f1", "mcc", "auroc", "auprc", "brier", "ece")
PROPORTIONS = ("accuracy", "precision", "recall", "specificity")
NEEDS_BOTH_CLASSES = ("precision", "f1", "mcc", "auroc", "auprc")


@dataclass(frozen=True, slots=True)
class ConfusionMatrix:
    """Counts at the operating point."""

    tn: int
    fp: int
    fn: int
    tp: int

    @property
    def negatives(self) -> int:
        """Pictures labelled NORMAL."""
        return self.tn + self.fp

    @property
    def positives(self) -> int:
        """Pictures labelled PNEUMONIA."""
        return self.tp + self.fn


def count_confusion(labels: BoolArray, probabilities: DoubleArray, *, threshold: float) -> ConfusionMatrix:
    """Return the confusion matrix at a threshold. Shapes: both (n,)."""
    called = is_positive(probabilities, threshold=threshold)
    return ConfusionMatrix(
        tn=int((~labels & ~called).sum()),
        fp=int((~labels & called).sum()),
        fn=int((labels & ~called).sum()),
        tp=int((labels & called).sum()),
    )


class MetricSet:
    """All metrics of one scored sample: sorted and binned once, then computed for any weights.

    `labels` is (n,) bool, `probabilities` (n,) in [0, 1].
    """

    def __init__(self, labels: BoolArray, probabilities: DoubleArray, *, threshold: float) -> None:
        """Prepare the sample."""
        self.labels = labels
        self.probabilities = probabilities
        self.threshold = threshold
        called = is_positive(probabilities, threshold=threshold)
        self._cells = np.stack([~labels & ~called, ~labels & called, labels & ~called, labels & called], 1)
        self._order, self._last_of_ties = _rank_descending(probabilities)
        self._errors = (probabilities - labels) ** 2
        self._gaps = bin_gaps(labels, probabilities)

    def compute(self, weights: DoubleArray) -> dict[str, DoubleArray]:
        """Return each of METRICS as (b,)."""
        tn, fp, fn, tp = (weights @ self._cells.astype(np.float64)).T
        total = weights.sum(1)
        curve = self.cumulate(weights)
        with np.errstate(divide="ignore", invalid="ignore"):
            values = {
                "accuracy": (tp + tn) / total,
                "precision": tp / (tp + fp),
                "recall": tp / (tp + fn),
                "specificity": tn / (tn + fp),
                "f1": 2 * tp / (2 * tp + fp + fn),
                "mcc": (tp * tn - fp * fn) / np.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)),
                "auroc": _area_under_roc(*curve),
                "auprc": _average_precision(*curve),
                "brier": weights @ self._errors / total,
                # Each bin adds |sum of (probability - label)|, which is its count times |mean - share|.
                "ece": np.abs(weights @ self._gaps).sum(1) / total,
            }
        one_class = (tp + fn == 0) | (tn + fp == 0)
        for name in NEEDS_BOTH_CLASSES:
            values[name] = np.where(one_class, np.nan, values[name])
        return values

    def cumulate(self, weights: DoubleArray) -> tuple[DoubleArray, DoubleArray]:
        """Return true and false positives, (b, distinct probabilities), from the highest probability downwards."""
        ordered = weights[:, self._order]
        positive = self.labels[self._order]
        true_positives = np.cumsum(ordered * positive, axis=1)[:, self._last_of_ties]
        false_positives = np.cumsum(ordered * ~positive, axis=1)[:, self._last_of_ties]
        return true_positives, false_positives


def _rank_descending(probabilities: DoubleArray) -> tuple[IntArray, IntArray]:
    """Return the order from high to low, and in it the last position of each run of equal probabilities."""
    order = np.argsort(-probabilities, kind="stable")
    ordered = probabilities[order]
    last = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True)) if ordered.size else order
    return order.astype(np.int64), last.astype(np.int64)


def _area_under_roc(true_positives: DoubleArray, false_positives: DoubleArray) -> DoubleArray:
    """Return the area under the ROC curve by the trapezoid rule: the Mann-Whitney statistic, ties counting one half."""
    higher = np.pad(true_positives, ((0, 0), (1, 0)))
    steps = np.diff(false_positives, prepend=0.0, axis=1)
    area = (steps * (higher[:, 1:] + higher[:, :-1])).sum(1) / 2
    return np.asarray(area / (true_positives[:, -1] * false_positives[:, -1]), dtype=np.float64)


def _average_precision(true_positives: DoubleArray, false_positives: DoubleArray) -> DoubleArray:
    """Return average precision: the sum of precision times rise in recall, as in scikit-learn, not interpolated."""
    called = true_positives + false_positives
    precision = np.divide(true_positives, called, out=np.zeros_like(called), where=called > 0)
    rises = np.diff(true_positives, prepend=0.0, axis=1)
    return np.asarray((precision * rises).sum(1) / true_positives[:, -1], dtype=np.float64)


def explain_undefined(name: str, confusion: ConfusionMatrix) -> str:
    """Return why a metric has no value on a sample with this confusion matrix."""
    if confusion.positives == 0 and confusion.negatives == 0:
        return "no picture was scored"
    if confusion.positives == 0:
        return "the split holds no PNEUMONIA picture"
    if confusion.negatives == 0:
        return "the split holds no NORMAL picture"
    called = confusion.tp + confusion.fp
    if name == "precision" and called == 0:
        return "no picture was called PNEUMONIA"
    side = "NORMAL" if called == 0 else "PNEUMONIA"
    return f"every picture was called {side}"
