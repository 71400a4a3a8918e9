"""All checks for shortcuts on one scored split, and what metrics.json says of them."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import pandas as pd

from hilum.config import EvaluateConfig
from hilum.evaluation.intervals import Estimate
from hilum.evaluation.scoring import ScoredSplit
from hilum.evaluation.shortcuts.erasure import ErasureResult, check_erasure
from hilum.evaluation.shortcuts.evidence import EvidenceResult, check_evidence
from hilum.evaluation.shortcuts.markers import MarkerResult, check_markers
from hilum.evaluation.shortcuts.masking import MaskedResult, check_masked
from hilum.evaluation.shortcuts.metadata import MetadataResult, check_metadata
from hilum.evaluation.shortcuts.sample import CountedScorer, Sample, as_picture_scorer, read_sample
from hilum.evaluation.thresholds import OperatingPoint
from hilum.inference.decision import is_positive

logger = logging.getLogger(__name__)

# Together at most 3 x 624 + 21 x 24 + 80 + 40 = 2,496 forward passes.
MASKED_PICTURES = 624
ERASED_PICTURES = 24
MARKED_PICTURES = 80


@dataclass(frozen=True, slots=True)
class ShortcutResults:
    """What the checks found. `found_lungs` is the share of pictures in which lungs were found."""

    sample: Sample
    found_lungs: float
    metadata: MetadataResult
    masked: MaskedResult
    evidence: EvidenceResult
    erasure: ErasureResult
    markers_cleared: MarkerResult
    marker_drawn: MarkerResult
    forward_passes: int

    def to_json(self) -> dict[str, Any]:
        """Return the content of the key "shortcuts" in metrics.json."""
        masked, evidence, erasure = self.masked, self.evidence, self.erasure
        return {
            "n": len(self.sample),
            "forward_passes": self.forward_passes,
            "lungs": {"found": self.found_lungs, "mean_area": float(self.sample.masks.mean())},
            "metadata_only": {
                "trained_on": self.metadata.trained_on,
                "auroc": self.metadata.auroc.to_json(),
                "auroc_balanced": self.metadata.balanced.to_json(),
                "auroc_of_model_balanced": self.metadata.model_balanced.to_json(),
            },
            "masked": {
                "n": masked.n,
                "area": masked.area,
                "auroc_whole": masked.whole.to_json(),
                "auroc_without_lungs": masked.without_lungs.to_json(),
                "auroc_without_box": masked.without_box.to_json(),
                "auroc_only_lungs": masked.only_lungs.to_json(),
                "kept_without_lungs": masked.kept_without,
            },
            "cam": {
                "n": evidence.n,
                "share_in_lungs": evidence.inside.to_json(),
                "area_of_lungs": evidence.area,
                "peak_in_lungs": evidence.pointing.to_json(),
            },
            "deletion_insertion": {
                "n": erasure.n,
                "cells": erasure.cells,
                "shares": erasure.shares.tolist(),
                "curves": {name: curve.tolist() for name, curve in erasure.curves.items()} if erasure.n else {},
                "areas": {name: area.to_json() for name, area in erasure.areas.items()},
                "deletion_gain": erasure.deletion_gain.to_json(),
                "insertion_gain": erasure.insertion_gain.to_json(),
            },
            "markers": {
                "cleared": _marker_to_json(self.markers_cleared),
                "drawn": _marker_to_json(self.marker_drawn),
            },
        }


def _marker_to_json(result: MarkerResult) -> dict[str, Any]:
    estimates: dict[str, Estimate] = {
        "mean_change": result.mean_change,
        "mean_size": result.mean_size,
        "flipped": result.flipped,
    }
    return {
        "n": result.n,
        "change_by_label": result.change_by_label,
        **{name: estimate.to_json() for name, estimate in estimates.items()},
    }


def probe_shortcuts(
    scorer: object,
    scored: ScoredSplit,
    point: OperatingPoint,
    *,
    splits: pd.DataFrame,
    manifest: pd.DataFrame | None,
    config: EvaluateConfig,
    seed: int,
) -> ShortcutResults:
    """Run all checks on a scored split at an operating point that was fixed before.

    It takes at most 2,496 forward passes, however large the split is.

    Raises:
        EvaluationError: `scorer` is no `PictureScorer`: it cannot score changed pictures.
    """
    able = as_picture_scorer(scorer)
    called = is_positive(point.calibrate(scored.logits), threshold=point.threshold)
    sample = read_sample(scored, called, able.spec, count=MASKED_PICTURES, seed=seed)
    score = CountedScorer(able.score_prepared)
    drawing: dict[str, int] = {"resamples": config.bootstrap, "seed": seed}
    masked = check_masked(sample, score, point, **drawing)
    logger.debug("Lungs taken away and alone: %d forward passes.", score.count)
    erasure = check_erasure(sample, score, point, count=ERASED_PICTURES, **drawing)
    logger.debug("With deletion and insertion: %d forward passes.", score.count)
    cleared, drawn = check_markers(sample, score, point, count=MARKED_PICTURES, **drawing)
    logger.debug("With markers: %d forward passes.", score.count)
    return ShortcutResults(
        sample=sample,
        found_lungs=float(sample.plausible.mean()),
        metadata=check_metadata(scored, splits, manifest, **drawing),
        masked=masked,
        evidence=check_evidence(sample, **drawing),
        erasure=erasure,
        markers_cleared=cleared,
        marker_drawn=drawn,
        forward_passes=score.count,
    )
