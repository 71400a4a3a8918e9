"""The baseline that looks at no picture: how well width, height, file size and mean gray alone tell the classes.

And the model beside it where they do not: each picture weighs the more the less its file gives its label away, so that
in the weighted sample files say (next to) nothing of the class. What an AUROC loses by that it owed to like files.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import expit

from hilum.data.audit.shortcut import check_shortcuts
from hilum.data.surroundings import weigh_draws
from hilum.evaluation.intervals import Estimate
from hilum.evaluation.scoring import ScoredSplit
from hilum.evaluation.shortcuts.means import estimate_auroc
from hilum.types import DoubleArray, Split, Status

_COLUMNS = ("width", "height", "bytes", "mode", "mean", "label", "patient", "sha256", "path", "split")


@dataclass(frozen=True, slots=True)
class MetadataResult:
    """AUROC of boosted trees on file metadata, learnt on `trained_on` train pictures; without a value, the reason.

    `balanced` and `model_balanced` are the AUROC of the trees and of the model on the pictures weighed against them.
    """

    trained_on: int
    auroc: Estimate
    balanced: Estimate
    model_balanced: Estimate

    @classmethod
    def leave_open(cls, reason: str, *, trained_on: int = 0) -> MetadataResult:
        """Return the result of a check that could not be done."""
        missing = Estimate(None, reason=reason)
        return cls(trained_on, missing, missing, missing)


def check_metadata(
    scored: ScoredSplit, splits: pd.DataFrame, manifest: pd.DataFrame | None, *, resamples: int, seed: int
) -> MetadataResult:
    """Learn on the train pictures of the manifest that stand in no other split, and score the split in question."""
    if manifest is None:
        return MetadataResult.leave_open("the metadata of the files are not at hand")
    readable = manifest.loc[manifest["status"] == Status.OK, list(_COLUMNS)]
    held_back = splits.loc[splits["split"] != Split.TRAIN, "sha256"]
    train = readable[(readable["split"] == Split.TRAIN) & ~readable["sha256"].isin(held_back)]
    evaluated = readable[readable["path"].isin(scored.texts("path"))]
    if train.empty or evaluated.empty:
        return MetadataResult.leave_open("the train pictures are not at hand")
    if not set(scored.texts("path")) <= set(evaluated["path"]):
        return MetadataResult.leave_open("the metadata of some of the files are not at hand")
    # The check knows val and test: what is scored counts as test.
    frame = pd.concat([train, evaluated.assign(split=str(Split.TEST))], ignore_index=True)
    check = check_shortcuts(frame, seed=seed, resamples=resamples)
    if not check.together:
        return MetadataResult.leave_open(check.reason, trained_on=check.trained_on)
    trees = check.together[0]
    score = trees.scores[Split.TEST]
    auroc = Estimate(score.value, score.ci_low, score.ci_high, method="bootstrap")
    known = pd.Series(trees.evidence[len(train) :], index=evaluated["path"])
    evidence: DoubleArray = np.asarray(known[scored.texts("path")], dtype=np.float64)
    weights = weigh_draws(evidence, scored.labels)

    def estimate(logits: DoubleArray) -> Estimate:
        patients = scored.texts("patient")
        return estimate_auroc(scored.labels, expit(logits), patients, resamples=resamples, seed=seed, weights=weights)

    return MetadataResult(check.trained_on, auroc, estimate(evidence), estimate(scored.logits))
