"""The input gate: is this an upright frontal chest radiograph? What is none gets no verdict.

The locator inside the network file says how a picture is shown; colour and blank pictures it need not see. How like the
training pictures a radiograph is, is another question: `hilum.inference.familiarity` answers it and refuses nothing.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from hilum.types import FloatArray, UInt8Array, View

LEAST_FAMILIAR: Final = 0.01
"""Below this familiarity a prediction warns; with --strict it is refused."""

LEAST_CHANCE: Final = 0.8
"""Probability from which a picture counts as a frontal chest radiograph. It was chosen by radiographs of other
hospitals and pictures of something else, some sources of which did not train the locator (docs/experiments.md)."""

# The limits leave room beyond the 5,216 training radiographs of the public chest_xray set, whose extremes stand beside.
MIN_CONTRAST = 8.0  # standard deviation of the gray values; lowest radiograph 19.4
MAX_COLOUR = 0.15  # share of pixels with a colour of their own; highest 0
_GRID = 32

_TURN: Final = {View.TURNED_LEFT: 3, View.UPSIDE_DOWN: 2, View.TURNED_RIGHT: 1}
"""Quarter turns counter-clockwise that put a view right."""
_SHOWN: Final = {
    View.INVERTED: "an inverted radiograph, with bone dark and air bright; invert it",
    View.TURNED_LEFT: "a radiograph turned by 90 degrees to the left; turn it upright",
    View.UPSIDE_DOWN: "a radiograph that is upside down; turn it upright",
    View.TURNED_RIGHT: "a radiograph turned by 90 degrees to the right; turn it upright",
}
_PUT_RIGHT: Final = {
    View.INVERTED: "The file is inverted; it was scored with bone bright and air dark.",
    View.TURNED_LEFT: "The file is turned by 90 degrees to the left; it was scored upright.",
    View.UPSIDE_DOWN: "The file is upside down; it was scored upright.",
    View.TURNED_RIGHT: "The file is turned by 90 degrees to the right; it was scored upright.",
}
_VIEWS: Final = tuple(View)


def explain_refusal(gray: UInt8Array, view: FloatArray | None, *, colour: float = 0.0) -> str:
    """Return why a picture is no upright frontal chest radiograph, or an empty text.

    Args:
        gray: (h, w), 0-255.
        view: logits (6,) of `View`; None from bundles without a locator.
        colour: share of the picture that is in colour, 0 to 1, as `ImageMeta.colour` has it.
    """
    if colour > MAX_COLOUR:
        return f"The picture is in colour ({colour:.0%} of it), and a radiograph is gray."
    contrast = _measure_spread(gray)
    if contrast < MIN_CONTRAST:
        return f"The picture is blank, or nearly so (its gray values spread by {contrast:.1f} of 255)."
    if view is None or (seen := choose_view(view)) is View.FRONTAL:
        return ""
    if seen is View.OTHER:
        return f"Not a frontal chest radiograph (that it is one has a probability of {_measure_chance(view):.1%})."
    return f"Looks like {_SHOWN[seen]}, or have it done with --fix."


def choose_view(view: FloatArray) -> View:
    """Return the most probable view of logits (6,); a frontal radiograph must be so by `LEAST_CHANCE`."""
    seen = _VIEWS[int(np.argmax(view))]
    return View.OTHER if seen is View.FRONTAL and _measure_chance(view) < LEAST_CHANCE else seen


def can_put_right(view: View) -> bool:
    """Return whether a picture is a radiograph that is shown wrongly."""
    return view in _SHOWN


def put_right(picture: UInt8Array, view: View) -> UInt8Array:
    """Return a picture (h, w) as it should be shown."""
    if view is View.INVERTED:
        return np.uint8(255) - picture
    return np.ascontiguousarray(np.rot90(picture, _TURN[view]))


def describe_repair(view: View) -> str:
    """Say what was wrong with a file that was put right."""
    return _PUT_RIGHT[view]


def warn_of_distance(familiarity: float | None) -> str:
    """Return what to say of a picture by its familiarity, an empty text where nothing is to be said."""
    if familiarity is None or familiarity >= LEAST_FAMILIAR:
        return ""
    return (
        "Unlike the radiographs that the model was trained on, such as those of adults or of another machine: "
        "do not rely on the probability."
    )


def _measure_spread(gray: UInt8Array) -> float:
    """Return the standard deviation; a thousand pixels tell it well enough."""
    sample = gray[:: max(1, gray.shape[0] // _GRID), :: max(1, gray.shape[1] // _GRID)].astype(np.float32).ravel()
    centred = sample - sample.sum() / sample.size
    return math.sqrt(float(centred @ centred) / sample.size)


def _measure_chance(view: FloatArray) -> float:
    """Return the probability of a frontal radiograph."""
    powers = np.exp(view - view.max())
    return float(powers[0] / powers.sum())
