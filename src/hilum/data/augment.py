"""Random changes of training pictures: pose, field of view, exposure and noise vary between films, findings do not.

Built from torchvision.transforms.v2 for uint8 (1, s, s) pictures, uint8 again at the end, so that one function
(preprocess.normalise) turns every picture, changed or not, into network input.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from hilum.config import AugmentConfig


class RandomGamma(v2.Transform):  # type: ignore[misc]  # torchvision has no types
    """Apply x ** g with g drawn evenly in its logarithm from 1/(1+strength) to 1+strength: another display curve."""

    def __init__(self, strength: float) -> None:
        super().__init__()
        self.limit = math.log1p(strength)

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """Draw the exponent for one call."""
        return {"gamma": math.exp(float(torch.empty(1).uniform_(-self.limit, self.limit)))}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """Apply the exponent to values in [0, 1]."""
        return F.adjust_gamma(inpt, gamma=params["gamma"])


class RandomNoise(v2.Transform):  # type: ignore[misc]
    """Add Gaussian noise whose standard deviation is drawn from 0 to `largest` (full range is 1)."""

    def __init__(self, largest: float) -> None:
        super().__init__()
        self.largest = largest

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """Draw the standard deviation for one call."""
        return {"sigma": float(torch.empty(1).uniform_(0, self.largest))}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """Add the noise and clip to [0, 1]."""
        return (inpt + params["sigma"] * torch.randn_like(inpt)).clamp_(0, 1)


def build_augmentation(config: AugmentConfig, *, size: int) -> v2.Transform:
    """Build the chain for (1, size, size) uint8 pictures; returns the same type and shape.

    Randomness comes from torch's global generator, so a caller who seeds it gets the same picture again.
    """
    if not config.enabled:
        return v2.Identity()
    steps: list[v2.Transform] = [v2.ToDtype(torch.float32, scale=True)]
    if config.rotate_degrees or config.translate or config.shear_degrees:
        steps.append(
            v2.RandomAffine(
                degrees=config.rotate_degrees,
                translate=(config.translate, config.translate),
                shear=config.shear_degrees or None,
                interpolation=v2.InterpolationMode.BILINEAR,
            )
        )
    if config.crop_scale_min < 1 or config.aspect_jitter:
        widest = 1 / (1 - config.aspect_jitter)
        smallest = min(config.crop_scale_min, 1 / widest)  # no crop of another shape holds the whole square
        steps.append(v2.RandomResizedCrop(size, scale=(smallest, 1.0), ratio=(1 / widest, widest), antialias=True))
    if config.flip_probability:
        steps.append(v2.RandomHorizontalFlip(config.flip_probability))
    if config.brightness or config.contrast:
        steps.append(v2.ColorJitter(brightness=config.brightness, contrast=config.contrast))
    if config.gamma:
        steps.append(RandomGamma(config.gamma))
    if config.blur and config.blur_probability:
        largest = config.blur * size / 224
        kernel = 2 * math.ceil(2 * largest) + 1
        steps.append(
            v2.RandomApply([v2.GaussianBlur(kernel, sigma=(0.1, max(largest, 0.11)))], config.blur_probability)
        )
    if config.noise:
        steps.append(RandomNoise(config.noise))
    if config.erase_probability and config.erase_scale:
        steps.append(v2.RandomErasing(config.erase_probability, scale=(0.01, max(config.erase_scale, 0.011))))
    steps.append(v2.ToDtype(torch.uint8, scale=True))
    return v2.Compose(steps)


def augment(picture: Tensor, chain: v2.Transform, *, seed: int) -> Tensor:
    """Apply `chain` with randomness that `seed` alone decides; the global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        changed: Tensor = chain(picture)
    return changed
