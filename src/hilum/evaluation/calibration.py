"""Calibration: how logits become honest probabilities, and how far from honest they are.

Probability = sigmoid(logit / temperature + intercept). A temperature alone mends a model that is too sure of itself or
not sure enough; classes that counted alike in training teach odds of equally frequent classes, and it takes the
intercept to bring those to the frequencies that there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np

from hilum.config import CalibrationRule
from hilum.errors import EvaluationError
from hilum.inference.decision import calibrate
from hilum.types import BoolArray, DoubleArray, IntArray

ECE_BINS = 15
TEMPERATURE_RANGE: Final = (0.05, 20.0)
INTERCEPT_RANGE: Final = (-20.0, 20.0)
_FOLDS = 10
_NEWTON_STEPS = 100
_HALVINGS = 40
_PRECISION = 1e-10


class CalibrationMethod(StrEnum):
    """What is fitted."""

    TEMPERATURE = "temperature"
    PLATT = "temperature and intercept"


@dataclass(frozen=True, slots=True)
class Calibration:
    """The two numbers of probability = sigmoid(logit / temperature + intercept)."""

    temperature: float
    intercept: float = 0.0

    def apply(self, logits: DoubleArray) -> DoubleArray:
        """Return the probabilities of logits. Shapes: (n,) to (n,)."""
        return calibrate(logits, temperature=self.temperature, intercept=self.intercept)


@dataclass(frozen=True, slots=True)
class CalibrationPrior:
    """A Gaussian belief about a calibration before the data speak, centred on one that is known.

    `slope_sd` is the standard deviation of 1 / temperature as a share of the centre's, `intercept_sd` that of the
    intercept in log-odds.
    """

    centre: Calibration
    slope_sd: float
    intercept_sd: float


@dataclass(frozen=True, slots=True)
class CalibrationChoice:
    """Which calibration was taken by which rule, and mean log losses in nats of pictures that were held out.

    `gain` is by how much the intercept lowers the loss, with the standard error of that difference over patients; all
    four are None where there were too few patients to hold any out.
    """

    method: CalibrationMethod
    calibration: Calibration
    loss_temperature: float | None = None
    loss_platt: float | None = None
    gain: float | None = None
    standard_error: float | None = None
    rule: CalibrationRule = "auto"


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
    if not labels.any() or labels.all():
        raise EvaluationError("A temperature needs pictures of both classes; the validation split holds only one.")
    targets = _soften(labels)

    def slope(inverse: float) -> float:
        return float(np.mean((calibrate(logits * inverse, temperature=1.0) - targets) * logits))

    low, high = 1 / TEMPERATURE_RANGE[1], 1 / TEMPERATURE_RANGE[0]
    for _ in range(100):
        # Bisected in the logarithm: the range spans nearly three decades.
        middle = float(np.sqrt(low * high))
        low, high = (middle, high) if slope(middle) < 0 else (low, middle)
    return float(1 / np.sqrt(low * high))


def _soften(labels: BoolArray) -> DoubleArray:
    """Return Platt's targets: (n1 + 1) / (n1 + 2) in place of 1, 1 / (n0 + 2) in place of 0."""
    positives = int(labels.sum())
    return np.where(labels, (positives + 1) / (positives + 2), 1 / (labels.size - positives + 2))


def fit_platt(labels: BoolArray, logits: DoubleArray, *, prior: CalibrationPrior | None = None) -> Calibration:
    """Return the temperature and intercept of the highest likelihood, or with a `prior` of the highest posterior.

    Platt scaling (Platt 1999), shapes (n,). Without a prior the targets are those of `fit_temperature`, so that
    separated classes get a finite answer; with one the labels stand as they are, for the prior keeps it finite. The
    loss is convex in 1 / temperature and intercept, so there is one optimum inside the bounds; Newton's method finds
    it, halving steps that overshoot.

    Raises:
        EvaluationError: one of the classes is missing.
    """
    targets = labels.astype(np.float64) if prior is not None else _soften(labels)
    if not labels.any() or labels.all():
        raise EvaluationError("A calibration needs pictures of both classes; these are of one only.")
    centre = prior.centre if prior is not None else Calibration(1.0)
    # The loss is a mean, so that its scale does not depend on the number of pictures; the penalty is that of one sum.
    stiffness = np.array([prior.slope_sd, prior.intercept_sd]) ** -2.0 / labels.size if prior else np.zeros(2)
    inputs = np.stack([logits / centre.temperature, np.ones(labels.size)])
    start = np.array([1.0, centre.intercept])
    low, high = TEMPERATURE_RANGE
    bounds = np.array([[centre.temperature / high, INTERCEPT_RANGE[0]], [centre.temperature / low, INTERCEPT_RANGE[1]]])

    def measure_loss(place: DoubleArray) -> float:
        scaled = place @ inputs
        return float(np.mean(np.logaddexp(0.0, scaled) - targets * scaled) + 0.5 * stiffness @ (place - start) ** 2)

    place = np.clip(start, *bounds)
    loss = measure_loss(place)
    for _ in range(_NEWTON_STEPS):
        probabilities = calibrate(place @ inputs, temperature=1.0)
        slope = inputs @ (probabilities - targets) / labels.size + stiffness * (place - start)
        curvature = (inputs * (probabilities * (1 - probabilities))) @ inputs.T / labels.size + np.diag(stiffness)
        # What lies at a bound and is pushed outwards stays there; the other one moves alone.
        fixed = ((place <= bounds[0]) & (slope > 0)) | ((place >= bounds[1]) & (slope < 0))
        slope[fixed], curvature[fixed], curvature[:, fixed] = 0.0, 0.0, 0.0
        step = _solve(curvature + np.diag(np.where(fixed, 1.0, 1e-12)), slope)
        for halvings in range(_HALVINGS):
            tried = np.clip(place - step / 2**halvings, *bounds)
            found = measure_loss(tried)
            if found <= loss:
                break
        else:
            break
        moved, place, loss = float(np.abs(tried - place).max()), tried, found
        if moved < _PRECISION:
            break
    return Calibration(float(centre.temperature / place[0]), float(place[1]))


