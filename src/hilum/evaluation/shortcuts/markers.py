"""Whether letters and other marks at the edge of the picture move the verdict.

Side markers differ between machines and wards, and with them the share of the ill. Twice the question is put: marks are
taken away where they stand in these data (corners and side margins, never the lungs), and one is drawn into the corner
of normal pictures.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from hilum.data.acquisition import draw_text
from hilum.data.lungs import widen
from hilum.evaluation.intervals import Estimate, estimate_ratios
from hilum.evaluation.shortcuts.means import estimate_mean
from hilum.evaluation.shortcuts.sample import Sample, ScorePictures, draw_places
from hilum.evaluation.thresholds import OperatingPoint
from hilum.inference.decision import is_positive
from hilum.types import BoolArray, DoubleArray, IntArray, Label, UInt8Array

_CORNER, _STRIP = 0.25, 0.12  # of the side
_LARGEST_STROKE = 0.11  # of the side: marks up to this size are taken away


@dataclass(frozen=True, slots=True)
class MarkerResult:
    """What one change of the edges does to `n` pictures.

    `changes` (n,) are the changes of the logit, `labels` (n,) True for PNEUMONIA. `mean_change` keeps the sign,
    `mean_size` does not. `flipped` is the share of pictures whose verdict changes.
    """

    n: int
    changes: DoubleArray
    labels: BoolArray
    mean_change: Estimate
    mean_size: Estimate
    flipped: Estimate

    @property
    def change_by_label(self) -> dict[str, float]:
        """Mean change of the logit of each label that there is: chance cancels out in it, a learnt mark does not."""
        groups = {str(label): self.changes[self.labels == (label is Label.PNEUMONIA)] for label in Label}
        return {label: float(changes.mean()) for label, changes in groups.items() if changes.size}


def check_markers(
    sample: Sample, score: ScorePictures, point: OperatingPoint, *, count: int, resamples: int, seed: int
) -> tuple[MarkerResult, MarkerResult]:
    """Return the results for marks taken away (half of each label) and for a mark drawn on normal pictures.

    One forward pass a picture: up to `count` for the first, up to half as many for the second.
    """
    ill = draw_places(sample.labels, count=count // 2, seed=seed)
    well = draw_places(~sample.labels, count=count // 2, seed=seed)
    both = np.sort(np.concatenate([ill, well]))
    lungs = widen(sample.masks[both]) if len(both) else sample.masks[both]
    cleared = [clear_edges(picture, mask) for picture, mask in zip(sample.pictures[both], lungs, strict=True)]
    drawn = [draw_marker(sample.pictures[place]) for place in well]

    def compare(places: IntArray, changed: list[UInt8Array]) -> MarkerResult:
        before = sample.logits[places]
        after = score(np.stack(changed)) if changed else before
        return _compare(sample, places, before, after, point, resamples=resamples, seed=seed)

    return compare(both, cleared), compare(well, drawn)


def clear_edges(picture: UInt8Array, lungs: BoolArray) -> UInt8Array:
    """Return the picture (s, s) without bright marks in its corners and side margins, as far as no lung lies there.

    A grey opening takes out what is brighter than its surroundings and smaller than its window, and keeps the rest.
    """
    side = picture.shape[0]
    window = round(_LARGEST_STROKE * side) | 1
    opened = ndimage.grey_opening(picture, size=(window, window))
    background = ndimage.gaussian_filter(opened, 0.01 * side)
    return np.where(_find_edges(side) & ~lungs, np.minimum(background, picture), picture)


def draw_marker(picture: UInt8Array) -> UInt8Array:
    """Return the picture with a white R in its upper left corner."""
    return draw_text(picture, "R", row=0.1, column=0.08, size=0.11, value=255)


def _find_edges(side: int) -> BoolArray:
    """Return (side, side): the four corners and the side margins."""
    corner, strip = round(_CORNER * side), round(_STRIP * side)
    edges = np.zeros((side, side), dtype=np.bool_)
    for rows in (slice(0, corner), slice(side - corner, side)):
        edges[rows, :corner] = True
        edges[rows, side - corner :] = True
    edges[:, :strip] = True
    edges[:, side - strip :] = True
    return edges


def _compare(
    sample: Sample,
    places: IntArray,
    before: DoubleArray,
    after: DoubleArray,
    point: OperatingPoint,
    *,
    resamples: int,
    seed: int,
) -> MarkerResult:
    patients = [sample.patients[place] for place in places]
    changes = after - before
    flipped = Estimate(None, reason="no such picture")
    if len(places):
        verdicts = is_positive(point.calibrate(after), threshold=point.threshold)
        everywhere = np.ones(len(places), dtype=np.bool_)
        counted = {"flipped": (verdicts != sample.called[places], everywhere)}
        flipped = estimate_ratios(counted, patients, resamples=resamples, seed=seed)["flipped"]
    return MarkerResult(
        n=len(places),
        changes=changes,
        labels=sample.labels[places],
        mean_change=estimate_mean(changes, patients, resamples=resamples, seed=seed),
        mean_size=estimate_mean(np.abs(changes), patients, resamples=resamples, seed=seed),
        flipped=flipped,
    )
