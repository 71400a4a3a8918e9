"""Making a model fit another place: by unlabelled pictures its prior, by some labelled ones calibration and thresholds.

With few labelled pictures nothing is fitted from nothing: what is known already weighs in, more so the fewer they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from hilum.evaluation.calibration import Calibration, CalibrationPrior, fit_platt
from hilum.evaluation.points import PointRule
from hilum.types import BoolArray, DoubleArray

SLOPE_SD: Final = 0.5
"""How far 1 / temperature is believed to move between places, as a share of itself."""
INTERCEPT_SD: Final = 1.0
"""How far the intercept is believed to move beside what the prior explains: the odds by a factor e, either way."""
_YOUDEN_WEIGHT: Final = 20.0
_EDGE: Final = 1e-6


def to_log_odds(probability: float) -> float:
    """Return the log-odds of a probability, finite at 0 and 1 too."""
    clipped = min(max(probability, _EDGE), 1 - _EDGE)
    return float(np.log(clipped / (1 - clipped)))


def shift_probabilities(probabilities: DoubleArray, *, trained: float, deployed: float) -> DoubleArray:
    """Return probabilities (n,) for another share of PNEUMONIA, as `hilum.inference.rule.shift_prior` does one."""
    sick = probabilities * (deployed / trained)
    healthy = (1 - probabilities) * ((1 - deployed) / (1 - trained))
    return np.asarray(sick / (sick + healthy), dtype=np.float64)


def estimate_prior(probabilities: DoubleArray, *, trained: float, steps: int = 10_000) -> float:
    """Return the share of PNEUMONIA of the likeliest mixture, from probabilities (n,) that stand for `trained`.

    Expectation-maximisation without any label (Saerens, Latinne and Decaestecker 2002): shift all probabilities to the
    present estimate, take their mean for the next one. It assumes that the classes look as they did and only their
    shares differ; where pictures look otherwise, it takes that for another share.
    """
    share = trained
    for _ in range(steps):
        shifted = shift_probabilities(probabilities, trained=trained, deployed=share)
        following = float(np.clip(shifted.mean(), _EDGE, 1 - _EDGE))
        if abs(following - share) < 1e-9:
            return following
        share = following
    return share


@dataclass(frozen=True, slots=True)
class LocalFit:
    """A model's decisions for one place. Probabilities stand for the share `prior` of PNEUMONIA."""

    calibration: Calibration
    prior: float
    thresholds: Mapping[str, float]


def refit_locally(
    labels: BoolArray, logits: DoubleArray, *, known: Calibration, prior: float, thresholds: Mapping[str, float]
) -> LocalFit:
    """Fit calibration and thresholds to labelled pictures of a place, shrunk towards those that are known.

    The share of PNEUMONIA among the pictures is taken as it is, and the known calibration moved to it by Bayes' rule.
    From there temperature and intercept go as far as the likelihood of the pictures outweighs a Gaussian prior
    (SLOPE_SD, INTERCEPT_SD): the highest posterior. A threshold is in log-odds the weighted mean of the known one,
    moved to the same share, and of the one that its rule gives on the pictures. The latter weighs as much as there are
    pictures of the class that it rests on (PNEUMONIA for a sensitivity, NORMAL for a specificity, the rarer one for
    Youden's J), the former 1 / (1 - share), the number among which one error is expected (20 for 95 %, 100 for 99 %; 20
    for Youden's J). A rule that is not known by its name leaves its threshold where the move puts it.

    Args:
        labels: (n,), of both classes.
        logits: (n,).
        known: the calibration of the model.
        prior: the share of PNEUMONIA that `known` and `thresholds` stand for.
        thresholds: by the name of the operating point, on probabilities of `known`.

    Raises:
        EvaluationError: one of the classes is missing.
    """
    share = float(labels.mean())
    move = to_log_odds(share) - to_log_odds(prior)
    centre = Calibration(known.temperature, known.intercept + move)
    calibration = fit_platt(labels, logits, prior=CalibrationPrior(centre, SLOPE_SD, INTERCEPT_SD))
    probabilities = calibration.apply(logits)
    positives = int(labels.sum())
    counts = {"sensitivity": positives, "specificity": labels.size - positives}
    fitted = {}
    for name, threshold in thresholds.items():
        cut = to_log_odds(threshold) + move
        rule = PointRule.parse(name)
        if rule is not None:
            count = counts.get(rule.kind, min(counts.values()))
            weight = _YOUDEN_WEIGHT if rule.share is None else 1 / max(1 - rule.share, _EDGE)
            cut = (weight * cut + count * to_log_odds(rule.fit(labels, probabilities))) / (weight + count)
        fitted[name] = float(1 / (1 + np.exp(-cut)))
    return LocalFit(calibration, share, fitted)
