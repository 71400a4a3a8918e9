"""Choosing the operating point: the probability from which a picture counts as PNEUMONIA.

A cut lies midway between two neighbouring observed probabilities, never on one, so that rounding in another runtime
does not move a validation picture across it. Pictures of equal probability always fall on the same side.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from hilum.config import EvaluateConfig
from hilum.errors import EvaluationError
from hilum.evaluation.calibration import Calibration, CalibrationChoice, CalibrationMethod, choose_calibration
from hilum.types import BoolArray, DoubleArray, IntArray

_RESAMPLES = 200
_BLOCK = 1_000_000  # pictures of all resamples together that are looked at in one go
_TINY = 1e-6  # probabilities nearer to 0 or 1 count as this near


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """How logits become labels: probability = sigmoid(logit / temperature + intercept), PNEUMONIA from `threshold` on.

    `rule` says how the threshold was chosen, `source` on which split (or bundle). `prior` is the share of PNEUMONIA
    that the probabilities stand for, None where it is not known; `choice` tells how the calibration was chosen.
    """

    threshold: float
    temperature: float
    rule: Literal["youden", "sensitivity", "stored"]
    source: str
    min_sensitivity: float | None = None
    intercept: float = 0.0
    prior: float | None = None
    choice: CalibrationChoice | None = None

    @property
    def calibration(self) -> Calibration:
        """Temperature and intercept together."""
        return Calibration(self.temperature, self.intercept)

    def calibrate(self, logits: DoubleArray) -> DoubleArray:
        """Return the probabilities of logits. Shapes: (n,) to (n,)."""
        return self.calibration.apply(logits)

    def describe(self) -> str:
        """Return the rule in words, as the middle of a sentence."""
        if self.rule == "youden":
            return "the threshold with the largest Youden's J (sensitivity + specificity - 1; the mean over resamples)"
        if self.rule == "sensitivity" and self.min_sensitivity is not None:
            return f"the highest threshold with a sensitivity of at least {self.min_sensitivity:g}"
        return "the threshold stored with the model"


def fit_operating_point(
    labels: BoolArray,
    logits: DoubleArray,
    patients: Sequence[str] | None = None,
    *,
    config: EvaluateConfig,
    source: str = "val",
    trained_prior: float | None = None,
) -> OperatingPoint:
    """Choose and fit the calibration, then the threshold, on the logits of one split. Fit on validation data only.

    Args:
        labels: (n,).
        logits: (n,).
        patients: (n,), whose pictures stay together when the calibration is chosen; none given: each has one.
        config: the rule of the threshold.
        source: name of the split.
        trained_prior: the share of PNEUMONIA that the network's own odds stand for; none given: that of this split. An
            intercept moves them to that of this split, and is fitted where it helps.

    Raises:
        EvaluationError: one of the classes is missing.
    """
    choice = choose_calibration(
        labels, logits, patients or [str(place) for place in range(labels.size)], rule=config.calibration
    )
    probabilities = choice.calibration.apply(logits)
    moved = choice.method is CalibrationMethod.PLATT
    youden = config.operating_point == "youden"
    return OperatingPoint(
        fit_stable_youden(labels, probabilities)
        if youden
        else fit_threshold(labels, probabilities, min_sensitivity=config.min_sensitivity),
        choice.calibration.temperature,
        config.operating_point,
        source,
        None if youden else config.min_sensitivity,
        intercept=choice.calibration.intercept,
        prior=float(labels.mean()) if moved or trained_prior is None else trained_prior,
        choice=choice,
    )


def fit_youden(labels: BoolArray, probabilities: DoubleArray) -> float:
    """Return the threshold with the largest sensitivity + specificity - 1 (Youden 1950); of equal ones the lowest.

    The lowest is the most sensitive one: between equals, a missed pneumonia weighs more than a false alarm.
    Fit on validation data only. Shapes: both (n,). Probabilities are calibrated, in [0, 1].

    Raises:
        EvaluationError: one of the classes is missing.
    """
    positives, negatives = _count_classes(labels)
    if not positives or not negatives:
        raise EvaluationError("Youden's J needs pictures of both classes; the validation split holds only one.")
    cuts, true_positives, false_positives = count_above_cuts(labels, probabilities)
    # Over the common denominator J is a whole number: equal values are equal, whatever the rounding.
    youden = true_positives * negatives - false_positives * positives
    # Cuts descend, so the last of the largest is the lowest.
    best = youden.size - 1 - int(np.argmax(youden[::-1]))
    return float(cuts[best])


def fit_stable_youden(labels: BoolArray, probabilities: DoubleArray) -> float:
    """Return the cut nearest to the mean, in log-odds, of the thresholds with the largest J over 200 resamples.

    Where classes hardly overlap, J is nearly flat between them, and where it is largest is chance. Bagging (Breiman
    1996) takes the middle of where that may fall: on patients left out its J is no smaller, and it moves two thirds as
    much. Of equal cuts in one resample the middle counts. Shapes and errors as for `fit_youden`.
    """
    fallback = fit_youden(labels, probabilities)
    cuts, _, _ = count_above_cuts(labels, probabilities)
    inner = np.clip(cuts, _TINY, 1 - _TINY)
    log_odds = np.log(inner / (1 - inner))
    rank = cuts.size - 1 - np.unique(probabilities, return_inverse=True)[1]  # cuts descend
    rng = np.random.default_rng(0)
    found: list[float] = []
    block = max(1, min(_RESAMPLES, _BLOCK // labels.size))
    for start in range(0, _RESAMPLES, block):
        drawn = rng.integers(labels.size, size=(min(block, _RESAMPLES - start), labels.size))
        sick = labels[drawn]
        positives = sick.sum(axis=1)
        # One histogram for all resamples: each has its own stretch of places.
        places = rank[drawn] + cuts.size * np.arange(len(drawn))[:, None]
        true, every = (
            np.bincount(chosen, minlength=len(drawn) * cuts.size).reshape(len(drawn), cuts.size).cumsum(axis=1)
            for chosen in (places[sick], places.ravel())
        )
        negatives = labels.size - positives
        youden = true * negatives[:, None] - (every - true) * positives[:, None]
        largest = youden == youden.max(axis=1, keepdims=True)
        first, last = largest.argmax(axis=1), cuts.size - 1 - largest[:, ::-1].argmax(axis=1)
        both = (positives > 0) & (negatives > 0)
        found += ((log_odds[first] + log_odds[last]) / 2)[both].tolist()
    if not found:
        return fallback
    return float(cuts[int(np.argmin(np.abs(log_odds - np.mean(found))))])


def fit_threshold(labels: BoolArray, probabilities: DoubleArray, *, min_sensitivity: float) -> float:
    """Return the highest threshold whose sensitivity is at least `min_sensitivity`.

    Fit on validation data only. Shapes: both (n,). Probabilities are calibrated, in [0, 1]. "Highest" is up to the
    next lower observed probability, midway to which the threshold lies.

    Raises:
        EvaluationError: `labels` holds no positive case.
    """
    positives, _ = _count_classes(labels)
    if not positives:
        raise EvaluationError(
            "A threshold of fixed sensitivity needs PNEUMONIA pictures; the validation split has none."
        )
    cuts, true_positives, _ = count_above_cuts(labels, probabilities)
    # 0.95 * 20 is 19.000000000000004 or so in floats, and must not ask for 20.
    needed = math.ceil(min_sensitivity * positives - 1e-9)
    return float(cuts[int(np.argmax(true_positives >= needed))])


def fit_specific_threshold(labels: BoolArray, probabilities: DoubleArray, *, min_specificity: float) -> float:
    """Return the lowest threshold whose specificity is at least `min_specificity`.

    Fit on validation data only. Shapes: both (n,). Probabilities are calibrated, in [0, 1]. "Lowest" is down to the
    next higher observed probability, midway to which the threshold lies. Where even the highest probability belongs to
    too many normal pictures, the threshold lies above it.

    Raises:
        EvaluationError: `labels` holds no negative case.
    """
    _, negatives = _count_classes(labels)
    if not negatives:
        raise EvaluationError("A threshold of fixed specificity needs NORMAL pictures; the validation split has none.")
    cuts, _, false_positives = count_above_cuts(labels, probabilities)
    allowed = math.floor((1 - min_specificity) * negatives + 1e-9)
    fitting = np.flatnonzero(false_positives <= allowed)
    return float(cuts[fitting[-1]]) if fitting.size else float((1 + probabilities.max()) / 2)


def count_above_cuts(labels: BoolArray, probabilities: DoubleArray) -> tuple[DoubleArray, IntArray, IntArray]:
    """Return all useful cuts, highest first, with the true and the false positives at each.

    There is one cut below each distinct probability: midway to the next lower one, and below the lowest midway to 0.
    """
    values, inverse = np.unique(probabilities, return_inverse=True)
    below = np.concatenate([[0.0], values[:-1]])
    middle = (values + below) / 2
    # Between neighbouring floats the middle may round down onto the lower one; the upper one divides just as well.
    cuts = np.where(middle > below, middle, values)
    positive = np.bincount(inverse, weights=labels.astype(np.float64), minlength=values.size)
    total = np.bincount(inverse, minlength=values.size)
    true_positives = np.cumsum(positive[::-1]).astype(np.int64)
    false_positives = np.cumsum((total - positive)[::-1]).astype(np.int64)
    return cuts[::-1].astype(np.float64), true_positives, false_positives


def _count_classes(labels: BoolArray) -> tuple[int, int]:
    positives = int(labels.sum())
    return positives, labels.size - positives
