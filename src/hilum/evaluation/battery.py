"""The battery: fixed changes of acquisition under which a model has to go on working.

Validation pictures come from the machines of the training pictures and are told apart almost without error; a recipe
cannot be ranked by them. Under the battery they look as if they came from elsewhere. The strengths are beyond what is
comfortable on purpose, and fixed: a figure of today can be compared with one of next year.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from hilum.data import acquisition as acq
from hilum.types import DoubleArray, UInt8Array

Change = Callable[[UInt8Array], UInt8Array]


@dataclass(frozen=True, slots=True)
class Condition:
    """One change of a picture (s, s): `family` is the kind of acquisition it imitates, `name` says what is done."""

    family: str
    name: str
    change: Change


def _map(curve: DoubleArray) -> Change:
    return partial(acq.apply_curve, curve=curve)


def _map_own(draw: Callable[[UInt8Array], DoubleArray]) -> Change:
    """Return a change by a curve that depends on the picture."""
    return lambda picture: acq.apply_curve(picture, draw(picture))


def _raise_contrast(picture: UInt8Array) -> DoubleArray:
    return acq.contrast_curve(1.7, centre=float(picture.mean()) / 255)


def _add_noise(picture: UInt8Array, *, grain: float) -> UInt8Array:
    # Drawn from the picture itself: the same picture gets the same noise wherever it stands.
    rng = np.random.default_rng(int(picture.sum()))
    return acq.add_noise(picture, sigma=0.06, grain=grain, rng=rng)


def _mark(picture: UInt8Array) -> UInt8Array:
    lettered = acq.draw_text(picture, "L", row=0.1, column=0.9, size=0.1, value=255)
    return acq.draw_text(lettered, "PORTABLE", row=0.95, column=0.25, size=0.05, value=230)


_WIDER = partial(acq.reframe, top=-0.17, bottom=1.18, left=-0.17, right=1.18)

BATTERY: tuple[Condition, ...] = (
    Condition("exposure", "gamma 0.5", _map(acq.gamma_curve(0.5))),
    Condition("exposure", "gamma 2", _map(acq.gamma_curve(2.0))),
    Condition("exposure", "brightness +0.2", _map(acq.contrast_curve(1, brightness=0.2))),
    Condition("exposure", "brightness -0.2", _map(acq.contrast_curve(1, brightness=-0.2))),
    Condition("contrast", "contrast × 0.5", _map(acq.contrast_curve(0.5))),
    Condition("contrast", "contrast × 1.7", _map_own(_raise_contrast)),
    Condition("display", "S-curve", _map(acq.sigmoid_curve(7))),
    Condition("display", "inverse S-curve", _map(acq.sigmoid_curve(-5))),
    Condition("display", "window 10 % to 85 %", _map_own(partial(acq.window_curve, low=0.1, high=0.85))),
    Condition("display", "equalised", _map_own(acq.equalising_curve)),
    Condition("display", "local contrast × 2", partial(acq.raise_local_contrast, sigma=0.06, amount=1.0)),
    Condition("display", "shaded sideways", partial(acq.shade, strength=0.4, degrees=0)),
    Condition("sharpness", "blur 2 px", partial(acq.blur, sigma=2.0)),
    Condition("sharpness", "resolution × 0.35", partial(acq.lower_resolution, factor=0.35)),
    Condition("sharpness", "JPEG quality 12", partial(acq.compress, quality=12)),
    Condition("noise", "noise 0.06", partial(_add_noise, grain=0.0)),
    Condition("noise", "coarse noise 0.06", partial(_add_noise, grain=1.0)),
    Condition("framing", "inner 70 %", partial(acq.reframe, top=0.15, bottom=0.85, left=0.15, right=0.85)),
    Condition("framing", "without the top 25 %", partial(acq.reframe, top=0.25)),
    Condition("framing", "without the bottom 25 %", partial(acq.reframe, bottom=0.75)),
    Condition("framing", "wider by 35 %", _WIDER),
    Condition("framing", "broader by 30 %", partial(acq.reframe, left=-0.15, right=1.15)),
    Condition("framing", "turned by 12°", partial(acq.reframe, degrees=12)),
    Condition("framing", "collimated", partial(acq.collimate, top=0.08, bottom=0.08, left=0.08, right=0.08)),
    Condition("marks", "another marker", _mark),
)
"""Each on its own; a model meets several at once elsewhere, which this does not measure. Pixels are those of 224."""


def apply_condition(pictures: UInt8Array, condition: Condition) -> UInt8Array:
    """Change each of the pictures (n, s, s) by itself."""
    return np.stack([condition.change(picture) for picture in pictures])
