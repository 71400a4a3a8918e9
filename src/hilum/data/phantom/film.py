"""The film: from thicknesses to attenuation, to the counts of a detector with their noise, to a displayed picture."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import gaussian_filter

from hilum.data.phantom.projection import Layers
from hilum.types import FloatArray, UInt8Array

# Attenuation a body unit. Bone and vessels stand for what they add to the tissue in their place.
TISSUE, BONE, VESSEL = 1.0, 6.0, 3.0


def attenuate(layers: Layers, opacity: FloatArray, *, aeration: float) -> FloatArray:
    """Add up what weakens the rays.

    `aeration` is the share of both lungs together that is air, whatever the opacity: open lung makes up for closed lung
    by overinflation. So the mean brightness of the lungs does not give the label away.
    """
    open_air = layers.air * (1 - opacity)
    fill = min(aeration * float(layers.air.sum()) / float(open_air.sum()), 0.96)
    air = open_air * np.float32(fill)
    tissue = np.maximum(layers.tissue - air, 0)
    # Soft rays stop first, so bone behind bone adds less (beam hardening).
    bone = layers.bone / (1 + np.float32(7) * layers.bone)
    # A vessel shows against air; in solid lung it is lost.
    vessels = layers.vessels * (1 - opacity)
    return np.float32(TISSUE) * tissue + np.float32(BONE) * bone + np.float32(VESSEL) * vessels


def expose(rng: np.random.Generator, attenuation: FloatArray) -> UInt8Array:
    """Turn attenuation into a displayed film."""
    shape = attenuation.shape
    scale = max(shape) / 256
    # Counts follow Poisson's law, so their logarithm has a deviation of 1 / sqrt(counts).
    dose = np.exp(rng.uniform(np.log(2500), np.log(25000)))
    grain = gaussian_filter(rng.standard_normal(shape, dtype=np.float32), rng.uniform(0.35, 0.7))
    noisy = gaussian_filter(attenuation, rng.uniform(0.3, 0.8) * scale)
    noisy += grain * np.exp(noisy * np.float32(0.5)) * np.float32(1.2 / np.sqrt(dose))
    low = rng.uniform(0.0, 0.25)
    high = float(np.quantile(noisy[::4, ::4], 0.995)) * rng.uniform(0.98, 1.12)
    shown = np.clip((noisy - np.float32(low)) / np.float32(high - low), 0, 1)
    # The shoulder of the curve: bone over the heart shows less than bone over the lung.
    shown = 1 - (1 - shown) ** np.float32(rng.uniform(1.2, 1.9))
    mean = rng.normal(0.5, 0.065)
    shown **= np.float32(_find_gamma(shown, target=mean))
    # Contrast is set as well: dense lung would raise it, and with it give the label away.
    shown = np.float32(mean) + (shown - shown.mean()) * np.float32(rng.normal(0.255, 0.027) / shown.std())
    shown = np.clip(shown, 0, 1)
    _collimate(rng, shown)
    _mark(rng, shown)
    return np.asarray(np.clip(shown * 255, 0, 255) + np.float32(0.5), dtype=np.uint8)


def _find_gamma(shown: FloatArray, *, target: float) -> float:
    """Return the exponent that gives the picture a mean of `target`, within what a display curve can do."""
    sample = shown[::4, ::4]
    low, high = 0.4, 2.5
    for _step in range(12):
        middle = (low + high) / 2
        low, high = (middle, high) if float(np.mean(sample**middle)) > target else (low, middle)
    return (low + high) / 2


def _collimate(rng: np.random.Generator, shown: FloatArray) -> None:
    height, width = shown.shape
    if rng.random() > 0.35:
        return
    level = rng.uniform(0, 0.06)
    for side in range(4):
        if rng.random() > 0.5:
            continue
        border = round(rng.uniform(0.01, 0.05) * (height if side < 2 else width))
        strip = (slice(0, border), slice(height - border, height))[side] if side < 2 else slice(None)
        columns = (slice(0, border), slice(width - border, width))[side - 2] if side >= 2 else slice(None)
        shown[strip, columns] = level


def _mark(rng: np.random.Generator, shown: FloatArray) -> None:
    """Put the letter R at the patient's right side, as on most films."""
    height, width = shown.shape
    present = rng.random() < 0.85
    letter = max(8, round(height * rng.uniform(0.05, 0.1)))
    corner = (round(width * rng.uniform(0.01, 0.1)), round(height * rng.uniform(0.02, 0.5)))
    brightness, stroke = rng.uniform(0.7, 1.0), int(rng.integers(0, 2))
    if not present:
        return
    image = Image.new("L", (width, height))
    ImageDraw.Draw(image).text(corner, "R", fill=255, stroke_width=stroke, font=ImageFont.load_default(size=letter))
    mask = np.asarray(image, dtype=np.float32) / np.float32(255)
    shown += mask * (np.float32(brightness) - shown)
