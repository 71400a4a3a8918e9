"""How much memory decoding may take: small pictures side by side, large ones one at a time, absurd ones not at all."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from hilum.errors import ImageReadError
from hilum.types import Status

LIMIT: Final = 1024**3
"""Bytes that one picture may need, and all decoders together as good as ever."""
SMALL: Final = 64 * 1024**2
"""Bytes up to which a picture waits for no other one: a radiograph of 4,000 x 4,000 pixels needs less."""

# Held by a thread while it decodes a large picture. A member of an archive is read and decoded under it.
_one_large = threading.RLock()


@contextmanager
def decoding(need: int, subject: str) -> Iterator[None]:
    """Wait until a picture that needs `need` bytes can be decoded.

    Raises:
        ImageReadError: it needs more than `LIMIT`; `subject` begins the message.
    """
    if need > LIMIT:
        raise ImageReadError(
            f"{subject} would take about {need / 1024**2:,.0f} MiB to decode, more than the {LIMIT // 1024**2:,} MiB "
            "that one image may take.",
            status=Status.UNSUPPORTED,
        )
    if need <= SMALL:
        yield
        return
    with _one_large:
        yield
