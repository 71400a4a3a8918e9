"""How images on a device become network input."""

from __future__ import annotations

import torch
from torch import Tensor

from hilum.preprocess import PreprocessSpec


def normalise_on_device(images: Tensor, spec: PreprocessSpec) -> Tensor:
    """Turn (n, s, s) images, 0-255, into (n, 3, s, s) float32 network input, just as `normalise` does on a CPU."""
    scaled = images.float() / 255
    # Plain numbers and not tensors: those would have to be sent to the device, which then waits.
    channels = [(scaled - mean) / std for mean, std in zip(spec.mean, spec.std, strict=True)]
    return torch.stack(channels, dim=1)
