"""What is changed in each image of an epoch, drawn on the CPU by a counter-based generator.

Row i of every parameter is a function of (seed, epoch, i) alone, so that the same image gets the same change on any
device, with any batch size, and after a resume.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from hilum.config import AugmentConfig
from hilum.types import BoolArray, FloatArray, IntArray

STRENGTHS: Final = (0.25, 0.5, 0.75, 1.0)
"""Shares of the configured strengths, one of which an image gets where augmentation is graded."""

CURVES: Final = 5
"""Display curves drawn for each image; the first that keeps its detail is used."""
MARKS: Final = 2
TEXTS: Final = ("R", "L", "D", "PORTABLE", "AP", "SUPINE", "ERECT", "A.P.", "PA", "1", "12:30")
FIELD_SIDE: Final = 1024
"""Side of the noise field in pixels; `noise_place` are offsets in it."""
GRAINS: Final = (0.0, 0.4, 0.6, 0.8, 1.0)
"""Correlation lengths of the noise fields in pixels. Three images in ten get the first, white noise."""

_CORNERS = (0.12, 0.38)  # of the side: room for a marker with its border, less than reaches the middle
_CROPS = 10  # tries for a crop that fits, as in torchvision's RandomResizedCrop
_WIDTH = 128  # random numbers an image; more than are used, so that a further change leaves the others as they are


@dataclass(frozen=True, slots=True)
class Parameters:
    """The changes of n images; every array has n rows.

    Lengths are shares of the image's side, gray values 0-255, unless said otherwise. Switched off: `matrix` is the
    identity, strengths are 0, `resolution` and `quality` 1 and 100, rectangles empty.
    """

    matrix: FloatArray  # (n, 2, 3): output to input coordinates, both in [-1, 1]
    gamma: FloatArray  # (n, CURVES), and so the next ones
    contrast: FloatArray  # factor
    shift: FloatArray  # brightness, relative to the mean gray
    display: IntArray  # 0 none, 1 S-curve, 2 window, 3 equalisation
    display_strength: FloatArray  # (n, CURVES, 2)
    detail_sigma: FloatArray  # local contrast
    detail_amount: FloatArray
    shade: FloatArray  # strength
    shade_angle: FloatArray  # radians
    blur: FloatArray  # sigma in pixels at a side of 224
    noise: FloatArray  # standard deviation in gray values
    noise_place: IntArray  # (n, 3): row, column, and index into GRAINS
    noise_sign: FloatArray
    resolution: FloatArray
    quality: FloatArray
    mark_kind: IntArray  # (n, MARKS): 0 none, 1 + k the text TEXTS[k], -1 a cover
    mark_box: FloatArray  # (n, MARKS, 4): row, column of the centre, height, width (of a text its height alone)
    mark_value: FloatArray  # (n, MARKS); -1: the image's mean gray
    shutters: FloatArray  # (n, 4): top, bottom, left, right
    erased: FloatArray  # (n, 4): top, bottom, left, right edge
    corners: FloatArray  # (n, 4, 2): height and width of the corner that is exchanged, 0 where it is not
    partner: FloatArray  # (n,): in [0, 1), whose corners they become

    def __len__(self) -> int:
        """Return n."""
        return len(self.partner)

    def take(self, rows: slice | IntArray) -> Parameters:
        """Return those of some images."""
        return replace(self, **{field.name: getattr(self, field.name)[rows] for field in fields(self)})


class _Numbers:
    """Deals the columns of a table of uniform random numbers in [0, 1), a row an image."""

    def __init__(self, *, seed: int, epoch: int, count: int) -> None:
        generator = np.random.Generator(np.random.Philox(key=np.array([seed, epoch], dtype=np.uint64)))
        self.table = generator.random((count, _WIDTH))
        self.next = 0

    def take(self, *shape: int) -> NDArray[np.float64]:
        """Return the next columns as (n, *shape)."""
        columns = int(np.prod(shape, dtype=int))
        taken = self.table[:, self.next : self.next + columns]
        self.next += columns
        if self.next > _WIDTH:
            raise RuntimeError("more random numbers an image are used than are drawn")
        return taken.reshape(len(taken), *shape)


def draw_parameters(config: AugmentConfig, *, seed: int, epoch: int, count: int) -> Parameters:
    """Draw the changes of `count` positions of an epoch; config.enabled is not asked."""
    numbers = _Numbers(seed=seed, epoch=epoch, count=count)
    levels = numbers.take(1)[:, 0]
    strength = np.asarray(STRENGTHS)[(levels * len(STRENGTHS)).astype(int)] if config.graded else np.ones(count)
    limit = _Limits(config, strength)

    def is_drawn(probability: float | NDArray[np.float64] = config.acquisition_probability) -> BoolArray:
        return np.asarray(numbers.take(1)[:, 0] < probability, dtype=np.bool_)

    matrix = _draw_pose(limit, numbers.take(12 + 2 * _CROPS))
    curve, choice, display = numbers.take(CURVES, 3), numbers.take(CURVES), numbers.take(CURVES, 2)
    kinds, display = _draw_display(limit, choice, display)
    signed = 2 * curve - 1
    local, shaded, blurred = is_drawn(), is_drawn(), is_drawn(config.blur_probability)
    lowered, compressed, marked = is_drawn(), is_drawn(), is_drawn(limit.of("marks"))
    collimated, erased = is_drawn(), is_drawn(config.erase_probability)
    detail, shade, sigma, noise = numbers.take(2), numbers.take(2), numbers.take(1)[:, 0], numbers.take(5)
    grain = np.maximum((noise[:, 3] - 0.3) / 0.7 * (len(GRAINS) - 1) + 1, 0)
    resolution, quality = numbers.take(1)[:, 0], numbers.take(1)[:, 0]
    largest_blur = limit.of("blur")
    lowest = limit.of("jpeg_quality_min")
    mark_kind, mark_box, mark_value = _draw_marks(marked, numbers.take(1)[:, 0], numbers.take(MARKS, 8))
    corner_sizes, corner_drawn = numbers.take(4, 2), numbers.take(4)
    sizes = _CORNERS[0] + (_CORNERS[1] - _CORNERS[0]) * corner_sizes
    shutter_width, shutter_drawn = numbers.take(4), numbers.take(4)
    shutters = shutter_width * limit.of("collimation")[:, None] * (shutter_drawn < 0.6) * collimated[:, None]
    values: dict[str, Any] = {
        "matrix": matrix,
        "gamma": np.exp(signed[..., 0] * np.log1p(limit.of("gamma"))[:, None]),
        "contrast": 1 + limit.of("contrast")[:, None] * signed[..., 1],
        "shift": limit.of("brightness")[:, None] * signed[..., 2],
        "display": kinds,
        "display_strength": display,
        "detail_sigma": 0.02 + 0.08 * detail[:, 0],
        "detail_amount": local * limit.of("local_contrast") * detail[:, 1],
        "shade": shaded * limit.of("shading") * shade[:, 0],
        "shade_angle": 2 * np.pi * shade[:, 1],
        "blur": blurred * (largest_blur > 0) * (0.1 + (np.maximum(largest_blur, 0.11) - 0.1) * sigma),
        "noise": 255 * limit.of("noise") * noise[:, 0] ** 2,
        "noise_place": np.stack([noise[:, 1] * FIELD_SIDE, noise[:, 2] * FIELD_SIDE, grain], axis=1).astype(np.int64),
        "noise_sign": np.where(noise[:, 4] < 0.5, -1.0, 1.0),
        "resolution": np.where(lowered, 1 - (1 - limit.of("resolution_min")) * resolution, 1.0),
        "quality": np.where(compressed & (lowest < 95), np.floor(lowest + (96 - lowest) * quality), 100),
        "mark_kind": mark_kind,
        "mark_box": mark_box,
        "mark_value": mark_value,
        "shutters": shutters,
        "erased": _draw_erased(limit, erased, numbers.take(4)),
        "corners": np.where((corner_drawn < config.corners)[..., None], sizes, 0.0),
        "partner": numbers.take(1)[:, 0],
    }
    typed: dict[str, Any] = {
        name: np.ascontiguousarray(value, dtype=np.int64 if np.issubdtype(value.dtype, np.integer) else np.float32)
        for name, value in values.items()
    }
    return Parameters(**typed)


class _Limits:
    """The limits of each setting for each image, by its strength."""

    def __init__(self, config: AugmentConfig, strength: NDArray[np.float64]) -> None:
        self.strength = strength
        self.count = len(strength)
        self._scaled = {level: config.scale(level) for level in np.unique(strength)}

    def of(self, name: str) -> NDArray[np.float64]:
        """Return the limit (n,) of a setting."""
        values = np.empty(self.count)
        for level, config in self._scaled.items():
            values[self.strength == level] = getattr(config, name)
        return values


def _draw_pose(limit: _Limits, numbers: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (n, 2, 3): rotation, shift, shear and a wider field, then a crop of another shape, then a flip.

    The distributions are those of torchvision's RandomAffine, RandomResizedCrop and RandomHorizontalFlip.
    """
    signed = 2 * numbers - 1
    angle, shear = (
        np.deg2rad(limit.of("rotate_degrees") * signed[:, 0]),
        np.deg2rad(limit.of("shear_degrees") * signed[:, 1]),
    )
    smallest = 1 / (1 + limit.of("zoom_out"))
    scale = smallest + (1 - smallest) * numbers[:, 2]
    shift = 2 * limit.of("translate")[:, None] * signed[:, 3:5]  # in [-1, 1] coordinates a side is 2
    # Forward: x_out = rotate(angle) @ shear @ x_in * scale + shift; a sampler needs the inverse.
    cos, sin, tan = np.cos(angle), np.sin(angle), np.tan(shear)
    forward = np.stack([np.stack([cos, -cos * tan - sin], -1), np.stack([sin, -sin * tan + cos], -1)], 1)
    inverse = np.asarray(np.linalg.inv(forward * scale[:, None, None]), dtype=np.float64)
    pose = _build_affine(inverse, -np.einsum("nij,nj->ni", inverse, shift))

    widest = 1 / (1 - limit.of("aspect_jitter"))
    least = np.minimum(limit.of("crop_scale_min"), 1 / widest)
    on = (limit.of("crop_scale_min") < 1) | (limit.of("aspect_jitter") > 0)
    crop = np.ones((limit.count, 2))  # height and width as shares; the whole where no try fits
    undecided = on.copy()
    for k in range(_CROPS):
        area = least + (1 - least) * numbers[:, 5 + 2 * k]
        ratio = np.exp(np.log(widest) * signed[:, 6 + 2 * k])
        tried = np.stack([np.sqrt(area / ratio), np.sqrt(area * ratio)], axis=1)
        fits = undecided & (tried <= 1).all(axis=1)
        crop[fits] = tried[fits]
        undecided &= ~fits
    place = (1 - crop) * (2 * numbers[:, 5 + 2 * _CROPS : 7 + 2 * _CROPS] - 1)  # of the centre, in [-1, 1]
    flip = np.where(numbers[:, 7 + 2 * _CROPS] < limit.of("flip_probability"), -1.0, 1.0)
    linear = np.zeros((limit.count, 2, 2))
    linear[:, 0, 0], linear[:, 1, 1] = crop[:, 1] * flip, crop[:, 0]
    return _compose(pose, _build_affine(linear, place[:, ::-1]))


