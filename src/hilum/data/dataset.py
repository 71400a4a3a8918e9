"""Pictures and labels as batches, in an order and with augmentations that the seed alone decides.

What happens to a picture is a function of (seed, epoch, position in the epoch), not of the worker that loads it or of
what was drawn before. A resumed training therefore sees exactly what an uninterrupted one would have seen.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from hilum.config import AugmentConfig
from hilum.data.augment import augment, build_augmentation, exchange_corners
from hilum.preprocess import PreprocessSpec, normalise
from hilum.types import BoolArray, DoubleArray, FloatArray, IntArray, UInt8Array


class Draw(NamedTuple):
    """One picture of one epoch: its place in the data and the seed of its augmentation (-1: none)."""

    place: int
    seed: int


class EpochSampler(Sampler[Draw]):
    """Yields the draws of an epoch over `count` pictures: a shuffled pass, or with `weights` (n,) as many random draws.

    A picture is drawn with a probability in proportion to its weight, with replacement.
    """

    def __init__(self, count: int, *, seed: int, weights: DoubleArray | None = None) -> None:
        self.count = count
        self.seed = seed
        self.weights = weights
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch; Lightning calls this."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[Draw]:
        rng = np.random.default_rng([self.seed, self.epoch])
        if self.weights is None:
            order = rng.permutation(self.count)
        else:
            order = rng.choice(self.count, size=self.count, p=self.weights / self.weights.sum())
        seeds = rng.integers(0, 2**31, size=self.count)
        return iter([Draw(int(place), int(seed)) for place, seed in zip(order, seeds, strict=True)])


class RadiographDataset(Dataset[tuple[Tensor, FloatArray]]):
    """Prepared pictures (n, size, size) uint8 and targets, addressed by Draw (augmented) or int (as they are).

    `targets` (n, outputs) are what `hilum.data.targets.build_targets` gives. `rows` are the places of the pictures in
    `pictures`; none given: all of them. With `lungs` (n, size, size), widened a little, an augmented picture
    gets corners of others as often as `config.corners` says.
    """

    def __init__(
        self,
        pictures: UInt8Array,
        targets: FloatArray,
        *,
        rows: IntArray | None = None,
        config: AugmentConfig | None = None,
        lungs: BoolArray | None = None,
    ) -> None:
        self.pictures = pictures
        self.rows = np.arange(len(targets)) if rows is None else rows
        self.targets = targets
        self.lungs = lungs
        self.config = config
        self.chain = build_augmentation(config, size=pictures.shape[1]) if config is not None else None

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, draw: Draw | int) -> tuple[Tensor, FloatArray]:
        place, seed = draw if isinstance(draw, tuple) else (draw, -1)
        gray = np.array(self.pictures[self.rows[place]])
        if self.chain is None or seed < 0:
            return torch.from_numpy(gray)[None], self.targets[place]
        exchanged = torch.from_numpy(self._exchange_corners(gray, place, seed=seed))[None]
        return augment(exchanged, self.chain, seed=seed), self.targets[place]

    def _exchange_corners(self, gray: UInt8Array, place: int, *, seed: int) -> UInt8Array:
        if self.lungs is None or self.config is None or not self.config.exchanges_corners:
            return gray
        rng = np.random.default_rng([seed, 1])
        chosen = int(rng.integers(len(self)))
        other = (self.pictures[self.rows[chosen]], self.lungs[chosen])
        return exchange_corners(gray, self.lungs[place], other=other, probability=self.config.corners, rng=rng)


class Collate:
    """Stacks pictures into network input (n, 3, size, size) float32 and targets (n, outputs) float32."""

    def __init__(self, spec: PreprocessSpec) -> None:
        self.spec = spec

    def __call__(self, items: Sequence[tuple[Tensor, FloatArray]]) -> tuple[Tensor, Tensor]:
        """Stack the items of one batch."""
        pictures = torch.cat([picture for picture, _ in items]).numpy()
        targets = np.stack([target for _, target in items]).astype(np.float32)
        return torch.from_numpy(normalise(pictures, self.spec)), torch.from_numpy(targets)


def build_loader(
    dataset: RadiographDataset,
    spec: PreprocessSpec,
    *,
    batch_size: int,
    workers: int,
    sampler: EpochSampler | None = None,
) -> DataLoader[tuple[Tensor, Tensor]]:
    """Build the loader; with a sampler the last, smaller batch is dropped (BatchNorm needs full ones)."""
    return DataLoader(
        dataset,  # type: ignore[arg-type]  # the sampler yields Draw, which Dataset's type cannot say
        batch_size=min(batch_size, len(dataset)),
        sampler=sampler,
        drop_last=sampler is not None,
        num_workers=workers,
        collate_fn=Collate(spec),
        persistent_workers=workers > 0,
        pin_memory=torch.cuda.is_available(),
    )
