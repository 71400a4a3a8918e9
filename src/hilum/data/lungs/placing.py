"""Where in the picture the lungs are, roughly: a relative brightness map, and the best place and size of the prior."""

from __future__ import annotations

import functools
from typing import Final

import numpy as np
from PIL import Image
from scipy import ndimage

from hilum.data.lungs.shape import CENTRE, LUNGS, fill_outline, move_outline
from hilum.types import BoolArray, DoubleArray, FloatArray, UInt8Array

SIDE: Final = 128
"""Side of the relative brightness map in pixels; the segmentation works at this size whatever the picture's."""

_GRID = 64  # side of the grid on which the prior is placed
_SCALES_ACROSS = (0.8, 0.9, 1.0, 1.1, 1.2, 1.32)
_SCALES_DOWN = (0.75, 0.87, 1.0, 1.12, 1.25, 1.4)
# How the chests of training radiographs lie: standard deviations of the centre (x, y) and of the logarithm of the
# scales, and what one of them squared costs in units of contrast.
_SPREAD = (0.04, 0.055, 0.11, 0.15)
_COST = 0.08


def measure_relative_brightness(picture: UInt8Array) -> tuple[FloatArray, BoolArray]:
    """Return how much brighter a point is than its surroundings, in units of the contrast there, and what is no body.

    Both are (SIDE, SIDE). The first takes exposure and display out; the second is True in the dark beyond the body,
    which else passes for lung.
    """
    gray = np.asarray(Image.fromarray(picture).resize((SIDE, SIDE), Image.Resampling.BILINEAR), dtype=np.float32)
    middle = gray[SIDE // 4 : 3 * SIDE // 4, SIDE // 6 : 5 * SIDE // 6]
    low, high = np.percentile(middle, (3, 99))
    clipped = np.clip(gray, low, high)
    detail = clipped - ndimage.gaussian_filter(clipped, 0.14 * SIDE, mode="nearest")
    contrast = np.sqrt(ndimage.gaussian_filter(detail**2, 0.2 * SIDE, mode="nearest")) + 5
    regions, _ = ndimage.label(gray < 0.5 * low)
    edges = np.concatenate([regions[0], regions[-1], regions[:, 0], regions[:, -1]])
    beyond = ndimage.binary_dilation(np.isin(regions, edges[edges > 0]), iterations=2)
    return np.asarray(detail / contrast, dtype=np.float32), np.asarray(beyond, dtype=np.bool_)


def place_outline(relative: FloatArray, beyond: BoolArray) -> DoubleArray:
    """Return the mean outline moved and stretched to where lungs are darkest against what surrounds them.

    Every place on a grid and 36 sizes are tried by correlation; the worse of the two lungs counts more, so that one
    lung and a dark arm are not taken for two lungs.
    """
    fine = SIDE // _GRID
    # Beyond the body nothing may look like lung.
    seen = np.where(beyond, np.float32(1), relative).reshape(_GRID, fine, _GRID, fine).mean(axis=(1, 3))
    spectrum = np.fft.rfft2(seen)
    templates, scales = _draw_templates()
    contrast = np.fft.irfft2(spectrum * templates, s=(_GRID, _GRID))
    contrast = np.roll(contrast, (_GRID // 2, _GRID // 2), axis=(-2, -1))
    agreement = 0.7 * contrast.min(axis=1) + 0.3 * contrast.mean(axis=1)
    places = np.arange(_GRID) / _GRID
    across = ((places - CENTRE[0]) / _SPREAD[0]) ** 2
    down = ((places - CENTRE[1]) / _SPREAD[1]) ** 2
    stretched = ((np.log(scales) / _SPREAD[2:]) ** 2).sum(axis=1)
    unusual = across[None, None, :] + down[None, :, None] + stretched[:, None, None]
    best, row, column = np.unravel_index(int(np.argmax(agreement - _COST * unusual)), agreement.shape)
    return move_outline(np.array([places[column], places[row]]), (float(scales[best, 0]), float(scales[best, 1])))


@functools.cache
def _draw_templates() -> tuple[FloatArray, DoubleArray]:
    """Return the conjugate spectra (36, 2, ...) of one template a size and lung, and the sizes (36, 2).

    A template takes the mean of a lung from the mean of a band around it.
    """
    spectra, scales = [], []
    for scale in ((across, down) for across in _SCALES_ACROSS for down in _SCALES_DOWN):
        outline = move_outline(np.array([0.5, 0.5]), scale)
        either = fill_outline(outline, _GRID)
        pair = []
        for lung in LUNGS:
            inside = fill_outline(outline, _GRID, lungs=(lung,))
            band = ndimage.binary_dilation(inside, iterations=6) & ~either
            template = band / band.sum() - inside / inside.sum()
            pair.append(np.conj(np.fft.rfft2(np.fft.ifftshift(template))))
        spectra.append(pair)
        scales.append(scale)
    return np.array(spectra).astype(np.complex64), np.array(scales)
