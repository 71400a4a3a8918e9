"""Drawing one synthetic radiograph."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hilum.data.phantom.anatomy import Anatomy, draw_anatomy
from hilum.data.phantom.film import attenuate, expose
from hilum.data.phantom.opacity import Finding, draw_finding, measure_opacity
from hilum.data.phantom.projection import Shape, draw_pose, project_layers
from hilum.errors import ConfigError
from hilum.types import BoolArray, Label, Pathogen, UInt8Array


@dataclass(frozen=True, slots=True)
class Phantom:
    """One synthetic radiograph with what is known of it. All arrays are (h, w).

    `lungs` is where air is seen in the healthy chest, `opacity` where pneumonia replaces a good part of that air.
    """

    pixels: UInt8Array
    lungs: BoolArray
    opacity: BoolArray


def draw_phantom(
    rng: np.random.Generator,
    *,
    label: Label,
    pathogen: Pathogen | None,
    size: int | Shape = 256,
    anatomy: Anatomy | None = None,
    finding: Finding | None = None,
) -> UInt8Array:
    """Draw one radiograph, (h, w) gray 0-255; see `render_phantom`, which returns the masks too."""
    return render_phantom(rng, label=label, pathogen=pathogen, size=size, anatomy=anatomy, finding=finding).pixels


def render_phantom(
    rng: np.random.Generator,
    *,
    label: Label,
    pathogen: Pathogen | None,
    size: int | Shape = 256,
    anatomy: Anatomy | None = None,
    finding: Finding | None = None,
) -> Phantom:
    """Draw one radiograph with its masks.

    Args:
        rng: source of chance.
        label: NORMAL or PNEUMONIA.
        pathogen: what causes the pneumonia; None for NORMAL and for nothing else.
        size: (height, width) in pixels, or the side of a square.
        anatomy: the patient, where several pictures share one; drawn when missing.
        finding: the patient's pneumonia, where several pictures share it; drawn when missing.

    Raises:
        ConfigError: label, pathogen and finding contradict each other, or the size is below 32 pixels.
    """
    shape = (size, size) if isinstance(size, int) else size
    if min(shape) < 32:
        raise ConfigError(
            f"A phantom of {shape[0]} x {shape[1]} pixels is too small to show a chest; take at least 32."
        )
    if (label is Label.PNEUMONIA) != (pathogen is not None) or (finding and finding.pathogen is not pathogen):
        raise ConfigError(f"A phantom cannot be {label} with pathogen {pathogen}: pneumonia has one, NORMAL has none.")
    anatomy = anatomy or draw_anatomy(rng)
    pose = draw_pose(rng, shape)
    layers = project_layers(anatomy, pose, shape)
    lungs = layers.air > 0.3
    opacity = np.zeros(shape, dtype=np.float32)
    if pathogen is not None:
        opacity = measure_opacity(finding or draw_finding(rng, pathogen), layers, scale=pose.scale)
    pixels = expose(rng, attenuate(layers, opacity, aeration=rng.uniform(0.62, 0.8)))
    return Phantom(pixels=pixels, lungs=lungs, opacity=lungs & (opacity > 0.25))
