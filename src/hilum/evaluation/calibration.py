"""Calibration: the temperature that makes probabilities honest, and how far from honest they are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hilum.errors import EvaluationError
from hilum.inference.decision import calibrate
from hilum.types import BoolArray, DoubleArray, IntArray

ECE_BINS = 15
TEMPERATURE_RANGE = (0.05, 20.0)


def fit_temperature(labels: BoolArray, logits: DoubleArray) -> float:
    """Return the temperature T for which sigmoid(logit / T) has the lowest negative log-likelihood.

    Temperature scaling (Guo et al. 2017, arXiv:1706.04599): one positive number, so the order of pictures stays. Fit it
    on validation data only. Shapes: both (n,).

    The targets are (n1 + 1) / (n1 + 2) and 1 / (n0 + 2) in place of 1 and 0 (Platt 1999): where the classes are
    separated without an error the plain likelihood has no optimum and would make every probability 0 or 1. With
    hundreds of pictures the difference is in the third digit. The loss is convex in 1 / T, so its slope is bisected.

    Raises:
        EvaluationError: one of the classes is missing.
    """
    positives = int(labels.sum())
    negatives = labels.size - positives
    if not positives or not negatives:
        raise EvaluationError("A temperature needs pictures of both classes; the validation split holds only one.")
    targets = np.where(labels, (positives + 1) / (positives + 2), 1 / (negatives + 2))

    def slope(inverse: float) -> float:
        return float(np.mean((calibrate(logits * inverse, temperature=1.0) - targets) * logits))

    low, high = 1 / TEMPERATURE_RANGE[1], 1 / TEMPERATURE_RANGE[0]
    for _ in range(100):
        # Bisected in the logarithm: the range spans nearly three decades.
        middle = float(np.sqrt(low * high))
        low, high = (middle, high) if slope(middle) < 0 else (low, middle)
    return float(1 / np.sqrt(low * high))


def is_at_bound(temperature: float) -> bool:
    """Return whether a fitted temperature ended at a bound, as it does where the scores say nothing of the labels."""
    low, high = TEMPERATURE_RANGE
    return temperature < low * 1.01 or temperature > high / 1.01


def negative_log_likelihood(labels: BoolArray, logits: DoubleArray, *, temperature: float) -> float:
    """Return the mean negative log-likelihood in nats (binary cross-entropy) of sigmoid(logit / temperature)."""
    scaled = logits / temperature
    return float(np.mean(np.logaddexp(0.0, scaled) - labels * scaled))


def equal_mass_bins(probabilities: DoubleArray, *, bins: int = ECE_BINS) -> IntArray:
    """Return the bin, 0 to bins - 1, of each picture; bins hold equally many pictures, equal probabilities one bin.

    Bins may be empty where there are fewer pictures than bins or many ties.
    """
    ordered = np.sort(probabilities)
    first = np.searchsorted(ordered, probabilities, side="left")
    last = np.searchsorted(ordered, probabilities, side="right") - 1
    return np.asarray((first + last) / 2 * bins // max(probabilities.size, 1), dtype=np.int64)


def bin_gaps(labels: BoolArray, probabilities: DoubleArray) -> DoubleArray:
    """Return (n, bins): probability minus label in the column of the picture's bin, 0 elsewhere."""
    gaps = np.zeros((probabilities.size, ECE_BINS))
    gaps[np.arange(probabilities.size), equal_mass_bins(probabilities)] = probabilities - labels
    return gaps


def expected_calibration_error(labels: BoolArray, probabilities: DoubleArray) -> float:
    """Return the expected calibration error of the probability of PNEUMONIA, in [0, 1].

    The mean over pictures of |mean probability - share of PNEUMONIA| of their bin (Guo et al. 2017, arXiv:1706.04599,
    for the positive class). The 15 bins hold equally many pictures instead of spanning equal widths: scores crowd
    at 0 and 1, where equal widths put nearly all pictures into two bins (Nixon et al. 2019, arXiv:1904.01685).
    """
    return float(np.abs(bin_gaps(labels, probabilities).sum(0)).sum() / labels.size)


@dataclass(frozen=True, slots=True)
class Reliability:
    """Calibration by bin: arrays of (k,) over the bins that hold pictures, in order of probability."""

    predicted: DoubleArray
    observed: DoubleArray
    count: IntArray


def measure_reliability(labels: BoolArray, probabilities: DoubleArray, *, bins: int = ECE_BINS) -> Reliability:
    """Return the mean probability and the share of PNEUMONIA in each equal-mass bin."""
    index = equal_mass_bins(probabilities, bins=bins)
    count = np.bincount(index, minlength=bins)
    filled = count > 0
    predicted = np.bincount(index, weights=probabilities, minlength=bins)[filled] / count[filled]
    observed = np.bincount(index, weights=labels.astype(np.float64), minlength=bins)[filled] / count[filled]
    return Reliability(predicted=predicted, observed=observed, count=count[filled].astype(np.int64))
