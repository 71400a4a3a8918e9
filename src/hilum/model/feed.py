"""Batches for training and validation, made on the device that learns.

Decoded images go to the device once, as uint8, where they fit; else each block is streamed from the memory-mapped
cache. Augmentation runs on the device in blocks of several batches. What happens to an image is a function of (seed,
epoch, position in the epoch) alone: a resumed training sees exactly what an uninterrupted one would have seen, on any
device and with any batch size.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from hilum.augment import Augmenter, Parameters, draw_parameters, to_device
from hilum.config import AugmentConfig
from hilum.model.crop import LungCrop
from hilum.model.inputs import normalise_on_device
from hilum.preprocess import PreprocessSpec
from hilum.types import BoolArray, DoubleArray, FloatArray, IntArray, UInt8Array

RESIDENT_SHARE = 0.3
"""Share of the free device memory that decoded images may take for good; more are streamed block by block."""

_BLOCK = {"cpu": 32, "cuda": 256, "mps": 64}
"""Images that are augmented or validated together: few fit the CPU's caches, many hide a GPU's launches."""


class ImageStore:
    """Images (n, s, s) uint8 or bool from which a device takes some at a time, as uint8."""

    def __init__(self, images: UInt8Array | BoolArray, device: torch.device, *, share: float = RESIDENT_SHARE) -> None:
        self.images = images.view(np.uint8)
        self.device = device
        self.resident: Tensor | None = None
        if device.type != "cpu" and self.images.nbytes <= share * _measure_free_memory(device):
            self.resident = torch.from_numpy(np.array(self.images)).to(device)

    def take(self, places: IntArray) -> Tensor:
        """Return the images at `places` (k,), shape (k, s, s), on the device."""
        if self.resident is not None:
            return self.resident.index_select(0, to_device(torch.from_numpy(places), self.device))
        return to_device(torch.from_numpy(self.images[places]), self.device)


class TrainingFeed:
    """The augmented batches of an epoch: a shuffled pass, or with `weights` (n,) as many random draws.

    Args:
        images: prepared images (m, side, side) uint8.
        targets: (n, outputs) float32, as `hilum.data.targets.build_targets` gives them.
        rows: the places (n,) of the images of `targets` in `images`.
        augment: what is changed at random.
        spec: how images become network input.
        batch_size: images a batch; the last, smaller batch of an epoch is dropped, for BatchNorm needs full ones.
        seed: with the epoch it decides order and changes.
        device: where batches are made.
        weights: how often each image is drawn, in proportion, with replacement.
        lungs: lung masks (n, side, side), widened a little; without them no corners are exchanged.
        frames: the box (m, 4) of each image that the classifier sees, as `hilum.model.crop.find_frames` gives it;
            without them the whole.
    """

    def __init__(
        self,
        images: UInt8Array,
        targets: FloatArray,
        rows: IntArray,
        *,
        augment: AugmentConfig,
        spec: PreprocessSpec,
        batch_size: int,
        seed: int,
        device: torch.device,
        weights: DoubleArray | None = None,
        lungs: BoolArray | None = None,
        frames: FloatArray | None = None,
    ) -> None:
        self.rows = rows
        self.config = augment
        self.spec = spec
        self.batch_size = min(batch_size, len(rows))
        self.seed = seed
        self.device = device
        self.weights = weights
        self.images = ImageStore(images, device)
        self.lungs = ImageStore(lungs, device) if lungs is not None and augment.exchanges_corners else None
        self.targets = torch.from_numpy(targets).to(device)
        self.frames = None if frames is None else torch.from_numpy(frames).to(device)
        self.augmenter = Augmenter(augment, size=spec.size, device=device)

    def __len__(self) -> int:
        """Return the batches of an epoch."""
        return len(self.rows) // self.batch_size

    def iterate(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield network input (b, 3, s, s) float32 and targets (b, outputs) of each batch, on the device."""
        places = draw_order(len(self.rows), seed=self.seed, epoch=epoch, weights=self.weights)
        parameters = draw_parameters(self.config, seed=self.seed, epoch=epoch, count=len(places))
        used = len(self) * self.batch_size
        block = max(_BLOCK[self.device.type] // self.batch_size, 1) * self.batch_size
        for start in range(0, used, block):
            here = slice(start, min(start + block, used))
            inputs = normalise_on_device(self.augment(places[here], parameters.take(here)), self.spec)
            targets = self.targets.index_select(0, to_device(torch.from_numpy(places[here]), self.device))
            for first in range(0, len(inputs), self.batch_size):
                yield inputs[first : first + self.batch_size], targets[first : first + self.batch_size]

    def augment(self, places: IntArray, parameters: Parameters) -> Tensor:
        """Return the images at `places` (k,) of the training images, changed, (k, s, s) uint8."""
        images = self.images.take(self.rows[places])
        frames = None
        if self.frames is not None:
            frames = self.frames.index_select(0, to_device(torch.from_numpy(self.rows[places]), self.device))
        if self.lungs is None:
            return self.augmenter(images, parameters, frames=frames)
        partners = np.minimum((parameters.partner * len(self.rows)).astype(np.int64), len(self.rows) - 1)
        return self.augmenter(
            images,
            parameters,
            frames=frames,
            lungs=self.lungs.take(places),
            partners=self.images.take(self.rows[partners]),
            partner_lungs=self.lungs.take(partners),
        )


class PlainFeed:
    """Images as they are, in order, for validation; `frames` as for `TrainingFeed`."""

    def __init__(
        self,
        images: UInt8Array,
        rows: IntArray,
        *,
        spec: PreprocessSpec,
        device: torch.device,
        frames: FloatArray | None = None,
    ) -> None:
        self.rows = rows
        self.frames = None if frames is None else torch.from_numpy(frames[rows]).to(device)
        self.crop = None if frames is None else LungCrop(spec).to(device)
        self.spec = spec
        self.images = ImageStore(np.asarray(images[rows]), device)
        self.block = _BLOCK[device.type]

    def iterate(self) -> Iterator[Tensor]:
        """Yield network input (b, 3, s, s) float32, on the device."""
        for start in range(0, len(self.rows), self.block):
            places = np.arange(start, min(start + self.block, len(self.rows)))
            images = self.images.take(places)
            if self.crop is not None and self.frames is not None:
                images = self.crop.cut(images.float(), self.frames[start : start + self.block])
            yield normalise_on_device(images, self.spec)


def draw_order(count: int, *, seed: int, epoch: int, weights: DoubleArray | None = None) -> IntArray:
    """Return the places (count,) of an epoch: a permutation, or draws with replacement in proportion to `weights`."""
    rng = np.random.default_rng([seed, epoch])
    if weights is None:
        return rng.permutation(count)
    return np.asarray(rng.choice(count, size=count, p=weights / weights.sum()), dtype=np.int64)


def _measure_free_memory(device: torch.device) -> float:
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    return float(torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory())
