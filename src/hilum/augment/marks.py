"""Letters near the edges of an image, where side markers lie."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torch.nn import functional as F

from hilum.augment.parameters import TEXTS

_FONT = 48  # pixels: letters are drawn once, large, and sampled


class TextAtlas:
    """All texts, drawn once; `shapes` (k, 2) are height and width of each in units of its font size."""

    def __init__(self, device: torch.device) -> None:
        font = ImageFont.load_default(size=_FONT)
        boxes = [font.getbbox(text) for text in TEXTS]
        height = max(int(np.ceil(box[3] - box[1])) for box in boxes) + 2
        width = max(int(np.ceil(box[2] - box[0])) for box in boxes) + 2
        tiles = []
        for text in TEXTS:
            tile = Image.new("L", (width, height))
            ImageDraw.Draw(tile).text((width / 2, height / 2), text, fill=255, font=font, anchor="mm")
            tiles.append(np.asarray(tile, dtype=np.float32) / 255)
        self.tiles = torch.from_numpy(np.stack(tiles)).to(device)
        self.shape = (height / _FONT, width / _FONT)

    def draw_(self, images: Tensor, texts: Tensor, boxes: Tensor, values: Tensor) -> Tensor:
        """Write a text into each image (n, s, s).

        `texts` (n,) are their numbers, `boxes` (n, 4) row and column of the centre and, third, the font size, as shares
        of the side, `values` (n,) their gray values.
        """
        size = images.shape[-1]
        # From image coordinates to those of the tile, both in [-1, 1]: a tile is `shape` times the font size large.
        font = boxes[:, 2].clamp(min=6 / size)
        zeros = torch.zeros_like(font)
        across, down = 1 / (font * self.shape[1]), 1 / (font * self.shape[0])
        matrices = torch.stack(
            [
                torch.stack([across, zeros, -across * (2 * boxes[:, 1] - 1)], dim=1),
                torch.stack([zeros, down, -down * (2 * boxes[:, 0] - 1)], dim=1),
            ],
            dim=1,
        )
        grid = F.affine_grid(matrices, [len(images), 1, size, size], align_corners=False)
        ink = F.grid_sample(self.tiles[texts][:, None], grid, mode="bilinear", align_corners=False)[:, 0]
        return images.add_(ink * (values[:, None, None] - images))
