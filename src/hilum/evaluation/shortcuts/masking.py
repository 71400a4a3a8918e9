"""What the model still tells apart when it does not see the lungs, and when it sees nothing else.

What is taken away becomes black. The mean of the picture would be no neutral filling: it is the higher the more opaque
the lungs are, and would carry into the surroundings what was to be taken out of them. Masks are widened a little, so
that no rim of lung is left when lungs are taken away. Their outline stays visible as the edge of the black, and may
tell something itself; a black box around both lungs, heart included, has no such edge.
"""

from __future__ import annotations

from dataclasses import dataclass

from hilum.data.lungs import black_out, find_boxes, widen
from hilum.evaluation.intervals import Estimate
from hilum.evaluation.shortcuts.means import estimate_auroc
from hilum.evaluation.shortcuts.sample import Sample, ScorePictures
from hilum.evaluation.thresholds import OperatingPoint
from hilum.types import DoubleArray


@dataclass(frozen=True, slots=True)
class MaskedResult:
    """AUROC on the same `n` pictures: as they are, without lungs, without a box around them, and with lungs alone.

    `area` is the mean share of the picture that counts as lungs.
    """

    n: int
    area: float
    whole: Estimate
    without_lungs: Estimate
    without_box: Estimate
    only_lungs: Estimate

    @property
    def beats_chance(self) -> bool:
        """Whether the pictures as they are show a model that is better than chance; else there is nothing to lose."""
        lowest = self.whole.ci_low if self.whole.ci_low is not None else self.whole.value
        return lowest is not None and lowest > 0.5

    @property
    def kept_without(self) -> float | None:
        """Share of what AUROC has above chance that is left without the lungs; None where it has nothing."""
        whole, without = self.whole.value, self.without_lungs.value
        if whole is None or without is None or not self.beats_chance:
            return None
        return max(0.0, (without - 0.5) / (whole - 0.5))


def check_masked(
    sample: Sample, score: ScorePictures, point: OperatingPoint, *, resamples: int, seed: int
) -> MaskedResult:
    """Score the pictures without lungs, without a box around them and with nothing else: three passes a picture."""
    lungs = widen(sample.masks)

    def estimate(logits: DoubleArray) -> Estimate:
        return estimate_auroc(sample.labels, point.calibrate(logits), sample.patients, resamples=resamples, seed=seed)

    return MaskedResult(
        n=len(sample),
        area=float(lungs.mean()),
        whole=estimate(sample.logits),
        without_lungs=estimate(score(black_out(sample.pictures, lungs))),
        without_box=estimate(score(black_out(sample.pictures, find_boxes(lungs)))),
        only_lungs=estimate(score(black_out(sample.pictures, ~lungs))),
    )
