"""Draws pictures that are not frontal chest radiographs, for training and testing the input gate; none is stored.

`draw(kind, rng, size)` gives gray pixels (size, size), `draw_colour` a picture with colour, and `spoil` turns a
radiograph into one that is shown wrongly (inverted, turned).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import gaussian_filter

from hilum.types import DoubleArray, UInt8Array

Draw = Callable[[np.random.Generator, int], DoubleArray]

SENTENCES = (
    "The lungs are clear and the heart is of normal size.",
    "Minutes of the meeting, with all the changes that were asked for.",
    "Total amount due within thirty days of the date above",
    "1,204.50    17.00    88.15    3,301.00",
)


def draw(kind: str, rng: np.random.Generator, size: int = 224) -> UInt8Array:
    """Draw one gray picture (size, size) of a kind in `KINDS`."""
    return _to_bytes(KINDS[kind](rng, size))


def draw_colour(rng: np.random.Generator, size: int = 224) -> UInt8Array:
    """Draw a landscape with a blue sky and green fields, (size, size, 3)."""
    gray = _draw_landscape(rng, size)
    height = np.linspace(1, 0, size)[:, None]
    tint = np.stack([0.9 - 0.5 * height, 0.75 + 0 * height, 0.35 + 0.65 * height], axis=-1)
    return _to_bytes(gray[..., None] * tint)


def spoil(how: str, radiograph: UInt8Array) -> UInt8Array:
    """Show a radiograph as none is shown, by a way in `SPOILINGS`."""
    return np.ascontiguousarray(SPOILINGS[how](radiograph))


SPOILINGS: dict[str, Callable[[UInt8Array], UInt8Array]] = {
    "inverted": lambda gray: np.uint8(255) - gray,
    "turned 90": np.rot90,
    "turned 180": lambda gray: np.rot90(gray, 2),
    "turned 270": lambda gray: np.rot90(gray, 3),
}


def _to_bytes(picture: DoubleArray) -> UInt8Array:
    return np.asarray(np.clip(picture * 255 + 0.5, 0, 255), dtype=np.uint8)


def _grid(size: int) -> tuple[DoubleArray, DoubleArray]:
    """Coordinates y and x from 0 to 1."""
    axis = (np.arange(size) + 0.5) / size
    return axis[:, None], axis[None, :]


def _disc(size: int, y: float, x: float, high: float, wide: float, *, blur: float = 0.01) -> DoubleArray:
    """A soft filled ellipse: centre and half axes as shares of the side."""
    rows, columns = _grid(size)
    inside = ((rows - y) / high) ** 2 + ((columns - x) / wide) ** 2 < 1
    return np.asarray(gaussian_filter(inside.astype(np.float64), blur * size))


def _stroke(size: int, points: list[tuple[float, float]], width: float, *, blur: float = 0.006) -> DoubleArray:
    """A soft line through (x, y) points, in shares of the side."""
    image = Image.new("L", (size, size))
    line = [(x * size, y * size) for x, y in points]
    pixels = max(1, round(width * size))
    ImageDraw.Draw(image).line(line, fill=255, width=pixels, joint="curve")
    for x, y in (line[0], line[-1]):
        ImageDraw.Draw(image).ellipse((x - pixels / 2, y - pixels / 2, x + pixels / 2, y + pixels / 2), fill=255)
    return np.asarray(gaussian_filter(np.asarray(image, dtype=np.float64) / 255, blur * size))


def _clouds(rng: np.random.Generator, size: int, power: float) -> DoubleArray:
    """Noise with a spectrum of 1 / f^power, as natural scenes have it, from 0 to 1."""
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None, :])
    frequency[0, 0] = 1
    spectrum = np.fft.rfft2(rng.standard_normal((size, size))) / frequency**power
    field = np.fft.irfft2(spectrum, s=(size, size))
    low, high = np.quantile(field, (0.01, 0.99))
    return np.asarray(np.clip((field - low) / (high - low), 0, 1))


# ---- photographs, textures, paper ------------------------------------------------------------------------------------


def _draw_landscape(rng: np.random.Generator, size: int) -> DoubleArray:
    rows, columns = _grid(size)
    picture = 0.95 - 0.4 * rows + 0.15 * (_clouds(rng, size, 1.6) - 0.5)
    for depth in range(4):
        skyline = 0.35 + 0.13 * depth + 0.08 * np.sin(columns * rng.uniform(3, 12) + rng.uniform(0, 6))
        ground = 0.55 - 0.11 * depth + 0.4 * (_clouds(rng, size, 1.1) - 0.5)
        picture = np.where(rows > skyline, ground, picture)
    return picture


def _draw_street(rng: np.random.Generator, size: int) -> DoubleArray:
    picture = np.repeat(np.linspace(0.9, 0.7, size)[:, None], size, axis=1)
    for _house in range(int(rng.integers(4, 8))):
        left, top = int(rng.integers(0, size)), int(rng.integers(size // 8, size // 2))
        right = left + int(rng.integers(size // 8, size // 3))
        wall = rng.uniform(0.2, 0.8)
        picture[top:, left:right] = wall
        step = int(rng.integers(size // 16, size // 8))
        for row in range(top + step // 2, size, step):
            for column in range(left + step // 3, min(right, size), step):
                picture[row : row + step // 2, column : column + step // 2] = 0.9 - wall
    picture[-size // 6 :] = rng.uniform(0.25, 0.5)
    return np.asarray(gaussian_filter(picture + 0.03 * rng.standard_normal((size, size)), 0.003 * size))


def _draw_portrait(rng: np.random.Generator, size: int) -> DoubleArray:
    x, y = rng.uniform(0.4, 0.6), rng.uniform(0.35, 0.45)
    picture = 0.2 + 0.6 * _clouds(rng, size, 1.8)
    picture += (rng.uniform(0.1, 0.5) - picture) * _disc(size, 1.0, x, 0.4, 0.38)
    picture += (0.15 - picture) * _disc(size, y - 0.07, x, 0.25, 0.2)
    picture += (rng.uniform(0.6, 0.85) - picture) * _disc(size, y, x, 0.22, 0.16)
    for side in (-1, 1):
        picture += (0.2 - picture) * _disc(size, y - 0.03, x + 0.065 * side, 0.015, 0.03, blur=0.004)
    picture += (0.35 - picture) * _disc(size, y + 0.11, x, 0.012, 0.055, blur=0.004)
    return picture + 0.02 * rng.standard_normal((size, size))


def _draw_grain(rng: np.random.Generator, size: int) -> DoubleArray:
    """Grass, gravel or cloth: noise of one scale."""
    scale = rng.uniform(0.6, 4) * size / 224
    field = gaussian_filter(rng.standard_normal((size, size)), (scale * rng.uniform(0.3, 3), scale))
    return np.asarray(0.5 + 0.2 * field / field.std())


def _draw_wood(rng: np.random.Generator, size: int) -> DoubleArray:
    rows, columns = _grid(size)
    warp = rows * rng.uniform(0.1, 0.4) + 0.12 * _clouds(rng, size, 1.8)
    return 0.55 + 0.22 * np.sin((columns + warp) * rng.uniform(60, 160)) + 0.1 * (_clouds(rng, size, 0.8) - 0.5)


def _draw_bricks(rng: np.random.Generator, size: int) -> DoubleArray:
    picture = np.full((size, size), 0.8)
    high, wide = int(rng.integers(size // 14, size // 7)), int(rng.integers(size // 7, size // 4))
    for index, row in enumerate(range(0, size, high)):
        for column in range(-(index % 2) * wide // 2, size, wide):
            picture[row + 2 : row + high, max(column, 0) + 2 : column + wide] = rng.uniform(0.3, 0.55)
    return picture + 0.15 * (_clouds(rng, size, 0.7) - 0.5)


def _draw_page(rng: np.random.Generator, size: int) -> DoubleArray:
    image = Image.new("L", (size, size), 255)
    pen = ImageDraw.Draw(image)
    letter = int(rng.integers(max(6, size // 24), max(8, size // 12)))
    font = ImageFont.load_default(size=letter)
    for row in range(letter, size - letter, round(letter * 1.4)):
        if rng.random() > 0.12:
            text = SENTENCES[rng.integers(len(SENTENCES))][rng.integers(0, 12) :]
            pen.text((size // 16, row), text[: int(1.9 * size / letter)], fill=int(rng.integers(0, 60)), font=font)
    return np.asarray(image, dtype=np.float64) / 255


def _draw_lines(rng: np.random.Generator, size: int) -> DoubleArray:
    """A line drawing or a chart: dark lines on paper."""
    picture = np.ones((size, size))
    for _line in range(rng.integers(4, 14)):
        points = [(float(x), float(y)) for x, y in np.cumsum(rng.normal(0, 0.13, (8, 2)), axis=0) + rng.random(2)]
        picture = np.minimum(picture, 1 - _stroke(size, points, rng.uniform(0.004, 0.015), blur=0.002))
    return picture


def _draw_noise(rng: np.random.Generator, size: int) -> DoubleArray:
    return rng.random((size, size)) if rng.random() < 0.5 else rng.normal(0.5, 0.15, (size, size))


def _draw_blank(rng: np.random.Generator, size: int) -> DoubleArray:
    level = rng.choice([0.0, 1.0, rng.uniform(0.1, 0.9)])
    return np.asarray(level + 0.004 * rng.standard_normal((size, size)))


def _draw_ramp(rng: np.random.Generator, size: int) -> DoubleArray:
    rows, columns = _grid(size)
    angle = rng.uniform(0, 2 * np.pi)
    return np.asarray(0.5 + 0.5 * (np.cos(angle) * (rows - 0.5) + np.sin(angle) * (columns - 0.5)) / 0.7)


# ---- other medical pictures ------------------------------------------------------------------------------------------


def _draw_chest_ct(rng: np.random.Generator, size: int) -> DoubleArray:
    """An axial slice through the chest: a bright oval on black, with two lungs, heart and spine."""
    high, wide = rng.uniform(0.3, 0.38), rng.uniform(0.4, 0.47)
    picture = 0.75 * _disc(size, 0.5, 0.5, high, wide)
    for side in (-1, 1):
        picture *= 1 - 0.9 * _disc(size, 0.48, 0.5 + side * wide * 0.5, high * 0.65, wide * 0.37)
    picture += (0.8 - picture) * _disc(size, 0.42, 0.54, high * 0.35, wide * 0.3)
    picture += (1.0 - picture) * _disc(size, 0.5 + high * 0.65, 0.5, high * 0.16, wide * 0.12)
    for angle in np.linspace(0, 2 * np.pi, 14)[:-1] + rng.uniform(0, 0.4):
        y, x = 0.5 + 0.87 * high * np.sin(angle), 0.5 + 0.87 * wide * np.cos(angle)
        picture += (1.0 - picture) * _disc(size, y, x, 0.018, 0.03)
    return picture + 0.02 * rng.standard_normal((size, size))


def _draw_abdomen_ct(rng: np.random.Generator, size: int) -> DoubleArray:
    high, wide = rng.uniform(0.28, 0.36), rng.uniform(0.38, 0.46)
    picture = 0.35 * _disc(size, 0.5, 0.5, high, wide) + 0.25 * _disc(size, 0.5, 0.5, high * 0.88, wide * 0.9)
    picture += (0.72 - picture) * _disc(size, 0.45, 0.5 - wide * 0.45, high * 0.55, wide * 0.42)
    for _bowel in range(rng.integers(3, 8)):
        y, x = 0.5 + rng.uniform(-0.5, 0.3) * high, 0.5 + rng.uniform(-0.2, 0.7) * wide
        picture += (rng.choice([0.02, 0.5, 0.85]) - picture) * _disc(size, y, x, 0.04, 0.045)
    picture += (1.0 - picture) * _disc(size, 0.5 + high * 0.6, 0.5, high * 0.16, wide * 0.13)
    return picture + 0.02 * rng.standard_normal((size, size))


def _draw_head_mr(rng: np.random.Generator, size: int) -> DoubleArray:
    high, wide = rng.uniform(0.38, 0.45), rng.uniform(0.3, 0.37)
    folds = np.abs(_clouds(rng, size, 1.0) - 0.5) * 2
    picture = 0.85 * _disc(size, 0.5, 0.5, high, wide)
    picture *= 1 - 0.9 * _disc(size, 0.5, 0.5, high * 0.93, wide * 0.92)
    picture += (0.35 + 0.4 * folds) * _disc(size, 0.5, 0.5, high * 0.86, wide * 0.84)
    for side in (-1, 1):
        picture *= 1 - 0.8 * _disc(size, 0.47, 0.5 + 0.05 * side, 0.11, 0.025)
    return picture + 0.015 * np.abs(rng.standard_normal((size, size)))


def _draw_ultrasound(rng: np.random.Generator, size: int) -> DoubleArray:
    rows, columns = _grid(size)
    depth, angle = np.hypot(rows - 0.02, columns - 0.5), np.arctan2(columns - 0.5, rows - 0.02)
    fan = (np.abs(angle) < rng.uniform(0.5, 0.75)) & (depth > 0.12) & (depth < 0.93)
    speckle = gaussian_filter(rng.exponential(1, (size, size)), (0.6, 1.6))
    return np.asarray(fan * (0.15 + 0.5 * _clouds(rng, size, 1.5)) * speckle)


def _draw_hand(rng: np.random.Generator, size: int) -> DoubleArray:
    """A radiograph of a hand: five rays of bones in a thin shadow of soft tissue."""
    bones, flesh = np.zeros((size, size)), _disc(size, 0.72, 0.5, 0.2, 0.19)
    for index, spread in enumerate((-0.95, -0.32, -0.05, 0.2, 0.48)):
        direction = np.array([np.sin(spread), -np.cos(spread)])
        start = np.array([0.5, 0.82]) + direction * 0.12
        lengths = np.array([0.17, 0.13, 0.09, 0.07]) * rng.uniform(0.9, 1.1) * (0.85 if index in (0, 4) else 1)
        for length in lengths[: 3 if index == 0 else 4]:
            end = start + direction * length
            bone = [(float(start[0]), float(start[1])), (float(end[0]), float(end[1]))]
            bones = np.maximum(bones, _stroke(size, bone, 0.032))
            flesh = np.maximum(flesh, _stroke(size, bone, 0.085, blur=0.012))
            start = end + direction * 0.03
    bones = np.maximum(bones, _disc(size, 0.82, 0.5, 0.05, 0.09) * (0.6 + 0.4 * _clouds(rng, size, 1)))
    for side in (-0.05, 0.05):
        bones = np.maximum(bones, _stroke(size, [(0.5 + side, 0.9), (0.5 + side, 1.1)], 0.07))
    return 0.04 + 0.3 * flesh + 0.5 * bones + 0.012 * rng.standard_normal((size, size))


def _draw_knee(rng: np.random.Generator, size: int) -> DoubleArray:
    x, joint = 0.5 + rng.uniform(-0.05, 0.05), rng.uniform(0.45, 0.55)
    flesh = _stroke(size, [(x, -0.2), (x, joint), (x + 0.03, 1.2)], rng.uniform(0.5, 0.65), blur=0.02)
    bones = _stroke(size, [(x, -0.2), (x, joint - 0.15)], 0.17)
    bones = np.maximum(bones, _stroke(size, [(x, joint + 0.18), (x, 1.2)], 0.16))
    for side in (-1, 1):
        bones = np.maximum(bones, _disc(size, joint - 0.11, x + 0.09 * side, 0.1, 0.11))
        bones = np.maximum(bones, 0.95 * _disc(size, joint + 0.11, x + 0.08 * side, 0.09, 0.12))
    bones = np.maximum(bones, 0.7 * _stroke(size, [(x + 0.17, joint + 0.14), (x + 0.17, 1.2)], 0.05))
    return 0.05 + 0.3 * flesh + 0.4 * bones + 0.04 * _clouds(rng, size, 1.2)


def _draw_pelvis(rng: np.random.Generator, size: int) -> DoubleArray:
    """The lower abdomen from the front: spine, two wings, two heads of the femur, gas."""
    picture = 0.35 * _disc(size, 0.45, 0.5, 0.75, rng.uniform(0.42, 0.5), blur=0.03)
    for level in np.arange(-0.02, 0.45, 0.11):
        picture += 0.25 * _disc(size, level, 0.5, 0.042, 0.07)
    for side in (-1, 1):
        picture += 0.25 * _disc(size, 0.42, 0.5 + 0.24 * side, 0.16, 0.12)
        picture += 0.3 * _disc(size, 0.73, 0.5 + 0.27 * side, 0.06, 0.06)
        picture += 0.25 * _stroke(
            size, [(0.5 + 0.27 * side, 0.73), (0.5 + 0.36 * side, 0.8), (0.5 + 0.36 * side, 1.2)], 0.09
        )
        picture += 0.2 * _stroke(size, [(0.5 + 0.04 * side, 0.72), (0.5 + 0.2 * side, 0.68)], 0.04)
    for _gas in range(rng.integers(2, 7)):
        y, x = rng.uniform(0.1, 0.6), rng.uniform(0.25, 0.75)
        picture -= 0.15 * _disc(size, y, x, rng.uniform(0.02, 0.06), rng.uniform(0.02, 0.06))
    return picture + 0.03 * _clouds(rng, size, 1.2)


def _draw_lateral(rng: np.random.Generator, size: int) -> DoubleArray:
    """A chest from the side: one dark field between sternum and spine, the heart in front, the diaphragm below."""
    picture = 0.6 * _disc(size, 0.55, 0.5, 0.75, rng.uniform(0.36, 0.44), blur=0.02)
    picture -= 0.35 * _disc(size, 0.45, 0.52, 0.34, 0.25, blur=0.03)
    picture += 0.25 * _disc(size, 0.6, 0.38, 0.15, 0.13, blur=0.03)
    picture += 0.3 * _disc(size, 1.0, 0.5, 0.25, 0.36, blur=0.02)
    for level in np.arange(0.02, 1.0, 0.085):
        picture += 0.16 * _disc(size, level, 0.76 - 0.1 * (level - 0.5) ** 2, 0.032, 0.045)
        rib = [(0.76, level), (0.5, level + 0.14), (0.3, level + 0.2)]
        picture += 0.07 * _stroke(size, rib, 0.02)
    return picture + 0.03 * _clouds(rng, size, 1.2)


KINDS: dict[str, Draw] = {
    "landscape": _draw_landscape,
    "street": _draw_street,
    "portrait": _draw_portrait,
    "grain": _draw_grain,
    "wood": _draw_wood,
    "bricks": _draw_bricks,
    "text page": _draw_page,
    "line drawing": _draw_lines,
    "noise": _draw_noise,
    "blank": _draw_blank,
    "ramp": _draw_ramp,
    "chest CT": _draw_chest_ct,
    "abdomen CT": _draw_abdomen_ct,
    "head MR": _draw_head_mr,
    "ultrasound": _draw_ultrasound,
    "hand": _draw_hand,
    "knee": _draw_knee,
    "pelvis": _draw_pelvis,
    "lateral chest": _draw_lateral,
}
