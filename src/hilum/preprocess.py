"""The only code that turns a decoded picture into network input; training, evaluation and every predictor call it.

The picture is squashed to a square: padding to keep the aspect ratio would draw that ratio into the picture, and the
ratio alone gives the label away in public pneumonia data (docs/adr).
"""

from __future__ import annotations

import numpy as np
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field

from hilum.types import FloatArray, UInt8Array

# ImageNet statistics that torchvision's ResNet-50 weights were trained with (torchvision.models docs).
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class PreprocessSpec(BaseModel):
    """How pixels become network input; frozen into every run and bundle.

    `size`: side of the square input in pixels. `mean`, `std`: per input channel, for values scaled to [0, 1].
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: int = Field(224, ge=32, le=1024)
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD


def resize(gray: UInt8Array, spec: PreprocessSpec) -> UInt8Array:
    """Squash an (h, w) picture to (size, size). Values stay 0-255.

    Pillow's bilinear filter widens its support when it shrinks (it antialiases), so detail is averaged and not skipped.
    A picture that has the size already passes unchanged.
    """
    if gray.shape == (spec.size, spec.size):
        return gray
    image = Image.fromarray(gray).resize((spec.size, spec.size), Image.Resampling.BILINEAR)
    return np.asarray(image, dtype=np.uint8)


def normalise(pictures: UInt8Array, spec: PreprocessSpec) -> FloatArray:
    """Turn (n, size, size) pictures, 0-255, into (n, 3, size, size) float32 input, the gray in all three channels."""
    scaled = pictures.astype(np.float32)[:, None] / np.float32(255)
    mean = np.asarray(spec.mean, dtype=np.float32)[None, :, None, None]
    std = np.asarray(spec.std, dtype=np.float32)[None, :, None, None]
    return (scaled - mean) / std
