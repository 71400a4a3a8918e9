"""Robust validation: val under the battery, judged by the threshold of unchanged val.

Only val is read. A recipe is chosen by `Assessment.objective`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

from hilum.errors import EvaluationError
from hilum.evaluation.battery import BATTERY, Condition, apply_condition
from hilum.evaluation.calibration import fit_temperature
from hilum.evaluation.thresholds import fit_youden
from hilum.inference.decision import calibrate, is_positive
from hilum.progress import track
from hilum.report.style import COLOURS, FULL_WIDTH, INK, NEUTRAL, draw_figure
from hilum.types import BoolArray, DoubleArray, Label, UInt8Array

ScorePictures = Callable[[UInt8Array], DoubleArray]
"""Prepared pictures (n, size, size) to logits (n,)."""

SAMPLE = 240
"""Pictures of val that are enough to rank recipes: the same ones, so that chance is shared by all."""


@dataclass(frozen=True, slots=True)
class ConditionResult:
    """Figures of val under one condition; the threshold and the calibration are those of unchanged val."""

    family: str
    condition: str
    auroc: float
    brier: float
    sensitivity: float
    specificity: float

    @property
    def balanced_accuracy(self) -> float:
        """Mean of sensitivity and specificity."""
        return (self.sensitivity + self.specificity) / 2


@dataclass(frozen=True, slots=True)
class Assessment:
    """What robust validation found on `n` pictures of val. `clean` is val as it is."""

    n: int
    threshold: float
    temperature: float
    clean: ConditionResult
    conditions: tuple[ConditionResult, ...]

    @property
    def objective(self) -> float:
        """Return the mean of four figures in [0, 1]: mean and worst case of AUROC and of balanced accuracy.

        AUROC asks whether pictures are still ranked well, balanced accuracy whether the threshold still divides them;
        the worst case stands for the hospital that differs most.
        """
        aurocs = [result.auroc for result in self.conditions]
        balanced = [result.balanced_accuracy for result in self.conditions]
        return float(np.mean([np.mean(aurocs), min(aurocs), np.mean(balanced), min(balanced)]))

    def summarise(self) -> dict[str, float]:
        """Return mean and worst case of each figure over the conditions, and the objective."""
        summary = {"objective": self.objective}
        for figure, worst in (
            ("auroc", min),
            ("brier", max),
            ("sensitivity", min),
            ("specificity", min),
            ("balanced_accuracy", min),
        ):
            values = [getattr(result, figure) for result in self.conditions]
            summary[f"{figure}_mean"], summary[f"{figure}_worst"] = float(np.mean(values)), float(worst(values))
        return summary

    def to_json(self) -> dict[str, Any]:
        """Return what robust.json holds."""
        return {
            "n": self.n,
            "threshold": self.threshold,
            "temperature": self.temperature,
            "summary": self.summarise(),
            "clean": asdict(self.clean),
            "conditions": [asdict(result) for result in self.conditions],
        }


def assess(
    score: ScorePictures,
    pictures: UInt8Array,
    labels: BoolArray,
    *,
    battery: Sequence[Condition] = BATTERY,
    changed: Iterable[UInt8Array] | None = None,
) -> Assessment:
    """Score val unchanged, fit calibration and threshold there, then score it under each condition.

    Args:
        score: the model.
        pictures: prepared pictures of val, (n, size, size) uint8.
        labels: (n,), True for PNEUMONIA.
        battery: the conditions.
        changed: `pictures` under each condition of `battery`, in its order, where `change_pictures` has made them
            before; none given: made here.

    Raises:
        EvaluationError: one of the classes is missing.
    """
    _require_both_classes(labels)
    logits = score(pictures)
    blocks = change_pictures(pictures, battery) if changed is None else changed
    scored = [score(block) for block in track(blocks, description="Changing acquisition", total=len(battery))]
    return judge_logits(labels, logits, scored, battery=battery)


def change_pictures(pictures: UInt8Array, battery: Sequence[Condition] = BATTERY) -> Iterator[UInt8Array]:
    """Yield the pictures (n, size, size) under each condition; they depend on the pictures alone."""
    for condition in battery:
        yield apply_condition(pictures, condition)


def judge_logits(
    labels: BoolArray, logits: DoubleArray, changed: Sequence[DoubleArray], *, battery: Sequence[Condition] = BATTERY
) -> Assessment:
    """Fit calibration and threshold on the logits of unchanged val, and measure those of each condition by them.

    Shapes: (n,), and (n,) for each condition of `battery`, in its order.

    Raises:
        EvaluationError: one of the classes is missing.
    """
    _require_both_classes(labels)
    temperature = fit_temperature(labels, logits)
    threshold = fit_youden(labels, calibrate(logits, temperature=temperature))

    def measure(family: str, name: str, values: DoubleArray) -> ConditionResult:
        probabilities = calibrate(values, temperature=temperature)
        called = is_positive(probabilities, threshold=threshold)
        return ConditionResult(
            family=family,
            condition=name,
            auroc=float(roc_auc_score(labels, values)),
            brier=float(np.mean((probabilities - labels) ** 2)),
            sensitivity=float(called[labels].mean()),
            specificity=float(1 - called[~labels].mean()),
        )

    clean = measure("none", "unchanged", logits)
    results = tuple(
        measure(condition.family, condition.name, values) for condition, values in zip(battery, changed, strict=True)
    )
    return Assessment(labels.size, threshold, temperature, clean, results)


def _require_both_classes(labels: BoolArray) -> None:
    if labels.all() or not labels.any():
        raise EvaluationError("Robust validation needs val pictures of both classes.")


def sample_rows(rows: pd.DataFrame, *, count: int, seed: int = 0) -> pd.DataFrame:
    """Draw half of `count` rows from each label, in input order; all of a label where there are fewer."""
    rng = np.random.default_rng(seed)
    chosen = []
    for _, group in rows.groupby("label", sort=True):
        chosen.extend(rng.choice(group.index.to_numpy(), size=min(count // 2, len(group)), replace=False).tolist())
    return rows.loc[sorted(chosen)]


def draw_assessment(assessment: Assessment, path: Path, *, title: str) -> None:
    """Draw AUROC, sensitivity and specificity under each condition, the worst balanced accuracy at the bottom."""
    ordered = sorted(assessment.conditions, key=lambda result: result.balanced_accuracy)
    results = [*ordered, assessment.clean]
    places = np.arange(len(results))
    with draw_figure(path, width=FULL_WIDTH, height=0.26 * len(results) + 1.2) as figure:
        axes = figure.subplots()
        series = (
            ("AUROC", [result.auroc for result in results], INK, "|", 120),
            ("sensitivity", [result.sensitivity for result in results], COLOURS[Label.PNEUMONIA], "o", 34),
            ("specificity", [result.specificity for result in results], COLOURS[Label.NORMAL], "o", 34),
        )
        pairs = [(result.sensitivity, result.specificity) for result in results]
        axes.hlines(places, [min(pair) for pair in pairs], [max(pair) for pair in pairs], color=NEUTRAL, lw=1, zorder=1)
        for name, values, colour, marker, area in series:
            axes.scatter(values, places, color=colour, marker=marker, s=area, label=name, zorder=2)
        axes.set_yticks(places, [f"{result.condition} ({result.family})" for result in results])
        axes.set_ylim(-0.7, len(results) - 0.3)
        axes.set_xlim(right=1.005)
        axes.grid(axis="x")
        axes.set_xlabel("at the threshold of unchanged val")
        axes.set_title(f"Val under changed acquisition: {title}")
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1.06), ncols=3)
