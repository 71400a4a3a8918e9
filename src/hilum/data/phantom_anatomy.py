"""The anatomy of one synthetic patient: bones and lung vessels as clouds of points in space, soft tissue as outlines.

Body coordinates: x to the patient's left (to the right in the picture), y down, z to the front. The unit is half the
inner width of the chest at its base; y = 0 is the apex of the lungs. A cloud carries volume, not brightness: projected
along z it gives the thickness that a ray crosses, so a rib brightens by itself where it turns along the ray.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import qmc

from hilum.types import FloatArray

RIBS = 11
SIDES = (-1.0, 1.0)
CHEST_DEPTH = 0.62  # half the inner depth of the chest, front to back


@dataclass(frozen=True, slots=True)
class PointCloud:
    """Volume spread over points: `xyz` is (n, 3) in body coordinates, `volume` is (n,) in units cubed."""

    xyz: FloatArray
    volume: FloatArray


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
    """What stays the same in every picture of a patient. Lengths in body units (see the module)."""

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
    vertebra: float  # height of one vertebra with its disc
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
        _build_jaw(chin),
        *_build_ribs(rng, apex_width, vertebra),
        *_build_spine(vertebra, curve),
        *_build_shoulder_girdle(rng),
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
        vertebra=vertebra,
        curve=curve,
    )


def chest_half_width(y: FloatArray, apex_width: float) -> FloatArray:
    """Return half the inner width of the chest at height y (any shape): a bell, 0 above the apex and 1 at the base."""
    share = np.clip(y / 1.75, 0, 1.15)
    cap = np.sqrt(np.maximum(1 - (1 - np.clip(y / 0.5, 0, 1)) ** 2.3, 0))
    return np.asarray((apex_width + (1 - apex_width) * share**0.75) * cap, dtype=np.float32)


def spine_x(y: FloatArray, curve: tuple[float, float]) -> FloatArray:
    """Return the x of the spine's midline at height y (any shape)."""
    return np.asarray(curve[0] * np.sin(1.6 * y + curve[1]), dtype=np.float32)


def join_clouds(clouds: Sequence[PointCloud]) -> PointCloud:
    """Return one cloud of all points."""
    return PointCloud(
        xyz=np.concatenate([cloud.xyz for cloud in clouds]), volume=np.concatenate([cloud.volume for cloud in clouds])
    )


def build_tube(
    path: FloatArray, *, half_sizes: tuple[float, float], reference: tuple[float, float, float], density: float = 1.0
) -> PointCloud:
    """Build a hollow bone along a path.

    Args:
        path: (n, 3) points of the axis, close together.
        half_sizes: of the elliptic cross-section, along tangent x reference and along the direction square to both.
        reference: a direction that the path never takes.
        density: bone per volume, 1 for a long bone.
    """
    tangent = np.gradient(path, axis=0)
    step = np.linalg.norm(tangent, axis=1)
    first = np.cross(tangent, np.asarray(reference, dtype=np.float32))
    first /= np.linalg.norm(first, axis=1, keepdims=True)
    second = np.cross(first, tangent / step[:, None])
    around = 28
    # Every other point lies inside: marrow. The golden angle keeps neighbouring rings from lining up.
    angle = (np.arange(around) * (2 * np.pi / around) + np.arange(len(path))[:, None] * 2.399963).astype(np.float32)
    reach = np.where(np.arange(around) % 3 == 0, 0.62, 1.0).astype(np.float32)
    along_first = (reach * np.cos(angle) * half_sizes[0])[..., None]
    along_second = (reach * np.sin(angle) * half_sizes[1])[..., None]
    xyz = path[:, None] + along_first * first[:, None] + along_second * second[:, None]
    area = np.pi * half_sizes[0] * half_sizes[1] * density
    volume = np.repeat(step * area / around, around)
    return PointCloud(xyz=xyz.reshape(-1, 3).astype(np.float32), volume=volume.astype(np.float32))


