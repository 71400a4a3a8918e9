"""The only code that turns a decoded picture into network input; training, evaluation and every predictor call it.

The picture is squashed to a square, the field: padding to keep the aspect ratio would draw that ratio into the picture,
and the ratio alone gives the label away in public pneumonia data (docs/adr). From there the network itself may go on: a
locator inside it finds the lungs in the field, and the classifier sees their box alone.
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

    `size`: side in pixels of the square that the classifier sees. `field`: side of the square in which the locator
    finds the lungs; None: the classifier sees the whole picture. `margin`: what is added at each edge of the lungs'
    box, as a share of the box; negative: taken away. `mean`, `std`: per input channel, for
    values scaled to [0, 1].
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: int = Field(224, ge=32, le=1024, description="side in pixels of what the classifier sees")
    field: int | None = Field(
        None,
        ge=64,
        le=1024,
        description="side of the square in which the lungs are found; null: all is classified",
    )
    margin: float = Field(0.08, ge=-0.25, le=0.5, description="added at each edge of the lungs' box, as a share of it")
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD

    @property
    def side(self) -> int:
        """Side in pixels of prepared pictures: that of the field where there is one."""
        return self.size if self.field is None else self.field


def resize(gray: UInt8Array, spec: PreprocessSpec) -> UInt8Array:
    """Squash an (h, w) picture to (side, side). Values stay 0-255.

    Pillow's bilinear filter widens its support when it shrinks (it antialiases), so detail is averaged and not skipped.
    A picture that has the size already passes unchanged.
    """
    if gray.shape == (spec.side, spec.side):
        return gray
    image = Image.fromarray(gray).resize((spec.side, spec.side), Image.Resampling.BILINEAR)
    return np.asarray(image, dtype=np.uint8)


def normalise(pictures: UInt8Array, spec: PreprocessSpec) -> FloatArray:
    """Turn (n, size, size) pictures, 0-255, into (n, 3, size, size) float32 input, the gray in all three channels."""
    scaled = pictures.astype(np.float32)[:, None] / np.float32(255)
    mean = np.asarray(spec.mean, dtype=np.float32)[None, :, None, None]
    std = np.asarray(spec.std, dtype=np.float32)[None, :, None, None]
    return (scaled - mean) / std


def build_reduction(size: int, side: int) -> FloatArray:
    """Return the matrix (side, size) that resizes a row of pixels as Pillow's bilinear filter does, without rounding.

    `matrix @ picture @ matrix.T` resizes a (size, size) picture: a network can do so inside itself.
    """
    scale = size / side
    reach = max(scale, 1.0)
    centres = (np.arange(side) + 0.5) * scale
    places = np.arange(size) + 0.5
    weights = np.maximum(1 - np.abs(places[None] - centres[:, None]) / reach, 0)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), dtype=np.float32)
