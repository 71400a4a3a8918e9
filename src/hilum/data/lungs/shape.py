"""The prior shape of both lungs, as points on their outlines, and how far a chest may differ from it.

Points are (x, y) in shares of the picture's width and height: (POINTS, 2), the patient's right lung (left in the
picture) first. Each outline starts at the apex and runs down the chest wall to the costophrenic angle, along the
diaphragm to the cardiophrenic angle, and up the mediastinum.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from PIL import Image, ImageDraw

from hilum.types import BoolArray, DoubleArray

PER_LUNG: Final = 32
POINTS: Final = 2 * PER_LUNG
LUNGS: Final = (slice(0, PER_LUNG), slice(PER_LUNG, POINTS))

# Drawn by hand on the mean of training radiographs of the public paediatric data, then replaced by the median of what
# the fit of `segmentation` made of 400 of them, half of each label. In thousandths.
_RIGHT = (
    (378, 164), (335, 192), (298, 228), (268, 269), (243, 314), (222, 361), (205, 410), (189, 458),
    (179, 508), (169, 559), (160, 609), (151, 660), (143, 711), (135, 761), (146, 804), (192, 788),
    (236, 762), (284, 743), (335, 740), (383, 756), (420, 770), (423, 718), (425, 667), (426, 616),
    (428, 564), (431, 513), (433, 462), (431, 410), (430, 359), (426, 308), (421, 257), (402, 209),
)  # fmt: skip
_LEFT = (
    (621, 166), (667, 193), (706, 229), (737, 271), (761, 318), (783, 367), (800, 417), (816, 467),
    (827, 519), (838, 571), (846, 623), (853, 675), (860, 728), (868, 780), (865, 830), (823, 816),
    (776, 792), (727, 775), (674, 769), (622, 779), (573, 790), (559, 740), (558, 687), (559, 634),
    (560, 581), (564, 528), (569, 476), (574, 423), (580, 370), (583, 318), (586, 265), (600, 214),
)  # fmt: skip
MEAN_OUTLINE: Final[DoubleArray] = np.array([*_RIGHT, *_LEFT], dtype=np.float64) / 1000
CENTRE: Final[DoubleArray] = MEAN_OUTLINE.mean(axis=0)

# Standard deviations of what the outlines do in common (shift, stretch) and of what each does by itself (shift,
# bending over a length), in shares of the side.
_SHIFT, _STRETCH = 0.03, 0.12
_OWN_SHIFT, _BEND, _BEND_LENGTH = 0.015, 0.014, 0.12


def _rate_borders() -> DoubleArray:
    """Return how far the picture decides about each point, (POINTS,) in (0, 1].

    The heart's left border is a sharper edge than the lung's own behind it: there the prior decides, so that lung
    behind the heart stays inside.
    """
    trust = np.ones(POINTS)
    trust[21:31] = 0.5
    trust[PER_LUNG + 21 : PER_LUNG + 29] = 0.05
    return trust


TRUST: Final[DoubleArray] = _rate_borders()


def move_outline(centre: DoubleArray, scale: tuple[float, float]) -> DoubleArray:
    """Return the mean outline with its centre at `centre` (2,) and stretched by `scale` (across, down)."""
    return np.asarray((MEAN_OUTLINE - CENTRE) * scale + centre, dtype=np.float64)


def build_covariance(outline: DoubleArray) -> DoubleArray:
    """Return the prior covariance (POINTS, POINTS) of the points' displacements, the same for x and y.

    A Gaussian process: a shift and a stretch of both lungs together, a shift of each, and smooth bending (Lüthi et al.
    2018, Gaussian process morphable models, doi:10.1109/TPAMI.2017.2739743).
    """
    offsets = outline - outline.mean(axis=0)
    squared = ((outline[:, None] - outline[None]) ** 2).sum(axis=2)
    own = np.zeros((POINTS, POINTS))
    for lung in LUNGS:
        own[lung, lung] = 1.0
    bending = _BEND**2 * np.exp(-squared / (2 * _BEND_LENGTH**2))
    together = _SHIFT**2 + _STRETCH**2 * np.einsum("ik,jk->ij", offsets, offsets)
    return np.asarray(together + own * (_OWN_SHIFT**2 + bending), dtype=np.float64)


def find_normals(outline: DoubleArray) -> DoubleArray:
    """Return the unit normals (POINTS, 2) that point out of each lung."""
    normals = np.empty_like(outline)
    for lung in LUNGS:
        points = outline[lung]
        after = np.roll(points, -1, axis=0)
        tangent = after - np.roll(points, 1, axis=0)
        doubled_area = (points[:, 0] * after[:, 1] - after[:, 0] * points[:, 1]).sum()
        turned = np.stack([tangent[:, 1], -tangent[:, 0]], axis=1) * np.sign(doubled_area)
        normals[lung] = turned / np.maximum(np.linalg.norm(turned, axis=1, keepdims=True), 1e-9)
    return normals


def fill_outline(outline: DoubleArray, size: int, *, lungs: tuple[slice, ...] = LUNGS) -> BoolArray:
    """Return the mask (size, size) of what the outlines enclose; what lies outside the picture is cut off."""
    image = Image.new("1", (size, size))
    draw = ImageDraw.Draw(image)
    for lung in lungs:
        draw.polygon([(float(x), float(y)) for x, y in outline[lung] * size - 0.5], fill=1)
    return np.asarray(image, dtype=np.bool_)
