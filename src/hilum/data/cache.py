"""Decoded images and their lung masks, cached once at the working size and mapped into memory."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from hilum.data.images import read_picture
from hilum.data.lungs import segment_all, widen
from hilum.data.verify import check_unchanged
from hilum.errors import DataError, ImageReadError
from hilum.files import atomic_path, sha256_bytes, sha256_file, write_text
from hilum.preprocess import PreprocessSpec, resize
from hilum.progress import track
from hilum.types import BoolArray, IntArray, UInt8Array

logger = logging.getLogger(__name__)


def read_prepared(path: str, spec: PreprocessSpec) -> UInt8Array:
    """Read one picture and squash it to (side, side)."""
    gray, _ = read_picture(path, at_least=2 * spec.side)
    return resize(gray, spec)


def open_cache(paths: Sequence[str], hashes: Sequence[str], spec: PreprocessSpec, folder: Path) -> UInt8Array:
    """Return the pictures as a read-only memory map (n, size, size), decoding them on the first call.

    The file's name holds a hash over the pictures' own hashes and the size, so other data never meet an old cache.

    Raises:
        DataError: a picture cannot be read any more, though it could when it was scanned.
    """
    file = _name_file("pictures", hashes, spec, folder)
    if not _is_sound(file):
        _write_cache(paths, hashes, spec, file)
        _seal(file)
    pictures: UInt8Array = np.load(file, mmap_mode="r", allow_pickle=False)
    if pictures.shape != (len(paths), spec.side, spec.side):
        raise DataError(f"The picture cache {file} does not fit the data; remove it and start again.")
    return pictures


def open_lungs(
    images: UInt8Array, rows: IntArray, hashes: Sequence[str], spec: PreprocessSpec, folder: Path
) -> BoolArray:
    """Return the lung masks of the images at `rows` (k,), widened a little, as a read-only memory map (k, s, s).

    They are found on the first call, about a minute for five thousand images. `hashes` are those of the rows' files.
    """
    file = _name_file("lungs", hashes, spec, folder)
    if not _is_sound(file):
        logger.info("finding the lungs in %s training images", f"{len(rows):,}")
        with atomic_path(file) as temporary, temporary.open("wb") as stream:
            np.save(stream, widen(segment_all(images[rows])), allow_pickle=False)
        _seal(file)
    lungs: BoolArray = np.load(file, mmap_mode="r", allow_pickle=False)
    if lungs.shape != (len(rows), spec.side, spec.side):
        raise DataError(f"The cache of lung masks {file} does not fit the data; remove it and start again.")
    return lungs


def _name_file(kind: str, hashes: Sequence[str], spec: PreprocessSpec, folder: Path) -> Path:
    key = sha256_bytes("\n".join([*hashes, json.dumps({"size": spec.side}, separators=(",", ":"))]).encode())[:16]
    return folder / f"{kind}-{spec.side}-{key}.npy"


def _seal(file: Path) -> None:
    """Write the SHA-256 of a cache beside it."""
    write_text(_name_seal(file), sha256_file(file) + "\n")


def _is_sound(file: Path) -> bool:
    """Return whether a cache is there and is what was written; a damaged one is made anew."""
    seal = _name_seal(file)
    if not file.is_file() or not seal.is_file():
        return False
    if seal.read_text(encoding="ascii", errors="replace").strip() == sha256_file(file):
        return True
    logger.warning("The cache %s is damaged; it is made anew.", file)
    return False


def _name_seal(file: Path) -> Path:
    return file.with_name(f"{file.name}.sha256")


def _write_cache(paths: Sequence[str], hashes: Sequence[str], spec: PreprocessSpec, file: Path) -> None:
    """Append picture by picture: a full disk is then an error and not a crash, as it would be in a memory map."""
    header = {"descr": "|u1", "fortran_order": False, "shape": (len(paths), spec.side, spec.side)}
    with atomic_path(file) as temporary, temporary.open("wb") as stream, ThreadPoolExecutor() as pool:
        np.lib.format.write_array_header_1_0(stream, header)
        known = list(zip(paths, hashes, strict=True))
        blocks = [known[start : start + 256] for start in range(0, len(known), 256)]
        pictures = (
            picture for block in blocks for picture in pool.map(lambda one: _read_again(one[0], one[1], spec), block)
        )
        for picture in track(pictures, description="Decoding pictures", total=len(paths)):
            stream.write(picture.tobytes())


def _read_again(path: str, digest: str, spec: PreprocessSpec) -> UInt8Array:
    try:
        check_unchanged(path, digest)
        return read_prepared(path, spec)
    except ImageReadError as error:
        raise DataError(
            f"{path} was readable when it was scanned and is not now ({error}); scan the data again."
        ) from None
