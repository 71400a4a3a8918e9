"""What the locator learns from: radiographs with the lungs of the classical fit, shown in many ways, and the rest.

What is no chest radiograph is drawn, read from folders, and made of radiographs.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from hilum.augment import Augmenter, geometry
from hilum.augment.parameters import Parameters, draw_parameters
from hilum.config import AugmentConfig
from hilum.data import drawn
from hilum.data.images import SUFFIXES, read_gray
from hilum.data.lungs import find_lungs
from hilum.errors import ImageReadError
from hilum.files import atomic_path
from hilum.model.locator import GRID, SIDE
from hilum.progress import track
from hilum.types import BoolArray, FloatArray, IntArray, UInt8Array, View

logger = logging.getLogger(__name__)

FIT_SIDE: Final = 224
"""Side at which the classical fit looks at pictures."""
STORED_SIDE: Final = 160
"""Side of the pictures that training changes and reduces to 112."""
DRAWN_EACH: Final = 60

AUGMENT: Final = AugmentConfig(
    rotate_degrees=20, crop_scale_min=0.55, zoom_out=0.6, translate=0.1, flip_probability=0.5, corners=0, marks=0.3,
    erase_probability=0.1, collimation=0.15,
)  # fmt: skip
_SHOWN_WRONGLY = 0.3
"""Share of the radiographs that training inverts or turns, in equal parts."""
_PADDED = 0.3
_OTHERS = 0.4
"""Pictures of something else for each radiograph."""
_BATCH = 64


@dataclass(frozen=True, slots=True)
class Pictures:
    """Radiographs of one source: pictures (n, 160, 160) and lung masks of the same shape.

    `plausible` (n,): whether the fit is sure of two lungs; the others teach how they are shown, but no lungs.
    """

    name: str
    pictures: UInt8Array
    masks: BoolArray
    plausible: BoolArray


def read_source(folder: Path, cache: Path) -> Pictures:
    """Read all pictures below a folder and find their lungs by the classical fit, or take both from the cache."""
    file = cache / f"{folder.name}.npz"
    if not file.exists():
        squares = read_folder(folder, FIT_SIDE)
        found = find_lungs(squares)
        cache.mkdir(parents=True, exist_ok=True)
        with atomic_path(file) as temporary, temporary.open("wb") as stream:
            np.savez_compressed(
                stream,
                pictures=np.stack([resize_square(picture, STORED_SIDE) for picture in squares]),
                masks=np.stack(
                    [resize_square(np.where(lungs.mask, np.uint8(255), np.uint8(0)), STORED_SIDE) for lungs in found]
                ),
                plausible=np.array([lungs.plausible for lungs in found]),
            )
    with np.load(file, allow_pickle=False) as stored:
        return Pictures(folder.name, stored["pictures"], stored["masks"] >= 128, stored["plausible"])


def read_folder(folder: Path, side: int) -> UInt8Array:
    """Return all pictures below a folder that can be read, squashed to (n, side, side), in the order of their paths."""
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)

    def read(path: Path) -> UInt8Array | None:
        try:
            return resize_square(read_gray(path, at_least=2 * side)[0], side)
        except ImageReadError as error:
            logger.warning("left out: %s", error)
            return None

    with ThreadPoolExecutor() as pool:
        read_all = track(pool.map(read, paths), description=f"Reading {folder.name}", total=len(paths))
        return np.stack([picture for picture in read_all if picture is not None])


def draw_others(seed: int = 0) -> UInt8Array:
    """Draw pictures (n, 160, 160) of every kind in `hilum.data.drawn`."""
    rng = np.random.default_rng(seed)
    return np.stack([drawn.draw(kind, rng, STORED_SIDE) for kind in drawn.KINDS for _ in range(DRAWN_EACH)])


def find_edges(masks: Tensor) -> Tensor:
    """Return top, bottom, left and right edge (n, 4) of masks (n, s, s) as shares of the side; 0, 1, 0, 1 if empty."""
    edges = []
    for line in (masks.any(2), masks.any(1)):
        side = line.shape[1]
        places = torch.arange(side)
        first = torch.where(line, places, side).amin(1)
        last = torch.where(line, places + 1, 0).amax(1)
        empty = ~line.any(1)
        edges += [first.masked_fill(empty, 0) / side, last.masked_fill(empty, side) / side]
    return torch.stack(edges, dim=1)


@dataclass(frozen=True, slots=True)
class Batch:
    """Changed pictures (n, 112, 112), and what is to be found in them; `boxed` (n,): are box and lungs known?"""

    pictures: Tensor
    view: Tensor
    box: Tensor
    lungs: Tensor
    boxed: Tensor


class BatchMaker:
    """Makes training batches: radiographs, upright or not, and among them something else."""

    def __init__(self, radiographs: Pictures, others: UInt8Array, *, seed: int) -> None:
        self.radiographs = radiographs
        self.others = others
        self.seed = seed
        self.augmenter = Augmenter(AUGMENT, size=SIDE, device=torch.device("cpu"))

    def __len__(self) -> int:
        """Return the batches of an epoch."""
        return round(len(self.radiographs.pictures) * (1 + _OTHERS)) // _BATCH

    def iterate(self, epoch: int) -> Iterator[Batch]:
        """Yield the batches of an epoch."""
        rng = np.random.default_rng([self.seed, epoch])
        count = len(self.radiographs.pictures)
        order = np.concatenate([rng.permutation(count), np.full(round(count * _OTHERS), -1)])
        rng.shuffle(order)
        parameters = draw_parameters(AUGMENT, seed=self.seed, epoch=epoch, count=len(order))
        for start in range(0, len(self) * _BATCH, _BATCH):
            here = slice(start, start + _BATCH)
            yield self._make(order[here], parameters.take(here), rng)

    def _make(self, places: IntArray, parameters: Parameters, rng: np.random.Generator) -> Batch:
        is_other = places < 0
        pictures = self.radiographs.pictures[places]
        masks = self.radiographs.masks[places].view(np.uint8)
        for row in np.flatnonzero(is_other):
            pictures[row] = self._draw_other(rng)
        values, shown = torch.from_numpy(pictures).float(), torch.from_numpy(masks * np.uint8(255)).float()
        matrices = torch.from_numpy(parameters.matrix)
        frames = torch.from_numpy(_draw_padding(len(places), rng))
        # What lies outside the picture is black, white, or of one gray.
        levels = rng.choice([0.0, 0.0, 255.0, rng.uniform(0, 255)], len(places)).astype(np.float32)
        ones = geometry.warp(torch.ones_like(values), matrices, size=SIDE, frames=frames)
        outside = (1 - ones) * torch.from_numpy(levels)[:, None, None]
        values = geometry.warp(values, matrices, size=SIDE, frames=frames) + outside
        shown = geometry.warp(shown, matrices, size=SIDE, frames=frames) >= 127.5
        upright = np.tile(np.eye(2, 3, dtype=np.float32), (len(places), 1, 1))
        values = self.augmenter(values.round(), replace(parameters, matrix=upright)).float()

        views = np.where(is_other, len(View) - 1, 0)
        wrong = ~is_other & (rng.random(len(places)) < _SHOWN_WRONGLY)
        views[wrong] = rng.integers(1, 5, int(wrong.sum()))
        for row in np.flatnonzero(wrong):
            values[row] = show_wrongly(values[row], list(View)[views[row]])
            if views[row] != 1:
                shown[row] = show_wrongly(shown[row], list(View)[views[row]])
        lungs = F.adaptive_avg_pool2d(shown.float()[:, None], GRID)[:, 0]
        known = torch.from_numpy(~is_other & self.radiographs.plausible[places])
        # Lungs that are cut off by the edge still have a box: what is seen of them.
        known &= shown.float().mean((1, 2)) > 0.05
        return Batch(values, torch.from_numpy(views), find_edges(shown), lungs, known)

    def _draw_other(self, rng: np.random.Generator) -> UInt8Array:
        """Return a picture of something else, or pieces of a radiograph that are no radiograph."""
        kind = rng.random()
        if kind < 0.75:
            other = self.others[rng.integers(len(self.others))]
            return (
                np.uint8(255) - other
                if rng.random() < 0.2
                else np.asarray(np.rot90(other, int(rng.integers(4))), dtype=np.uint8)
            )
        picture = self.radiographs.pictures[rng.integers(len(self.radiographs.pictures))]
        if kind < 0.87:  # a small part
            side = int(rng.integers(STORED_SIDE // 6, STORED_SIDE // 3))
            row, column = rng.integers(0, STORED_SIDE - side, 2)
            return resize_square(np.ascontiguousarray(picture[row : row + side, column : column + side]), STORED_SIDE)
        if kind < 0.94:  # several radiographs on one page
            count = int(rng.integers(2, 4))
            cells = self.radiographs.pictures[rng.integers(0, len(self.radiographs.pictures), count * count)]
            page = cells.reshape(count, count, STORED_SIDE, STORED_SIDE).swapaxes(1, 2)
            return resize_square(np.ascontiguousarray(page.reshape(count * STORED_SIDE, -1)), STORED_SIDE)
        half = STORED_SIDE // 2  # quarters in the wrong places
        return np.roll(picture, (half, half if rng.random() < 0.5 else 0), axis=(0, 1))


def show_wrongly(picture: Tensor, view: View) -> Tensor:
    """Return an upright picture (s, s) as `view` shows it."""
    if view is View.INVERTED:
        return 255 - picture
    turns = {View.TURNED_LEFT: 1, View.UPSIDE_DOWN: 2, View.TURNED_RIGHT: 3}
    return torch.rot90(picture, turns.get(view, 0))


def _draw_padding(count: int, rng: np.random.Generator) -> FloatArray:
    """Draw frames (n, 4) wider than the picture: some are padded on two or on all sides."""
    frames = np.tile(np.array([0, 1, 0, 1], dtype=np.float32), (count, 1))
    padded = rng.random(count) < _PADDED
    amounts = rng.uniform(0, 0.3, (count, 4)) * np.array([-1, 1, -1, 1])
    kind = rng.integers(3, size=count)
    amounts[kind == 0, 2:] = 0  # above and below
    amounts[kind == 1, :2] = 0  # at the sides
    even = rng.random(count) < 0.7
    amounts[even, 0] = -amounts[even, 1]
    amounts[even, 2] = -amounts[even, 3]
    frames[padded] += amounts[padded].astype(np.float32)
    return frames


def resize_square(picture: UInt8Array, side: int) -> UInt8Array:
    """Squash a picture (h, w) to (side, side)."""
    return np.asarray(Image.fromarray(picture).resize((side, side), Image.Resampling.BILINEAR), dtype=np.uint8)
