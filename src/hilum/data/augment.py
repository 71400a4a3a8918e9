"""Random changes of training pictures: pose, field of view, exposure and noise vary between films, findings do not.

Geometry and erasing are torchvision.transforms.v2; what machines and displays do to gray values is `data.acquisition`
with strengths drawn here. Pictures are uint8 (1, s, s) before and after, so that one function (preprocess.normalise)
turns every picture, changed or not, into network input.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from torchvision.transforms import v2

from hilum.config import AugmentConfig
from hilum.data import acquisition
from hilum.types import BoolArray, DoubleArray, UInt8Array

_GRAYS = slice(13, 243)  # neither black nor white: the beam beyond the body and markers carry no detail to lose
_DRAWS = 5
_CORNERS = (0.12, 0.38)  # of the side: room for a marker with its border, less than reaches the middle
STRENGTHS = (0.25, 0.5, 0.75, 1.0)
"""Shares of the configured strengths, one of which a picture gets where augmentation is graded."""


class RandomAcquisition(v2.Transform):  # type: ignore[misc]  # torchvision has no types
    """Changes gray values as another exposure, display, resolution or copy would.

    Drawn in this order: display curve (gamma, contrast, S-curve, window, equalisation: always, in one look-up table),
    local contrast, shading, blur, noise, resolution, JPEG, marks, collimation (each with its probability; noise always,
    mostly little).
    """

    def __init__(self, config: AugmentConfig) -> None:
        super().__init__()
        self.config = config

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """Take numpy's randomness from torch's global generator."""
        return {"seed": int(torch.randint(2**62, (1,)))}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """Change one picture (1, s, s) uint8."""
        rng = np.random.default_rng(params["seed"])
        changed = change_acquisition(inpt[0].numpy(), self.config, rng=rng)
        return torch.from_numpy(np.array(changed))[None]  # a copy: Pillow's arrays may not be written to


def change_acquisition(picture: UInt8Array, config: AugmentConfig, *, rng: np.random.Generator) -> UInt8Array:
    """Return (s, s) uint8 as another acquisition of the same chest, as `RandomAcquisition` says."""
    picture = acquisition.apply_curve(picture, draw_display_curve(picture, config, rng=rng))

    def is_drawn() -> bool:
        return rng.random() < config.acquisition_probability

    if config.local_contrast and is_drawn():
        picture = acquisition.raise_local_contrast(
            picture, sigma=rng.uniform(0.02, 0.1), amount=rng.uniform(0, config.local_contrast)
        )
    if config.shading and is_drawn():
        picture = acquisition.shade(picture, strength=rng.uniform(0, config.shading), degrees=rng.uniform(0, 360))
    if config.blur and rng.random() < config.blur_probability:
        largest = max(config.blur * picture.shape[0] / 224, 0.11)
        picture = acquisition.blur(picture, sigma=rng.uniform(0.1, largest))
    if config.noise:
        picture = acquisition.add_noise(
            picture, sigma=config.noise * rng.random() ** 2, grain=rng.uniform(0, 1), rng=rng
        )
    if config.resolution_min < 1 and is_drawn():
        picture = acquisition.lower_resolution(picture, factor=rng.uniform(config.resolution_min, 1))
    if config.jpeg_quality_min < 95 and is_drawn():
        picture = acquisition.compress(picture, quality=int(rng.integers(config.jpeg_quality_min, 96)))
    if config.marks and rng.random() < config.marks:
        picture = draw_marks(picture, rng=rng)
    if config.collimation and is_drawn():
        widths = rng.uniform(0, config.collimation, 4) * (rng.random(4) < 0.6)
        top, bottom, left, right = (float(width) for width in widths)
        picture = acquisition.collimate(picture, top=top, bottom=bottom, left=left, right=right)
    return picture


def draw_display_curve(picture: UInt8Array, config: AugmentConfig, *, rng: np.random.Generator) -> DoubleArray:
    """Draw one curve (256,) that joins contrast and brightness, gamma, and with `display` what viewers do besides.

    One that turns the chest black, white or flat is drawn again: no finding can be seen there, so the label would teach
    what is not in the picture.
    """
    for _ in range(_DRAWS):
        curve = _draw_curve(picture, config, rng=rng)
        if not loses_detail(picture, curve):
            return curve
    return acquisition.gamma_curve(1)


def loses_detail(picture: UInt8Array, curve: DoubleArray) -> bool:
    """Return whether a curve clips a quarter of what was gray, or leaves less than two fifths of its spread."""
    counts = np.bincount(picture.ravel(), minlength=256)[_GRAYS].astype(np.float64)
    if counts.sum() == 0:
        return False
    shares, before, after = counts / counts.sum(), np.arange(256)[_GRAYS] / 255, np.clip(curve, 0, 1)[_GRAYS]
    clipped = shares[(after < 0.01) | (after > 0.99)].sum()

    def measure_variance(values: DoubleArray) -> float:
        return float(shares @ (values - shares @ values) ** 2)

    return bool(clipped > 0.25 or measure_variance(after) < 0.4**2 * measure_variance(before))


def _draw_curve(picture: UInt8Array, config: AugmentConfig, *, rng: np.random.Generator) -> DoubleArray:
    curve = acquisition.gamma_curve(math.exp(rng.uniform(-1, 1) * math.log1p(config.gamma)))
    factor, shift = 1 + config.contrast * rng.uniform(-1, 1), config.brightness * rng.uniform(-1, 1)
    centre = float(picture.mean()) / 255
    curve = (curve - centre) * factor + centre * (1 + shift)
    if config.display:
        choice = rng.random()
        if choice < 0.3:
            inner = acquisition.sigmoid_curve(6 * config.display * rng.uniform(-1, 1))
        elif choice < 0.55:
            cut = rng.uniform(0, 0.12 * config.display, 2)
            inner = acquisition.window_curve(picture, low=cut[0], high=1 - cut[1])
        elif choice < 0.75:
            amount = config.display * rng.uniform(0, 1)
            inner = (1 - amount) * acquisition.gamma_curve(1) + amount * acquisition.equalising_curve(picture)
        else:
            inner = acquisition.gamma_curve(1)
        # One after the other: the viewer's curve is applied to what the exposure gave.
        curve = np.interp(np.clip(curve, 0, 1), np.linspace(0, 1, 256), inner)
    return curve


def draw_marks(picture: UInt8Array, *, rng: np.random.Generator) -> UInt8Array:
    """Write a letter or two lines, or cover a rectangle, in the outer fifth of the picture, where markers lie."""
    for _ in range(int(rng.integers(1, 3))):
        along, across = rng.uniform(0.03, 0.97), rng.uniform(0.02, 0.18)
        if rng.random() < 0.5:
            across = 1 - across
        row, column = (along, across) if rng.random() < 0.6 else (across, along)
        if rng.random() < 0.6:
            text = str(rng.choice(["R", "L", "D", "PORTABLE", "AP", "SUPINE", "ERECT", "A.P.", "PA", "1", "12:30"]))
            size = rng.uniform(0.04, 0.11) if len(text) < 3 else rng.uniform(0.03, 0.06)
            value = int(rng.integers(150, 256))
            picture = acquisition.draw_text(picture, text, row=row, column=column, size=size, value=value)
        else:
            value = int(rng.choice([0, 0, 255, int(picture.mean())]))
            height, width = rng.uniform(0.03, 0.15, 2)
            picture = acquisition.cover(picture, row=row, column=column, height=height, width=width, value=value)
    return picture


def exchange_corners(
    picture: UInt8Array,
    lungs: BoolArray,
    *,
    other: tuple[UInt8Array, BoolArray],
    probability: float,
    rng: np.random.Generator,
) -> UInt8Array:
    """Put corners of another child's picture, `other`, in place of a picture's own (s, s), each with `probability`.

    Markers, collars and corners of the film then tell less of the class. The lungs (s, s) of neither child take
    part, so that no finding is lost or added as far as the masks are right; the soft edge reaches a few pixels in.
    """
    size = len(picture)
    exchanged = np.zeros((size, size), dtype=np.float32)
    for top in (True, False):
        for left in (True, False):
            height, width = (int(share * size) for share in rng.uniform(*_CORNERS, 2))
            if rng.random() < probability:
                rows = slice(0, height) if top else slice(size - height, size)
                columns = slice(0, width) if left else slice(size - width, size)
                exchanged[rows, columns] = 1
    surroundings, others = other
    exchanged[lungs | others] = 0
    exchanged = ndimage.gaussian_filter(exchanged, 0.01 * size)
    return np.asarray(exchanged * surroundings + (1 - exchanged) * picture, dtype=np.uint8)


def build_augmentation(config: AugmentConfig, *, size: int) -> v2.Transform:
    """Build the chain for (1, size, size) uint8 pictures; returns the same type and shape.

    Randomness comes from torch's global generator, so a caller who seeds it gets the same picture again. What
    needs to know the lungs is not done here but by `exchange_corners`.
    """
    if not config.enabled:
        return v2.Identity()
    if config.graded:
        # Many strong changes at once hide what the label speaks of; weak ones alone prepare for nothing.
        return v2.RandomChoice([_build_chain(config.scale(strength), size=size) for strength in STRENGTHS])
    return _build_chain(config, size=size)


def _build_chain(config: AugmentConfig, *, size: int) -> v2.Transform:
    steps: list[v2.Transform] = []
    if config.rotate_degrees or config.translate or config.shear_degrees or config.zoom_out:
        steps.append(
            v2.RandomAffine(
                degrees=config.rotate_degrees,
                translate=(config.translate, config.translate),
                scale=(1 / (1 + config.zoom_out), 1.0) if config.zoom_out else None,
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
    steps.append(RandomAcquisition(config))
    if config.erase_probability and config.erase_scale:
        steps.append(v2.RandomErasing(config.erase_probability, scale=(0.01, max(config.erase_scale, 0.011))))
    return v2.Compose(steps)


def augment(picture: Tensor, chain: v2.Transform, *, seed: int) -> Tensor:
    """Apply `chain` with randomness that `seed` alone decides; the global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        # Not torch.manual_seed, which also notes for devices that are not there where it was called from.
        torch.default_generator.manual_seed(seed)
        changed: Tensor = chain(picture)
    return changed
