"""What a picture's surroundings, all but the lungs, say of its label; and draws in which they say less.

In one hospital's pictures framing, collars, belly, markers and the size of the file can tell sick from healthy children
almost without a look at the lungs. A plain linear classifier that sees nothing else measures that, each patient judged
by one that never saw him. Drawing a picture the more often the less its surroundings give its label away (inverse
propensity weighting: Horvitz and Thompson 1952, Rosenbaum and Rubin 1983) takes from a network the reason to read them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from hilum.data.lungs import black_out, find_boxes
from hilum.types import BoolArray, DoubleArray, UInt8Array

FOLDS = 5
_THUMBNAIL = 24  # pixels: coarse enough for a linear classifier, fine enough for framing and markers
_COMPONENTS = 80
_FLOOR = 0.1  # smallest propensity that counts: no picture weighs more than ten times what another one does


def describe_surroundings(pictures: UInt8Array, lungs: BoolArray, file_facts: DoubleArray) -> DoubleArray:
    """Return what is known without the lungs: a thumbnail without their box, the file's facts, the place of the box.

    `pictures` and `lungs`, widened a little, are (n, s, s), `file_facts` (n, m); the result is (n, features).
    """
    boxes = find_boxes(lungs)
    rows, columns = np.asarray(boxes.any(axis=2)), np.asarray(boxes.any(axis=1))
    place = [side.argmax(axis=1) for side in (rows, rows[:, ::-1], columns, columns[:, ::-1])]
    shrunk = [
        np.asarray(Image.fromarray(picture).resize((_THUMBNAIL, _THUMBNAIL), Image.Resampling.BOX)).ravel()
        for picture in black_out(pictures, boxes)
    ]
    return np.column_stack([np.stack(shrunk), file_facts, *place]).astype(np.float64)


def judge_surroundings(features: DoubleArray, sick: BoolArray, patients: NDArray[Any], *, seed: int) -> DoubleArray:
    """Return the evidence for PNEUMONIA of each row (n,) as a log odds, from a classifier that saw other patients.

    Where a class has too few patients to leave some out, the evidence is 0: nothing is known.
    """
    evidence = np.zeros(len(sick))
    fewest = min(len(np.unique(patients[sick])), len(np.unique(patients[~sick])))
    if fewest < 2:
        return evidence
    folds = StratifiedGroupKFold(min(FOLDS, fewest), shuffle=True, random_state=seed)
    for fitted, judged in folds.split(features, sick, patients):
        if len(np.unique(sick[fitted])) < 2:
            continue
        components = min(_COMPONENTS, len(fitted) - 1, features.shape[1])
        classifier = make_pipeline(
            StandardScaler(),
            PCA(components, random_state=seed),
            StandardScaler(),
            LogisticRegression(C=0.1, max_iter=2000, class_weight="balanced"),
        )
        evidence[judged] = classifier.fit(features[fitted], sick[fitted]).decision_function(features[judged])
    return evidence


def weigh_draws(evidence: DoubleArray, sick: BoolArray) -> DoubleArray:
    """Return how often each row (n,) is to be drawn, 1 on average: both classes alike, misleading surroundings more.

    A weight is one over the probability of the true label given the surroundings. For that the evidence is calibrated
    first, so that surroundings which say nothing give equal weights, however sure of itself the classifier was.
    """
    known = LogisticRegression(class_weight="balanced").fit(evidence[:, None], sick)
    slope = max(float(known.coef_[0, 0]), 0.0)
    odds = slope * evidence + (float(known.intercept_[0]) if slope else 0.0)
    weights = 1 + np.exp(-np.where(sick, odds, -odds))
    weights = np.minimum(weights, 1 / _FLOOR)
    for of_class in (sick, ~sick):
        weights[of_class] *= len(sick) / (2 * weights[of_class].sum())
    return np.asarray(weights, dtype=np.float64)
