"""How the logit of a bundle's network becomes a verdict: calibration, threshold, and the prevalence it is used at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from hilum.bundle import Bundle
from hilum.errors import ConfigError
from hilum.inference.decision import calibrate, decide
from hilum.types import DoubleArray, FloatArray, Label


def shift_prior(probability: float, *, trained: float, deployed: float) -> float:
    """Return the probability of PNEUMONIA where its share among the patients is `deployed` and not `trained`.

    Bayes' rule with another prior (Saerens, Latinne and Decaestecker 2002, equation 4; Elkan 2001, theorem 2):

        odds' = odds * (deployed / (1 - deployed)) / (trained / (1 - trained))

    It assumes that only the mixture of sick and healthy differs, not what either look like, and that `probability` is
    calibrated for the share `trained`. All values are in [0, 1], both shares inside of it.
    """
    # The same formula without odds, which are infinite at 1.
    sick = probability * deployed / trained
    healthy = (1 - probability) * (1 - deployed) / (1 - trained)
    return sick / (sick + healthy)


@dataclass(frozen=True, slots=True)
class DecisionRule:
    """From a logit to a probability and a label: PNEUMONIA from `threshold` on.

    Probabilities are sigmoid(logit / temperature + intercept), which hold for `trained_prior`, shifted to the
    `prevalence` where one is given.
    """

    temperature: float
    threshold: float
    trained_prior: float
    prevalence: float | None = None
    intercept: float = 0.0

    @classmethod
    def choose(
        cls,
        bundle: Bundle,
        *,
        operating_point: str | None = None,
        threshold: float | None = None,
        prevalence: float | None = None,
    ) -> Self:
        """Choose the rule that a bundle stores, or what a user gives in place of parts of it.

        A prevalence changes probabilities, but no verdict: the threshold of an operating point is shifted in the same
        way. It was chosen for its sensitivity and specificity, which do not depend on the share of the sick, and
        comparing shifted probabilities to the old number would silently change both. A `threshold` that the user gives
        is compared to the probabilities as they are shown, whatever the prevalence.

        Raises:
            BundleError: the bundle has no operating point of this name; the message lists those it has.
            ConfigError: both an operating point and a threshold are given, or a number is out of range.
        """
        spec = bundle.spec
        if threshold is not None and operating_point is not None:
            raise ConfigError("Give either a threshold or an operating point: the latter is a threshold with a name.")
        if threshold is not None and not 0 <= threshold <= 1:
            raise ConfigError(f"The threshold {threshold} is no probability; it must lie between 0 and 1.")
        if prevalence is not None and not 0 < prevalence < 1:
            raise ConfigError(
                f"The prevalence {prevalence} is not the share of the sick among the patients; it must lie between 0 "
                "and 1, and be neither."
            )
        if threshold is None:
            threshold = bundle.choose_operating_point(operating_point).threshold
            if prevalence is not None:
                threshold = shift_prior(threshold, trained=spec.training_prior, deployed=prevalence)
        return cls(spec.temperature, threshold, spec.training_prior, prevalence, spec.intercept)

    def calibrate(self, logits: DoubleArray | FloatArray) -> list[float]:
        """Return the probability of each logit, shape (n,)."""
        values = calibrate(logits, temperature=self.temperature, intercept=self.intercept)
        return [self.shift(float(value)) for value in values]

    def shift(self, probability: float) -> float:
        """Return a probability, or a stored threshold, at the rule's prevalence; the same where none is given."""
        if self.prevalence is None:
            return probability
        return shift_prior(probability, trained=self.trained_prior, deployed=self.prevalence)

    def decide(self, probability: float) -> Label:
        """Return the label of a probability that `calibrate` gave."""
        return decide(probability, threshold=self.threshold)
