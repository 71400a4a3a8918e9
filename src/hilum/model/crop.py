"""From the field to what the classifier sees: the box of both lungs with a margin, or the whole picture."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hilum.inference.framing import WHOLE
from hilum.model.locator import FieldLocator, load_locator
from hilum.preprocess import PreprocessSpec
from hilum.progress import track
from hilum.types import FloatArray, UInt8Array, View

_BLOCK = 128
_FRONTAL = list(View).index(View.FRONTAL)


class LungCrop(nn.Module):
    """Takes fields (n, side, side), 0-255; gives what the classifier sees, (n, size, size) float32, box and view.

    `box` (n, 4): top, bottom, left and right edge of what is seen, as shares of the field's sides, margin included:
    that of the whole picture without a field, and where no frontal chest radiograph is seen. `view` (n, 6): logits of
    `hilum.types.View`.
    """

    places: Tensor
    whole: Tensor
    locator: FieldLocator

    def __init__(self, spec: PreprocessSpec) -> None:
        super().__init__()
        self.size = spec.size
        self.margin = spec.margin
        self.crops = spec.field is not None
        self.locator = FieldLocator(load_locator(), spec.side).eval()
        self.register_buffer("places", (torch.arange(self.size) + 0.5) / self.size, persistent=False)
        self.register_buffer("whole", torch.tensor(WHOLE), persistent=False)

    def forward(self, fields: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return crops, box and view."""
        values = fields.float()
        box, view, _ = self.locator(values)
        if not self.crops:
            return values, self.whole.expand_as(box), view
        box = self.choose(box, view)
        return self.cut(values, box), box, view

    def choose(self, box: Tensor, view: Tensor) -> Tensor:
        """Return the boxes (n, 4) with their margin, or that of the whole picture."""
        height, width = box[:, 1] - box[:, 0], box[:, 3] - box[:, 2]
        reach = torch.stack([-height, height, -width, width], dim=1) * self.margin
        seen = view[:, _FRONTAL : _FRONTAL + 1] >= view.amax(1, keepdim=True)
        return torch.where(seen, box + reach, self.whole)

    def cut(self, values: Tensor, box: Tensor) -> Tensor:
        """Return what is inside the boxes, (n, size, size); black beyond the picture."""
        # As `hilum.augment.geometry.warp` does for upright frames, in operations that every runtime has.
        top, bottom, left, right = (edge[:, None] for edge in box.unbind(1))
        rows, columns = top + (bottom - top) * self.places, left + (right - left) * self.places
        shape = (-1, self.size, self.size)
        grid = torch.stack([columns[:, None, :].expand(shape), rows[:, :, None].expand(shape)], dim=3) * 2 - 1
        return F.grid_sample(values[:, None], grid, mode="bilinear", padding_mode="zeros", align_corners=False)[:, 0]


@torch.inference_mode()
def find_frames(fields: UInt8Array, spec: PreprocessSpec, device: torch.device) -> FloatArray:
    """Return the box (n, 4) of each field (n, side, side) that a classifier of `spec` sees, as `LungCrop` gives it."""
    crop = LungCrop(spec).to(device)
    found = []
    for block in track(_cut(fields), description="Finding the lungs", total=-(-len(fields) // _BLOCK)):
        box, view, _ = crop.locator(torch.from_numpy(block).to(device).float())
        found.append(crop.choose(box, view).cpu())
    return torch.cat(found).numpy()


def _cut(fields: UInt8Array) -> Iterator[UInt8Array]:
    return (np.array(fields[start : start + _BLOCK]) for start in range(0, len(fields), _BLOCK))
