"""An adverse validation: the train pictures whose surroundings speak for the wrong class.

In one hospital's pictures, what lies around the lungs (framing, collars, belly, markers, how the file was compressed)
can tell sick from healthy children almost without a look at the lungs. Validation drawn by chance has the same
surroundings, so a network that reads them looks perfect. Here a plain linear classifier reads the surroundings alone;
the patients whom it gets most wrong validate, the others train. Who then does well must have looked at the lungs:
recipes can be ranked again. It is a test to choose by, not an estimate of performance, for the held-out pictures are
unusual on purpose (the idea of environments in which a shortcut fails: Geirhos et al. 2020, arXiv:2004.07780).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

from hilum.data.cache import read_prepared
from hilum.data.lungs import segment_all, widen
from hilum.data.manifest import require_both_classes
from hilum.data.splits import join_patients
from hilum.data.surroundings import FOLDS, describe_surroundings, judge_surroundings
from hilum.errors import DataError
from hilum.preprocess import PreprocessSpec
from hilum.progress import track
from hilum.types import BoolArray, DoubleArray, IntArray, Label, Split, Status, UInt8Array


@dataclass(frozen=True, slots=True)
class AdverseSplit:
    """Which rows validate (n,), and the AUROC of the surroundings alone over all rows and over those."""

    chosen: BoolArray
    auroc: float
    auroc_chosen: float


def divide_adversely(manifest: pd.DataFrame, *, share: float, seed: int) -> tuple[pd.DataFrame, AdverseSplit]:
    """Return the manifest with another validation, and how it came about; earlier val counts as train, test stays.

    Raises:
        DataError: as for `choose_adverse`.
    """
    used = (manifest["status"] == Status.OK) & manifest["split"].isin([Split.TRAIN, Split.VAL])
    train = manifest[used].assign(split=str(Split.TRAIN))
    require_both_classes(train, Split.TRAIN)
    spec = PreprocessSpec()
    paths = track(train["path"], description="Reading pictures", total=len(train))
    found = choose_adverse(train, np.stack([read_prepared(path, spec) for path in paths]), share=share, seed=seed)
    divided = manifest.copy()
    divided.loc[used, "split"] = np.where(found.chosen, str(Split.VAL), str(Split.TRAIN))
    return divided, found


def choose_adverse(train: pd.DataFrame, pictures: UInt8Array, *, share: float, seed: int) -> AdverseSplit:
    """Choose the patients of each class whose surroundings speak most for the other class.

    Args:
        train: rows of train as in a manifest.
        pictures: the same, prepared, (n, s, s).
        share: of the pictures of each class that validate, at most; above 0 and below 1.
        seed: of the folds in which each patient is judged by a classifier that never saw him.

    Raises:
        DataError: a class is missing or has too few patients.
    """
    require_both_classes(train, Split.TRAIN)
    sick = (train["label"] == Label.PNEUMONIA).to_numpy()
    patients = join_patients(train)
    fewest = min(len(np.unique(patients[sick])), len(np.unique(patients[~sick])))
    if fewest < FOLDS:
        raise DataError(
            f"An adverse validation needs at least {FOLDS} patients of each class in train; one has {fewest}."
        )
    lungs = widen(segment_all(pictures))
    surroundings = describe_surroundings(pictures, lungs, train[["bytes", "mean"]].to_numpy(dtype=np.float64))
    evidence = judge_surroundings(surroundings, sick, patients, seed=seed)
    wrong = np.where(sick, -evidence, evidence)
    worst = [_choose_worst(wrong, patients, here, share=share) for here in (sick, ~sick)]
    chosen = np.logical_or(*worst)
    return AdverseSplit(
        chosen, float(roc_auc_score(sick, evidence)), float(roc_auc_score(sick[chosen], evidence[chosen]))
    )


def _choose_worst(wrong: DoubleArray, patients: IntArray, here: BoolArray, *, share: float) -> BoolArray:
    """Return the rows of the most wrongly judged patients, until `share` of the rows `here` is reached."""
    table = pd.DataFrame({"patient": patients[here], "wrong": wrong[here]}).groupby("patient")["wrong"]
    judged = table.agg(["mean", "size"]).sort_values("mean", ascending=False, kind="stable")
    reached = judged.index[judged["size"].cumsum() <= max(share * here.sum(), judged["size"].iloc[0])]
    return np.asarray(here & np.isin(patients, reached), dtype=np.bool_)
