"""Simple checks that a picture can be an upright frontal chest radiograph at all; they know no model and learn nothing.

Each check gives a reason that a person can act upon ("turn it upright"). What passes here and still is no chest
radiograph, such as a knee, is left to the gate on the network's features.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cache

import numpy as np
from PIL import Image

from hilum.types import FloatArray, UInt8Array

# The limits leave room beyond the 5,216 training radiographs of the public chest_xray set, whose extremes stand beside
# each: an unusual radiograph passes, and is then judged by its features.
MIN_CONTRAST = 8.0  # standard deviation of the gray values; lowest radiograph 19.4
MAX_WHITE = 0.55  # share of pixels that are paper white; highest 0.41
MAX_ROUGHNESS = 0.6  # difference between neighbours on a 32 x 32 grid, in standard deviations; highest 0.45
MIN_LAYOUT = 0.2  # correlation with the mean chest; lowest 0.28
MIN_INVERTED = 0.45  # the same for the negative; 99.8 % of the radiographs are above
MIN_SIDEWAYS = 0.6  # the same for the picture turned by a quarter; 98.7 % are above
MAX_COLOUR = 0.15  # share of pixels with a colour of their own; highest 0

# The mean of 4,471 training radiographs, each with mean 0 and norm 1, on an 8 x 8 grid and mirrored: the left half,
# whose mirror image is the right half. Dark beside the body and in the lungs, bright in the middle and below.
_HALF_CHEST = (
    (-65, -30, 3, 46),
    (-63, 4, 17, 41),
    (-80, 11, -5, 45),
    (-93, 3, -5, 63),
    (-98, -10, 8, 74),
    (-100, -21, 15, 73),
    (-99, 1, 51, 83),
    (-90, 44, 80, 95),
)
_GRID = 32
_COARSE = 8


def check_picture(gray: UInt8Array, *, colour: float = 0.0) -> str | None:
    """Return why a picture is no upright frontal chest radiograph, or None when nothing speaks against it.

    Args:
        gray: (h, w), 0-255; the square picture that the network sees, or the whole one.
        colour: share of the picture that is in colour, 0 to 1, as `ImageMeta.colour` has it.

    Returns:
        One sentence, or None.
    """
    return next(_find_problems(gray, colour), None)


def _find_problems(gray: UInt8Array, colour: float) -> Iterator[str]:
    """Yield what speaks against a picture; the first is the most telling, and later ones are looked for on demand."""
    if colour > MAX_COLOUR:
        yield f"The picture is in colour ({colour:.0%} of it), and a radiograph is gray."
    # A thousand pixels tell the spread and the white well enough.
    sample = gray[:: max(1, gray.shape[0] // _GRID), :: max(1, gray.shape[1] // _GRID)].astype(np.float32)
    if (contrast := _measure_spread(sample)) < MIN_CONTRAST:
        yield f"The picture is blank, or nearly so (its gray values spread by {contrast:.1f} of 255)."
    if (white := _measure_white(sample)) > MAX_WHITE:
        yield f"Looks like a printed or drawn page: {white:.0%} of it is white."
    grid = _reduce(gray)
    if measure_roughness(grid) > MAX_ROUGHNESS:
        yield "Looks like noise, print or a fine texture: neighbouring places have little in common."
    layout = measure_layout(grid)
    if layout < -MIN_INVERTED:
        yield "Looks like an inverted radiograph, with bone dark and air bright; invert it before it is scored."
    if layout < MIN_LAYOUT:
        if max(measure_layout(np.rot90(grid)), measure_layout(np.rot90(grid, 3))) > MIN_SIDEWAYS:
            yield "Looks like a radiograph that lies on its side; turn it upright before it is scored."
        yield f"Not laid out like a frontal chest radiograph (similarity {layout:.2f}, at least {MIN_LAYOUT:.2f})."


def measure_roughness(grid: FloatArray) -> float:
    """Return the mean absolute difference between neighbours in standard deviations: about 1.1 for white noise."""
    down, right = grid[1:] - grid[:-1], grid[:, 1:] - grid[:, :-1]
    steps = float(np.abs(down).sum() + np.abs(right).sum()) / (down.size + right.size)
    return steps / (_measure_spread(grid) + 1)


def measure_layout(grid: FloatArray) -> float:
    """Return the correlation, -1 to 1, of a (32, 32) picture with the mean frontal chest; -1 for its exact negative."""
    step = _GRID // _COARSE
    coarse = grid.reshape(_COARSE, step, _COARSE, step).sum(axis=(1, 3)).ravel()
    coarse = coarse - coarse.sum() / coarse.size
    length = math.sqrt(float(coarse @ coarse))
    return float(coarse @ _mean_chest()) / length if length > 0 else 0.0


def _measure_spread(values: FloatArray) -> float:
    """Return the standard deviation, several times faster than numpy does for a thousand values."""
    centred = values.ravel() - values.sum() / values.size
    return math.sqrt(float(centred @ centred) / values.size)


def _measure_white(sample: FloatArray) -> float:
    """Paper is bright and of one level: the share of pixels within 16 levels of the brightest, if that is bright."""
    brightest = float(sample.max())
    return np.count_nonzero(sample >= brightest - 16) / sample.size if brightest >= 160 else 0.0


def _reduce(gray: UInt8Array) -> FloatArray:
    """Average to a (32, 32) grid."""
    # With a gap of 1 Pillow first takes whole blocks, which is twice as fast and just as exact for means.
    reduced = Image.fromarray(gray).resize((_GRID, _GRID), Image.Resampling.BOX, reducing_gap=1.0)
    return np.asarray(reduced, dtype=np.float32)


@cache
def _mean_chest() -> FloatArray:
    """The mean chest, (64,), with mean 0 and norm 1."""
    half = np.asarray(_HALF_CHEST, dtype=np.float64)
    chest = np.hstack([half, half[:, ::-1]]).ravel()
    chest -= chest.mean()
    return np.asarray(chest / np.linalg.norm(chest), dtype=np.float32)
