"""Projecting a patient onto a detector: pose, and maps of the thickness of tissue, air and bone along each ray."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter

from hilum.data.phantom.anatomy import Anatomy, Ellipse
from hilum.data.phantom.bones import CHEST_DEPTH, SIDES, chest_half_width, spine_x
from hilum.data.phantom.clouds import PointCloud, build_ball, build_tube, join_clouds
from hilum.types import FloatArray

Shape = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Pose:
    """How the patient lies before the detector in one picture."""

    scale: float  # pixels a body unit
    centre: tuple[float, float]  # (x, y) in pixels of the point (0, 0.8)
    roll: float  # radians, in the plane of the picture
    yaw: float  # radians, about the long axis
    breath: float  # units that the diaphragm is higher than at full inspiration
    arms: tuple[float, float]  # radians from hanging down, right and left


@dataclass(frozen=True, slots=True)
class Layers:
    """Thickness along each ray in body units, all (h, w): `air` in healthy lungs, `chest` the depth inside the ribs."""

    x: FloatArray
    y: FloatArray
    tissue: FloatArray
    bone: FloatArray
    air: FloatArray
    chest: FloatArray
    vessels: FloatArray


def draw_pose(rng: np.random.Generator, shape: Shape) -> Pose:
    """Draw a pose for a picture of (height, width) pixels."""
    height, width = shape
    # The chest fills the picture by its height, unless the picture is so narrow that the sides would be lost.
    scale = min(height / rng.uniform(1.85, 2.25), width / rng.uniform(2.2, 2.5))
    return Pose(
        scale=scale,
        centre=(width * (0.5 + rng.normal(0, 0.02)), height * rng.uniform(0.44, 0.53)),
        roll=float(np.clip(rng.normal(0, 0.035), -0.1, 0.1)),
        yaw=float(np.clip(rng.normal(0, 0.06), -0.16, 0.16)),
        breath=max(rng.normal(0.03, 0.06), -0.06),
        arms=(_draw_arm(rng), _draw_arm(rng)),
    )


def _draw_arm(rng: np.random.Generator) -> float:
    return rng.uniform(2.2, 2.9) if rng.random() < 0.45 else rng.uniform(0.25, 1.1)


def project_layers(anatomy: Anatomy, pose: Pose, shape: Shape) -> Layers:
    """Project a healthy patient onto a detector of (height, width) pixels."""
    x, y = _map_body(pose, shape)
    chest = _measure_chest(anatomy, x, y)
    organs = np.zeros_like(x)
    for organ in anatomy.organs:
        np.maximum(organs, _measure_ellipse(organ, x - np.float32(0.25 * pose.yaw), y), out=organs)
    organs = gaussian_filter(organs, 0.012 * pose.scale)
    spine = spine_x(y, anatomy.curve)
    # Close to the spine both lungs end; the edge is a little soft, for the lungs are round there.
    gap = (np.abs(x - spine) - np.float32(0.12)) / np.float32(0.1)
    air = np.maximum(chest - organs, 0) * np.clip(gap, 0, 1) * _find_above_diaphragm(anatomy, pose, x, y)
    tissue = _measure_body(anatomy, x, y)
    for gas in anatomy.gas:
        shown = _measure_ellipse(gas, x, y + np.float32(pose.breath)) * (chest > 0)
        tissue -= np.minimum(shown, tissue * 0.8)
    tissue -= _measure_trachea(x - spine, y)
    bone = project_cloud(anatomy.bones, pose, shape)
    arms, arm_bones = _project_arms(anatomy, pose, shape)
    # Vessels are seen against air alone.
    seen = np.clip(air / np.float32(0.6) - np.float32(0.3), 0, 1)
    vessels = project_cloud(anatomy.vessels, pose, shape) * seen
    return Layers(x, y, np.cbrt(tissue**3 + arms**3), bone + arm_bones, air, chest, vessels)


def _map_body(pose: Pose, shape: Shape) -> tuple[FloatArray, FloatArray]:
    """Return body x and y of every pixel."""
    rows = (np.arange(shape[0], dtype=np.float32)[:, None] - np.float32(pose.centre[1])) / np.float32(pose.scale)
    columns = (np.arange(shape[1], dtype=np.float32)[None] - np.float32(pose.centre[0])) / np.float32(pose.scale)
    cos, sin = np.float32(np.cos(pose.roll)), np.float32(np.sin(pose.roll))
    return columns * cos + rows * sin, rows * cos - columns * sin + np.float32(0.8)


def project_cloud(cloud: PointCloud, pose: Pose, shape: Shape) -> FloatArray:
    """Return the (h, w) thickness that a cloud has along each ray, shared among the four pixels round each point."""
    height, width = shape
    xyz = cloud.xyz
    x = xyz[:, 0] * np.float32(np.cos(pose.yaw)) + xyz[:, 2] * np.float32(np.sin(pose.yaw))
    y = xyz[:, 1] - np.float32(0.8)
    cos, sin = np.float32(np.cos(pose.roll) * pose.scale), np.float32(np.sin(pose.roll) * pose.scale)
    column = x * cos - y * sin + np.float32(pose.centre[0])
    row = x * sin + y * cos + np.float32(pose.centre[1])
    inside = (column >= 0) & (column < width - 1) & (row >= 0) & (row < height - 1)
    column, row, volume = column[inside], row[inside], cloud.volume[inside]
    left, top = column.astype(np.int32), row.astype(np.int32)
    right_share, low_share = column - left, row - top
    index = top * width + left
    low = volume * low_share
    high = volume - low
    count = height * width
    total = np.bincount(index, high * (1 - right_share), count)
    total += np.bincount(index + 1, high * right_share, count)
    total += np.bincount(index + width, low * (1 - right_share), count)
    total += np.bincount(index + width + 1, low * right_share, count)
    thickness = (total * pose.scale**2).astype(np.float32).reshape(shape)
    # Fine enough to keep the edges of ribs, wide enough to hide the points.
    return np.asarray(gaussian_filter(thickness, 0.005 * pose.scale, truncate=3), dtype=np.float32)


def _measure_chest(anatomy: Anatomy, x: FloatArray, y: FloatArray) -> FloatArray:
    half = chest_half_width(y, anatomy.apex_width)
    flat = np.clip(np.abs(x) / np.maximum(half, np.float32(1e-3)), 0, 1)
    return np.float32(2 * CHEST_DEPTH) * np.sqrt(1 - flat**2.6) * (half > 0)


def _measure_ellipse(ellipse: Ellipse, x: FloatArray, y: FloatArray) -> FloatArray:
    cos, sin = np.float32(np.cos(ellipse.tilt)), np.float32(np.sin(ellipse.tilt))
    dx, dy = x - np.float32(ellipse.x), y - np.float32(ellipse.y)
    along = (dx * cos + dy * sin) / np.float32(ellipse.half_width)
    across = (dy * cos - dx * sin) / np.float32(ellipse.half_height)
    return np.float32(2 * ellipse.half_depth) * np.sqrt(np.maximum(1 - along * along - across * across, 0))


def _find_above_diaphragm(anatomy: Anatomy, pose: Pose, x: FloatArray, y: FloatArray) -> FloatArray:
    """Return the share of the chest's depth that lies above the diaphragm: 1 in the lung, 0 deep under a dome."""
    share = np.zeros_like(x)
    for side, (top_x, top_y) in zip(SIDES, anatomy.domes, strict=True):
        offset = np.abs(x - np.float32(top_x))
        outer = (x * np.float32(side)) > abs(top_x)
        # The dome falls slowly to the heart and steeply into the angle at the chest wall.
        fall = np.where(outer, np.float32(1.15) * offset**2.0, np.float32(0.45) * offset**2)
        below = y - (np.float32(top_y - pose.breath) + fall)
        # Lung hangs down behind the dome, so the grey deepens below the edge instead of jumping to white.
        part = 1 - np.sqrt(np.clip(below / np.float32(0.12), 0, 1)) * np.float32(0.9)
        part -= np.float32(0.1) * np.clip(below / np.float32(0.35), 0, 1)
        share = np.where(x * np.float32(side) > 0, part, share)
    return share


