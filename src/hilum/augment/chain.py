"""All random changes of training images, one after the other, on any device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hilum.augment import geometry, gray
from hilum.augment.curves import apply_curves, build_curves, measure_histograms
from hilum.augment.marks import TextAtlas
from hilum.augment.noise import NoiseField
from hilum.augment.parameters import MARKS, Parameters
from hilum.augment.transfer import to_device
from hilum.config import AugmentConfig

_IDENTITY = np.eye(2, 3, dtype=np.float32)


class Augmenter:
    """Changes images as `Parameters` say.

    In this order: corners, pose and framing, display curve, local contrast, shading, blur, noise, resolution, JPEG,
    marks, collimation, erasing. Each change is computed only for the images that get it. The CPU knows which, so that
    nothing here waits for the device.

    Args:
        config: what is on at all.
        size: side of the result in pixels.
        device: where images and results are.
    """

    def __init__(self, config: AugmentConfig, *, size: int, device: torch.device) -> None:
        self.config = config
        self.size = size
        self.device = device
        self.noise = NoiseField(device, size=size) if config.enabled and config.noise else None
        self.texts = TextAtlas(device) if config.enabled and config.marks else None

    @torch.no_grad()
    def __call__(
        self,
        images: Tensor,
        parameters: Parameters,
        *,
        frames: Tensor | None = None,
        lungs: Tensor | None = None,
        partners: Tensor | None = None,
        partner_lungs: Tensor | None = None,
    ) -> Tensor:
        """Return images (n, h, w) uint8 changed, (n, size, size) uint8.

        Args:
            images: on the device.
            parameters: one row an image.
            frames: (n, 4), the part of each image that is shown, as shares: top, bottom, left, right; None: the whole.
            lungs: masks (n, h, w) uint8; corners are exchanged where these, partners and their lungs are given.
            partners: images (n, h, w) uint8 of others.
            partner_lungs: their masks.
        """
        with torch.autocast(self.device.type, enabled=False):
            values = images.float()
            changes = self.config.enabled
            if changes and self.config.corners and lungs is not None:
                assert partners is not None
                assert partner_lungs is not None
                values = geometry.exchange_corners(
                    values, partners, self._send(parameters.corners), lungs=lungs, partner_lungs=partner_lungs
                )
            values = self._frame(values, parameters if changes else None, frames)
            if changes:
                values = self._change_gray(values.round_(), parameters)
                values = self._cover(values, parameters)
            return values.round_().clamp_(0, 255).to(torch.uint8)

    def _frame(self, values: Tensor, parameters: Parameters | None, frames: Tensor | None) -> Tensor:
        matrices = _IDENTITY[None].repeat(len(values), axis=0) if parameters is None else parameters.matrix
        if frames is None and values.shape[1:] == (self.size, self.size) and (matrices == _IDENTITY).all():
            return values
        return geometry.warp(values, self._send(matrices), size=self.size, frames=frames)

    def _change_gray(self, values: Tensor, p: Parameters) -> Tensor:
        config = self.config
        if config.gamma or config.contrast or config.brightness or config.display:
            curves = build_curves(
                measure_histograms(values),
                gamma=self._send(p.gamma),
                contrast=self._send(p.contrast),
                shift=self._send(p.shift),
                display=self._send(p.display),
                strength=self._send(p.display_strength),
            )
            values = apply_curves(values, curves)
        values = self._change_some(
            values, p.detail_amount > 0, gray.raise_local_contrast, p.detail_sigma, p.detail_amount
        )
        values = self._change_some(values, p.shade > 0, gray.shade_, p.shade, p.shade_angle)
        values = self._change_some(values, p.blur > 0, self._blur, p.blur * (self.size / 224))
        if self.noise is not None:
            amounts = self._send(p.noise * p.noise_sign)[:, None, None]
            values = values.add_(amounts * self.noise.take(self._send(p.noise_place))).clamp_(0, 255)
        values = self._change_some(values, p.resolution < 1, self._lower_resolution, p.resolution)
        return self._change_some(values, p.quality < 100, gray.compress, p.quality)

    def _cover(self, values: Tensor, p: Parameters) -> Tensor:
        if self.texts is not None:
            for k in range(MARKS):
                kind, box = p.mark_kind[:, k], p.mark_box[:, k]
                values = self._change_some(
                    values, kind > 0, self.texts.draw_, np.maximum(kind - 1, 0), box, p.mark_value[:, k]
                )
                edges = np.stack(
                    [
                        box[:, 0] - box[:, 2] / 2,
                        box[:, 0] + box[:, 2] / 2,
                        box[:, 1] - box[:, 3] / 2,
                        box[:, 1] + box[:, 3] / 2,
                    ],
                    axis=1,
                )
                values = self._change_some(values, kind < 0, _cover, edges, p.mark_value[:, k])
        values = self._change_some(values, p.shutters.max(axis=1) > 0, geometry.collimate_, p.shutters)
        return self._change_some(
            values, p.erased.max(axis=1) > 0, geometry.fill_, p.erased, np.zeros(len(p), dtype=np.float32)
        )

    def _blur(self, values: Tensor, sigmas: Tensor) -> Tensor:
        return gray.apply_both_ways(values, gray.build_gaussian(sigmas, self.size))

    def _lower_resolution(self, values: Tensor, factors: Tensor) -> Tensor:
        return gray.apply_both_ways(values, gray.build_resolution(factors, self.size)).clamp_(0, 255)

    def _change_some(
        self, values: Tensor, which: NDArray[np.bool_], change: Callable[..., Tensor], *parameters: NDArray[Any]
    ) -> Tensor:
        """Apply `change` to the images `which` (n,), with their rows of the parameters."""
        rows = np.flatnonzero(which)
        if not len(rows):
            return values
        sent = [self._send(np.ascontiguousarray(values[rows])) for values in parameters]
        if len(rows) == len(values):
            return change(values, *sent)
        places = self._send(rows)
        return values.index_copy_(0, places, change(values.index_select(0, places), *sent))

    def _send(self, values: NDArray[Any]) -> Tensor:
        return to_device(torch.from_numpy(values), self.device)


def _cover(images: Tensor, edges: Tensor, values: Tensor) -> Tensor:
    means = images.mean(dim=(1, 2)).round_()
    return geometry.fill_(images, edges, torch.where(values < 0, means, values))
