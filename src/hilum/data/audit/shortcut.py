"""How well metadata alone tell the classes apart: what a network could learn instead of the lungs.

A small classifier is trained on the train split with nothing but a file's width, height, aspect ratio, bytes, colour
mode and mean gray, and scored by AUROC on val and test. 0.5 means that the metadata say nothing; a high value means
that the classes were photographed, stored or exposed differently, and that a network can be right for the wrong reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from hilum.types import BoolArray, DoubleArray, IntArray, Label, Split

# Column -> name in words.
FEATURES: Mapping[str, str] = MappingProxyType(
    {
        "width": "width",
        "height": "height",
        "aspect": "aspect ratio",
        "bytes": "file size",
        "mode": "colour mode",
        "mean": "mean gray",
    }
)
# Weights of resampled patients in memory at once: 4 million of 8 bytes.
_MOST_WEIGHTS = 4_000_000


@dataclass(frozen=True, slots=True)
class Auroc:
    """Area under the ROC curve on `n` pictures, with a 95 % interval from resampled patients."""

    value: float
    ci_low: float
    ci_high: float
    n: int


@dataclass(frozen=True, slots=True)
class Shortcut:
    """One classifier on metadata.

    `features`: its columns; those that do not vary in train are left out. `constant`: none varies, so that it can
    say nothing and scores 0.5. `scores`: per split that holds both classes. `evidence`: what it says of each row, the
    log odds of PNEUMONIA.
    """

    name: str
    features: tuple[str, ...]
    constant: bool
    scores: Mapping[Split, Auroc]
    evidence: DoubleArray = field(compare=False)  # arrays do not compare to one truth


@dataclass(frozen=True, slots=True)
class ShortcutCheck:
    """The classifiers on all features and on each alone; none, and a `reason`, where the check cannot be done."""

    together: tuple[Shortcut, ...]
    alone: tuple[Shortcut, ...]
    trained_on: int
    reason: str = ""


def check_shortcuts(frame: pd.DataFrame, *, seed: int, resamples: int = 1000) -> ShortcutCheck:
    """Train on the train rows of `frame` and score val and test.

    `frame` has one row a readable picture: width, height (pixels), bytes, mode, mean (gray, 0-255), label, patient and
    split. Intervals resample patients, for pictures of one patient are not independent.
    """
    table = tabulate_metadata(frame)
    positive = (frame["label"] == Label.PNEUMONIA).to_numpy(dtype=bool)
    train = (frame["split"] == Split.TRAIN).to_numpy(dtype=bool)
    reason = _explain_absence(positive, train, frame["split"])
    if reason:
        return ShortcutCheck((), (), int(train.sum()), reason)

    def score(name: str, features: tuple[str, ...], model: Any) -> Shortcut:
        varying = [column for column in features if table.loc[train, column].nunique() > 1]
        if varying:
            # One thread: on a few thousand rows OpenMP's barriers cost more than the work that they share out, and on a
            # busy machine twenty times more.
            with threadpool_limits(1):
                model.fit(table.loc[train, varying], positive[train])
                says = np.asarray(model.decision_function(table[varying]), dtype=np.float64)
        else:
            says = np.zeros(len(table))
        scores = {}
        for split in (Split.VAL, Split.TEST):
            inside = (frame["split"] == split).to_numpy(dtype=bool)
            if len(np.unique(positive[inside])) == 2:
                patients = frame.loc[inside, "patient"].to_numpy()
                scores[split] = measure_auroc(
                    positive[inside], says[inside], patients, rng=np.random.default_rng(seed), resamples=resamples
                )
        return Shortcut(name, features, constant=not varying, scores=scores, evidence=says)

    every = tuple(FEATURES)
    together = (
        score("all, boosted trees", every, _boosted_trees(seed)),
        score("all, logistic regression", every, make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))),
    )
    alone = tuple(score(FEATURES[column], (column,), _boosted_trees(seed)) for column in every)
    return ShortcutCheck(together, alone, int(train.sum()))


def tabulate_metadata(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the FEATURES as numbers, one row a picture.

    Lengths, their ratio and file sizes are in logarithms, for they differ by factors; a colour mode is the share of
    PNEUMONIA among the train pictures that have it (0.5 for a mode that train does not know).
    """
    train = frame[frame["split"] == Split.TRAIN]
    share = (train["label"] == Label.PNEUMONIA).groupby(train["mode"]).mean()
    return pd.DataFrame(
        {
            "width": np.log(frame["width"].astype(float)),
            "height": np.log(frame["height"].astype(float)),
            "aspect": np.log(frame["width"].astype(float) / frame["height"].astype(float)),
            "bytes": np.log1p(frame["bytes"].astype(float)),
            "mode": frame["mode"].map(share).astype(float).fillna(0.5),
            "mean": frame["mean"].astype(float),
        }
    )


def measure_auroc(
    positive: BoolArray,
    scores: DoubleArray,
    patients: NDArray[Any],
    *,
    rng: np.random.Generator,
    resamples: int,
) -> Auroc:
    """Return the AUROC of `scores` (n,) for `positive` (n,), with a percentile interval from resampled patients.

    Resamples that hold one class only are left out of the interval. Both classes must be present.
    """
    _, codes = np.unique(patients.astype(np.str_), return_inverse=True)
    count = int(codes.max()) + 1
    value = _weighted_auroc(positive, scores, np.ones((1, len(scores))))[0]
    drawn = []
    at_once = max(1, _MOST_WEIGHTS // len(scores))
    for start in range(0, resamples, at_once):
        draws = rng.multinomial(count, np.full(count, 1 / count), size=min(at_once, resamples - start))
        drawn.append(_weighted_auroc(positive, scores, draws[:, codes].astype(np.float64)))
    low, high = np.nanquantile(np.concatenate(drawn), (0.025, 0.975))
    return Auroc(float(value), float(low), float(high), len(scores))


def _weighted_auroc(positive: BoolArray, scores: DoubleArray, weights: DoubleArray) -> DoubleArray:
    """Return the AUROC under each row of `weights` (b, n): the Mann-Whitney statistic, ties counting half."""
    order = np.argsort(scores, kind="stable")
    _, starts = np.unique(scores[order], return_index=True)
    ordered = weights[:, order]
    inside = positive[order]
    hits = np.add.reduceat(np.where(inside, ordered, 0), starts, axis=1)
    misses = np.add.reduceat(np.where(inside, 0, ordered), starts, axis=1)
    below = np.cumsum(misses, axis=1) - misses
    pairs = hits.sum(axis=1) * misses.sum(axis=1)
    won = (hits * (below + misses / 2)).sum(axis=1)
    areas: DoubleArray = np.divide(won, pairs, out=np.full(len(weights), np.nan), where=pairs > 0)
    return areas


def _boosted_trees(seed: int) -> HistGradientBoostingClassifier:
    return HistGradientBoostingClassifier(
        max_iter=80, learning_rate=0.06, max_leaf_nodes=8, min_samples_leaf=20, early_stopping=False, random_state=seed
    )


def _explain_absence(positive: BoolArray, train: BoolArray, splits: pd.Series[str]) -> str:
    """Say why the check cannot be done, or nothing."""
    if not train.any():
        return "there is no train split to learn from"
    if len(np.unique(positive[train])) < 2:
        return "train holds one class only"
    scored: IntArray = np.array([len(np.unique(positive[(splits == s).to_numpy()])) for s in (Split.VAL, Split.TEST)])
    return "" if (scored == 2).any() else "neither val nor test holds both classes"
