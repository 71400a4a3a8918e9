"""Which pictures a bundle was made of, so that it is not judged on them, or refitted to them, by mistake.

seen.txt holds the first 16 hexadecimal digits of the SHA-256 of each file, sorted: enough to recognise a picture that
one has (two of a million files agree by chance with a probability of 3e-8), and nothing to make one from.
The same bytes are recognised; a picture that was saved anew is not. Where a bundle that had no list was recalibrated,
the list is of the local pictures alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from hilum.bundle.folder import Bundle
from hilum.bundle.spec import SEEN
from hilum.errors import BundleError
from hilum.files import write_text

DIGITS: Final = 16


def write_seen(path: Path, digests: Iterable[str]) -> None:
    """Write the list of pictures with these SHA-256 (hexadecimal, shortened or whole)."""
    write_text(path, "".join(f"{digest}\n" for digest in sorted({digest[:DIGITS] for digest in digests})))


def read_seen(bundle: Bundle) -> frozenset[str]:
    """Return the shortened SHA-256 of the pictures that trained, validated or refitted the bundle; none if unknown.

    Raises:
        BundleError: the list is not one.
    """
    if SEEN not in bundle.spec.files:
        return frozenset()
    lines = (bundle.folder / SEEN).read_text(encoding="ascii", errors="replace").split()
    if any(len(line) != DIGITS or not set(line) <= set("0123456789abcdef") for line in lines):
        raise BundleError(f"{bundle.folder / SEEN} is no list of shortened hashes; copy the bundle again.")
    return frozenset(lines)


def list_seen(bundle: Bundle, digests: Iterable[str]) -> list[bool]:
    """Return for each SHA-256 whether the bundle has seen that picture."""
    seen = read_seen(bundle)
    return [digest[:DIGITS] in seen for digest in digests]
