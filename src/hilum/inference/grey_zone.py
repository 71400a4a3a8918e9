"""The grey zone: an image is undetermined where its probability neither rules a pneumonia out nor rules it in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Self

from hilum.bundle import Bundle, OperatingPointSpec
from hilum.errors import BundleError
from hilum.inference.rule import DecisionRule
from hilum.types import Zone

RULE_OUT: Final = "sensitivity-99"
RULE_IN: Final = "specificity-99"
EARLIER_RULE_IN: Final = "specificity-95"
"""Rules in where a bundle of before has no specificity-99."""


@dataclass(frozen=True, slots=True)
class GreyZone:
    """Probabilities below `low` are ruled out, those from `high` on ruled in, those between undetermined.

    `low` is never above the decision threshold and `high` never below it, so that the zone cannot contradict the
    prediction: NORMAL is never ruled in, PNEUMONIA never ruled out. `rule_in` names the operating point of `high`.
    """

    low: float
    high: float
    rule_in: str = RULE_IN

    @classmethod
    def find(cls, points: Mapping[str, OperatingPointSpec], *, threshold: float) -> Self | None:
        """Return the zone of operating points around a decision threshold, both on the same probabilities.

        It rules in from the larger of the threshold and specificity-99 on, and rules out below the smaller of the
        threshold and sensitivity-99. A higher cut has no smaller specificity and a lower one no smaller sensitivity, so
        both operating points keep what they promise. None where one of them is missing.
        """
        name = RULE_IN if RULE_IN in points else EARLIER_RULE_IN
        if RULE_OUT not in points or name not in points:
            return None
        return cls(min(threshold, points[RULE_OUT].threshold), max(threshold, points[name].threshold), name)

    @classmethod
    def choose(cls, bundle: Bundle, rule: DecisionRule) -> Self:
        """Return the zone of a bundle around the threshold of the rule that its images are decided by.

        The operating points move with the probabilities to the rule's prevalence.

        Raises:
            BundleError: the bundle lacks one of the two operating points.
        """
        points = bundle.spec.operating_points
        zone = cls.find(
            {
                name: point.model_copy(update={"threshold": rule.shift(point.threshold)})
                for name, point in points.items()
            },
            threshold=rule.threshold,
        )
        if zone is None:
            raise BundleError(
                f"{bundle.folder} has no grey zone: that takes the operating points {RULE_OUT} and {RULE_IN} (or "
                f"{EARLIER_RULE_IN}), and it has {', '.join(points)}."
            )
        return zone

    @property
    def is_empty(self) -> bool:
        """Whether no probability is undetermined: the decision threshold alone keeps both promises."""
        return self.high <= self.low

    def place(self, probability: float) -> Zone:
        """Return where a probability lies."""
        if probability >= self.high:
            return Zone.RULED_IN
        return Zone.RULED_OUT if probability < self.low else Zone.UNDETERMINED
