"""Lung fields of a frontal chest radiograph, by a classical active shape fit: no training, no weights, no network.

1. `placing`: relative brightness, and the place and size at which the mean outline of both lungs fits best.
2. Here: from each point of the outline, look along its normal for the step from dark lung to brighter surroundings;
   move the outline by the most probable displacement under the prior of `shape`; repeat with a shorter and finer look
   (active shape models, Cootes et al. 1995, doi:10.1006/cviu.1995.1004).

An outline and not a set of dark pixels is fitted: where an opacity hides the edge, neighbours and prior carry it past,
so that consolidated lung stays inside. Lung behind the heart is inside too, by the prior.

The masks are made to be robust, not exact: they were judged by eye on training radiographs of children and by Dice on
phantoms. A network trained on masks, such as that of torchxrayvision, follows the edges better; its weights have to be
downloaded, and nothing here needs that.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy import ndimage
from threadpoolctl import threadpool_limits

from hilum.data.lungs.placing import SIDE, measure_relative_brightness, place_outline
from hilum.data.lungs.shape import (
    LUNGS,
    MEAN_OUTLINE,
    POINTS,
    TRUST,
    build_covariance,
    fill_outline,
    find_normals,
)
from hilum.progress import track
from hilum.types import BoolArray, DoubleArray, FloatArray, UInt8Array

# Blur in pixels of the map and the number of rounds with it; how far points look, in shares of the side.
_ROUNDS: Final = ((2.5, 5), (2.0, 4), (1.5, 4))
_FIRST_REACH, _LAST_REACH = 0.08, 0.035
_SHARPNESS = 6.0  # how much more probable a place is whose step is one unit higher, as a logarithm
_OWN_ERROR = 0.006  # of an edge that is seen perfectly, in shares of the side
_STEP_WIDTH = 4  # pixels between the two values whose difference is the step

# Radiographs of children have a lung that is darker than the band around it by 0.4 to 1.4 units.
_LEAST_CONTRAST = 0.3
_AREAS = (0.12, 0.62)


@dataclass(frozen=True, slots=True)
class LungMask:
    """Lung fields of one picture.

    `mask` is (s, s). `contrast` is how much darker the lungs are than the band around them, in units of the local
    contrast. Where `plausible` is False the picture shows no two lungs to the fit, and the mask is that of the mean
    outline, which is where lungs use to be.
    """

    mask: BoolArray
    contrast: float
    plausible: bool


def segment_lungs(picture: UInt8Array) -> LungMask:
    """Find the lung fields of a prepared picture, (s, s) gray 0-255. Equal pictures give equal masks."""
    relative, beyond = measure_relative_brightness(picture)
    outline = fit_outline(relative, beyond)
    mask = fill_outline(outline, picture.shape[0])
    contrast = _measure_contrast(relative, beyond, outline)
    plausible = contrast >= _LEAST_CONTRAST and _AREAS[0] <= float(mask.mean()) <= _AREAS[1]
    if not plausible:
        mask = fill_outline(MEAN_OUTLINE, picture.shape[0])
    return LungMask(mask, contrast, plausible)


def find_lungs(pictures: UInt8Array | Sequence[UInt8Array], *, workers: int = 2) -> list[LungMask]:
    """Find the lung fields of prepared pictures (n, s, s), in order, with a progress bar.

    Threads, not processes: the picture array may be a memory map, and half of the work leaves Python's lock.
    """
    # The matrices are small: more threads inside one product would only wait for each other.
    with threadpool_limits(1), ThreadPoolExecutor(workers) as pool:
        return list(track(pool.map(segment_lungs, pictures), description="Finding the lungs", total=len(pictures)))


def segment_all(pictures: UInt8Array, *, workers: int = 2) -> BoolArray:
    """Return the masks alone, (n, s, s), as `find_lungs` finds them."""
    masks = np.empty(pictures.shape, dtype=np.bool_)
    for place, found in enumerate(find_lungs(pictures, workers=workers)):
        masks[place] = found.mask
    return masks


def fit_outline(relative: FloatArray, beyond: BoolArray) -> DoubleArray:
    """Return the outline of both lungs, (POINTS, 2), fitted to what `measure_relative_brightness` gives."""
    prior = place_outline(relative, beyond)
    covariance = build_covariance(prior)
    outline, nowhere = prior, np.zeros_like(beyond)
    rounds = sum(count for _, count in _ROUNDS)
    done = 0
    for stage, (blur, count) in enumerate(_ROUNDS):
        # At first the dark beyond the body is made bright, which pushes the outline into the body; from then on no edge
        # counts there, for the skin is none of the lung's.
        shown, barred = (relative, beyond) if stage else (np.where(beyond, np.float32(1), relative), nowhere)
        smooth = ndimage.gaussian_filter(shown, blur, mode="nearest")
        for _ in range(count):
            reach = _FIRST_REACH + (_LAST_REACH - _FIRST_REACH) * done / (rounds - 1)
            outline = _move_to_edges(outline, prior, covariance, smooth, barred, reach=reach)
            done += 1
    return outline


def _move_to_edges(
    outline: DoubleArray,
    prior: DoubleArray,
    covariance: DoubleArray,
    smooth: FloatArray,
    barred: BoolArray,
    *,
    reach: float,
) -> DoubleArray:
    """Return the outline of highest posterior probability, given where each point sees an edge along its normal."""
    normals = find_normals(outline)
    offsets, steps = _look_for_steps(outline, normals, smooth, barred, reach=reach)
    evidence = _SHARPNESS * steps - (offsets / reach) ** 2
    weights = np.exp(evidence - evidence.max(axis=1, keepdims=True))
    weights /= weights.sum(axis=1, keepdims=True)
    mean = weights @ offsets
    variance = np.maximum(weights @ offsets**2 - mean**2, 0)
    strength = np.clip((weights * steps).sum(axis=1), 0.02, 1)
    noise = (variance + _OWN_ERROR**2) / (strength * TRUST)
    # Each point observes its displacement from the prior along its normal; x and y have the same prior covariance.
    observed = ((outline - prior) * normals).sum(axis=1) + mean
    cosines = np.einsum("ik,jk->ij", normals, normals)
    solved = np.linalg.solve(covariance * cosines + np.diag(noise), observed)
    return np.asarray(prior + covariance @ (normals * solved[:, None]), dtype=np.float64)


def _look_for_steps(
    outline: DoubleArray, normals: DoubleArray, smooth: FloatArray, barred: BoolArray, *, reach: float
) -> tuple[DoubleArray, DoubleArray]:
    """Return offsets (k,) along the normals and the rise of brightness there, (POINTS, k), averaged over neighbours.

    Averaging takes most of the ribs out, which cross the chest wall, and leaves the wall. Where `barred`, none counts.
    """
    half = _STEP_WIDTH // 2
    count = int(reach * SIDE)
    offsets = np.arange(-count - half, count + half + 1) / SIDE
    places = outline[:, None] + offsets[None, :, None] * normals[:, None]
    pixels = np.moveaxis(places[..., ::-1], -1, 0) * SIDE - 0.5
    profile = ndimage.map_coordinates(smooth, pixels, order=1, mode="nearest")
    outside = ndimage.map_coordinates(barred.astype(np.uint8), pixels[..., half:-half], order=0, mode="nearest")
    rises = np.where(outside, -1.0, profile[:, _STEP_WIDTH:] - profile[:, :-_STEP_WIDTH])
    steps = np.empty((POINTS, rises.shape[1]))
    for lung in LUNGS:
        steps[lung] = (np.roll(rises[lung], 1, axis=0) + 2 * rises[lung] + np.roll(rises[lung], -1, axis=0)) / 4
    return offsets[half:-half], steps


def _measure_contrast(relative: FloatArray, beyond: BoolArray, outline: DoubleArray) -> float:
    inside = fill_outline(outline, SIDE) & ~beyond
    band = ndimage.binary_dilation(inside, iterations=10) & ~inside & ~beyond
    if not inside.any() or not band.any():
        return 0.0
    return float(relative[band].mean() - relative[inside].mean())
