"""What machines, displays and copies do to gray values, as batched tensor operations.

Images are float32 (n, s, s) with values 0-255, parameters (n,). Blurs and changes of resolution are separable and
linear: an (s, s) matrix for each image, applied from both sides.
"""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor
from torch.nn import functional as F

_TRUNCATE = 3.0  # standard deviations, as `data.acquisition` cuts its Gaussians


def build_gaussian(sigmas: Tensor, size: int) -> Tensor:
    """Return (n, size, size) matrices that blur a column by Gaussians of `sigmas` pixels, edges replicated."""
    places = torch.arange(size, device=sigmas.device, dtype=torch.float32)
    distance = places[:, None] - places[None, :]
    width = sigmas[:, None, None].clamp(min=1e-3)
    reach = torch.floor(_TRUNCATE * width + 0.5)
    kernel = torch.exp(-0.5 * (distance / width) ** 2) * (distance.abs() <= reach)
    # Weights of the places beyond an edge belong to the edge.
    longest = int(size)
    beyond = torch.arange(1, longest + 1, device=sigmas.device, dtype=torch.float32)
    outside = torch.exp(-0.5 * (beyond / width[:, :, 0]) ** 2) * (beyond <= reach[:, :, 0])
    tails = outside.flip(1).cumsum(1).flip(1)  # tails[k]: all that lie more than k pixels away on one side
    total = 1 + 2 * tails[:, :1]
    kernel[:, :, 0] += tails
    kernel[:, :, -1] += tails.flip(1)
    return kernel / total[:, :, None]


def build_resolution(factors: Tensor, size: int) -> Tensor:
    """Return (n, size, size) matrices that shrink a column to `factors` of its length and enlarge it again.

    Shrinking averages by a triangle as wide as the step, enlarging is cubic (a = -0.5), both as Pillow resizes.
    """
    small = torch.round(factors * size).clamp(min=8)[:, None, None]
    ratio = size / small
    fine = torch.arange(size, device=factors.device, dtype=torch.float32)
    coarse = fine[None, :, None]
    centre = (coarse + 0.5) * ratio
    shrink = (1 - ((fine[None, None, :] + 0.5 - centre) / ratio).abs()).clamp(min=0)
    shrink = shrink / shrink.sum(dim=2, keepdim=True).clamp(min=1e-6)
    place = (fine[None, :, None] + 0.5) / ratio - 0.5
    x = (place - fine[None, None, :]).abs()
    near, far = (1.5 * x - 2.5) * x * x + 1, ((-0.5 * x + 2.5) * x - 4) * x + 2
    enlarge = torch.where(x < 1, near, torch.where(x < 2, far, torch.zeros_like(x)))
    enlarge = enlarge * (fine[None, None, :] < small)
    return (enlarge / enlarge.sum(dim=2, keepdim=True)) @ (shrink * (coarse < small))


def apply_both_ways(images: Tensor, matrices: Tensor) -> Tensor:
    """Apply (n, s, s) or (s, s) matrices to columns and rows of (n, s, s) images."""
    return matrices @ images @ matrices.transpose(-1, -2)


def raise_local_contrast(images: Tensor, sigmas: Tensor, amounts: Tensor) -> Tensor:
    """Add `amounts` times the detail above Gaussians of `sigmas` (shares of the side): multi-frequency processing."""
    smooth = apply_both_ways(images, build_gaussian(sigmas * images.shape[-1], images.shape[-1]))
    return torch.addcmul(images, amounts[:, None, None], images - smooth).clamp_(0, 255)


def shade_(images: Tensor, strengths: Tensor, angles: Tensor) -> Tensor:
    """Multiply by ramps from 1 - strength to 1 + strength at `angles` (radians): the heel effect, uneven light."""
    ramp = torch.linspace(-1, 1, images.shape[-1], device=images.device)
    across = (torch.cos(angles)[:, None] * ramp)[:, None, :] + (torch.sin(angles)[:, None] * ramp)[:, :, None]
    return images.mul_(1 + strengths[:, None, None] * across.clamp_(-1, 1)).clamp_(0, 255)


def compress(images: Tensor, qualities: Tensor) -> Tensor:
    """Quantise as JPEG of `qualities` (1 to 100) does: 8 × 8 cosine transform, the standard luminance table.

    The quality scales the table as in libjpeg. A side that is no multiple of 8 is continued by its last pixels.
    """
    count, size = len(images), images.shape[-1]
    padded = -size % 8
    blocks = F.pad(images[:, None], (0, padded, 0, padded), mode="replicate")[:, 0] if padded else images
    side = (size + padded) // 8
    blocks = blocks.round().sub(128).reshape(count, side, 8, side, 8).transpose(2, 3)
    transform = _build_cosines(images.device)
    scale = torch.where(qualities < 50, torch.floor(5000 / qualities), 200 - 2 * qualities)
    table = torch.floor((_load_luminance(images.device) * scale[:, None, None] + 50) / 100)
    table = table.clamp_(1, 255)[:, None, None]
    quantised = (transform @ blocks @ transform.T).div_(table).round_().mul_(table)
    restored = (transform.T @ quantised @ transform).add_(128).transpose(2, 3)
    return restored.reshape(count, side * 8, side * 8)[:, :size, :size].round().clamp_(0, 255)


def _build_cosines(device: torch.device) -> Tensor:
    """Return the orthonormal cosine transform of 8 values, (8, 8)."""
    places = torch.arange(8, device=device, dtype=torch.float32)
    cosines = torch.cos(math.pi / 8 * (places[None, :] + 0.5) * places[:, None]) / 2
    cosines[0] /= math.sqrt(2)
    return cosines


@functools.cache
def _load_luminance(device: torch.device) -> Tensor:
    """Return the table (8, 8) on a device; it is sent there once, for sending makes the device wait."""
    return torch.tensor(_LUMINANCE, dtype=torch.float32).reshape(8, 8).to(device)


# Quantisation table of luminance, ITU-T T.81 (the JPEG standard), annex K.1.
_LUMINANCE = (
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51,
    87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92, 49, 64, 78, 87, 103, 121, 120, 101,
    72, 92, 95, 98, 112, 100, 103, 99,
)  # fmt: skip