def _measure_body(anatomy: Anatomy, x: FloatArray, y: FloatArray) -> FloatArray:
    neck, chest = 0.36, 1.0 + anatomy.wall
    rise = _smooth_step(y, -0.5, -0.02)
    half = neck + (anatomy.shoulder - neck) * rise
    half += (chest - anatomy.shoulder) * _smooth_step(y, 0.1, 0.7)
    half -= np.float32(0.07) * _smooth_step(y, 1.5, 2.4)
    depth = np.float32(2 * anatomy.depth) * (0.5 + 0.5 * _smooth_step(y, -0.35, 0.45))
    # The belly is a little deeper than the chest.
    depth *= 1 + np.float32(0.12) * _smooth_step(y, 1.2, 1.9)
    across = np.clip(np.abs(x) / half, 0, 1)
    trunk = np.asarray(depth * np.sqrt(1 - across**2.4), dtype=np.float32)
    head = _measure_ellipse(Ellipse(0.0, anatomy.chin - 0.6, 0.45, 0.6, 0.0, 0.5), x, y)
    return np.asarray(np.maximum(trunk, head), dtype=np.float32)


def _measure_trachea(x: FloatArray, y: FloatArray) -> FloatArray:
    across = 1 - (x / np.float32(0.062)) ** 2
    shown = _smooth_step(y, -0.4, -0.2) * (1 - _smooth_step(y, 0.5, 0.62))
    return np.asarray(np.float32(0.13) * np.sqrt(np.maximum(across, 0)) * shown, dtype=np.float32)


def _project_arms(anatomy: Anatomy, pose: Pose, shape: Shape) -> tuple[FloatArray, FloatArray]:
    """Return the thickness of the arms' soft tissue and of the upper arm bones."""
    x, y = _map_body(pose, shape)
    tissue = np.zeros_like(x)
    bones = np.zeros_like(x)
    for side, angle in zip(SIDES, pose.arms, strict=True):
        joint = np.array([side * (anatomy.shoulder - 0.06), -0.02])
        direction = np.array([side * np.sin(angle), np.cos(angle)])
        dx, dy = x - np.float32(joint[0]), y - np.float32(joint[1])
        along = np.clip(dx * np.float32(direction[0]) + dy * np.float32(direction[1]), 0, 1.4)
        aside = (dx - along * np.float32(direction[0])) ** 2 + (dy - along * np.float32(direction[1])) ** 2
        radius = np.float32(0.19) + np.float32(0.09) * np.exp(-along / np.float32(0.25))
        tissue = np.maximum(tissue, np.float32(2) * np.sqrt(np.maximum(radius * radius - aside, 0)))
        steps = np.linspace(0, 1.3, 200)
        path = np.stack([joint[0] + steps * direction[0], joint[1] + steps * direction[1], np.zeros(200)], axis=1)
        shaft = build_tube(path, half_sizes=(0.06, 0.06), reference=(0, 0, 1), density=0.4)
        head = build_ball(path[0], radius=0.1, volume=0.0014)
        bones += project_cloud(join_clouds([shaft, head]), pose, shape)
    return tissue, bones


def _smooth_step(value: FloatArray, low: float, high: float) -> FloatArray:
    share = np.clip((value - np.float32(low)) / np.float32(high - low), 0, 1)
    return np.asarray(share * share * (3 - 2 * share), dtype=np.float32)
