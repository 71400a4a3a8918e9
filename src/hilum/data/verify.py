"""Whether files are still those that were scanned: their SHA-256 is compared before they are used."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from hilum.data.images import read_content
from hilum.data.npz import find_npz_picture
from hilum.errors import DataError, ImageReadError
from hilum.files import sha256_bytes
from hilum.progress import track


def hash_picture(path: str) -> str:
    """Return the SHA-256 of what a manifest's path leads to: a file, or a picture of an array.

    Raises:
        ImageReadError: it cannot be read.
    """
    pixels = find_npz_picture(Path(path))
    return sha256_bytes(read_content(Path(path)) if pixels is None else pixels.tobytes())


def check_unchanged(path: str, digest: str) -> None:
    """Refuse a picture that is not the one that was scanned; an empty digest is not compared.

    Raises:
        DataError: its content is another one.
        ImageReadError: it cannot be read.
    """
    if digest and hash_picture(path) != digest:
        raise DataError(f"{path} has changed since it was scanned (its SHA-256 differs); scan the data again.")


def list_changed(paths: Sequence[str], digests: Sequence[str]) -> list[bool]:
    """Return for each picture whether its content is another one than was scanned.

    What cannot be read is not called changed: whoever reads it says why. An empty digest is not compared.
    """

    def has_changed(pair: tuple[str, str]) -> bool:
        path, digest = pair
        try:
            return bool(digest) and hash_picture(path) != digest
        except ImageReadError:
            return False

    with ThreadPoolExecutor() as pool:
        pairs = list(zip(paths, digests, strict=True))
        return list(track(pool.map(has_changed, pairs), description="Comparing files", total=len(pairs)))
