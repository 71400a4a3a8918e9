"""What the input gate of a bundle would have refused of the scored pictures, and whether that falls on both classes.

An evaluation scores all pictures. In use, those that the gate takes for no upright frontal chest radiographs get no
verdict; where it refuses one class more often than the other, the figures of use are not those of the evaluation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import fisher_exact

from hilum.evaluation.scoring import ScoredSplit
from hilum.evaluation.thresholds import OperatingPoint
from hilum.evaluation.wording import write_percent
from hilum.inference.decision import is_positive
from hilum.report.render import Finding, Severity
from hilum.types import Label


@dataclass(frozen=True, slots=True)
class Refusals:
    """For each label how many pictures there are, how many are refused, and how many of the others are called right."""

    pictures: dict[str, int]
    refused: dict[str, int]
    right: dict[str, int]

    def to_json(self) -> dict[str, dict[str, int | float | None]]:
        """Return what metrics.json holds: a label's counts, and the share of its accepted pictures called right."""
        content: dict[str, dict[str, int | float | None]] = {}
        for label, n in self.pictures.items():
            accepted = n - self.refused[label]
            share = self.right[label] / accepted if accepted else None
            content[label] = {"n": n, "refused": self.refused[label], "right_of_accepted": share}
        return content

    def describe(self) -> Finding:
        """Return what the report says of it; a warning where one class is refused more often.

        That is by more than 5 points, and not by chance (Fisher's exact test at 5 %).
        """
        shares = {label: self.refused[label] / n for label, n in self.pictures.items() if n}
        counts = " and ".join(
            f"{self.refused[label]:,} of {n:,} {label} pictures ({write_percent(self.refused[label] / n)})"
            for label, n in self.pictures.items()
            if n
        )
        text = f"The input gate takes {counts} for no upright frontal chest radiographs."
        if any(self.refused.values()):
            text += " Here they are scored as the others; hilum predict gives them no verdict, unless told --no-gate."
        table = [[self.refused[label], self.pictures[label] - self.refused[label]] for label in shares]
        apart = len(table) > 1 and max(shares.values()) - min(shares.values()) > 0.05
        uneven = apart and fisher_exact(table).pvalue < 0.05
        if uneven:
            text += f" It refuses {max(shares, key=shares.__getitem__)} more often: figures of use are not those here."
        return Finding(Severity.WARNING if uneven else Severity.NOTE, text)


def count_refusals(scored: ScoredSplit, point: OperatingPoint) -> Refusals | None:
    """Count what the gate refuses of each class; None for models without a gate."""
    refused = scored.refused
    if refused is None:
        return None
    called = is_positive(point.calibrate(scored.logits), threshold=point.threshold)
    right = ~refused & (called == scored.labels)
    classes = {str(label): scored.labels == (label is Label.PNEUMONIA) for label in Label}
    return Refusals(
        {label: int(of.sum()) for label, of in classes.items()},
        {label: int(np.sum(refused & of)) for label, of in classes.items()},
        {label: int(np.sum(right & of)) for label, of in classes.items()},
    )
