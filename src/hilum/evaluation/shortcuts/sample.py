"""The pictures that the checks work on, and what a model must offer to be checked: scores of changed pictures."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from hilum.data.cache import read_prepared
from hilum.data.lungs import find_lungs
from hilum.errors import EvaluationError
from hilum.evaluation.robust import sample_rows
from hilum.evaluation.scoring import ScoredSplit
from hilum.preprocess import PreprocessSpec
from hilum.types import BoolArray, DoubleArray, FloatArray, IntArray, Label, UInt8Array

logger = logging.getLogger(__name__)

ScorePictures = Callable[[UInt8Array], DoubleArray]
"""Prepared pictures (n, size, size) to logits (n,)."""


@runtime_checkable
class PictureScorer(Protocol):
    """A model that also scores pictures that stand in no file."""

    @property
    def spec(self) -> PreprocessSpec:
        """How pictures are prepared for it."""
        ...

    def score_prepared(self, pictures: UInt8Array) -> DoubleArray:
        """Return the logits (n,) of prepared pictures (n, size, size), those that `Scorer.score` gives."""
        ...


def as_picture_scorer(scorer: object) -> PictureScorer:
    """Return the scorer itself.

    Raises:
        EvaluationError: it only scores files.
    """
    if not isinstance(scorer, PictureScorer):
        raise EvaluationError("This model cannot score changed pictures, which the checks for shortcuts need.")
    return scorer


class CountedScorer:
    """Scores pictures and counts how many."""

    def __init__(self, score: ScorePictures) -> None:
        self._score = score
        self.count = 0

    def __call__(self, pictures: UInt8Array) -> DoubleArray:
        """Return the logits (n,) of prepared pictures (n, size, size); n may be 0."""
        self.count += len(pictures)
        return self._score(pictures) if len(pictures) else np.zeros(0)


@dataclass(frozen=True, slots=True)
class Sample:
    """Pictures with what is known of them; all arrays have the length n.

    `pictures` and `masks` are (n, s, s), `cams` (n, k, l) in logits, `labels` and `called` True for PNEUMONIA.
    `plausible` is False where the mask is a mean one because no lungs were found.
    """

    pictures: UInt8Array
    masks: BoolArray
    plausible: BoolArray
    labels: BoolArray
    called: BoolArray
    logits: DoubleArray
    cams: FloatArray
    patients: Sequence[str]

    def __len__(self) -> int:
        return len(self.labels)


def read_sample(scored: ScoredSplit, called: BoolArray, spec: PreprocessSpec, *, count: int, seed: int) -> Sample:
    """Prepare the scored pictures of a split and find their lungs; where there are more than `count`, half of a label.

    `called` is (n,) over the scored pictures: which of them the model calls PNEUMONIA.
    """
    table = scored.table[scored.is_ok].reset_index(drop=True)
    cams = [cam for cam in scored.cams if cam is not None]
    chosen = np.arange(len(table))
    if len(table) > count:
        chosen = sample_rows(table, count=count, seed=seed).index.to_numpy()
    rows = table.iloc[chosen]
    pictures = np.stack([read_prepared(str(path), spec) for path in rows["path"]])
    lungs = find_lungs(pictures)
    plausible = np.array([found.plausible for found in lungs], dtype=np.bool_)
    logger.debug("Lungs were found in %d of %d pictures.", plausible.sum(), len(plausible))
    return Sample(
        pictures=pictures,
        masks=np.stack([found.mask for found in lungs]),
        plausible=plausible,
        labels=(rows["label"] == Label.PNEUMONIA).to_numpy(dtype=np.bool_),
        called=called[chosen],
        logits=rows["logit"].to_numpy(dtype=np.float64),
        cams=np.stack([cams[place] for place in chosen]),
        patients=[str(patient) for patient in rows["patient"]],
    )


def draw_places(among: BoolArray, *, count: int, seed: int) -> IntArray:
    """Return up to `count` positions where `among` (n,) is True, drawn by chance, in order."""
    places = np.flatnonzero(among)
    if len(places) > count:
        places = np.sort(np.random.default_rng(seed).choice(places, size=count, replace=False))
    return places.astype(np.int64)
