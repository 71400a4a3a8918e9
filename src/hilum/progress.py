"""Progress bars on stderr, drawn only when an edge (the command line) has asked for them."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

T = TypeVar("T")

# In a file or a pipe there is no width to fit; lines wrapped at 80 characters would only be harder to search.
console = Console(stderr=True, width=None if sys.stderr.isatty() else 200)
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


class SpeedColumn(ProgressColumn):
    """How many items a second there were lately."""

    def __init__(self, unit: str) -> None:
        super().__init__()
        self.unit = unit

    def render(self, task: Task) -> Text:
        """Draw the speed of a task; nothing before it is known."""
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:,.1f} {self.unit}/s")


def track(items: Iterable[T], *, description: str, total: int | None = None, unit: str = "") -> Iterator[T]:
    """Yield `items` unchanged while a bar on stderr counts them; with a `unit`, also how many a second."""
    if not _enabled:
        yield from items
        return
    if total is None and isinstance(items, Sized):
        total = len(items)
    speed = (SpeedColumn(unit),) if unit else ()
    with Progress(*columns(), *speed, console=console) as bar:
        yield from bar.track(items, total=total, description=description)
