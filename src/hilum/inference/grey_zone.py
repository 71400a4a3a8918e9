"""The grey zone: between ruling a pneumonia out and ruling it in a reading is undetermined."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Self

from hilum.bundle import Bundle, OperatingPointSpec
from hilum.errors import BundleError
from hilum.inference.rule import shift_prior
from hilum.types import Zone

RULE_OUT: Final = "sensitivity-99"
RULE_IN: Final = "specificity-95"


@dataclass(frozen=True, slots=True)
class GreyZone:
    """Probabilities below `low` are ruled out, those from `high` on ruled in, those between undetermined.

    Where the two cross (`high` at most `low`) the model tells the classes apart so well that any threshold between them
    keeps both promises: then there is no grey zone, and `high`, which misses the fewest, divides.
    """

    low: float
    high: float

    @classmethod
    def find(cls, points: Mapping[str, OperatingPointSpec]) -> Self | None:
        """Return the zone between the operating points that rule out and in, None where one of them is missing."""
        if RULE_OUT not in points or RULE_IN not in points:
            return None
        return cls(points[RULE_OUT].threshold, points[RULE_IN].threshold)

    @classmethod
    def choose(cls, bundle: Bundle, *, prevalence: float | None = None) -> Self:
        """Return the zone of a bundle, moved with its probabilities to a prevalence where one is given.

        Raises:
            BundleError: the bundle lacks one of the two operating points.
        """
        zone = cls.find(bundle.spec.operating_points)
        if zone is None:
            raise BundleError(
                f"{bundle.folder} has no grey zone: that takes the operating points {RULE_OUT} and {RULE_IN}, and it "
                f"has {', '.join(bundle.spec.operating_points)}."
            )
        if prevalence is None:
            return zone
        trained = bundle.spec.training_prior
        return cls(*(shift_prior(cut, trained=trained, deployed=prevalence) for cut in (zone.low, zone.high)))

    @property
    def is_empty(self) -> bool:
        """Whether no probability is undetermined."""
        return self.high <= self.low

    def place(self, probability: float) -> Zone:
        """Return where a probability lies."""
        if probability >= self.high:
            return Zone.RULED_IN
        return Zone.RULED_OUT if probability < self.low else Zone.UNDETERMINED
