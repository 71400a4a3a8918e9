"""How a trial is judged: robust validation of the best weights of its run. Test is not read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from hilum.data.cache import read_prepared
from hilum.evaluation.battery import BATTERY, Condition
from hilum.evaluation.robust import SAMPLE, Assessment, assess, sample_rows
from hilum.model.scoring import RunScorer
from hilum.types import Label, Split

QUICK_SHARE = 2
"""In training, one condition of each family on a half of the pictures: a glance, to stop what is hopeless."""


class Judge(Protocol):
    """Turns a run folder into figures; the one called "objective" is maximised."""

    def __call__(self, run: Path, *, quick: bool) -> dict[str, float]:
        """Judge the best weights of a run so far; `quick` is for the glance after an epoch."""
        ...


class RobustJudge:
    """Robust validation on `pictures` of the run's own val, the same ones for every run of these splits."""

    def __init__(self, pictures: int = SAMPLE, *, device: str = "auto") -> None:
        self.pictures = pictures
        self.device = device

    def __call__(self, run: Path, *, quick: bool) -> dict[str, float]:
        """Return the summary of the assessment."""
        scorer = RunScorer.open(run, device=self.device, unfinished=True)
        if quick:
            glance = assess_run(scorer, pictures=self.pictures // QUICK_SHARE, battery=choose_one_of_each_family())
            return glance.summarise()
        return assess_run(scorer, pictures=self.pictures).summarise()


def assess_run(scorer: RunScorer, *, pictures: int | None = None, battery: Sequence[Condition] = BATTERY) -> Assessment:
    """Assess a run on its own val, or on a sample of `pictures` that is the same for every run of these splits."""
    rows = scorer.run.splits[scorer.run.splits["split"] == Split.VAL]
    if pictures is not None:
        rows = sample_rows(rows, count=pictures)
    prepared = np.stack([read_prepared(path, scorer.spec) for path in rows["path"]])
    return assess(scorer.score_quickly, prepared, (rows["label"] == Label.PNEUMONIA).to_numpy(), battery=battery)


def choose_one_of_each_family() -> tuple[Condition, ...]:
    """Return the first condition of each family of the battery."""
    return tuple({condition.family: condition for condition in reversed(BATTERY)}.values())[::-1]
