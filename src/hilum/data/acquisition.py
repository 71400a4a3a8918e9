"""How the same chest looks from another machine, another reader's screen or another copy: changes of one gray picture.

Each function takes and gives a uint8 picture (h, w), 0-255, and is a pure function of its arguments: training draws its
strengths at random (`data.augment`), robust validation applies fixed ones (`evaluation.battery`). None changes a label.
"""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from hilum.types import DoubleArray, FloatArray, UInt8Array

_LEVELS = np.linspace(0.0, 1.0, 256)


def apply_curve(picture: UInt8Array, curve: DoubleArray) -> UInt8Array:
    """Map gray values by a curve of 256 values in [0, 1]; what lies outside is clipped, as on a display."""
    return np.asarray(np.clip(curve, 0, 1) * 255 + 0.5, dtype=np.uint8)[picture]


def gamma_curve(gamma: float) -> DoubleArray:
    """Return x ** gamma: above 1 darker, below 1 lighter."""
    return _LEVELS**gamma


def contrast_curve(factor: float, *, brightness: float = 0.0, centre: float = 0.5) -> DoubleArray:
    """Return the line through (centre, centre + brightness) of slope `factor`."""
    return (_LEVELS - centre) * factor + centre + brightness


def sigmoid_curve(strength: float) -> DoubleArray:
    """Return an S-shaped curve from 0 to 1, as film and many displays have; a negative strength gives its inverse.

    The logistic function of slope `strength` about the middle, scaled to pass (0, 0) and (1, 1); 0 is the identity.
    """
    if abs(strength) < 1e-3:
        return _LEVELS.copy()
    slope = abs(strength)
    low, high = 1 / (1 + np.exp(slope / 2)), 1 / (1 + np.exp(-slope / 2))
    if strength > 0:
        return np.asarray((1 / (1 + np.exp(-slope * (_LEVELS - 0.5))) - low) / (high - low))
    inner = low + (high - low) * _LEVELS
    return np.asarray(0.5 + np.log(inner / (1 - inner)) / slope)


def window_curve(picture: UInt8Array, *, low: float, high: float) -> DoubleArray:
    """Return the line that spreads the values between two quantiles (0 to 1) over the range and cuts the others."""
    bottom, top = np.quantile(picture, [low, high]) / 255
    return np.asarray((_LEVELS - bottom) / max(top - bottom, 1 / 255))


def equalising_curve(picture: UInt8Array) -> DoubleArray:
    """Return the cumulative histogram, which makes all gray values equally frequent."""
    counts = np.bincount(picture.ravel(), minlength=256).astype(np.float64)
    cumulated = np.cumsum(counts)
    return np.asarray((cumulated - counts / 2) / cumulated[-1])


def raise_local_contrast(picture: UInt8Array, *, sigma: float, amount: float) -> UInt8Array:
    """Add `amount` times the detail above a Gaussian of `sigma` (share of the side): multi-frequency processing."""
    values = picture.astype(np.float32)
    detail = values - _blur(values, sigma * picture.shape[0])
    return _to_uint8(values + amount * detail)


def blur(picture: UInt8Array, *, sigma: float) -> UInt8Array:
    """Blur by a Gaussian of `sigma` pixels."""
    return _to_uint8(_blur(picture.astype(np.float32), sigma))


def add_noise(picture: UInt8Array, *, sigma: float, grain: float, rng: np.random.Generator) -> UInt8Array:
    """Add Gaussian noise of standard deviation `sigma` (full range is 1), correlated over `grain` pixels."""
    noise = rng.standard_normal(picture.shape, dtype=np.float32)
    if grain > 0.3:
        noise = _blur(noise, grain)
        noise /= max(float(noise.std()), 1e-6)
    return _to_uint8(picture.astype(np.float32) + 255 * sigma * noise)


def shade(picture: UInt8Array, *, strength: float, degrees: float) -> UInt8Array:
    """Multiply by a ramp from 1 - strength to 1 + strength across the picture: the heel effect, uneven light."""
    height, width = picture.shape
    rows, columns = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j].astype(np.float32)
    angle = np.deg2rad(degrees)
    ramp = np.cos(angle) * columns + np.sin(angle) * rows
    return _to_uint8(picture * (1 + strength * np.clip(ramp, -1, 1)))


