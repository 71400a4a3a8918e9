"""Progress bars on stderr, drawn only when an edge (the command line) has asked for them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

T = TypeVar("T")

console = Console(stderr=True)
_enabled = False


def enable(on: bool = True) -> None:
    """Turn progress bars on or off for the process."""
    global _enabled  # noqa: PLW0603 - one switch a process, set by the command line alone
    _enabled = on


def is_enabled() -> bool:
    """Return whether progress is shown."""
    return _enabled


def columns() -> tuple[TextColumn | BarColumn | MofNCompleteColumn | TimeElapsedColumn | TimeRemainingColumn, ...]:
    """Return the columns that every bar of Hilum has."""
    return (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )


def track(items: Iterable[T], *, description: str, total: int | None = None) -> Iterator[T]:
    """Yield `items` unchanged while a bar on stderr counts them."""
    if not _enabled:
        yield from items
        return
    if total is None and isinstance(items, Sized):
        total = len(items)
    with Progress(*columns(), console=console) as bar:
        yield from bar.track(items, total=total, description=description)
