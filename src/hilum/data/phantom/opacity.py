"""What pneumonia adds to a lung: consolidation of a lobe (bacteria) or diffuse interstitial opacities (virus)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

from hilum.data.phantom.projection import Layers
from hilum.types import FloatArray, Pathogen

# Middle and half sizes (x, y, half width, half height) of the lobes as seen from the front, in body units.
LOBES = (
    (-0.5, 0.42, 0.3, 0.3),  # right upper
    (-0.42, 1.0, 0.26, 0.24),  # right middle
    (-0.58, 1.22, 0.3, 0.26),  # right lower
    (0.5, 0.42, 0.28, 0.3),  # left upper
    (0.58, 0.88, 0.27, 0.26),  # lingula
    (0.68, 1.14, 0.28, 0.28),  # left lower
)
SUBTLE = 0.15  # share of the patients whose pneumonia is easily missed
FISSURE_Y = 0.72  # the horizontal fissure under the right upper lobe


@dataclass(frozen=True, slots=True)
class Finding:
    """The pneumonia of one patient; its pictures differ by pose and a little by strength."""

    pathogen: Pathogen
    strength: float  # about the share of the air that is replaced in the densest part
    x: float
    y: float
    half_width: float
    half_height: float
    sharp_below: float | None  # height of a fissure that ends the opacity, where it reaches one
    balance: float  # share of the right lung in a diffuse disease, 0-1
    seed: int  # of the texture


def draw_finding(rng: np.random.Generator, pathogen: Pathogen) -> Finding:
    """Draw the pneumonia of one patient."""
    x, y, half_width, half_height = LOBES[rng.integers(len(LOBES))]
    size = rng.uniform(1.1, 1.8)
    upper_right = x < 0 and y < 0.6
    strength = rng.uniform(0.75, 1.05) if pathogen is Pathogen.VIRUS else rng.uniform(0.82, 1.0)
    if rng.random() < SUBTLE:
        strength *= rng.uniform(0.35, 0.65)
    return Finding(
        pathogen=pathogen,
        strength=strength,
        x=x + rng.normal(0, 0.05),
        y=y + rng.normal(0, 0.05),
        half_width=half_width * size * rng.uniform(0.85, 1.15),
        half_height=half_height * size * rng.uniform(0.85, 1.15),
        sharp_below=FISSURE_Y + rng.normal(0, 0.03) if upper_right and rng.random() < 0.6 else None,
        balance=rng.uniform(0.35, 0.65),
        seed=int(rng.integers(2**31)),
    )


def measure_opacity(finding: Finding, layers: Layers, *, scale: float) -> FloatArray:
    """Return the share of the lung's air that the pneumonia replaces along each ray, (h, w) in [0, 1].

    Args:
        finding: the pneumonia.
        layers: the projected patient.
        scale: pixels a body unit.
    """
    rng = np.random.default_rng(finding.seed)
    if finding.pathogen is Pathogen.BACTERIA:
        return _consolidate(finding, layers, rng, scale)
    return _thicken_interstitium(finding, layers, rng, scale)


def _consolidate(finding: Finding, layers: Layers, rng: np.random.Generator, scale: float) -> FloatArray:
    shape = layers.x.shape
    dx = (layers.x - np.float32(finding.x)) / np.float32(finding.half_width)
    dy = (layers.y - np.float32(finding.y)) / np.float32(finding.half_height)
    ragged = draw_noise(rng, shape, grain=0.2 * scale) * np.float32(0.22)
    ragged += draw_noise(rng, shape, grain=0.08 * scale) * np.float32(0.07)
    field = 1 - np.sqrt(dx * dx + dy * dy) + ragged
    share = np.clip(field / np.float32(0.72), 0, 1)
    share = share * share * (3 - 2 * share)
    if finding.sharp_below is not None:
        share *= np.clip((np.float32(finding.sharp_below) - layers.y) / np.float32(0.03), 0, 1)
    # The other lung lies behind the midline and stays clear.
    share *= np.clip(layers.x * np.float32(np.sign(finding.x)) / np.float32(0.06), 0, 1)
    patchy = 1 + np.float32(0.06) * draw_noise(rng, shape, grain=0.09 * scale)
    # Bronchi keep their air: dark branches in the dense lung. They run beside the vessels.
    step = max(1, round(0.035 * scale))
    branches = np.clip(np.roll(layers.vessels, step, axis=0) / np.float32(0.05) - np.float32(0.4), 0, 1)
    share *= np.float32(finding.strength) * patchy * (1 - np.float32(0.3) * branches)
    return np.asarray(np.clip(share, 0, 0.97), dtype=np.float32)


def _thicken_interstitium(finding: Finding, layers: Layers, rng: np.random.Generator, scale: float) -> FloatArray:
    shape = layers.x.shape
    near = np.exp(-(((np.abs(layers.x) - np.float32(0.3)) / np.float32(0.38)) ** 2 + ((layers.y - 0.9) / 0.5) ** 2))
    spread = np.float32(0.35) + np.float32(0.65) * near
    spread *= np.where(layers.x < 0, np.float32(2 * finding.balance), np.float32(2 - 2 * finding.balance))
    # A net of fine lines: where a smooth random field crosses zero.
    net = np.exp(-((draw_noise(rng, shape, grain=0.07 * scale) / np.float32(0.6)) ** 2))
    fine = np.exp(-((draw_noise(rng, shape, grain=0.045 * scale) / np.float32(0.6)) ** 2))
    haze = np.clip(np.float32(0.5) + np.float32(0.4) * draw_noise(rng, shape, grain=0.25 * scale), 0, 1.3)
    cuffs = gaussian_filter(np.clip(layers.vessels / np.float32(0.05), 0, 1), 0.018 * scale)
    texture = np.float32(0.5) * haze + np.float32(0.25) * net * (0.5 + haze) + np.float32(0.15) * fine
    texture += np.float32(0.3) * cuffs
    return np.asarray(np.clip(np.float32(finding.strength) * spread * texture, 0, 0.9), dtype=np.float32)


def draw_noise(rng: np.random.Generator, shape: tuple[int, ...], *, grain: float) -> FloatArray:
    """Draw a smooth random field with mean 0 and standard deviation about 1; `grain` is its coarseness in pixels."""
    height, width = shape
    coarse = (max(3, round(height / grain) + 3), max(3, round(width / grain) + 3))
    seeds = rng.standard_normal(coarse, dtype=np.float32)
    image = Image.fromarray(seeds).resize((width, height), Image.Resampling.BICUBIC)
    # Interpolating lowers the deviation of white noise to about 0.7.
    return np.asarray(image, dtype=np.float32) / np.float32(0.7)
