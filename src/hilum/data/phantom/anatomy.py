"""The anatomy of one synthetic patient: bones and lung vessels as clouds of points, organs as ellipsoids."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hilum.data.phantom.bones import SIDES, build_jaw, build_ribs, build_shoulder_girdle, build_spine
from hilum.data.phantom.clouds import PointCloud, join_clouds
from hilum.types import DoubleArray


@dataclass(frozen=True, slots=True)
class Ellipse:
    """An ellipsoid of soft tissue or gas as seen from the front: centre, half axes, tilt in radians, half depth."""

    x: float
    y: float
    half_width: float
    half_height: float
    tilt: float
    half_depth: float


@dataclass(frozen=True, slots=True)
class Anatomy:
    """What stays the same in every picture of a patient. Lengths in body units (see hilum.data.phantom.bones)."""

    bones: PointCloud
    vessels: PointCloud
    organs: tuple[Ellipse, ...]  # heart and mediastinum: they displace air
    gas: tuple[Ellipse, ...]  # stomach and bowel: they displace tissue
    chin: float  # y of the chin
    apex_width: float  # half width of the chest at its apex
    domes: tuple[tuple[float, float], tuple[float, float]]  # (x, y) of the top of the right and left diaphragm
    wall: float  # soft tissue outside the ribs
    shoulder: float  # half width of the body at the shoulders
    depth: float  # half depth of the body
    curve: tuple[float, float]  # sideways bend of the spine: amount and phase


def draw_anatomy(rng: np.random.Generator) -> Anatomy:
    """Draw one patient. It does not know whether the patient is ill."""
    apex_width = rng.uniform(0.62, 0.84)
    vertebra = rng.uniform(0.155, 0.178)
    curve = (rng.normal(0, 0.015), rng.uniform(0, 2 * np.pi))
    right_top = (rng.uniform(-0.58, -0.42), rng.uniform(1.36, 1.5))
    left_top = (rng.uniform(0.42, 0.6), right_top[1] + rng.uniform(0.0, 0.12))
    chin = rng.uniform(-0.62, -0.36)
    bones = [
        build_jaw(chin),
        *build_ribs(rng, apex_width, vertebra),
        *build_spine(vertebra, curve),
        *build_shoulder_girdle(rng),
    ]
    return Anatomy(
        bones=join_clouds(bones),
        vessels=_build_vessels(rng),
        organs=_draw_organs(rng),
        gas=_draw_gas(rng, left_top),
        chin=chin,
        apex_width=apex_width,
        domes=(right_top, left_top),
        wall=rng.uniform(0.09, 0.2),
        shoulder=rng.uniform(1.15, 1.4),
        depth=rng.uniform(0.74, 0.9),
        curve=curve,
    )


def _build_vessels(rng: np.random.Generator) -> PointCloud:
    """Grow the arteries and veins of both lungs out of the hila, five generations, each thinner than the last."""
    clouds = []
    thickness = rng.uniform(0.85, 1.2)
    for side in SIDES:
        hilum_y = 0.8 if side < 0 else 0.73
        angles = np.linspace(-1.15, 1.45, 8) + rng.normal(0, 0.1, 8)  # from steeply up to steeply down, 0 is outwards
        start = np.stack(
            [np.full(8, 0.22) + rng.normal(0, 0.02, 8), hilum_y + 0.09 * angles + rng.normal(0, 0.02, 8)], 1
        )
        radius = np.full(8, 0.026) * thickness * rng.uniform(0.8, 1.2, 8)
        length = rng.uniform(0.16, 0.26, 8)
        for generation in range(5):
            count = len(angles)
            share = np.linspace(0, 1, 26)[None, :, None]
            bend = rng.normal(0, 0.25, count)
            turn = angles[:, None, None] + bend[:, None, None] * share
            steps = np.concatenate([np.cos(turn), np.sin(turn)], axis=2) * (length[:, None, None] / 26)
            line = start[:, None] + np.cumsum(steps, axis=1)
            clouds.append(_flat_tubes(line, radius, side))
            children = rng.integers(2, 4, count) if generation < 2 else np.full(count, 2)
            parent = np.repeat(np.arange(count), children)
            spread = np.concatenate([np.linspace(-1, 1, n) for n in children]) * rng.uniform(0.28, 0.55, len(parent))
            angles = angles[parent] + bend[parent] + spread
            start = line[parent, -1]
            radius = radius[parent] * rng.uniform(0.6, 0.78, len(parent))
            length = length[parent] * rng.uniform(0.6, 0.95, len(parent))
    return join_clouds(clouds)


def _flat_tubes(line: DoubleArray, radius: DoubleArray, side: float) -> PointCloud:
    """Fill round vessels: (m, n, 2) axes and (m,) radii; points lie across the axis, weighted by the depth there."""
    tangent = np.gradient(line, axis=1)
    step = np.linalg.norm(tangent, axis=2)
    across = np.array([-0.8, -0.4, 0.0, 0.4, 0.8])
    square = np.stack([-tangent[..., 1], tangent[..., 0]], axis=2) / step[..., None]
    xy = line[:, :, None] + square[:, :, None] * (across[:, None] * radius[:, None, None, None])
    depth = np.sqrt(1 - across**2)
    volume = step[:, :, None] * (np.pi * radius[:, None, None] ** 2) * (depth / depth.sum())
    xyz = np.concatenate([xy * [side, 1.0], np.zeros((*xy.shape[:3], 1))], axis=3)
    return PointCloud(xyz.reshape(-1, 3).astype(np.float32), volume.reshape(-1).astype(np.float32))


def _draw_organs(rng: np.random.Generator) -> tuple[Ellipse, ...]:
    size = rng.uniform(0.9, 1.12)
    shift = rng.normal(0, 0.025)
    thymus = rng.uniform(0.85, 1.35)
    return (
        # Left ventricle with its apex down to the left, right atrium, great vessels and thymus, aortic knob, trunk.
        Ellipse(0.2 + shift, 1.12, 0.46 * size, 0.36 * size, rng.uniform(0.45, 0.75), 0.5),
        Ellipse(-0.06 + shift, 1.1, 0.25 * size, 0.36 * size, 0.1, 0.42),
        Ellipse(0.0, 0.46, 0.24 * thymus, 0.66, 0.0, 0.45),
        Ellipse(0.18, 0.48, 0.13, 0.12, 0.0, 0.25),
        Ellipse(0.16 + shift, 0.74, 0.17, 0.2, 0.3, 0.36),
    )


def _draw_gas(rng: np.random.Generator, left_top: tuple[float, float]) -> tuple[Ellipse, ...]:
    bubbles = []
    if rng.random() < 0.7:
        width = rng.uniform(0.1, 0.26)
        height = width * rng.uniform(0.4, 0.75)
        centre = (left_top[0] + rng.uniform(-0.22, 0.05), left_top[1] + 0.07 + height)
        bubbles.append(Ellipse(*centre, width, height, rng.uniform(-0.3, 0.3), rng.uniform(0.15, 0.4)))
    for _ in range(rng.integers(0, 4)):
        width = rng.uniform(0.06, 0.15)
        bubbles.append(
            Ellipse(
                rng.uniform(-0.2, 0.75),
                rng.uniform(1.85, 2.2),
                width,
                width * rng.uniform(0.5, 0.9),
                rng.uniform(-0.8, 0.8),
                rng.uniform(0.06, 0.2),
            )
        )
    return tuple(bubbles)
