"""A small network that finds both lungs in a picture and says how the picture is shown.

It looks at the whole field, reduced to 112 x 112 pixels. Each edge of the box is the expected place of the outermost
point of the lungs under a map of 28 x 28 probabilities (differentiable spatial to numerical transform, Nibali et al.
2018, arXiv:1801.07372), which is finer than a cell. The weights come with the package; they are made by
`hilum.model.locator_training`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hilum.model.weights import load_strictly, read_state
from hilum.preprocess import build_reduction
from hilum.types import View

SIDE: Final = 112
"""Side in pixels of what the network sees."""
GRID: Final = 28
"""Side of its maps."""
WEIGHTS: Final = Path(__file__).with_name("locator.safetensors")

_WIDTHS = (16, 24, 48, 96)
_SPREAD = 8.0  # gray values added to the standard deviation: an empty picture is not blown up to noise


class LocatorOutput(NamedTuple):
    """`box` (n, 4): top, bottom, left and right edge of both lungs, as shares of the field's sides.

    `view` (n, 6): logits of `hilum.types.View`, in its order. `lungs` (n, 28, 28): logits of lung fields.
    """

    box: Tensor
    view: Tensor
    lungs: Tensor


class Locator(nn.Module):
    """Takes (n, 112, 112) float32 pictures with values 0-255."""

    centres: Tensor

    def __init__(self) -> None:
        super().__init__()
        first, second, third, fourth = _WIDTHS
        self.stem = _convolve(1, first, stride=2)
        self.fine = nn.Sequential(_convolve(first, second, stride=2), _convolve(second, second))
        self.middle = nn.Sequential(_convolve(second, third, stride=2), _convolve(third, third))
        self.coarse = nn.Sequential(_convolve(third, fourth, stride=2), _convolve(fourth, fourth))
        self.whole = nn.Linear(fourth, fourth)  # what the picture as a whole tells each place
        self.up_coarse = nn.Conv2d(fourth, third, 1)
        self.up_middle = nn.Conv2d(third, second, 1)
        self.joined = _convolve(third, third, groups=third)
        self.decoded = _convolve(second, second)
        self.heads = nn.Conv2d(second, 5, 1)  # four edges, and the lungs
        self.view = nn.Linear(2 * fourth, len(View))
        self.register_buffer("centres", (torch.arange(GRID) + 0.5) / GRID, persistent=False)

    def forward(self, pictures: Tensor) -> LocatorOutput:
        """Return box, view and lungs."""
        mean = pictures.mean((1, 2), keepdim=True)
        spread = ((pictures - mean) ** 2).mean((1, 2), keepdim=True).sqrt() + _SPREAD
        fine = self.fine(self.stem(((pictures - mean) / spread)[:, None]))
        middle = self.middle(fine)
        coarse = self.coarse(middle)
        pooled = coarse.mean((2, 3))
        coarse = F.relu(coarse + self.whole(pooled)[:, :, None, None])
        middle = self.joined(F.relu(middle + _double(self.up_coarse(coarse))))
        fine = self.decoded(F.relu(fine + _double(self.up_middle(middle))))
        maps = self.heads(fine)
        view = self.view(torch.cat([pooled, coarse.amax((2, 3))], dim=1))
        return LocatorOutput(self._find_edges(maps[:, :4]), view, maps[:, 4])

    def _find_edges(self, maps: Tensor) -> Tensor:
        chances = torch.softmax(maps.flatten(2), dim=2).reshape(maps.shape)
        rows, columns = chances[:, :2].sum(3), chances[:, 2:].sum(2)
        return (torch.cat([rows, columns], dim=1) * self.centres).sum(2)


class FieldLocator(nn.Module):
    """A locator for (n, size, size) pictures, 0-255, of one size."""

    reduction: Tensor

    def __init__(self, locator: Locator, size: int) -> None:
        super().__init__()
        self.locator = locator
        self.register_buffer("reduction", torch.from_numpy(build_reduction(size, SIDE)), persistent=False)

    def forward(self, pictures: Tensor) -> LocatorOutput:
        """Return box, view and lungs."""
        output: LocatorOutput = self.locator(self.reduction @ pictures.float() @ self.reduction.T)
        return output


def load_locator(path: Path = WEIGHTS) -> Locator:
    """Return the locator that comes with the package, or another one, ready for use.

    Raises:
        WeightsError: the file is not one of a locator.
    """
    locator = Locator()
    load_strictly(locator, read_state(path), source=str(path), kind="the locator")
    return locator.eval()


def _convolve(inputs: int, outputs: int, *, stride: int = 1, groups: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


def _double(maps: Tensor) -> Tensor:
    return F.interpolate(maps, scale_factor=2.0, mode="nearest")
