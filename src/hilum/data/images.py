"""Reading one picture file as gray pixels, or saying in one sentence why that cannot be.

The content decides, never the name: a PNG called .jpeg is read as the PNG that it is. PNG, JPEG, BMP and TIFF are read;
DICOM files are recognised, and their reader will slot in where `read_gray` refuses them today.
"""

from __future__ import annotations

import io
import stat
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image
from PIL.BmpImagePlugin import BmpImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile

from hilum.data.budget import decoding
from hilum.data.integrity import check_png, decode_jpeg
from hilum.data.npz import convert_array, find_npz_picture
from hilum.errors import ImageReadError
from hilum.types import ImageMeta, Status, UInt8Array

SUFFIXES = (".jpeg", ".jpg", ".png", ".bmp", ".tif", ".tiff")
# Larger pictures are refused by their header, before any memory is taken; Pillow warns from the same figure on.
MAX_PIXELS = 178_956_970
MAX_BYTES = 2 * 1024**3

# Opening with the class of a format, not with Image.open, because the latter answers a large picture with a warning:
# warnings can only be caught by changing the state of the whole process, which threads share.
_OPENERS: dict[str, type[ImageFile]] = {
    "JPEG": JpegImageFile,
    "PNG": PngImageFile,
    "BMP": BmpImageFile,
    "TIFF": TiffImageFile,
}
_SIGNATURES: tuple[tuple[bytes, str], ...] = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"BM", "BMP"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
    (b"GIF8", "GIF"),
    (b"\0\0\0\x0cjP  \r\n", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"%PDF", "PDF"),
    (b"PK\x03\x04", "ZIP"),
    (b"\x1f\x8b", "gzip"),
)
# Pillow tells of damaged metadata by warnings alone. One filter for the process, set once, makes each an exception
# that `read_gray` turns into a status; it covers the two modules that read metadata and nothing else.
warnings.filterwarnings("error", category=UserWarning, module=r"PIL\.(TiffImagePlugin|PngImagePlugin)$")

# Pillow's modes: pixels of more than 8 bits, pixels with transparency, and all that are read.
_DEEP_MODES = frozenset({"I", "I;16", "I;16L", "I;16B", "F"})
_ALPHA_MODES = frozenset({"LA", "La", "PA", "RGBA", "RGBa"})
_MODES = _DEEP_MODES | _ALPHA_MODES | {"1", "L", "P", "RGB", "RGBX", "CMYK", "YCbCr"}
# Bit depths that detectors deliver inside 16-bit files.
_BIT_DEPTHS = (8, 10, 12, 14, 16)
# Points a side at which colour is looked for, and the difference of two channels that counts as one.
_COLOUR_GRID = 32
_COLOUR_STEP = 32
_TIFF_PHOTOMETRIC = 262
_TIFF_WHITE_IS_ZERO = 0
_TRANSPOSES = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def recognise(content: bytes) -> str:
    """Return the format that the first bytes of a file show (`JPEG`, `PNG`, `DICOM`, ...), or `""` for any other."""
    if content[128:132] == b"DICM":
        return "DICOM"
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "WebP"
    return next((name for signature, name in _SIGNATURES if content.startswith(signature)), "")


def read_gray(source: Path | bytes, *, at_least: int | None = None) -> tuple[UInt8Array, ImageMeta]:
    """Read a picture as gray pixels.

    Colour becomes luma by ITU-R BT.601 (Pillow's mode L), transparency is laid over black, and the orientation that
    EXIF asks for is applied. Pixels of more than 8 bits are scaled linearly so that the full scale of the smallest of
    8, 10, 12, 14 and 16 bits that holds the largest one becomes 255; floating point pixels up to 1 are scaled by 1.

    Args:
        source: a file, or its content.
        at_least: a JPEG may be decoded at 1/2, 1/4 or 1/8 of its size as long as both sides keep this many pixels,
            which is several times faster. Other formats are always decoded in full.

    Returns:
        Pixels (h, w), 0-255, and the original's size (as displayed), mode and format.

    Raises:
        ImageReadError: with status UNREADABLE for what is damaged or is no picture, and UNSUPPORTED for what is sound
            but not read: other formats, several frames, more than `MAX_PIXELS` pixels, values beyond 16 bits.
    """
    if isinstance(source, bytes):
        return _decode(source, "The file", at_least)
    return _decode(read_content(source), str(source), at_least)