def _build_affine(linear: NDArray[np.float64], shift: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.concatenate([linear, shift[:, :, None]], axis=2)


def _compose(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return x -> first(second(x)) of affine maps (n, 2, 3)."""
    linear = first[:, :, :2] @ second[:, :, :2]
    return _build_affine(linear, np.einsum("nij,nj->ni", first[:, :, :2], second[:, :, 2]) + first[:, :, 2])


def _draw_display(
    limit: _Limits, choice: NDArray[np.float64], numbers: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the kind of each curve (n, CURVES) and its strengths (n, CURVES, 2).

    An S-curve has its slope, a window the shares that it cuts below and above, equalisation its share.
    """
    display = limit.of("display")[:, None]
    kinds = np.select([choice < 0.3, choice < 0.55, choice < 0.75], [1, 2, 3], default=0) * (display > 0)
    first = np.select(
        [kinds == 1, kinds == 2, kinds == 3],
        [6 * display * (2 * numbers[..., 0] - 1), 0.12 * display * numbers[..., 0], display * numbers[..., 0]],
        default=0.0,
    )
    return kinds.astype(np.int64), np.stack([first, 0.12 * display * numbers[..., 1]], axis=-1)


def _draw_marks(
    marked: BoolArray, number: NDArray[np.float64], numbers: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Return kind, box and value of one or two letters or covers in the outer fifth of the image."""
    along, across = 0.03 + 0.94 * numbers[..., 0], 0.02 + 0.16 * numbers[..., 1]
    across = np.where(numbers[..., 2] < 0.5, across, 1 - across)
    upright = numbers[..., 3] < 0.6
    row, column = np.where(upright, along, across), np.where(upright, across, along)
    is_text = numbers[..., 4] < 0.6
    text = (numbers[..., 5] * len(TEXTS)).astype(np.int64)
    short = np.array([len(name) < 3 for name in TEXTS])[text]
    size = np.where(short, 0.04 + 0.07 * numbers[..., 6], 0.03 + 0.03 * numbers[..., 6])
    height = np.where(is_text, size, 0.03 + 0.12 * numbers[..., 6])
    width = 0.03 + 0.12 * numbers[..., 7]
    # A mark is a text or a cover: both may use the same random columns.
    cover_value = np.array([0.0, 0.0, 255.0, -1.0])[(numbers[..., 5] * 4).astype(int)]
    value = np.where(is_text, 150 + np.floor(106 * numbers[..., 7]), cover_value)
    exists = marked[:, None] & (np.arange(MARKS)[None] < np.where(number < 0.5, 1, 2)[:, None])
    kind = np.where(exists, np.where(is_text, 1 + text, -1), 0)
    return kind, np.stack([row, column, height, width], axis=-1), value


def _draw_erased(limit: _Limits, drawn: BoolArray, numbers: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return top, bottom, left, right edge (n, 4) of what is erased; torchvision's RandomErasing has these ratios."""
    largest = limit.of("erase_scale")
    area = 0.01 + (np.maximum(largest, 0.011) - 0.01) * numbers[:, 0]
    ratio = np.exp(np.log(0.3) + (np.log(3.3) - np.log(0.3)) * numbers[:, 1])
    size = np.minimum(np.stack([np.sqrt(area * ratio), np.sqrt(area / ratio)], axis=1), 1)
    start = (1 - size) * numbers[:, 2:4]
    edges = np.stack([start[:, 0], start[:, 0] + size[:, 0], start[:, 1], start[:, 1] + size[:, 1]], axis=1)
    return edges * (drawn & (largest > 0))[:, None]