def _build_ribs(rng: np.random.Generator, apex_width: float, vertebra: float) -> list[PointCloud]:
    ribs = []
    drop = rng.uniform(0.55, 0.95)
    height = rng.uniform(0.036, 0.046)
    lift = rng.uniform(0.02, 0.08)
    for side in SIDES:
        for rib in range(RIBS):
            # From the spine (0) round the side to the front end; cartilage beyond it does not show.
            end = np.pi * (0.9 if rib == 0 else rng.uniform(0.7, 0.76) - 0.02 * max(rib - 6, 0))
            turn = np.linspace(0.13, end, 260 if rib else 150, dtype=np.float32)
            head = (rib - 0.15) * vertebra + rng.normal(0, 0.006)
            fall = drop * (0.45 + 0.085 * min(rib, 6)) * (1 + rng.normal(0, 0.03))
            # The neck of the rib rises a little before the body falls to the front.
            y = head - lift * np.sin(np.minimum(turn * 2.1, np.pi)) + fall * ((1 - np.cos(turn)) / 2) ** 0.95
            width = chest_half_width(np.maximum(y, 0.1), apex_width) + 0.015
            path = np.stack([side * width * np.sin(turn), y, -CHEST_DEPTH * np.cos(turn)], axis=1)
            sizes = (0.026, height * (1.0 - 0.02 * abs(rib - 5)))
            tube = build_tube(path.astype(np.float32), half_sizes=sizes, reference=(0, 1, 0))
            fade = 1 - 0.5 * np.clip((turn - 1.6) / 0.6, 0, 1)
            ribs.append(PointCloud(tube.xyz, tube.volume * np.repeat(fade, len(tube.volume) // len(turn))))
    return ribs


def _build_spine(vertebra: float, curve: tuple[float, float]) -> list[PointCloud]:
    clouds = []
    back = -CHEST_DEPTH + 0.08
    turn = np.linspace(0, 2 * np.pi, 40, dtype=np.float32)
    for level in range(-5, 15):
        middle = level * vertebra
        half_width = 0.098 + 0.0022 * (level + 5)
        centre = float(spine_x(np.float32(middle), curve))  # type: ignore[arg-type]
        # The rims of the end plates, the side walls, two pedicles end-on, a spinous process and the transverse ones.
        rims = [_ring(centre, middle + edge * vertebra * 0.38, back, half_width, 0.012) for edge in (-1, 1)]
        wall_y = np.linspace(middle - vertebra * 0.38, middle + vertebra * 0.38, 14, dtype=np.float32)
        waist = half_width * (0.93 + 0.07 * np.abs(wall_y - middle) / (vertebra * 0.38))
        walls = np.stack(
            [centre + waist[:, None] * np.cos(turn), np.repeat(wall_y[:, None], 40, 1), np.full((14, 40), back)], axis=2
        )
        clouds += rims
        clouds.append(_spread(walls.reshape(-1, 3), 0.0005))
        for side in SIDES:
            clouds.append(_oval(centre + side * half_width * 0.62, middle - 0.2 * vertebra, back, 0.021, 0.033, 0.0001))
            tip = centre + side * (half_width + 0.085)
            process = np.linspace([centre + side * half_width * 0.8, middle - 0.22 * vertebra, back - 0.1],
                                  [tip, middle - 0.36 * vertebra, back - 0.1], 30)  # fmt: skip
            clouds.append(build_tube(process.astype(np.float32), half_sizes=(0.02, 0.01), reference=(0, 0, 1)))
        clouds.append(_oval(centre, middle + 0.28 * vertebra, back - 0.2, 0.014, 0.034, 0.00008))
    return clouds


def build_ball(centre: FloatArray, *, radius: float, volume: float) -> PointCloud:
    """Build the hollow head of a bone: points spread evenly over a sphere by the golden angle."""
    share = np.linspace(-1, 1, 900)
    turn = np.arange(900) * 2.399963
    flat = np.sqrt(1 - share**2)
    return _spread(centre + radius * np.stack([flat * np.cos(turn), share, flat * np.sin(turn)], axis=1), volume)


def _ring(x: float, y: float, z: float, half_width: float, thickness: float) -> PointCloud:
    """An end plate seen from its edge: a flat disc, thin in y, with a slight bow."""
    across = np.linspace(-1, 1, 60, dtype=np.float32)[:, None]
    deep = np.linspace(-1, 1, 10, dtype=np.float32)[None]
    chord = np.sqrt(np.maximum(1 - deep**2 * 0.8, 0))
    xyz = np.stack(
        [
            x + half_width * across * chord,
            np.broadcast_to(y + thickness * deep, (60, 10)),
            np.broadcast_to(z + half_width * deep, (60, 10)),
        ],
        axis=2,
    )
    return _spread(xyz.reshape(-1, 3), 0.0002)


def _oval(x: float, y: float, z: float, half_width: float, half_height: float, volume: float) -> PointCloud:
    turn = np.linspace(0, 2 * np.pi, 70, endpoint=False)
    reach = np.where(np.arange(70) % 4 == 0, 0.5, 1.0)
    xyz = np.stack(
        [x + half_width * reach * np.cos(turn), y + half_height * reach * np.sin(turn), np.full(70, z)], axis=1
    )
    return _spread(xyz, volume)


def _spread(xyz: FloatArray, volume: float) -> PointCloud:
    points = np.asarray(xyz, dtype=np.float32)
    return PointCloud(points, np.full(len(points), volume / len(points), dtype=np.float32))


def _build_shoulder_girdle(rng: np.random.Generator) -> list[PointCloud]:
    clouds = []
    rise = rng.uniform(0.06, 0.26)
    for side in SIDES:
        share = np.linspace(0, 1, 200, dtype=np.float32)
        lift = rise + rng.normal(0, 0.02)
        y = 0.05 - lift * share + 0.035 * np.sin(2 * np.pi * share)
        path = np.stack([side * (0.1 + 0.88 * share), y, 0.5 - 0.45 * share**2], axis=1)
        clouds.append(build_tube(path, half_sizes=(0.032, 0.028), reference=(0, 0, 1), density=1.15))
        clouds += _build_scapula(rng, side, lift)
    return clouds


def _build_scapula(rng: np.random.Generator, side: float, lift: float) -> list[PointCloud]:
    out = rng.uniform(-0.06, 0.06)
    joint = np.array([1.0 + out, 0.08 - lift * 0.7, -0.3])
    tip = np.array([0.98 + out + rng.uniform(0, 0.12), 0.72 + rng.uniform(-0.08, 0.1), -0.45])
    inner = np.array([0.66 + out, 0.04 - lift * 0.5, -0.5])
    acromion = np.array([1.08 + out, -0.1 - lift * 0.8, -0.2])
    clouds = []
    edges = (
        (joint, tip, 0.016, 0.05),
        (tip, inner, 0.007, 0.03),
        (inner, joint, 0.008, 0.0),
        (inner, acromion, 0.017, -0.02),
    )
    for start, stop, thickness, bow in edges:
        share = np.linspace(0, 1, 90)[:, None]
        path = start * (1 - share) + stop * share
        path[:, 0] -= bow * np.sin(np.pi * share[:, 0])
        path = path * [side, 1, 1]
        clouds.append(build_tube(path.astype(np.float32), half_sizes=(thickness, thickness), reference=(0, 0, 1)))
    # An even spread over the triangle: Halton points, folded.
    first, second = qmc.Halton(2, scramble=False).random(2500).T
    folded = first + second > 1
    first, second = np.where(folded, 1 - first, first), np.where(folded, 1 - second, second)
    weights = np.stack([first, second, 1 - first - second], axis=1)
    plate = (weights @ np.stack([joint, tip, inner])) * [side, 1, 1]
    clouds.append(_spread(plate, 0.0022))
    return clouds


def _build_jaw(chin: float) -> PointCloud:
    turn = np.linspace(0.15, np.pi - 0.15, 220)
    path = np.stack([0.4 * np.cos(turn), chin - 0.3 + 0.27 * np.sin(turn), 0.3 * np.sin(turn)], axis=1)
    return build_tube(path.astype(np.float32), half_sizes=(0.05, 0.04), reference=(0, 0, 1), density=0.8)


def _build_vessels(rng: np.random.Generator) -> PointCloud:
    """Grow the arteries and veins of both lungs out of the hila, four generations, each thinner than the last."""
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
        for _generation in range(5):
            count = len(angles)
            share = np.linspace(0, 1, 26)[None, :, None]
            bend = rng.normal(0, 0.25, count)
            turn = angles[:, None, None] + bend[:, None, None] * share
            steps = np.concatenate([np.cos(turn), np.sin(turn)], axis=2) * (length[:, None, None] / 26)
            line = start[:, None] + np.cumsum(steps, axis=1)
            clouds.append(_flat_tubes(line, radius, side))
            children = rng.integers(2, 4, count) if _generation < 2 else np.full(count, 2)
            parent = np.repeat(np.arange(count), children)
            spread = np.concatenate([np.linspace(-1, 1, n) for n in children]) * rng.uniform(0.28, 0.55, len(parent))
            angles = angles[parent] + bend[parent] + spread
            start = line[parent, -1]
            radius = radius[parent] * rng.uniform(0.6, 0.78, len(parent))
            length = length[parent] * rng.uniform(0.6, 0.95, len(parent))
    return join_clouds(clouds)


def _flat_tubes(line: FloatArray, radius: FloatArray, side: float) -> PointCloud:
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
        # Left ventricle with its apex down to the left, right atrium, great vessels with the thymus, aortic knob, trunk.
        Ellipse(0.2 + shift, 1.12, 0.46 * size, 0.36 * size, rng.uniform(0.45, 0.75), 0.5),
        Ellipse(-0.06 + shift, 1.1, 0.25 * size, 0.36 * size, 0.1, 0.42),
        Ellipse(0.0, 0.46, 0.24 * thymus, 0.66, 0.0, 0.45),
        Ellipse(0.18, 0.48, 0.13, 0.12, 0.0, 0.25),
        Ellipse(0.16 + shift, 0.74, 0.17, 0.2, 0.3, 0.36),
    )


def _draw_gas(rng: np.random.Generator, left_top: tuple[float, float]) -> tuple[Ellipse, ...]:
    bubbles = []
    if rng.random() < 0.8:
        width = rng.uniform(0.1, 0.26)
        height = width * rng.uniform(0.4, 0.75)
        centre = (left_top[0] + rng.uniform(-0.22, 0.05), left_top[1] + 0.07 + height)
        bubbles.append(Ellipse(*centre, width, height, rng.uniform(-0.3, 0.3), rng.uniform(0.15, 0.4)))
    for _loop in range(rng.integers(0, 4)):
        width = rng.uniform(0.06, 0.15)
        bubbles.append(
            Ellipse(
                rng.uniform(-0.2, 0.75),
                rng.uniform(1.85, 2.2),
                width,
                width * rng.uniform(0.5, 0.9),
                rng.uniform(-0.8, 0.8),
                rng.uniform(0.06, 0.2),
            )  # fmt: skip
        )
    return tuple(bubbles)
