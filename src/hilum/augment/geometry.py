"""Where things are in the image: pose, framing, covers and the exchange of corners, as batched tensor operations.

Images are float32 (n, s, s) with values 0-255. Functions named `..._` change their argument.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from hilum.augment.gray import build_gaussian


def warp(images: Tensor, matrices: Tensor, *, size: int, frames: Tensor | None = None) -> Tensor:
    """Sample (n, h, w) images at (n, size, size) places, bilinearly; what lies outside an image is black.

    Args:
        images: float32 (n, h, w).
        matrices: (n, 2, 3), from output to input coordinates, both in [-1, 1] over the frame.
        size: side of the result in pixels.
        frames: (n, 4), top, bottom, left and right of the part that is shown, as shares of the image; None: the whole.
    """
    if frames is not None:
        matrices = compose_frames(matrices, frames)
    grid = F.affine_grid(matrices, [len(images), 1, size, size], align_corners=False)
    return F.grid_sample(images[:, None], grid, mode="bilinear", padding_mode="zeros", align_corners=False)[:, 0]


def compose_frames(matrices: Tensor, frames: Tensor) -> Tensor:
    """Return matrices (n, 2, 3) whose output shows the frames (n, 4) where `matrices` show the whole image."""
    top, bottom, left, right = frames.unbind(1)
    half = torch.stack([right - left, bottom - top], dim=1)
    centre = torch.stack([left + right, top + bottom], dim=1) - 1
    moved = half[:, :, None] * matrices
    return torch.cat([moved[:, :, :2], moved[:, :, 2:] + centre[:, :, None]], dim=2)


def collimate_(images: Tensor, shutters: Tensor) -> Tensor:
    """Blacken strips at the edges; `shutters` (n, 4): widths at top, bottom, left, right as shares of the side."""
    size = images.shape[-1]
    steps = torch.round(shutters * size)
    places = torch.arange(size, device=images.device)
    rows = (places >= steps[:, :1]) & (places < size - steps[:, 1:2])
    columns = (places >= steps[:, 2:3]) & (places < size - steps[:, 3:])
    return images.mul_((rows[:, :, None] & columns[:, None, :]).to(images.dtype))


def fill_(images: Tensor, edges: Tensor, values: Tensor) -> Tensor:
    """Fill rectangles with values (n,); `edges` (n, 4): top, bottom, left, right as shares of the side."""
    size = images.shape[-1]
    bounds = torch.round(edges * size)
    places = torch.arange(size, device=images.device)
    rows = (places >= bounds[:, :1]) & (places < bounds[:, 1:2])
    columns = (places >= bounds[:, 2:3]) & (places < bounds[:, 3:])
    inside = (rows[:, :, None] & columns[:, None, :]).to(images.dtype)
    return images.add_(inside * (values[:, None, None] - images))


def exchange_corners(
    images: Tensor, partners: Tensor, corners: Tensor, *, lungs: Tensor, partner_lungs: Tensor
) -> Tensor:
    """Return images whose corners are those of their partners, all (n, s, s), as far as neither's lungs lie there.

    Args:
        images: float32.
        partners: uint8 or float32.
        corners: (n, 4, 2), height and width of top left, top right, bottom left and bottom right as shares of the side;
            0 where a corner stays.
        lungs: non-zero in the lungs of the images, uint8.
        partner_lungs: the same of the partners.
    """
    size = images.shape[-1]
    places = torch.arange(size, device=images.device)
    heights, widths = (torch.floor(corners[..., k] * size)[..., None] for k in (0, 1))
    rows = torch.cat([places < heights[:, :2], places >= size - heights[:, 2:]], dim=1)
    left, right = places < widths, places >= size - widths
    columns = torch.stack([left[:, 0], right[:, 1], left[:, 2], right[:, 3]], dim=1)
    inside = (rows[:, :, :, None] & columns[:, :, None, :]).any(dim=1)
    mask = (inside & (lungs == 0) & (partner_lungs == 0)).to(images.dtype)
    soft = build_gaussian(torch.full((1,), 0.01 * size, device=images.device), size)[0]
    mask = soft @ mask @ soft.T
    return torch.lerp(images, partners.to(images.dtype), mask)
