"""What part of the picture a classifier sees, and its heat map laid back onto the whole picture."""

from __future__ import annotations

import numpy as np
from PIL import Image

from hilum.types import FloatArray

WHOLE = (0.0, 1.0, 0.0, 1.0)
"""The box of the whole picture: top, bottom, left and right edge as shares of its sides."""
MAP_SIDE = 64
"""Side of a map that is laid back."""


def is_whole(box: FloatArray) -> bool:
    """Return whether a box (4,) is that of the whole picture."""
    return bool((np.asarray(box) == WHOLE).all())


def place_map(cam: FloatArray, box: FloatArray) -> FloatArray:
    """Lay a class activation map (k, l) of a box onto the whole picture.

    Returns:
        The map itself where the box is the whole picture; else a map (64, 64) of the whole picture, 0 outside the box.
        Values stay as they are, in logit units.
    """
    if is_whole(box):
        return cam
    top, bottom, left, right = (float(edge) * MAP_SIDE for edge in box)
    rows, columns = cam.shape
    # Pillow samples the map at each cell of the result: what is outside the map stays 0.
    across, down = columns / max(right - left, 1e-6), rows / max(bottom - top, 1e-6)
    placed = Image.fromarray(cam.astype(np.float32)).transform(
        (MAP_SIDE, MAP_SIDE),
        Image.Transform.AFFINE,
        (across, 0, -left * across, 0, down, -top * down),
        resample=Image.Resampling.BICUBIC,
    )
    return np.asarray(placed, dtype=np.float32)
