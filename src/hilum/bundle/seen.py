"""Which pictures a bundle was made of, so that it is not judged on them, or refitted to them, by mistake.

seen.txt holds the first 16 hexadecimal digits of the SHA-256 of each file, sorted: enough to recognise a picture that
one has (two of a million files agree by chance with a probability of 3e-8), and nothing to make one from.
The same bytes are recognised; a picture that was saved anew is not. Where a bundle that had no list was recalibrated,
the list is of the local pictures alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from hilum.bundle.folder import Bundle
from hilum.bundle.spec import SEEN
from hilum.errors import BundleError, LeakageError
from hilum.files import write_text

if TYPE_CHECKING:
    import pandas as pd

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


def refuse_seen(bundle: Bundle, pictures: pd.DataFrame, *, task: str, advice: str) -> bool:
    """Refuse pictures that trained, validated or refitted the bundle: it knows their labels already.

    Args:
        bundle: which may have a list of them.
        pictures: with the columns path and sha256.
        task: what they are to be used for, for the message.
        advice: what to do in place of it, for the message.

    Returns:
        Whether the bundle has a list to look them up in.

    Raises:
        LeakageError: it was made of some of them.
    """
    known = pictures[list_seen(bundle, pictures["sha256"])]
    if len(known):
        raise LeakageError(
            f"{bundle.spec.name} {bundle.spec.version} was made of {len(known):,} of the {len(pictures):,} pictures "
            f"{task} (such as {known['path'].iloc[0]}); {advice}."
        )
    return SEEN in bundle.spec.files
