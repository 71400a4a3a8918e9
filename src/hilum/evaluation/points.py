"""The named operating points, as a bundle stores them: youden, two of fixed sensitivity, two of fixed specificity."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, Self

from hilum.bundle import OperatingPointSpec
from hilum.config import EvaluateConfig
from hilum.evaluation.metrics import count_confusion
from hilum.evaluation.thresholds import fit_specific_threshold, fit_stable_youden, fit_threshold
from hilum.types import BoolArray, DoubleArray, Split

_SENSITIVITIES: Final = (0.95, 0.99)
_SPECIFICITIES: Final = (0.95, 0.99)


@dataclass(frozen=True, slots=True)
class PointRule:
    """How a threshold is chosen. `share` is the sensitivity or specificity that it keeps, None for youden."""

    kind: Literal["youden", "sensitivity", "specificity"]
    share: float | None = None

    @classmethod
    def parse(cls, name: str) -> Self | None:
        """Return the rule of a name such as sensitivity-95, None for a name of another making."""
        if name == "youden":
            return cls("youden")
        found = re.fullmatch(r"(sensitivity|specificity)-(\d+(?:\.\d+)?)", name)
        if found is None or not 0 < float(found[2]) <= 100:
            return None
        return cls("sensitivity" if found[1] == "sensitivity" else "specificity", float(found[2]) / 100)

    @property
    def name(self) -> str:
        """The name that a bundle stores it under."""
        return self.kind if self.share is None else f"{self.kind}-{100 * self.share:g}"

    def describe(self) -> str:
        """Return the rule in words."""
        return (
            "largest Youden's J, mean over resamples"
            if self.share is None
            else f"{self.kind} of at least {self.share:g}"
        )

    def fit(self, labels: BoolArray, probabilities: DoubleArray) -> float:
        """Return the threshold. Shapes: both (n,).

        Raises:
            EvaluationError: a class is missing that the rule needs.
        """
        if self.share is None:
            return fit_stable_youden(labels, probabilities)
        if self.kind == "sensitivity":
            return fit_threshold(labels, probabilities, min_sensitivity=self.share)
        return fit_specific_threshold(labels, probabilities, min_specificity=self.share)


def list_rules(config: EvaluateConfig) -> list[PointRule]:
    """Return the rules of all operating points. They are shown in the order of their thresholds (`sort_points`)."""
    sensitivities = sorted({*_SENSITIVITIES, config.min_sensitivity})
    return [
        PointRule("youden"),
        *(PointRule("sensitivity", share) for share in sensitivities),
        *(PointRule("specificity", share) for share in _SPECIFICITIES),
    ]


def name_default(config: EvaluateConfig) -> str:
    """Return the name of the operating point that verdicts are made by."""
    return "youden" if config.operating_point == "youden" else PointRule("sensitivity", config.min_sensitivity).name


def fit_points(
    labels: BoolArray, probabilities: DoubleArray, *, config: EvaluateConfig
) -> dict[str, OperatingPointSpec]:
    """Fit all operating points, by name, in the order of their thresholds. Fit on validation data only.

    Shapes: both (n,).

    Raises:
        EvaluationError: one of the classes is missing.
    """
    points = {}
    for rule in list_rules(config):
        threshold = rule.fit(labels, probabilities)
        cells = count_confusion(labels, probabilities, threshold=threshold)
        points[rule.name] = OperatingPointSpec(
            threshold=threshold,
            rule=rule.describe(),
            chosen_on=str(Split.VAL),
            n=labels.size,
            sensitivity=cells.tp / cells.positives,
            specificity=cells.tn / cells.negatives,
        )
    return sort_points(points)


def sort_points(points: Mapping[str, OperatingPointSpec]) -> dict[str, OperatingPointSpec]:
    """Return operating points in the order of their thresholds, the lowest first; equal ones keep their order."""
    return dict(sorted(points.items(), key=lambda item: item[1].threshold))
