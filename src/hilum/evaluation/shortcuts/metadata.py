"""The baseline that looks at no picture: how well width, height, file size and mean gray alone tell the classes."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from hilum.data.audit.shortcut import check_shortcuts
from hilum.evaluation.intervals import Estimate
from hilum.evaluation.scoring import ScoredSplit
from hilum.types import Split, Status

_COLUMNS = ("width", "height", "bytes", "mode", "mean", "label", "patient", "sha256", "path", "split")


@dataclass(frozen=True, slots=True)
class MetadataResult:
    """AUROC of boosted trees on file metadata, learnt on `trained_on` train pictures; without a value, the reason."""

    trained_on: int
    auroc: Estimate


def check_metadata(
    scored: ScoredSplit, splits: pd.DataFrame, manifest: pd.DataFrame | None, *, resamples: int, seed: int
) -> MetadataResult:
    """Learn on the train pictures of the manifest that stand in no other split, and score the split in question."""
    if manifest is None:
        return MetadataResult(0, Estimate(None, reason="the metadata of the files are not at hand"))
    readable = manifest.loc[manifest["status"] == Status.OK, list(_COLUMNS)]
    held_back = splits.loc[splits["split"] != Split.TRAIN, "sha256"]
    train = readable[(readable["split"] == Split.TRAIN) & ~readable["sha256"].isin(held_back)]
    evaluated = readable[readable["path"].isin(scored.texts("path"))]
    if train.empty or evaluated.empty:
        return MetadataResult(0, Estimate(None, reason="the train pictures are not at hand"))
    # The check knows val and test: what is scored counts as test.
    frame = pd.concat([train, evaluated.assign(split=str(Split.TEST))], ignore_index=True)
    check = check_shortcuts(frame, seed=seed, resamples=resamples)
    if not check.together:
        return MetadataResult(check.trained_on, Estimate(None, reason=check.reason))
    score = check.together[0].scores[Split.TEST]
    auroc = Estimate(score.value, score.ci_low, score.ci_high, method="bootstrap")
    return MetadataResult(check.trained_on, auroc)
