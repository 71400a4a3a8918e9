"""One pass over the pictures that collects all an audit needs, so that each is decoded once."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from PIL import Image

from hilum.data.images import read_picture
from hilum.preprocess import PreprocessSpec, resize
from hilum.progress import track
from hilum.types import BoolArray, DoubleArray, FloatArray, Label, UInt8Array

SIDE = 224
THUMBNAIL_SIDE = 64
GRAY_BINS = 64
_SQUARE = PreprocessSpec(size=SIDE)
# Pictures in flight between the decoding threads and the sums: 256 of 224 x 224 are 13 MB.
_CHUNK = 256


@dataclass(frozen=True, slots=True)
class PixelStatistics:
    """What the pass collected, for n pictures in the order they were given.

    `thumbnails` (n, 64, 64) gray 0-255. `histograms` (n, 64): share of the pixels in each band of four gray levels.
    `contrast` (n,): standard deviation of the gray levels. `mean` and `std`: (224, 224) per class in gray levels, over
    the pictures marked for it; a class without any is missing. `kept`: (224, 224) pictures by position.
    """

    thumbnails: UInt8Array
    histograms: FloatArray
    contrast: FloatArray
    mean: dict[Label, FloatArray]
    std: dict[Label, FloatArray]
    kept: dict[int, UInt8Array]


def read_square(path: str) -> UInt8Array:
    """Read a picture as the network sees it: gray, squashed to (224, 224).

    Raises:
        ImageReadError: the picture cannot be decoded.
    """
    gray, _ = read_picture(path, at_least=SIDE)
    return resize(gray, _SQUARE)


def measure_pixels(
    paths: Sequence[str], labels: Sequence[str], *, averaged: BoolArray, keep: Collection[int] = ()
) -> PixelStatistics:
    """Decode every picture once and collect its statistics.

    `averaged` (n,) marks the pictures that enter the mean and standard-deviation pictures: those that design may look
    at. Memory is bounded by 4.3 kB a picture, and 50 kB for each one in `keep`.

    Raises:
        ImageReadError: a picture cannot be decoded (any more).
    """
    n = len(paths)
    thumbnails = np.empty((n, THUMBNAIL_SIDE, THUMBNAIL_SIDE), dtype=np.uint8)
    histograms = np.empty((n, GRAY_BINS), dtype=np.float32)
    contrast = np.empty(n, dtype=np.float32)
    sums = {label: _Moments() for label in Label}
    kept: dict[int, UInt8Array] = {}
    for i, sight in enumerate(track(_look_at_all(paths), description="Reading pictures", total=n)):
        thumbnails[i], histograms[i], contrast[i] = sight.thumbnail, sight.histogram, sight.contrast
        if averaged[i]:
            sums[Label(labels[i])].add(sight.picture)
        if i in keep:
            kept[i] = sight.picture
    present = {label: moments for label, moments in sums.items() if moments.count}
    return PixelStatistics(
        thumbnails=thumbnails,
        histograms=histograms,
        contrast=contrast,
        mean={label: moments.mean() for label, moments in present.items()},
        std={label: moments.std() for label, moments in present.items()},
        kept=kept,
    )


@dataclass(frozen=True, slots=True)
class _Sight:
    picture: UInt8Array
    thumbnail: UInt8Array
    histogram: FloatArray
    contrast: float


def _look_at(path: str) -> _Sight:
    picture = read_square(path)
    image = Image.fromarray(picture).resize((THUMBNAIL_SIDE, THUMBNAIL_SIDE), Image.Resampling.BILINEAR)
    # 256 gray levels in bands of four.
    counts = np.bincount(picture.ravel(), minlength=256).reshape(GRAY_BINS, -1).sum(axis=1)
    return _Sight(
        picture=picture,
        thumbnail=np.asarray(image, dtype=np.uint8),
        histogram=(counts / picture.size).astype(np.float32),
        contrast=float(picture.std()),
    )


def _look_at_all(paths: Sequence[str]) -> Iterator[_Sight]:
    """Yield what is seen of each picture, in order; a thread for every processor decodes, for Pillow frees the GIL."""
    with ThreadPoolExecutor(max_workers=_count_processors()) as pool:
        for start in range(0, len(paths), _CHUNK):
            yield from pool.map(_look_at, paths[start : start + _CHUNK])


def _count_processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class _Moments:
    """Running sums of pictures and of their squares. Sums of 8-bit integers are exact in float64."""

    def __init__(self) -> None:
        self.count = 0
        self._sum: DoubleArray = np.zeros((SIDE, SIDE))
        self._squares: DoubleArray = np.zeros((SIDE, SIDE))

    def add(self, picture: UInt8Array) -> None:
        self.count += 1
        values = picture.astype(np.float64)
        self._sum += values
        self._squares += values * values

    def mean(self) -> FloatArray:
        return (self._sum / self.count).astype(np.float32)

    def std(self) -> FloatArray:
        variance = self._squares / self.count - (self._sum / self.count) ** 2
        return np.sqrt(np.maximum(variance, 0)).astype(np.float32)
