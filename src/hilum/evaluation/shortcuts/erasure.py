"""Whether the class activation map points at what decides: deletion and insertion curves.

Cells of the map are taken out of the picture one group after the other, those with the most evidence first, and put
back in that order into an empty picture; beside it the same in random order (RISE, Petsiuk et al. 2018,
arXiv:1806.07421). Where the map tells the truth the probability falls sooner and rises sooner than by chance. What is
taken out is replaced by a strong blur of the picture, for a gray or black square would be a finding of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy import ndimage

from hilum.evaluation.intervals import Estimate
from hilum.evaluation.shortcuts.means import estimate_mean
from hilum.evaluation.shortcuts.sample import Sample, ScorePictures, draw_places
from hilum.evaluation.thresholds import OperatingPoint
from hilum.progress import track
from hilum.types import BoolArray, DoubleArray, FloatArray, IntArray, UInt8Array

CURVES: Final = ("deletion_map", "deletion_random", "insertion_map", "insertion_random")
_STEPS = 6
_BLUR = 0.1  # of the side


@dataclass(frozen=True, slots=True)
class ErasureResult:
    """Mean curves over `n` pictures called PNEUMONIA, and the areas under them.

    `shares` (k,) are the shares of cells taken out or put in, from 0 to 1; `curves` the mean probability (k,) for each
    of CURVES; `areas` the areas under the curves. The gains say how much sooner the map's order works than chance, as
    areas; above 0 is better than chance.
    """

    n: int
    cells: int
    shares: DoubleArray
    curves: Mapping[str, DoubleArray]
    areas: Mapping[str, Estimate]
    deletion_gain: Estimate
    insertion_gain: Estimate


def check_erasure(
    sample: Sample, score: ScorePictures, point: OperatingPoint, *, count: int, resamples: int, seed: int
) -> ErasureResult:
    """Trace the curves of up to `count` pictures called PNEUMONIA; at most 21 forward passes each."""
    places = draw_places(sample.called, count=count, seed=seed)
    cells = int(sample.cams[0].size)
    taken = np.unique(np.rint(np.linspace(0, cells, _STEPS + 1)).astype(np.int64))
    shares = taken / cells
    rng = np.random.default_rng(seed)
    traced: dict[str, list[DoubleArray]] = {name: [] for name in CURVES}
    for place in track(places, description="Deleting and inserting"):
        orders = {
            "map": np.argsort(-sample.cams[place].ravel(), kind="stable"),
            "random": rng.permutation(cells),
        }
        curves = _trace(sample.pictures[place], sample.cams[place], orders, taken, score, sample.logits[place])
        for name, logits in curves.items():
            traced[name].append(point.calibrate(logits))
    patients = [sample.patients[place] for place in places]
    curves = {name: np.array(rows).reshape(-1, len(taken)) for name, rows in traced.items()}
    areas = {name: np.asarray(np.trapezoid(rows, shares, axis=1)) for name, rows in curves.items()}

    def estimate(values: DoubleArray) -> Estimate:
        return estimate_mean(values, patients, resamples=resamples, seed=seed)

    return ErasureResult(
        n=len(places),
        cells=cells,
        shares=shares,
        curves={name: rows.mean(axis=0) if len(rows) else np.full(len(taken), np.nan) for name, rows in curves.items()},
        areas={name: estimate(values) for name, values in areas.items()},
        deletion_gain=estimate(areas["deletion_random"] - areas["deletion_map"]),
        insertion_gain=estimate(areas["insertion_map"] - areas["insertion_random"]),
    )


def _trace(
    picture: UInt8Array,
    cam: FloatArray,
    orders: Mapping[str, IntArray],
    taken: IntArray,
    score: ScorePictures,
    logit: float,
) -> dict[str, DoubleArray]:
    """Return the logits (k,) of each of CURVES for one picture, whose own logit is known."""
    blurred = ndimage.gaussian_filter(picture, _BLUR * picture.shape[0], mode="nearest")
    inner = taken[1:-1]
    changed = [blurred]
    for order in orders.values():
        covers = [_cover(order[:count], cam.shape, picture.shape) for count in inner]
        changed += [np.where(cover, blurred, picture) for cover in covers]
        changed += [np.where(cover, picture, blurred) for cover in covers]
    empty, *rest = score(np.stack(changed))
    parts = iter(np.array(rest).reshape(2 * len(orders), len(inner)))
    curves = {}
    for name in orders:
        curves[f"deletion_{name}"] = np.array([logit, *next(parts), empty])
        curves[f"insertion_{name}"] = np.array([empty, *next(parts), logit])
    return curves


def _cover(cells: IntArray, grid: tuple[int, ...], shape: tuple[int, ...]) -> BoolArray:
    """Return where in the picture the given cells of the map lie."""
    chosen = np.zeros(grid, dtype=np.bool_)
    chosen.flat[cells] = True
    rows, columns = (np.arange(side) * count // side for side, count in zip(shape, grid, strict=True))
    return np.asarray(chosen[np.ix_(rows, columns)], dtype=np.bool_)
