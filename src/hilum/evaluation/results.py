"""What an evaluation measured: every number that metrics.json, report and model card show, computed once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from hilum.bundle import OperatingPointSpec
from hilum.config import EvaluateConfig
from hilum.evaluation.calibration import CalibrationMethod, expected_calibration_error, negative_log_likelihood
from hilum.evaluation.conformal import ConformalRule, fit_all_conformal
from hilum.evaluation.decisions import Decisions, decisions_to_json, measure_decisions
from hilum.evaluation.intervals import Estimate, estimate_metrics, estimate_recall
from hilum.evaluation.metrics import ConfusionMatrix, count_confusion
from hilum.evaluation.points import fit_points
from hilum.evaluation.scoring import ScoredSplit
from hilum.evaluation.thresholds import OperatingPoint, count_above_cuts
from hilum.inference.decision import calibrate, is_positive
from hilum.types import BoolArray, DoubleArray, Label, Pathogen, Split

SURE = 0.9
"""Probability of the wrong class from which a mistake counts as a sure one."""


@dataclass(frozen=True, slots=True)
class SplitCount:
    """Pictures and patients of one split, and how many pictures show a pneumonia."""

    pictures: int
    patients: int
    positives: int

    @property
    def share(self) -> float:
        """Share of PNEUMONIA among the pictures."""
        return self.positives / self.pictures if self.pictures else float("nan")


@dataclass(frozen=True, slots=True)
class PathogenResult:
    """How many pneumonias of one cause were found."""

    n: int
    found: int
    patients: int
    recall: Estimate


@dataclass(frozen=True, slots=True)
class SplitResult:
    """One scored split at the operating point.

    `sure_mistakes` counts mistakes made with a probability of at least 0.9 for the wrong class. `in_hindsight` is the
    largest Youden's J that any threshold gives this split; None where a class is missing.
    """

    split: Split
    n: int
    patients: int
    estimates: Mapping[str, Estimate]
    confusion: ConfusionMatrix
    sure_mistakes: int
    mean_probability: float
    ece_uncalibrated: float
    nll: float
    nll_uncalibrated: float
    in_hindsight: float | None

    @property
    def share(self) -> float:
        """Share of PNEUMONIA among the scored pictures."""
        return self.confusion.positives / self.n

    @property
    def youden(self) -> float | None:
        """Youden's J at the operating point; None where a class is missing."""
        recall, specificity = self.estimates["recall"].value, self.estimates["specificity"].value
        return None if recall is None or specificity is None else recall + specificity - 1


@dataclass(frozen=True, slots=True)
class Results:
    """All numbers of one evaluation. `val` is None where the operating point came with the model."""

    model: str
    point: OperatingPoint
    tested: SplitResult
    val: SplitResult | None
    by_pathogen: Mapping[str, PathogenResult]
    counts: Mapping[str, SplitCount]
    failures: Mapping[str, int]
    val_failures: Mapping[str, int]
    decisions: Decisions
    resamples: int
    seed: int


def measure(
    model: str,
    tested: ScoredSplit,
    val: ScoredSplit | None,
    point: OperatingPoint,
    *,
    splits: pd.DataFrame,
    config: EvaluateConfig,
    seed: int,
    points: Mapping[str, OperatingPointSpec] | None = None,
    conformal: Sequence[ConformalRule] | None = None,
) -> Results:
    """Compute all numbers of an evaluation from scores and operating point.

    `points` and `conformal` are the model's named operating points and prediction sets; none given: those of val, where
    that is scored.
    """
    if points is None:
        points = {} if val is None else fit_points(val.labels, point.calibrate(val.logits), config=config)
    if conformal is None:
        conformal = () if val is None else fit_all_conformal(val.labels, point.calibrate(val.logits))
    val_result = None
    if val is not None:
        val_result = measure_split(val, point, resamples=config.bootstrap, seed=seed)
    same = val is not None and tested.split is val.split
    return Results(
        model=model,
        point=point,
        tested=val_result
        if same and val_result
        else measure_split(tested, point, resamples=config.bootstrap, seed=seed),
        val=val_result,
        by_pathogen=_measure_pathogens(tested, point, resamples=config.bootstrap, seed=seed),
        counts=count_splits(splits),
        failures=tested.count_failures(),
        val_failures=val.count_failures() if val is not None else {},
        decisions=measure_decisions(
            tested, val, point, points, resamples=config.bootstrap, seed=seed, conformal=conformal
        ),
        resamples=config.bootstrap,
        seed=seed,
    )


def measure_split(scored: ScoredSplit, point: OperatingPoint, *, resamples: int, seed: int) -> SplitResult:
    """Compute the metrics of one scored split at the operating point."""
    labels, logits = scored.labels, scored.logits
    probabilities = point.calibrate(logits)
    patients = scored.texts("patient")
    return SplitResult(
        split=scored.split,
        n=labels.size,
        patients=len(set(patients)),
        estimates=estimate_metrics(
            labels, probabilities, patients, threshold=point.threshold, resamples=resamples, seed=seed
        ),
        confusion=count_confusion(labels, probabilities, threshold=point.threshold),
        sure_mistakes=int(_find_sure_mistakes(labels, probabilities, threshold=point.threshold).sum()),
        mean_probability=float(probabilities.mean()),
        ece_uncalibrated=expected_calibration_error(labels, calibrate(logits, temperature=1.0)),
        nll=negative_log_likelihood(labels, logits, temperature=point.temperature, intercept=point.intercept),
        nll_uncalibrated=negative_log_likelihood(labels, logits, temperature=1.0),
        in_hindsight=_largest_youden(labels, probabilities),
    )


