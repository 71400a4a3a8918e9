"""Split-conformal prediction sets: the labels that cannot be excluded, with a promise of how often the true one is in.

The score of a label is one minus its probability. A set holds each label whose score is at most a quantile of the
scores of the true labels on val. Where new pictures are exchangeable with those of val the set holds the true label
with a probability of at least 1 - alpha, whatever the model (Vovk, Gammerman and Shafer 2005; Angelopoulos and Bates
2021, arXiv:2107.07511). Class-conditional (Mondrian) sets keep the promise in each class, marginal ones only on the
whole.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from hilum.bundle import ConformalSpec
from hilum.evaluation.intervals import Estimate, estimate_ratios
from hilum.types import BoolArray, DoubleArray, Label

ALPHAS: Final = (0.05, 0.1)


@dataclass(frozen=True, slots=True)
class ConformalRule:
    """Which labels a set holds: those whose score, one minus their probability, is at most `quantiles`.

    `quantiles` are those of NORMAL and PNEUMONIA, infinite where val has too few pictures for `alpha`: such a label is
    in every set.
    """

    alpha: float
    by_class: bool
    quantiles: tuple[float, float]

    @classmethod
    def read(cls, spec: ConformalSpec) -> ConformalRule:
        """Return the rule that a bundle stores."""
        normal, pneumonia = (math.inf if quantile is None else quantile for quantile in spec.quantiles)
        return cls(spec.alpha, spec.by_class, (normal, pneumonia))

    def to_spec(self, *, chosen_on: str, n: int) -> ConformalSpec:
        """Return what a bundle stores."""
        normal, pneumonia = (quantile if math.isfinite(quantile) else None for quantile in self.quantiles)
        return ConformalSpec(
            alpha=self.alpha, by_class=self.by_class, quantiles=(normal, pneumonia), chosen_on=chosen_on, n=n
        )

    def build_sets(self, probabilities: DoubleArray) -> BoolArray:
        """Return (n, 2): whether NORMAL and PNEUMONIA are in the set of each probability (n,)."""
        scores = np.stack([probabilities, 1 - probabilities], 1)
        return np.asarray(scores <= np.array(self.quantiles), dtype=np.bool_)


def fit_all_conformal(labels: BoolArray, probabilities: DoubleArray) -> list[ConformalRule]:
    """Fit class-conditional and marginal sets for each of ALPHAS on validation data. Shapes: both (n,)."""
    return [
        fit_conformal(labels, probabilities, alpha=alpha, by_class=by_class)
        for by_class in (True, False)
        for alpha in ALPHAS
    ]


def fit_conformal(labels: BoolArray, probabilities: DoubleArray, *, alpha: float, by_class: bool) -> ConformalRule:
    """Fit the quantiles on validation data. Shapes: both (n,)."""
    scores = np.where(labels, 1 - probabilities, probabilities)
    if by_class:
        quantiles = _find_quantile(scores[~labels], alpha), _find_quantile(scores[labels], alpha)
        return ConformalRule(alpha, by_class, quantiles)
    quantile = _find_quantile(scores, alpha)
    return ConformalRule(alpha, by_class, (quantile, quantile))


def _find_quantile(scores: DoubleArray, alpha: float) -> float:
    """Return the ceil((n + 1) (1 - alpha)) smallest score: the quantile with the correction for finite samples."""
    # (n + 1) * 0.95 must not be a hair above the whole number that it is.
    rank = math.ceil((scores.size + 1) * (1 - alpha) - 1e-9)
    return float(np.sort(scores)[rank - 1]) if rank <= scores.size else math.inf


@dataclass(frozen=True, slots=True)
class ConformalResult:
    """What the sets of a rule do on a split that they were not fitted on; shares of its pictures with intervals."""

    rule: ConformalRule
    coverage: Estimate
    coverage_normal: Estimate
    coverage_pneumonia: Estimate
    mean_size: Estimate
    single: Estimate
    both: Estimate
    empty: Estimate


def measure_conformal(
    rule: ConformalRule,
    labels: BoolArray,
    probabilities: DoubleArray,
    patients: list[str],
    *,
    resamples: int,
    seed: int,
) -> ConformalResult:
    """Measure coverage and size of sets. Shapes: all (n,)."""
    sets = rule.build_sets(probabilities)
    covered, size = np.where(labels, sets[:, 1], sets[:, 0]), sets.sum(1)
    every = np.ones_like(labels)
    return ConformalResult(
        rule,
        **estimate_ratios(
            {
                "coverage": (covered, every),
                "coverage_normal": (covered, ~labels),
                "coverage_pneumonia": (covered, labels),
                "mean_size": (size.astype(np.int64), every),
                "single": (size == 1, every),
                "both": (size == 2, every),
                "empty": (size == 0, every),
            },
            patients,
            resamples=resamples,
            seed=seed,
        ),
    )


def conformal_to_json(result: ConformalResult) -> dict[str, object]:
    """Return what metrics.json holds of a rule; an infinite quantile is null."""
    names = ("coverage", "coverage_normal", "coverage_pneumonia", "mean_size", "single", "both", "empty")
    return {
        "alpha": result.rule.alpha,
        "kind": "class-conditional" if result.rule.by_class else "marginal",
        "quantiles": {
            str(label): quantile if math.isfinite(quantile) else None
            for label, quantile in zip(Label, result.rule.quantiles, strict=True)
        },
        **{name: getattr(result, name).to_json() for name in names},
    }
