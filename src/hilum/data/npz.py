"""Pictures inside a MedMNIST .npz, each known by a reference such as `pneumoniamnist.npz#train_images/12`."""

from __future__ import annotations

import math
import re
import threading
import zipfile
import zlib
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from hilum.errors import ImageReadError
from hilum.types import ImageMeta, Status, UInt8Array

_REFERENCE = re.compile(r"^(?P<file>.+\.npz)#(?P<key>\w+)/(?P<index>\d+)$", re.IGNORECASE)
_lock = threading.Lock()
_arrays: OrderedDict[tuple[Path, int, str], np.ndarray[Any, Any]] = OrderedDict()
_MAX_BYTES = 1024**3
# Images and labels of train, val and test: some 300 MB at 224 px.
_KEPT = 6


def find_npz_picture(path: Path) -> np.ndarray[Any, Any] | None:
    """Return the pixels that a reference such as `file.npz#train_images/12` means, None for the path of a file.

    Raises:
        ImageReadError: as for `read_npz_array`, or the array has no picture of that number.
    """
    match = _REFERENCE.match(str(path))
    if match is None:
        return None
    pictures = read_npz_array(Path(match["file"]), match["key"])
    index = int(match["index"])
    if index >= len(pictures):
        raise ImageReadError(f"{path} does not exist: {match['key']} holds {len(pictures)} pictures.")
    return np.asarray(pictures[index])


def read_npz_array(path: Path, key: str) -> np.ndarray[Any, Any]:
    """Return an array of a .npz file; the last few stay in memory, since one read unpacks the whole array.

    Nothing is ever unpickled.

    Raises:
        ImageReadError: the file or the array is missing or damaged.
    """
    try:
        stamp = path.stat().st_mtime_ns
        with _lock:
            known = (path, stamp, key)
            if known not in _arrays:
                _check_claim(path, key)
                with np.load(path, allow_pickle=False) as archive:
                    _arrays[known] = archive[key]
                while len(_arrays) > _KEPT:
                    _arrays.popitem(last=False)
            _arrays.move_to_end(known)
            return _arrays[known]
    except KeyError:
        raise ImageReadError(f"{path} holds no array named {key}.") from None
    except OSError as error:
        raise ImageReadError(f"{path} cannot be read: {error.strerror or error}.") from None
    except (ValueError, TypeError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise ImageReadError(
            f"{path} is not a sound .npz file of plain arrays ({' '.join(str(error).split())})."
        ) from None


def _check_claim(path: Path, key: str) -> None:
    """Compare what the header of an array claims with what the archive holds, before anything is allocated."""
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo(f"{key}.npy")
        with archive.open(info) as stream:
            version = np.lib.format.read_magic(stream)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, _, dtype = read(stream)
            header = stream.tell()
    size = math.prod(shape) * dtype.itemsize
    if size != info.file_size - header and not dtype.hasobject:
        raise ValueError(f"the array {key} claims {size:,} bytes and has {info.file_size - header:,}")
    if size > _MAX_BYTES:
        raise ValueError(f"the array {key} has {size:,} bytes, more than the {_MAX_BYTES:,} that are read")


def convert_array(pixels: UInt8Array, subject: str) -> tuple[UInt8Array, ImageMeta]:
    """Turn one picture of an array, (h, w) or (h, w, 3) and 0-255, into what `read_gray` returns.

    Raises:
        ImageReadError: the array has another shape or type; `subject` begins the message.
    """
    if pixels.dtype != np.uint8 or pixels.size == 0 or not (pixels.ndim == 2 or pixels.shape[2:] == (3,)):
        raise ImageReadError(
            f"{subject} has shape {pixels.shape} and type {pixels.dtype}; (h, w) or (h, w, 3) of uint8 is read.",
            status=Status.UNSUPPORTED,
        )
    image = Image.fromarray(np.ascontiguousarray(pixels))
    gray = np.asarray(image.convert("L"), dtype=np.uint8)
    return gray, ImageMeta(width=gray.shape[1], height=gray.shape[0], mode=image.mode, format="NPZ")