def _find_sure_mistakes(labels: BoolArray, probabilities: DoubleArray, *, threshold: float) -> BoolArray:
    wrong = is_positive(probabilities, threshold=threshold) != labels
    against = np.where(labels, 1 - probabilities, probabilities)
    return np.asarray(wrong & (against >= SURE), dtype=np.bool_)


def count_splits(splits: pd.DataFrame) -> dict[str, SplitCount]:
    """Count pictures, patients and pneumonias of each split that there is, in the order train, val, test."""
    counts = {}
    for split in Split:
        rows = splits[splits["split"] == split]
        if len(rows):
            positives = int((rows["label"] == Label.PNEUMONIA).sum())
            counts[str(split)] = SplitCount(len(rows), int(rows["patient"].nunique()), positives)
    return counts


def _measure_pathogens(
    scored: ScoredSplit, point: OperatingPoint, *, resamples: int, seed: int
) -> dict[str, PathogenResult]:
    probabilities = point.calibrate(scored.logits)
    called = is_positive(probabilities, threshold=point.threshold)
    pathogens, patients = np.array(scored.texts("pathogen")), np.array(scored.texts("patient"))
    results = {}
    for pathogen in Pathogen:
        chosen = (pathogens == pathogen) & scored.labels
        if chosen.any():
            own = patients[chosen].tolist()
            recall = estimate_recall(called[chosen], own, resamples=resamples, seed=seed)
            results[str(pathogen)] = PathogenResult(int(chosen.sum()), int(called[chosen].sum()), len(set(own)), recall)
    return results


def _largest_youden(labels: BoolArray, probabilities: DoubleArray) -> float | None:
    if labels.all() or not labels.any():
        return None
    _, true_positives, false_positives = count_above_cuts(labels, probabilities)
    return float((true_positives / labels.sum() - false_positives / (~labels).sum()).max())


def to_json(results: Results) -> dict[str, Any]:
    """Return the content of metrics.json, without the provenance that the caller adds."""
    tested, val, point = results.tested, results.val, results.point
    return {
        "model": results.model,
        "split": str(tested.split),
        "n": tested.n,
        "patients": tested.patients,
        "threshold": point.threshold,
        "threshold_source": point.source,
        "threshold_rule": point.rule,
        "temperature": point.temperature,
        "metrics": {name: estimate.to_json() for name, estimate in tested.estimates.items()},
        "confusion_matrix": asdict(tested.confusion),
        "by_pathogen": {
            name: {"n": group.n, "found": group.found, "patients": group.patients, "recall": group.recall.to_json()}
            for name, group in results.by_pathogen.items()
        },
        "calibration": {
            **_calibration_to_json(point),
            "mean_probability": tested.mean_probability,
            "share_pneumonia": tested.share,
            "ece_uncalibrated": tested.ece_uncalibrated,
            "nll": tested.nll,
            "nll_uncalibrated": tested.nll_uncalibrated,
            "sure_mistakes": tested.sure_mistakes,
        },
        "val": _val_to_json(val),
        **decisions_to_json(results.decisions),
        "splits": {name: {**asdict(count), "share_pneumonia": count.share} for name, count in results.counts.items()},
        "failed": {"n": sum(results.failures.values()), "by_status": dict(results.failures)},
        "intervals": {
            "level": 0.95,
            "resampled_by": "patient",
            "resamples": results.resamples,
            "seed": results.seed,
        },
    }


def _calibration_to_json(point: OperatingPoint) -> dict[str, Any]:
    """Return what the calibration is, and what held-out pictures of val said of the two methods."""
    content: dict[str, Any] = {
        "method": str(CalibrationMethod.PLATT if point.intercept else CalibrationMethod.TEMPERATURE),
        "temperature": point.temperature,
        "intercept": point.intercept,
        "prior": point.prior,
        "choice": None,
    }
    choice = point.choice
    if choice is not None:
        content["choice"] = {
            "held_out_loss_temperature": choice.loss_temperature,
            "held_out_loss_temperature_and_intercept": choice.loss_platt,
            "gain": choice.gain,
            "standard_error": choice.standard_error,
            "rule": choice.rule,
        }
    return content


def _val_to_json(val: SplitResult | None) -> dict[str, Any] | None:
    if val is None:
        return None
    return {
        "n": val.n,
        "patients": val.patients,
        "metrics": {name: estimate.to_json() for name, estimate in val.estimates.items()},
        "confusion_matrix": asdict(val.confusion),
        "note": "These figures flatter: calibration and threshold were fitted on this split.",
    }
