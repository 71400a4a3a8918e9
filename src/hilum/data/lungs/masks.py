"""What is done with masks of lungs: widening them, boxes around them, and pictures without what they cover."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from hilum.types import BoolArray, UInt8Array

_MARGIN = 0.02  # of the side, by which masks are widened


def widen(masks: BoolArray) -> BoolArray:
    """Return masks (n, s, s) widened by a small margin."""
    across = max(1, round(_MARGIN * masks.shape[-1]))
    return np.stack([ndimage.binary_dilation(mask, iterations=across) for mask in masks])


def find_boxes(masks: BoolArray) -> BoolArray:
    """Return masks (n, s, s) of the smallest upright rectangle around each mask."""

    def span(hit: BoolArray) -> BoolArray:
        """Return (n, s): from the first to the last True of each row."""
        return np.logical_or.accumulate(hit, axis=1) & np.logical_or.accumulate(hit[:, ::-1], axis=1)[:, ::-1]

    down, across = np.asarray(masks.any(axis=2)), np.asarray(masks.any(axis=1))
    return np.asarray(span(down)[:, :, None] & span(across)[:, None, :])


def black_out(pictures: UInt8Array, where: BoolArray) -> UInt8Array:
    """Return pictures that are 0 where `where`; both (n, s, s)."""
    return np.where(where, np.uint8(0), pictures)