def _solve(matrix: DoubleArray, values: DoubleArray) -> DoubleArray:
    """Solve two linear equations; a call of LAPACK would take longer than all the rest of a step."""
    (a, b), (c, d) = matrix
    solved = np.array([d * values[0] - b * values[1], a * values[1] - c * values[0]])
    return np.asarray(solved / (a * d - b * c), dtype=np.float64)


def choose_calibration(
    labels: BoolArray, logits: DoubleArray, patients: Sequence[str], *, rule: CalibrationRule = "auto"
) -> CalibrationChoice:
    """Fit a temperature, by the rule auto with an intercept where pictures that are held out say that it helps.

    Ten folds of whole patients, each held out once (Stone 1974). The intercept must lower their mean log loss by more
    than one standard error of the difference, patients being the independent cases: between models that cannot be told
    apart the simpler one stands (Breiman et al. 1984, the one-standard-error rule). The other rules take what they
    name; the losses are recorded all the same. Fit on validation data only. Shapes: all (n,).

    Raises:
        EvaluationError: one of the classes is missing.
    """
    simple = Calibration(fit_temperature(labels, logits))
    folds = deal_folds(labels, patients, folds=_FOLDS)
    losses = np.zeros((2, labels.size))
    for fold in range(int(folds.max()) + 1):
        held, kept = folds == fold, folds != fold
        if not held.any() or not labels[kept].any() or labels[kept].all():
            if rule == "platt":
                return CalibrationChoice(CalibrationMethod.PLATT, fit_platt(labels, logits), rule=rule)
            return CalibrationChoice(CalibrationMethod.TEMPERATURE, simple, rule=rule)
        fits = Calibration(fit_temperature(labels[kept], logits[kept])), fit_platt(labels[kept], logits[kept])
        for row, fit in enumerate(fits):
            losses[row, held] = log_losses(labels[held], logits[held], fit)
    gains = losses[0] - losses[1]
    error = _measure_standard_error(gains, patients)
    helps = float(gains.mean()) > error if rule == "auto" else rule == "platt"
    return CalibrationChoice(
        CalibrationMethod.PLATT if helps else CalibrationMethod.TEMPERATURE,
        fit_platt(labels, logits) if helps else simple,
        loss_temperature=float(losses[0].mean()),
        loss_platt=float(losses[1].mean()),
        gain=float(gains.mean()),
        standard_error=error,
        rule=rule,
    )


def deal_folds(labels: BoolArray, patients: Sequence[str], *, folds: int, seed: int = 0) -> IntArray:
    """Return the fold, 0 to at most folds - 1, of each picture: whole patients, dealt class by class in a drawn order.

    A patient counts as sick if any picture of theirs is PNEUMONIA. Shapes: (n,).
    """
    names, cluster = np.unique(np.asarray(patients, dtype=object).astype(str), return_inverse=True)
    sick = np.bincount(cluster, weights=labels.astype(np.float64)) > 0
    order = np.random.default_rng(seed).permutation(names.size)
    order = order[np.argsort(sick[order], kind="stable")]
    dealt = np.empty(names.size, dtype=np.int64)
    dealt[order] = np.arange(names.size) % min(folds, names.size)
    return np.asarray(dealt[cluster], dtype=np.int64)


def _measure_standard_error(values: DoubleArray, patients: Sequence[str]) -> float:
    """Return the standard error of the mean of `values` (n,), those of one patient being one case."""
    _, cluster = np.unique(np.asarray(patients, dtype=object).astype(str), return_inverse=True)
    sums = np.bincount(cluster, weights=values - values.mean())
    return float(np.sqrt(np.sum(sums**2) * sums.size / max(sums.size - 1, 1)) / values.size)


def is_at_bound(temperature: float) -> bool:
    """Return whether a fitted temperature ended at a bound, as it does where the scores say nothing of the labels."""
    low, high = TEMPERATURE_RANGE
    return temperature < low * 1.01 or temperature > high / 1.01


def negative_log_likelihood(
    labels: BoolArray, logits: DoubleArray, *, temperature: float, intercept: float = 0.0
) -> float:
    """Return the mean negative log-likelihood in nats (binary cross-entropy) of the calibrated probabilities."""
    return float(log_losses(labels, logits, Calibration(temperature, intercept)).mean())


def log_losses(labels: BoolArray, logits: DoubleArray, calibration: Calibration) -> DoubleArray:
    """Return the negative log-likelihood in nats of each picture. Shapes: (n,)."""
    scaled = logits / calibration.temperature + calibration.intercept
    return np.asarray(np.logaddexp(0.0, scaled) - labels * scaled, dtype=np.float64)


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
