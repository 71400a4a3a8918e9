"""One picture made ready for the network, or the reason why that cannot be; this runs in threads beside the network."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from hilum.data.budget import decoding
from hilum.data.images import read_gray, read_picture
from hilum.data.npz import convert_array
from hilum.errors import ImageReadError
from hilum.inference.archives import ZipMember
from hilum.inference.inputs import Item, printable
from hilum.preprocess import PreprocessSpec, resize
from hilum.types import ImageMeta, Status, UInt8Array

logger = logging.getLogger(__name__)

Picture = str | Path | bytes | UInt8Array | Item
"""A file, its content, gray pixels (h, w) of 0-255, or one of them with a name."""

# A picture that is kept to be shown: its longest side, and the largest ratio of its sides.
_SHOWN_SIDE, _SHOWN_RATIO = 2048, 8


@dataclass(frozen=True, slots=True)
class Prepared:
    """One picture after decoding. `pixels` are the network's input, (size, size); without them `message` says why.

    `picture` is what can be shown of it, (h, w), if that was asked for; `colour` and `note`
    as in `ImageMeta`.
    """

    source: str
    pixels: UInt8Array | None = None
    picture: UInt8Array | None = None
    colour: float = 0.0
    note: str = ""
    status: Status = Status.OK
    message: str = ""


def prepare_picture(picture: Picture, spec: PreprocessSpec, *, keep_picture: bool = False) -> Prepared:
    """Read and resize one picture as training did. Never raises."""
    item = picture if isinstance(picture, Item) else _name_picture(picture)
    try:
        # A JPEG may be decoded at a reduced scale of at least twice the network's input, as in training.
        gray, meta = _read(item.content, at_least=2 * spec.side)
        return Prepared(
            source=item.name,
            pixels=resize(gray, spec),
            picture=_shrink(gray) if keep_picture else None,
            colour=meta.colour,
            note=meta.note,
        )
    except ImageReadError as error:
        return Prepared(item.name, status=error.status, message=printable(str(error)))
    except Exception as error:  # one picture must not stop the others, whatever a decoder does
        logger.debug("%s", item.name, exc_info=True)
        reason = " ".join(str(error).split())
        message = printable(f"The picture cannot be prepared ({type(error).__name__}: {reason}).")
        return Prepared(item.name, status=Status.ERROR, message=message)


def _name_picture(picture: str | Path | bytes | UInt8Array) -> Item:
    if isinstance(picture, str | Path):
        return Item(printable(str(picture)), Path(picture))
    return Item("", picture)


def _read(
    content: Path | bytes | UInt8Array | ZipMember | ImageReadError, *, at_least: int
) -> tuple[UInt8Array, ImageMeta]:
    if isinstance(content, ImageReadError):
        raise content
    if isinstance(content, Path):
        return read_picture(content, at_least=at_least)
    if isinstance(content, ZipMember):
        with decoding(content.info.file_size, content.name):
            return read_gray(content.read(), at_least=at_least)
    if isinstance(content, bytes):
        return read_gray(content, at_least=at_least)
    return convert_array(content, "The array")


def _shrink(gray: UInt8Array) -> UInt8Array:
    """Bound a picture that waits to be shown, so that memory stays constant; one of thin stripes is widened."""
    height, width = gray.shape
    longest = min(max(height, width), _SHOWN_SIDE)
    scale = longest / max(height, width)
    shortest = math.ceil(longest / _SHOWN_RATIO)
    size = max(round(width * scale), shortest), max(round(height * scale), shortest)
    if size == (width, height):
        return gray
    return np.asarray(Image.fromarray(gray).resize(size, Image.Resampling.BILINEAR), dtype=np.uint8)