def lower_resolution(picture: UInt8Array, *, factor: float) -> UInt8Array:
    """Shrink to `factor` of the size and enlarge again."""
    height, width = picture.shape
    small = Image.fromarray(picture).resize(
        (max(round(width * factor), 8), max(round(height * factor), 8)), Image.Resampling.BILINEAR
    )
    return np.asarray(small.resize((width, height), Image.Resampling.BICUBIC), dtype=np.uint8)


def compress(picture: UInt8Array, *, quality: int) -> UInt8Array:
    """Store as JPEG of `quality` (1 to 95) and read again."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=quality)
    with Image.open(buffer) as image:
        return np.asarray(image.convert("L"), dtype=np.uint8)


def reframe(
    picture: UInt8Array,
    *,
    top: float = 0.0,
    bottom: float = 1.0,
    left: float = 0.0,
    right: float = 1.0,
    degrees: float = 0.0,
    surround: int = 0,
) -> UInt8Array:
    """Show the part between the given shares of height and width, turned about its centre, at the old size.

    Shares outside 0 to 1 widen the field of view; what lies outside the picture is `surround` (0 to 255).
    """
    height, width = picture.shape
    middle = np.array([(top + bottom) / 2 * height, (left + right) / 2 * width])
    scale = np.array([bottom - top, right - left])
    angle = np.deg2rad(degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = turn @ np.diag(scale)
    # Pillow wants (x, y) order: output pixel -> input pixel, by the centres of both.
    a, b = matrix[1, 1], matrix[1, 0]
    d, e = matrix[0, 1], matrix[0, 0]
    c = middle[1] - a * width / 2 - b * height / 2
    f = middle[0] - d * width / 2 - e * height / 2
    image = Image.fromarray(picture)
    turned = image.transform((width, height), Image.Transform.AFFINE, (a, b, c, d, e, f), Image.Resampling.BILINEAR,
                             fillcolor=surround)  # fmt: skip
    return np.asarray(turned, dtype=np.uint8)


def collimate(
    picture: UInt8Array, *, top: float, bottom: float, left: float, right: float, value: int = 0
) -> UInt8Array:
    """Cover strips at the four edges, given as shares of the side, as shutters of the X-ray tube do."""
    height, width = picture.shape
    covered = np.full_like(picture, value)
    inside = (
        slice(round(top * height), height - round(bottom * height)),
        slice(round(left * width), width - round(right * width)),
    )
    covered[inside] = picture[inside]
    return covered


def draw_text(picture: UInt8Array, text: str, *, row: float, column: float, size: float, value: int) -> UInt8Array:
    """Write a side marker or other text, its centre at shares of height and width, `size` a share of the height."""
    image = Image.fromarray(picture)
    height, width = picture.shape
    font = ImageFont.load_default(size=max(round(size * height), 6))
    ImageDraw.Draw(image).text((column * width, row * height), text, fill=value, font=font, anchor="mm")
    return np.asarray(image, dtype=np.uint8)


def cover(picture: UInt8Array, *, row: float, column: float, height: float, width: float, value: int) -> UInt8Array:
    """Cover a rectangle given by its centre and size as shares of the sides: a label, a shield, a deleted name."""
    rows, columns = picture.shape
    changed = picture.copy()
    top, left = round((row - height / 2) * rows), round((column - width / 2) * columns)
    bottom, right = round((row + height / 2) * rows), round((column + width / 2) * columns)
    changed[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)] = value
    return changed


def _blur(values: FloatArray, sigma: float) -> FloatArray:
    blurred: FloatArray = ndimage.gaussian_filter(values, sigma, mode="nearest", truncate=3.0)
    return blurred


def _to_uint8(values: FloatArray) -> UInt8Array:
    return np.asarray(np.clip(values + 0.5, 0, 255), dtype=np.uint8)