def read_content(path: Path, *, subject: str | None = None) -> bytes:
    """Return the bytes of a picture file. `subject` begins messages; none given: the path.

    Raises:
        ImageReadError: the file cannot be read, or is larger than `MAX_BYTES`.
    """
    subject = subject or str(path)
    try:
        facts = path.stat()
        if not stat.S_ISREG(facts.st_mode):
            raise ImageReadError(f"{subject} is no regular file.")
        if facts.st_size <= MAX_BYTES:
            return path.read_bytes()
    except OSError as error:
        raise ImageReadError(f"{subject} cannot be read: {error.strerror or error}.") from None
    except ValueError as error:  # a NUL character in the path
        raise ImageReadError(f"{subject} cannot be read: its path is none ({error}).") from None
    raise ImageReadError(
        f"{subject} has {facts.st_size:,} bytes, more than the {MAX_BYTES:,} that are read.", status=Status.UNSUPPORTED
    )


def read_picture(
    reference: str | Path, *, root: Path | None = None, at_least: int | None = None
) -> tuple[UInt8Array, ImageMeta]:
    """Read a picture by what stands in the path column of a manifest; otherwise as `read_gray`.

    Args:
        reference: a path, or `file.npz#train_images/12` for picture 12 of an array in a MedMNIST file.
        root: folder that a relative path starts from; none given: the working directory.
        at_least: as for `read_gray`.

    Raises:
        ImageReadError: as for `read_gray`.
    """
    path = Path(reference) if root is None else root / reference
    pixels = find_npz_picture(path)
    if pixels is None:
        return read_gray(path, at_least=at_least)
    return convert_array(pixels, str(path))


def _decode(content: bytes, subject: str, at_least: int | None) -> tuple[UInt8Array, ImageMeta]:
    if not content:
        raise ImageReadError(f"{subject} is empty (0 bytes).")
    kind = recognise(content)
    if kind not in _OPENERS:
        raise _refusal(kind, subject)
    try:
        with _OPENERS[kind](io.BytesIO(content)) as image:
            _check_header(image, kind, subject)
            width, height, mode = image.width, image.height, image.mode
            note = ""
            decoded: Image.Image = image
            with decoding(_estimate_memory(image), subject):
                if isinstance(image, JpegImageFile):
                    decoded, note = decode_jpeg(content, image, at_least=at_least, subject=subject)
                elif kind == "PNG":
                    check_png(content, subject)
                decoded.load()
                # For TIFF, loading has turned the picture already and has removed the tag.
                orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
                if kind == "TIFF":
                    width, height = image.width, image.height
                gray = _convert(decoded, subject)
                colour = _measure_colour(decoded)
    except ImageReadError:
        raise
    except Exception as error:  # Pillow's decoders raise almost any type on damaged content
        raise ImageReadError(f"{subject} cannot be decoded as {kind}: {_in_one_line(error)}.") from None
    if orientation in _TRANSPOSES:
        gray = np.asarray(Image.fromarray(gray).transpose(_TRANSPOSES[orientation]), dtype=np.uint8)
        if orientation >= 5:
            width, height = height, width
    return gray, ImageMeta(width=width, height=height, mode=mode, format=kind, colour=colour, note=note)


def _refusal(kind: str, subject: str) -> ImageReadError:
    if kind == "DICOM":
        return ImageReadError(
            f"{subject} is a DICOM file, which is not read yet; export it as PNG.", status=Status.UNSUPPORTED
        )
    if kind:
        return ImageReadError(
            f"{subject} is a {kind} file; PNG, JPEG, BMP and TIFF are read.", status=Status.UNSUPPORTED
        )
    return ImageReadError(f"{subject} is no picture: its content is not that of a PNG, JPEG, BMP or TIFF file.")


def _check_header(image: ImageFile, kind: str, subject: str) -> None:
    if image.width * image.height > MAX_PIXELS:
        raise ImageReadError(
            f"{subject} claims {image.width:,} x {image.height:,} pixels, more than the {MAX_PIXELS:,} that are read.",
            status=Status.UNSUPPORTED,
        )
    if image.mode not in _MODES:
        raise ImageReadError(f"{subject} has {image.mode} pixels, which are not read.", status=Status.UNSUPPORTED)
    if _has_more_frames(image):
        raise ImageReadError(
            f"{subject} is a {kind} with several frames; a file must hold one picture.", status=Status.UNSUPPORTED
        )


