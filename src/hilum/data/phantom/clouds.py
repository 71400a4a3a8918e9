"""Solid things as clouds of points in space.

A cloud carries volume, not brightness: projected along z it gives the thickness that a ray crosses, so a rib brightens
by itself where it turns along the ray.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hilum.types import DoubleArray, FloatArray

GOLDEN_ANGLE = np.pi * (3 - 5**0.5)  # spreads points evenly round an axis


@dataclass(frozen=True, slots=True)
class PointCloud:
    """Volume spread over points: `xyz` is (n, 3) in body coordinates, `volume` is (n,) in units cubed."""

    xyz: FloatArray
    volume: FloatArray


def join_clouds(clouds: Sequence[PointCloud]) -> PointCloud:
    """Return one cloud of all points."""
    return PointCloud(
        xyz=np.concatenate([cloud.xyz for cloud in clouds]), volume=np.concatenate([cloud.volume for cloud in clouds])
    )


def build_tube(
    path: FloatArray | DoubleArray,
    *,
    half_sizes: tuple[float, float],
    reference: tuple[float, float, float],
    density: float = 1.0,
) -> PointCloud:
    """Build a hollow bone along a path.

    Args:
        path: (n, 3) points of the axis, close together.
        half_sizes: of the elliptic cross-section, along tangent x reference and along the direction square to both.
        reference: a direction that the path never takes.
        density: bone per volume, 1 for a long bone.
    """
    path = path.astype(np.float32)
    tangent = np.gradient(path, axis=0)
    step = np.linalg.norm(tangent, axis=1)
    first = np.cross(tangent, np.asarray(reference, dtype=np.float32))
    first /= np.linalg.norm(first, axis=1, keepdims=True)
    second = np.cross(first, tangent / step[:, None])
    around = 28
    # Every third point lies inside: marrow. The golden angle keeps neighbouring rings from lining up.
    angle = (np.arange(around) * (2 * np.pi / around) + np.arange(len(path))[:, None] * GOLDEN_ANGLE).astype(np.float32)
    reach = np.where(np.arange(around) % 3 == 0, 0.62, 1.0).astype(np.float32)
    along_first = (reach * np.cos(angle) * half_sizes[0])[..., None]
    along_second = (reach * np.sin(angle) * half_sizes[1])[..., None]
    xyz = path[:, None] + along_first * first[:, None] + along_second * second[:, None]
    area = np.pi * half_sizes[0] * half_sizes[1] * density
    volume = np.repeat(step * area / around, around)
    return PointCloud(xyz=xyz.reshape(-1, 3).astype(np.float32), volume=volume.astype(np.float32))


def build_ball(centre: DoubleArray, *, radius: float, volume: float) -> PointCloud:
    """Build the hollow head of a bone: points spread evenly over a sphere by the golden angle."""
    share = np.linspace(-1, 1, 900)
    turn = np.arange(900) * GOLDEN_ANGLE
    flat = np.sqrt(1 - share**2)
    return spread_points(centre + radius * np.stack([flat * np.cos(turn), share, flat * np.sin(turn)], axis=1), volume)


def spread_points(xyz: FloatArray | DoubleArray, volume: float) -> PointCloud:
    """Share a volume evenly among (n, 3) points."""
    points = np.asarray(xyz, dtype=np.float32)
    return PointCloud(points, np.full(len(points), volume / len(points), dtype=np.float32))
