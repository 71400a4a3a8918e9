"""What a deployed model decides by, and whether its network still says what the trained one said.

Rounding moves logits, so temperature, thresholds and scale of heat maps are fitted on val with the exported network.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

from hilum.bundle import MetricSpec, OperatingPointSpec, ParitySpec
from hilum.config import EvaluateConfig
from hilum.errors import EvaluationError
from hilum.evaluation.calibration import fit_temperature
from hilum.evaluation.metrics import count_confusion
from hilum.evaluation.results import Results, measure
from hilum.evaluation.scoring import ScoredSplit
from hilum.evaluation.thresholds import (
    OperatingPoint,
    fit_operating_point,
    fit_specific_threshold,
    fit_threshold,
    fit_youden,
)
from hilum.inference.decision import calibrate, is_positive
from hilum.inference.explain import fit_full_scale
from hilum.types import BoolArray, DoubleArray, FloatArray, Label, Split, Status

MAX_AUROC_DROP = 0.002
MAX_CHANGED_SHARE = 0.01
_SENSITIVITIES = (0.95, 0.99)
_SPECIFICITIES = (0.95,)


@dataclass(frozen=True, slots=True)
class Deployment:
    """What bundle.json says of decisions. `results` are the figures of val at the default operating point."""

    temperature: float
    operating_points: dict[str, OperatingPointSpec]
    default: str
    heatmap_full_scale: float
    metrics: dict[str, MetricSpec]
    results: Results


def join_scores(rows: pd.DataFrame, logits: FloatArray, cams: FloatArray) -> ScoredSplit:
    """Put the scores of all rows of val beside what is known of them.

    Args:
        rows: as `hilum.evaluation.scoring.select_rows` gives them, all readable.
        logits: (n,).
        cams: (n, h, w).

    Raises:
        EvaluationError: a logit is not finite.
    """
    if not np.isfinite(logits).all():
        place = int(np.flatnonzero(~np.isfinite(logits))[0])
        raise EvaluationError(
            f"The exported network gives no finite number for {rows['path'].iloc[place]}; take another --precision."
        )
    table = rows.assign(status=str(Status.OK), message="", logit=logits.astype(np.float64))
    return ScoredSplit(Split.VAL, table, tuple(cams))


def fit_deployment(
    val: ScoredSplit, *, name: str, splits: pd.DataFrame, config: EvaluateConfig, seed: int
) -> Deployment:
    """Fit temperature, operating points and scale of heat maps on val, and measure val at the default point.

    Raises:
        EvaluationError: val lacks one of the classes.
    """
    labels = val.labels
    temperature = fit_temperature(labels, val.logits)
    probabilities = calibrate(val.logits, temperature=temperature)
    thresholds = {"youden": ("largest Youden's J", fit_youden(labels, probabilities))}
    for share in sorted({*_SENSITIVITIES, config.min_sensitivity}):
        threshold = fit_threshold(labels, probabilities, min_sensitivity=share)
        thresholds[_name_point("sensitivity", share)] = f"sensitivity of at least {share:g}", threshold
    for share in _SPECIFICITIES:
        threshold = fit_specific_threshold(labels, probabilities, min_specificity=share)
        thresholds[_name_point("specificity", share)] = f"specificity of at least {share:g}", threshold
    default = "youden"
    if config.operating_point == "sensitivity":
        default = _name_point("sensitivity", config.min_sensitivity)
    point = OperatingPoint(
        thresholds[default][1], temperature, config.operating_point, "val", min_sensitivity=config.min_sensitivity
    )
    results = measure(name, val, val, point, splits=splits, config=config, seed=seed)
    called = is_positive(probabilities, threshold=point.threshold)
    return Deployment(
        temperature=temperature,
        operating_points={
            name: _describe_point(labels, probabilities, rule=rule, threshold=threshold)
            for name, (rule, threshold) in thresholds.items()
        },
        default=default,
        heatmap_full_scale=fit_full_scale(
            [cam for cam, positive in zip(val.cams, called, strict=True) if positive and cam is not None]
        ),
        metrics={
            metric: MetricSpec(value=estimate.value, ci_low=estimate.ci_low, ci_high=estimate.ci_high)
            for metric, estimate in results.tested.estimates.items()
        },
        results=results,
    )


def _name_point(kind: str, share: float) -> str:
    return f"{kind}-{100 * share:g}"


def _describe_point(
    labels: BoolArray, probabilities: DoubleArray, *, rule: str, threshold: float
) -> OperatingPointSpec:
    cells = count_confusion(labels, probabilities, threshold=threshold)
    return OperatingPointSpec(
        threshold=threshold,
        rule=rule,
        chosen_on=str(Split.VAL),
        n=labels.size,
        sensitivity=cells.tp / cells.positives,
        specificity=cells.tn / cells.negatives,
    )


def compare_networks(
    trained: ScoredSplit, exported: ScoredSplit, deployment: Deployment, *, config: EvaluateConfig
) -> ParitySpec:
    """Compare what the trained and the exported network say of the same pictures of val."""
    labels = trained.labels
    point = fit_operating_point(labels, trained.logits, config=config)

    def call(logits: DoubleArray, *, temperature: float, threshold: float) -> BoolArray:
        return is_positive(calibrate(logits, temperature=temperature), threshold=threshold)

    before = call(trained.logits, temperature=point.temperature, threshold=point.threshold)
    after = call(exported.logits, temperature=point.temperature, threshold=point.threshold)
    own = deployment.operating_points[deployment.default].threshold
    refitted = call(exported.logits, temperature=deployment.temperature, threshold=own)
    difference = np.abs(trained.logits - exported.logits)
    return ParitySpec(
        n=labels.size,
        auroc_trained=float(roc_auc_score(labels, trained.logits)),
        auroc_exported=float(roc_auc_score(labels, exported.logits)),
        max_logit_difference=float(difference.max()),
        mean_logit_difference=float(difference.mean()),
        changed_verdicts=int((before != after).sum()),
        changed_after_refit=int((before != refitted).sum()),
    )


def explain_difference(parity: ParitySpec) -> str:
    """Return why an exported network is not good enough, as the rest of a sentence; empty where it is."""
    reasons = []
    drop = parity.auroc_trained - parity.auroc_exported
    if drop > MAX_AUROC_DROP:
        reasons.append(
            f"the AUROC on val falls from {parity.auroc_trained:.4f} to {parity.auroc_exported:.4f} "
            f"(at most {MAX_AUROC_DROP:g} is allowed)"
        )
    if parity.changed_verdicts > MAX_CHANGED_SHARE * parity.n:
        reasons.append(
            f"{parity.changed_verdicts:,} of {parity.n:,} verdicts on val change "
            f"(at most {100 * MAX_CHANGED_SHARE:g} %)"
        )
    return " and ".join(reasons)


def measure_prior(splits: pd.DataFrame) -> float:
    """Return the share of PNEUMONIA among the pictures of train."""
    return float((splits.loc[splits["split"] == Split.TRAIN, "label"] == Label.PNEUMONIA).mean())
