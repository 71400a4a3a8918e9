"""Whether the data of a picture are whole: what decoders only warn of, or do not look at.

libjpeg fills what is missing with gray and goes on, and Pillow drops its warning; Pillow compares no checksum of the
image data of a PNG. Either turns a damaged file into another picture, and a damaged radiograph must not get a verdict.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from typing import Final

import numpy as np
import simplejpeg
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from hilum.errors import ImageReadError
from hilum.types import Status

MAX_SCANS: Final = 100
"""Scans of a progressive JPEG that are decoded: encoders write about ten, and each is a pass over the whole picture."""

_PNG_HEAD = 8
_PNG_NEEDED = frozenset({b"IHDR", b"PLTE", b"IDAT", b"tRNS", b"IEND"})
# Bytes between two segments that belong to neither: the picture itself is whole.
_HARMLESS = re.compile(r"extraneous bytes before marker", re.IGNORECASE)
_START_OF_SCAN = b"\xff\xda"


def decode_jpeg(content: bytes, image: JpegImageFile, *, at_least: int | None, subject: str) -> tuple[Image.Image, str]:
    """Decode a JPEG whose header Pillow has read, and a note on what is odd but harmless.

    Args:
        content: the file.
        image: opened and not loaded.
        at_least: decode at 1/2, 1/4 or 1/8 as long as both sides keep this many pixels; the choice is Pillow's.
        subject: begins messages.

    Returns:
        The picture in mode L, RGB or CMYK, pixel for pixel as Pillow decodes it, and the note, mostly empty.

    Raises:
        ImageReadError: the data are damaged, or there are more than MAX_SCANS scans.
    """
    scans = content.count(_START_OF_SCAN)
    if scans > MAX_SCANS:
        raise ImageReadError(
            f"{subject} is a JPEG of {scans:,} scans, more than the {MAX_SCANS} that are decoded.",
            status=Status.UNSUPPORTED,
        )
    if image.mode not in ("L", "RGB"):
        # Pillow knows how Adobe stores CMYK; the strict decoder says whether the data are whole.
        note = _check(content, subject)
        image.load()
        return image, note
    width, height = image.size
    scale = _choose_scale(width, height, at_least)
    try:
        pixels = simplejpeg.decode_jpeg(
            content,
            colorspace="GRAY" if image.mode == "L" else "RGB",
            min_height=-(-height // scale),
            min_width=-(-width // scale),
            strict=True,
        )
    except ValueError as error:
        note = _read_warning(error, subject)
        if at_least is not None:
            image.draft(image.mode, (at_least, at_least))
        image.load()
        return image, note
    return Image.fromarray(np.squeeze(pixels, axis=2) if image.mode == "L" else pixels), ""


def check_png(content: bytes, subject: str) -> None:
    """Compare the checksums of the chunks of a PNG that make the picture.

    Raises:
        ImageReadError: one differs, or the file ends before its last chunk.
    """
    ended = False
    for kind, data, checksum in _list_chunks(content):
        if kind in _PNG_NEEDED and (checksum is None or zlib.crc32(data, zlib.crc32(kind)) != checksum):
            raise ImageReadError(
                f"{subject} cannot be decoded as PNG: it is damaged, for the checksum of its chunk "
                f"{kind.decode('ascii')} does not fit."
            )
        ended = ended or kind == b"IEND"
    if not ended:
        raise ImageReadError(f"{subject} cannot be decoded as PNG: it ends before its last chunk.")


def _list_chunks(content: bytes) -> Iterator[tuple[bytes, memoryview, int | None]]:
    """Yield kind, data and checksum of each chunk; the checksum is None where the file ends inside of it."""
    view, place = memoryview(content), _PNG_HEAD
    while place + 8 <= len(content):
        length, kind = struct.unpack_from(">I4s", content, place)
        end = place + 8 + length
        checksum = struct.unpack_from(">I", content, end)[0] if end + 4 <= len(content) else None
        yield kind, view[place + 8 : end], checksum
        if kind == b"IEND" or checksum is None:
            return
        place = end + 4


def _choose_scale(width: int, height: int, at_least: int | None) -> int:
    if at_least is None:
        return 1
    room = min(width // at_least, height // at_least)
    return next((scale for scale in (8, 4, 2) if room >= scale), 1)


def _check(content: bytes, subject: str) -> str:
    try:
        simplejpeg.decode_jpeg(content, colorspace="CMYK", strict=True)
    except ValueError as error:
        return _read_warning(error, subject)
    return ""


def _read_warning(error: ValueError, subject: str) -> str:
    """Return a harmless warning as a note; raise what means that image data are missing or wrong."""
    reason = " ".join(str(error).split()).rstrip(".")
    if _HARMLESS.search(reason):
        return "The JPEG holds bytes that belong to no part of it; the image itself is whole."
    raise ImageReadError(f"{subject} cannot be decoded as JPEG: it is damaged ({reason}).") from None
