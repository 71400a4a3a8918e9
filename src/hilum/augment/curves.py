"""Display curves: contrast, brightness and gamma of an exposure, then what a viewer does; one table an image."""

from __future__ import annotations

import torch
from torch import Tensor

_GRAYS = slice(13, 243)  # neither black nor white: the beam beyond the body and markers carry no detail to lose
_STRIDE = 2  # every second pixel both ways is enough for a histogram


def measure_histograms(images: Tensor) -> Tensor:
    """Return the histograms (n, 256), as shares, of images (n, s, s) with whole values 0-255."""
    values = images[:, ::_STRIDE, ::_STRIDE].reshape(len(images), -1).long()
    counts = torch.zeros(len(images), 256, device=images.device)
    counts.scatter_add_(1, values, torch.ones((), device=images.device).expand(values.shape))
    return counts / values.shape[1]


def build_curves(
    histograms: Tensor, *, gamma: Tensor, contrast: Tensor, shift: Tensor, display: Tensor, strength: Tensor
) -> Tensor:
    """Return the look-up table (n, 256), values 0-1, of each image: the first of its k curves that keeps the detail.

    A curve that turns the chest black, white or flat is skipped, because the label would no longer match the image. If
    all k do, the image keeps its gray values.

    Args:
        histograms: (n, 256), as shares.
        gamma: (n, k), as in `Parameters`, and so the next two.
        contrast: (n, k).
        shift: (n, k).
        display: (n, k), what the viewer does: 0 nothing, 1 an S-curve, 2 a window, 3 equalisation.
        strength: (n, k, 2), how much of it.
    """
    levels = torch.linspace(0, 1, 256, device=histograms.device)
    centre = (histograms @ levels)[:, None, None]
    curves = levels ** gamma[..., None]
    curves = ((curves - centre) * contrast[..., None] + centre * (1 + shift[..., None])).clamp_(0, 1)
    curves = _apply_display(curves, histograms, display, strength)
    lost = loses_detail(histograms, curves, levels)
    first = (~lost).to(torch.uint8).argmax(dim=1)
    chosen = curves.gather(1, first[:, None, None].expand(-1, 1, 256))[:, 0]
    return torch.where(lost.all(dim=1)[:, None], levels, chosen)


def apply_curves(images: Tensor, curves: Tensor) -> Tensor:
    """Map whole gray values 0-255 of images (n, s, s) by curves (n, 256) with values 0-1; the result is rounded."""
    table = torch.floor(curves.clamp(0, 1) * 255 + 0.5)
    return table.gather(1, images.reshape(len(images), -1).long()).reshape(images.shape)


def loses_detail(histograms: Tensor, curves: Tensor, levels: Tensor) -> Tensor:
    """Return (n, k): whether a curve clips a quarter of what was gray, or leaves less than two fifths of its spread."""
    grays = histograms[:, _GRAYS]
    total = grays.sum(dim=1, keepdim=True)
    shares = (grays / total.clamp(min=1e-9))[:, None]
    after = curves[..., _GRAYS]
    clipped = (shares * ((after < 0.01) | (after > 0.99))).sum(dim=2)
    enough = 0.4**2 * _measure_variance(shares, levels[_GRAYS].expand_as(after))
    return ((clipped > 0.25) | (_measure_variance(shares, after) < enough)) & (total > 0)


def _measure_variance(shares: Tensor, values: Tensor) -> Tensor:
    mean = (shares * values).sum(dim=2, keepdim=True)
    return (shares * (values - mean) ** 2).sum(dim=2)


def _apply_display(curves: Tensor, histograms: Tensor, display: Tensor, strength: Tensor) -> Tensor:
    """Apply the viewer's curve to the values (n, k, 256) of the exposure's."""
    cumulated = histograms.cumsum(dim=1)
    first, second = strength[..., :1], strength[..., 1:]
    kind = display[..., None]
    curved = _bend(curves, first)
    low = (cumulated[:, None] < first).sum(dim=2, keepdim=True) / 255
    high = (cumulated[:, None] < 1 - second).sum(dim=2, keepdim=True).clamp(max=255) / 255
    windowed = ((curves - low) / (high - low).clamp(min=1 / 255)).clamp(0, 1)
    even = (cumulated - histograms / 2)[:, None].expand(curves.shape)
    equalised = torch.lerp(curves, even.gather(2, (curves * 255).round().long()), first.clamp(0, 1))
    return torch.where(kind == 1, curved, torch.where(kind == 2, windowed, torch.where(kind == 3, equalised, curves)))


def _bend(values: Tensor, strength: Tensor) -> Tensor:
    """Return an S-shaped curve of values in [0, 1], as film and displays have; a negative strength gives its inverse.

    The logistic function of slope |strength| about the middle, scaled to pass (0, 0) and (1, 1).
    """
    slope = strength.abs().clamp(min=1e-2)
    low, high = torch.sigmoid(-slope / 2), torch.sigmoid(slope / 2)
    bent = (torch.sigmoid(slope * (values - 0.5)) - low) / (high - low)
    inner = low + (high - low) * values
    inverse = 0.5 + torch.log(inner / (1 - inner)) / slope
    return torch.where(strength >= 0, bent, inverse)
