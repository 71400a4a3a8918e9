"""Heat maps: a class activation map laid over its radiograph.

The scale is fixed in logit units for a model, not stretched to each picture's own maximum: equal colours mean equal
evidence in all its pictures, and a picture without evidence stays gray instead of glowing somewhere. Only evidence for
PNEUMONIA is coloured. A map says which regions raised the score; it does not show that they are diseased.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from PIL import Image, ImageDraw, ImageFont

from hilum.types import FloatArray, Label, UInt8Array

COLOUR_MAP = "inferno"  # perceptually uniform, and readable by colour-blind people
MAX_OPACITY = 0.65
FULL_SCALE = 10.0
"""Evidence, in logits, at which colour and opacity saturate where a model has no scale of its own.

The map's mean plus a bias is the logit: a tenth of the picture at 10 adds 1 to the logit of the whole.
"""
# The darkest quarter of the colour map would only blacken the lung.
_FIRST_COLOUR = 0.25
_PANEL_SIDES = (360, 1024)
_INK, _SOFT_INK, _PAPER = (31, 41, 51), (91, 102, 115), (255, 255, 255)
_FRAME = (120, 200, 220)


def fit_full_scale(cams: Sequence[FloatArray]) -> float:
    """Return a full scale for one model: what the peaks of nine in ten of these maps stay below, to two digits.

    Give it the maps of validation pictures that the model calls PNEUMONIA. Without maps, or where no map has
    evidence, it is FULL_SCALE.
    """
    peaks = [float(cam.max()) for cam in cams]
    scale = float(np.percentile(peaks, 90)) if peaks else 0.0
    return float(f"{scale:.2g}") if scale > 0 else FULL_SCALE


def overlay(gray: UInt8Array, cam: FloatArray, *, full_scale: float = FULL_SCALE) -> UInt8Array:
    """Lay a class activation map over a radiograph.

    Args:
        gray: picture, (h, w), 0-255, of any size; the map covers all of it, for pictures are squashed to the network.
        cam: map of (k, l) in logit units, as `hilum.types.Score` carries it; values up to 0 are left uncoloured.
        full_scale: evidence in logits at which colour and opacity saturate; the same for all pictures to be compared.

    Returns:
        RGB, (h, w, 3), 0-255. Opacity rises in proportion to the evidence, up to MAX_OPACITY.
    """
    height, width = gray.shape
    # Bicubic is smooth across the coarse cells; it may overshoot, which the clip takes back.
    large = Image.fromarray(cam.astype(np.float32)).resize((width, height), Image.Resampling.BICUBIC)
    strength = np.clip(np.asarray(large, dtype=np.float32) / np.float32(full_scale), 0, 1)
    colours = _colour_table()[np.rint(strength * 255).astype(np.uint8)]
    opacity = (MAX_OPACITY * strength)[..., None]
    mixed = gray[..., None] * (1 - opacity) + colours * opacity
    return np.asarray(np.rint(mixed), dtype=np.uint8)


@functools.cache
def _colour_table() -> FloatArray:
    """Return the colours of strength 0 to 1 as (256, 3) in 0-255."""
    return np.asarray(colormaps[COLOUR_MAP](np.linspace(_FIRST_COLOUR, 1, 256))[:, :3] * 255, dtype=np.float32)


def draw_scale(width: int, height: int) -> UInt8Array:
    """Return a horizontal legend, (height, width, 3): no evidence to full scale, over mid-gray as over a lung."""
    ramp = np.tile(np.linspace(0, 1, width, dtype=np.float32), (height, 1))
    return overlay(np.full((height, width), 110, dtype=np.uint8), ramp, full_scale=1.0)


def panel(
    gray: UInt8Array,
    cam: FloatArray,
    *,
    probability: float,
    threshold: float,
    label: Label,
    title: str = "",
    full_scale: float = FULL_SCALE,
    familiarity: float | None = None,
    box: Sequence[float] | None = None,
) -> UInt8Array:
    """Return picture and overlay side by side, RGB (h, w, 3), with all text in the margins and none over the picture.

    `label` is the model's decision. Above the pictures stands `title` (such as the file name), below them label,
    probability, threshold and familiarity, and the scale of the colours. A thin frame shows the `box` that the
    classifier saw: top, bottom, left and right edge as shares of the sides; None: it saw the whole picture. The shorter
    side of each picture is shown with between 360 and 1,024 pixels.
    """
    factor = float(np.clip(1.0, *(side / min(gray.shape) for side in _PANEL_SIDES)))
    height, width = (round(side * factor) for side in gray.shape)
    large = np.asarray(Image.fromarray(gray).resize((width, height), Image.Resampling.BICUBIC), dtype=np.uint8)
    text = max(13, height // 24)
    margin, top, bottom = text, text * 2 if title else text // 2, round(text * 4.2)
    page = Image.new("RGB", (2 * width + 3 * margin, top + height + bottom), _PAPER)
    page.paste(Image.fromarray(large).convert("RGB"), (margin, top))
    page.paste(Image.fromarray(overlay(large, cam, full_scale=full_scale)), (2 * margin + width, top))
    draw = ImageDraw.Draw(page)
    if box is not None:
        for x in (margin, 2 * margin + width):
            _draw_frame(draw, box, x=x, y=top, width=width, height=height)
    font, small = ImageFont.load_default(text), ImageFont.load_default(text * 0.8)
    below = top + height + text // 2
    if title:
        draw.text((margin, text // 2), _shorten(title, draw, small, 2 * width), fill=_SOFT_INK, font=small)
    draw.text((margin, below), str(label), fill=_INK, font=font)
    verdict = f"probability {probability:.3f}, threshold {threshold:.3f}"
    if familiarity is not None:
        verdict += f", familiarity {familiarity:.3f}"
    draw.text((margin, below + text * 1.5), verdict, fill=_SOFT_INK, font=small)
    page.paste(Image.fromarray(draw_scale(width, text)), (2 * margin + width, below))
    legend = f"evidence for PNEUMONIA: 0 to {full_scale:g} logits or more"
    draw.text((2 * margin + width, below + text * 1.5), legend, fill=_SOFT_INK, font=small)
    return np.asarray(page, dtype=np.uint8)


def _draw_frame(draw: ImageDraw.ImageDraw, box: Sequence[float], *, x: int, y: int, width: int, height: int) -> None:
    top, bottom, left, right = (min(max(float(edge), 0.0), 1.0) for edge in box)
    corners = (x + left * width, y + top * height, x + right * width - 1, y + bottom * height - 1)
    draw.rectangle(corners, outline=_FRAME, width=max(1, height // 300))


def _shorten(
    text: str, draw: ImageDraw.ImageDraw, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int
) -> str:
    """Cut the front of a text that is too wide: the end of a path tells more than its beginning."""
    if draw.textlength(text, font=font) <= width:
        return text
    while text and draw.textlength("…" + text, font=font) > width:
        text = text[1:]
    return "…" + text