def _estimate_memory(image: ImageFile) -> int:
    """Return about how many bytes decoding takes at its peak, all copies counted."""
    bytes_a_pixel = 3  # the picture, and what becomes of it
    if image.mode in _DEEP_MODES:
        bytes_a_pixel = 8 if image.mode == "F" else 6
    elif image.mode not in {"1", "L"}:
        # In memory Pillow has four bytes a pixel; one with transparency is laid over black in two more copies.
        clear = image.mode in _ALPHA_MODES or "transparency" in image.info
        bytes_a_pixel = 14 if clear else 9
    if image.info.get("progressive"):
        bytes_a_pixel += 2 * len(image.getbands())  # all coefficients, whatever the scale
    return image.width * image.height * bytes_a_pixel


def _has_more_frames(image: ImageFile) -> bool:
    """Return whether there is a second frame; counting all of them takes a time that grows with their square."""
    try:
        image.seek(1)
    except EOFError:
        return False
    return True


def _convert(image: Image.Image, subject: str) -> UInt8Array:
    if image.mode in _DEEP_MODES:
        gray = _scale(np.asarray(image), subject)
        # Pillow turns white-is-zero around for up to 8 bits, and leaves it to the caller beyond.
        white_is_zero = isinstance(image, TiffImageFile) and image.tag_v2.get(_TIFF_PHOTOMETRIC) == _TIFF_WHITE_IS_ZERO
        return np.uint8(255) - gray if white_is_zero else gray
    flat: Image.Image = image
    if image.mode in _ALPHA_MODES or "transparency" in image.info:
        clear = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")
        flat = Image.new("RGB", image.size)
        flat.paste(clear, mask=clear.getchannel("A"))
    return np.asarray(flat.convert("L"), dtype=np.uint8)


def _measure_colour(image: Image.Image) -> float:
    """Return the share of points whose channels differ, after taking off a tint that the whole picture has.

    Points are picked and not averaged: a thousand of them tell the share well enough, and cost next to nothing.
    """
    if image.mode in _DEEP_MODES or image.mode in {"1", "L", "La", "LA"}:
        return 0.0
    points = image.resize((_COLOUR_GRID, _COLOUR_GRID), Image.Resampling.NEAREST)
    if points.mode in _ALPHA_MODES or "transparency" in image.info:
        clear = points.convert("RGBA")
        points = Image.new("RGB", points.size)
        points.paste(clear, mask=clear.getchannel("A"))
    colours = np.asarray(points if points.mode == "RGB" else points.convert("RGB")).reshape(-1, 3)
    if (colours == colours[:, 1:2]).all():  # gray, as nearly all radiographs in three channels are
        return 0.0
    differences = colours[:, [0, 2]].astype(np.int16) - colours[:, 1:2]
    differences = np.abs(differences - np.median(differences, axis=0))
    return float((differences.max(axis=1) > _COLOUR_STEP).mean())


def _scale(pixels: np.ndarray[Any, Any], subject: str) -> UInt8Array:
    if not np.isfinite(pixels).all():
        raise ImageReadError(f"{subject} holds pixels that are not finite numbers.", status=Status.UNSUPPORTED)
    low, high = float(pixels.min()), float(pixels.max())
    if low < 0 or high > 2 ** _BIT_DEPTHS[-1] - 1:
        raise ImageReadError(
            f"{subject} holds values from {low:g} to {high:g}; 0 to 65,535 is read.", status=Status.UNSUPPORTED
        )
    if pixels.dtype.kind == "f" and high <= 1:
        full_scale = 1.0
    else:
        full_scale = next(2.0**bits - 1 for bits in _BIT_DEPTHS if high <= 2**bits - 1)
    if pixels.dtype.kind == "f":
        return np.rint(pixels * (255.0 / full_scale)).astype(np.uint8)
    # By a table: the same values, without a copy of eight bytes a pixel.
    table = np.rint(np.arange(2 ** _BIT_DEPTHS[-1]) * (255.0 / full_scale)).clip(max=255).astype(np.uint8)
    return np.asarray(table[pixels if pixels.dtype == np.uint16 else pixels.astype(np.uint16)])


def _in_one_line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__
