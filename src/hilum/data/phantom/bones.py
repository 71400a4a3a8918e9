"""The bones of the chest: ribs, spine, collar bones, shoulder blades, jaw; and the outline that the ribs follow.

Body coordinates here and in all of this package: x to the patient's left (to the right in the picture), y down, z to
the front. The unit is half the inner width of the chest at its base; y = 0 is the apex of the lungs.
"""

from __future__ import annotations

import numpy as np

from hilum.data.phantom.clouds import PointCloud, build_tube, spread_points
from hilum.types import FloatArray

RIBS = 11
SIDES = (-1.0, 1.0)  # the patient's right and left
CHEST_DEPTH = 0.62  # half the inner depth of the chest, front to back


def chest_half_width(y: FloatArray, apex_width: float) -> FloatArray:
    """Return half the inner width of the chest at height y (any shape): a bell, 0 above the apex and 1 at the base."""
    share = np.clip(y / 1.75, 0, 1.15)
    cap = np.sqrt(np.maximum(1 - (1 - np.clip(y / 0.5, 0, 1)) ** 2.3, 0))
    return np.asarray((apex_width + (1 - apex_width) * share**0.75) * cap, dtype=np.float32)


def spine_x(y: FloatArray, curve: tuple[float, float]) -> FloatArray:
    """Return the x of the spine's midline at height y (any shape)."""
    return np.asarray(curve[0] * np.sin(1.6 * y + curve[1]), dtype=np.float32)


def build_ribs(rng: np.random.Generator, apex_width: float, vertebra: float) -> list[PointCloud]:
    """Build the ribs of both sides; `vertebra` is the height from one to the next."""
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
            tube = build_tube(path, half_sizes=sizes, reference=(0, 1, 0))
            fade = 1 - 0.5 * np.clip((turn - 1.6) / 0.6, 0, 1)
            ribs.append(PointCloud(tube.xyz, tube.volume * np.repeat(fade, len(tube.volume) // len(turn))))
    return ribs


def build_spine(vertebra: float, curve: tuple[float, float]) -> list[PointCloud]:
    """Build the vertebrae from the neck to the loin."""
    clouds = []
    back = -CHEST_DEPTH + 0.08
    turn = np.linspace(0, 2 * np.pi, 40, dtype=np.float32)
    for level in range(-5, 15):
        middle = level * vertebra
        half_width = 0.098 + 0.0022 * (level + 5)
        centre = float(spine_x(np.array(middle, dtype=np.float32), curve))
        # The rims of the end plates, the side walls, two pedicles end-on, a spinous process and the transverse ones.
        rims = [_ring(centre, middle + edge * vertebra * 0.38, back, half_width, 0.012) for edge in (-1, 1)]
        wall_y = np.linspace(middle - vertebra * 0.38, middle + vertebra * 0.38, 14, dtype=np.float32)
        waist = half_width * (0.93 + 0.07 * np.abs(wall_y - middle) / (vertebra * 0.38))
        walls = np.stack(
            [centre + waist[:, None] * np.cos(turn), np.repeat(wall_y[:, None], 40, 1), np.full((14, 40), back)], axis=2
        )
        clouds += rims
        clouds.append(spread_points(walls.reshape(-1, 3), 0.0005))
        for side in SIDES:
            clouds.append(_oval(centre + side * half_width * 0.62, middle - 0.2 * vertebra, back, 0.021, 0.033, 0.0001))
            tip = centre + side * (half_width + 0.085)
            root = (centre + side * half_width * 0.8, middle - 0.22 * vertebra, back - 0.1)
            process = np.linspace(root, (tip, middle - 0.36 * vertebra, back - 0.1), 30)
            clouds.append(build_tube(process, half_sizes=(0.02, 0.01), reference=(0, 0, 1)))
        clouds.append(_oval(centre, middle + 0.28 * vertebra, back - 0.2, 0.014, 0.034, 0.00008))
    return clouds


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
    return spread_points(xyz.reshape(-1, 3), 0.0002)


def _oval(x: float, y: float, z: float, half_width: float, half_height: float, volume: float) -> PointCloud:
    turn = np.linspace(0, 2 * np.pi, 70, endpoint=False)
    reach = np.where(np.arange(70) % 4 == 0, 0.5, 1.0)
    xyz = np.stack(
        [x + half_width * reach * np.cos(turn), y + half_height * reach * np.sin(turn), np.full(70, z)], axis=1
    )
    return spread_points(xyz, volume)


def build_shoulder_girdle(rng: np.random.Generator) -> list[PointCloud]:
    """Build the collar bones and shoulder blades."""
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
        clouds.append(build_tube(path, half_sizes=(thickness, thickness), reference=(0, 0, 1)))
    # An even spread over the triangle: the R2 sequence (of the plastic number, 1.3247), folded.
    first, second = (np.arange(2500) / 1.32471796**power % 1 for power in (1, 2))
    folded = first + second > 1
    first, second = np.where(folded, 1 - first, first), np.where(folded, 1 - second, second)
    weights = np.stack([first, second, 1 - first - second], axis=1)
    plate = (weights @ np.stack([joint, tip, inner])) * [side, 1, 1]
    clouds.append(spread_points(plate, 0.0022))
    return clouds


def build_jaw(chin: float) -> PointCloud:
    """Build the arch of the lower jaw with its tip at height `chin`."""
    turn = np.linspace(0.15, np.pi - 0.15, 220)
    path = np.stack([0.4 * np.cos(turn), chin - 0.3 + 0.27 * np.sin(turn), 0.3 * np.sin(turn)], axis=1)
    return build_tube(path, half_sizes=(0.05, 0.04), reference=(0, 0, 1), density=0.8)
