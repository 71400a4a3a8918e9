"""Noise from a field that is drawn once, so that it is the same on every device."""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from hilum.augment.parameters import FIELD_SIDE, GRAINS


class NoiseField:
    """Standard normal noise on a torus, for each of GRAINS, of which images take pieces."""

    def __init__(self, device: torch.device, *, size: int) -> None:
        white = np.random.default_rng(0).standard_normal((FIELD_SIDE, FIELD_SIDE), dtype=np.float32)
        fields = []
        for grain in GRAINS:
            field = ndimage.gaussian_filter(white, grain, mode="wrap", truncate=3.0) if grain > 0 else white
            fields.append(np.pad(field / field.std(), ((0, size), (0, size)), mode="wrap"))
        self.fields = torch.from_numpy(np.stack(fields)).to(device)
        self.size = size

    def take(self, places: Tensor) -> Tensor:
        """Return the pieces (n, s, s) at `places` (n, 3): row, column and number of the grain."""
        pieces = self.fields.unfold(1, self.size, 1).unfold(2, self.size, 1)
        return pieces[places[:, 2], places[:, 0], places[:, 1]]
