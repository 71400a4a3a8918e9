"""What a deployed model decides by, and whether its network still says what the trained one said.

Rounding moves logits, so calibration, thresholds and scale of heat maps are fitted on val with the exported network.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

from hilum.bundle import ConformalSpec, MetricSpec, OperatingPointSpec, ParitySpec
from hilum.config import EvaluateConfig
from hilum.errors import EvaluationError
from hilum.evaluation.calibration import Calibration
from hilum.evaluation.conformal import fit_all_conformal
from hilum.evaluation.points import fit_points, name_default
from hilum.evaluation.results import Results, measure
from hilum.evaluation.scoring import ScoredSplit
from hilum.evaluation.thresholds import fit_operating_point
from hilum.inference.decision import is_positive
from hilum.inference.explain import fit_full_scale
from hilum.types import BoolArray, DoubleArray, FloatArray, Label, Split, Status

MAX_AUROC_DROP = 0.002
MAX_CHANGED_SHARE = 0.01


@dataclass(frozen=True, slots=True)
class Deployment:
    """What bundle.json says of decisions. `results` are the figures of val at the default operating point.

    `prior` is the share of PNEUMONIA that probabilities stand for.
    """

    calibration: Calibration
    prior: float
    operating_points: dict[str, OperatingPointSpec]
    conformal: tuple[ConformalSpec, ...]
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
    val: ScoredSplit,
    *,
    name: str,
    splits: pd.DataFrame,
    config: EvaluateConfig,
    seed: int,
    trained_prior: float | None = None,
) -> Deployment:
    """Fit calibration, operating points and scale of heat maps on val, and measure val at the default point.

    `trained_prior` is the share of PNEUMONIA that the network's own odds stand for.

    Raises:
        EvaluationError: val lacks one of the classes.
    """
    labels = val.labels
    point = fit_operating_point(labels, val.logits, val.texts("patient"), config=config, trained_prior=trained_prior)
    probabilities = point.calibrate(val.logits)
    points = fit_points(labels, probabilities, config=config)
    results = measure(name, val, val, point, splits=splits, config=config, seed=seed, points=points)
    called = is_positive(probabilities, threshold=point.threshold)
    return Deployment(
        calibration=point.calibration,
        prior=float(labels.mean()) if point.prior is None else point.prior,
        operating_points=points,
        conformal=tuple(
            rule.to_spec(chosen_on=str(Split.VAL), n=labels.size) for rule in fit_all_conformal(labels, probabilities)
        ),
        default=name_default(config),
        heatmap_full_scale=fit_full_scale(
            [cam for cam, positive in zip(val.cams, called, strict=True) if positive and cam is not None]
        ),
        metrics={
            metric: MetricSpec(value=estimate.value, ci_low=estimate.ci_low, ci_high=estimate.ci_high)
            for metric, estimate in results.tested.estimates.items()
        },
        results=results,
    )


def compare_networks(
    trained: ScoredSplit, exported: ScoredSplit, deployment: Deployment, *, config: EvaluateConfig
) -> ParitySpec:
    """Compare what the trained and the exported network say of the same pictures of val."""
    labels = trained.labels
    point = fit_operating_point(labels, trained.logits, trained.texts("patient"), config=config)

    def call(logits: DoubleArray, calibration: Calibration, threshold: float) -> BoolArray:
        return is_positive(calibration.apply(logits), threshold=threshold)

    before = call(trained.logits, point.calibration, point.threshold)
    after = call(exported.logits, point.calibration, point.threshold)
    own = deployment.operating_points[deployment.default].threshold
    refitted = call(exported.logits, deployment.calibration, own)
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


def measure_prior(splits: pd.DataFrame, *, balanced: bool = False) -> float:
    """Return the share of PNEUMONIA that the network's own odds stand for: that of the pictures of train.

    A loss or a sampler that makes both classes count alike (`balanced`) teaches odds of equally frequent classes (Elkan
    2001), which is 0.5.
    """
    if balanced:
        return 0.5
    return float((splits.loc[splits["split"] == Split.TRAIN, "label"] == Label.PNEUMONIA).mean())
