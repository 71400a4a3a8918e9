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
from numpy.typing import NDArray
from PIL import Image
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from hilum.data.cache import read_prepared
from hilum.data.lungs import segment_all
from hilum.data.manifest import require_both_classes
from hilum.data.splits import join_patients
from hilum.errors import DataError
from hilum.evaluation.shortcuts.masking import black_out, find_boxes, widen
from hilum.preprocess import PreprocessSpec
from hilum.progress import track
from hilum.types import BoolArray, DoubleArray, IntArray, Label, Split, Status, UInt8Array

_THUMBNAIL = 24  # pixels: coarse enough for a linear classifier, fine enough for framing and markers
_COMPONENTS = 80
_FOLDS = 5


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
    if fewest < _FOLDS:
        raise DataError(
            f"An adverse validation needs at least {_FOLDS} patients of each class in train; one has {fewest}."
        )
    surroundings = describe_surroundings(pictures, train[["bytes", "mean"]].to_numpy(dtype=np.float64))
    evidence = _judge(surroundings, sick, train["patient"].to_numpy(), seed=seed)
    wrong = np.where(sick, -evidence, evidence)
    worst = [_choose_worst(wrong, patients, here, share=share) for here in (sick, ~sick)]
    chosen = np.logical_or(*worst)
    return AdverseSplit(
        chosen, float(roc_auc_score(sick, evidence)), float(roc_auc_score(sick[chosen], evidence[chosen]))
    )


def describe_surroundings(pictures: UInt8Array, file_facts: DoubleArray) -> DoubleArray:
    """Return what is known without the lungs: a thumbnail without their box, the file's facts, the place of the box.

    `pictures` are (n, s, s), `file_facts` (n, m); the result is (n, features).
    """
    boxes = find_boxes(widen(segment_all(pictures)))
    rows, columns = np.asarray(boxes.any(axis=2)), np.asarray(boxes.any(axis=1))
    place = [side.argmax(axis=1) for side in (rows, rows[:, ::-1], columns, columns[:, ::-1])]
    shrunk = [
        np.asarray(Image.fromarray(picture).resize((_THUMBNAIL, _THUMBNAIL), Image.Resampling.BOX)).ravel()
        for picture in black_out(pictures, boxes)
    ]
    return np.column_stack([np.stack(shrunk), file_facts, *place]).astype(np.float64)


def _judge(features: DoubleArray, sick: BoolArray, patients: NDArray[np.object_], *, seed: int) -> DoubleArray:
    """Return the evidence for PNEUMONIA of each row as a log odds, from a classifier that saw other patients."""
    evidence = np.empty(len(sick))
    folds = StratifiedGroupKFold(_FOLDS, shuffle=True, random_state=seed)
    for fitted, judged in folds.split(features, sick, patients):
        components = min(_COMPONENTS, len(fitted) - 1, features.shape[1])
        classifier = make_pipeline(
            StandardScaler(),
            PCA(components, random_state=seed),
            StandardScaler(),
            LogisticRegression(C=0.1, max_iter=2000, class_weight="balanced"),
        )
        evidence[judged] = classifier.fit(features[fitted], sick[fitted]).decision_function(features[judged])
    return evidence


def _choose_worst(wrong: DoubleArray, patients: IntArray, here: BoolArray, *, share: float) -> BoolArray:
    """Return the rows of the most wrongly judged patients, until `share` of the rows `here` is reached."""
    table = pd.DataFrame({"patient": patients[here], "wrong": wrong[here]}).groupby("patient")["wrong"]
    judged = table.agg(["mean", "size"]).sort_values("mean", ascending=False, kind="stable")
    reached = judged.index[judged["size"].cumsum() <= max(share * here.sum(), judged["size"].iloc[0])]
    return np.asarray(here & np.isin(patients, reached), dtype=np.bool_)
