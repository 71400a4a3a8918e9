"""The folder of a study or search: one process at a time works on it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hilum.errors import HilumError
from hilum.files import lock


@contextmanager
def hold(out: Path) -> Iterator[None]:
    """Keep a second process from the folder: both would train into the same runs.

    Raises:
        HilumError: another process holds it.
    """
    descriptor = os.open(out / ".lock", os.O_RDWR | os.O_CREAT, 0o666)
    try:
        if not lock(descriptor, wait=False):
            raise HilumError(f"Another process works on the study {out}; wait for it, or name another folder.")
        yield
    finally:
        os.close(descriptor)
